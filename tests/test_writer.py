from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from smarty_async.archive import durable, placing, writer
from smarty_async.archive.entry import Kept
from smarty_async.archive.placing import Move, place, remove
from smarty_async.archive.writer import Spooled, Workplace
from smarty_async.errors import DiskError, OutputInUse

full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    workplace = Workplace(tmp_path / "deep" / "out")
    workplace.claim()
    workplace.clear()
    return workplace


async def spooled(workplace: Workplace, data: bytes) -> Spooled:
    file = workplace.open()
    await file.write([data])
    return file


async def settled(workplace: Workplace, file: Spooled) -> DiskError | None:
    [refused] = await workplace.settle([[Kept(file.name, 0)]])
    return refused


async def placed(workplace: Workplace, file: Spooled, *places: Path, stale: tuple[Path, ...] = ()) -> DiskError | None:
    [refused] = await workplace.place([Move([(str(file.path), str(place)) for place in places], [*map(str, stale)])])
    return refused


def left(workplace: Workplace) -> set[str]:
    return {path.name for path in workplace.own.rglob("*") if path.name != "lock"}


# copies


async def test_a_copy_is_whole_or_none(workplace: Workplace, tmp_path: Path) -> None:
    output = tmp_path / "output.jpg"
    output.write_bytes(b"x" * 2_500_000)
    copied = await workplace.copy(output, 2_500_000)
    assert copied is not None
    assert copied.path.read_bytes() == output.read_bytes()
    await copied.discard()
    assert await workplace.copy(output, 2_499_999) is None
    assert await workplace.copy(tmp_path / "gone", 5) is None
    assert await workplace.copy(output / "x.jpg", 5) is None
    with pytest.raises(DiskError, match="cannot read"):  # so nobody knows that it is not there
        await workplace.copy(tmp_path, 5)
    assert left(workplace) == {"tmp"}


async def test_a_copy_for_which_there_is_no_room_leaves_nothing(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output.jpg"
    output.write_bytes(b"x" * 2_500_000)
    whole, pieces = Spooled.append, 0

    def append(file: Spooled, data: list[bytes]) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            raise DiskError.of(OSError(28, "No space left on device"), file.path, "write")
        whole(file, data)

    monkeypatch.setattr(Spooled, "append", append)
    with pytest.raises(DiskError, match="No space left"):
        await workplace.copy(output, 2_500_000)
    assert left(workplace) == {"tmp"}


# temporaries


async def test_a_temporary_is_made_by_its_first_write_and_grows(workplace: Workplace) -> None:
    file = workplace.open()
    assert not file.path.exists()
    await file.write([b"one ", b"two "])
    await file.write([b"three"])
    assert file.path.read_bytes() == b"one two three"
    assert workplace.temporary(file.name) == file.path
    for _ in range(2):
        await file.discard()
    assert left(workplace) == {"tmp"}


async def test_no_temporary_goes_on_with_what_another_run_left(tmp_path: Path) -> None:
    names: set[str] = set()
    for _ in range(2):
        workplace = Workplace(tmp_path)
        names |= {workplace.open().path.name for _ in range(10)}
    assert len(names) == 20


@full_disk
async def test_a_full_disk_is_our_error(workplace: Workplace) -> None:
    file = workplace.open()
    file.path.symlink_to("/dev/full")
    with pytest.raises(DiskError, match="No space left") as caught:
        await file.write([b"x"])
    assert (caught.value.path, caught.value.errno) == (file.path, 28)


async def test_bytes_that_cannot_be_settled_are_our_error(workplace: Workplace) -> None:
    whole, gone = await spooled(workplace, b"x"), workplace.open()
    refused = await workplace.settle([[Kept(file.name, 1)] for file in (gone, whole)])
    assert "No such file" in str(refused[0])
    assert refused[1] is None


# the lock


def test_the_output_folder_belongs_to_one_run(tmp_path: Path) -> None:
    first, second = Workplace(tmp_path), Workplace(tmp_path)
    first.claim()
    with pytest.raises(OutputInUse, match="another run is writing to"):
        second.claim()
    first.release()
    second.claim()
    second.release()


async def test_a_run_that_was_refused_takes_nothing_from_the_other(workplace: Workplace) -> None:
    file = await spooled(workplace, b"paid for")
    second = Workplace(workplace.out)
    with pytest.raises(OutputInUse):
        second.claim()
    second.release()
    assert file.path.read_bytes() == b"paid for"
    with pytest.raises(OutputInUse):
        Workplace(workplace.out).claim()


@pytest.mark.parametrize("blocked", ["", ".smarty-async", ".smarty-async/tmp", ".smarty-async/lock"])
def test_an_output_folder_that_cannot_be_made_is_our_error(tmp_path: Path, blocked: str) -> None:
    out = tmp_path / "out"
    path = out / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if blocked.endswith("lock") else path.touch()
    workplace = Workplace(out)
    with pytest.raises(DiskError, match=r"cannot write to '.*out'"):
        workplace.claim()
    workplace.release()
    assert path.exists()


# what outlives a run


async def test_nothing_is_left_by_a_run_that_ends(workplace: Workplace) -> None:
    file = await spooled(workplace, b"never placed")
    kept = await spooled(workplace, b"placed")
    await settled(workplace, kept)
    await placed(workplace, kept, workplace.out / "improved" / "a.jpg")
    workplace.release()
    assert left(workplace) == set()
    assert not file.path.exists()
    assert (workplace.out / "improved" / "a.jpg").read_bytes() == b"placed"


async def test_what_is_settled_and_could_not_be_placed_stays_for_the_next_run(workplace: Workplace) -> None:
    file, other = await spooled(workplace, b"paid for"), await spooled(workplace, b"not whole")
    (workplace.out / "improved").touch()
    await settled(workplace, file)
    assert await placed(workplace, file, workplace.out / "improved" / "a.jpg")
    workplace.release()
    assert left(workplace) == {"tmp", file.name}
    assert not other.path.exists()


async def test_what_an_earlier_run_left_stays_until_the_journal_is_done_with_it(workplace: Workplace) -> None:
    file = await spooled(workplace, b"paid for")
    workplace._lock.release()  # as a kill does
    following = Workplace(workplace.out)
    following.claim()
    following.release()
    assert file.path.read_bytes() == b"paid for"
    following.claim()
    following.clear()
    assert not file.path.exists()
    following.release()


async def test_what_cannot_be_removed_does_not_stop_a_run(workplace: Workplace) -> None:
    (workplace.temporary("folder") / "x").mkdir(parents=True)
    workplace.clear()
    workplace.release()
    assert (workplace.temporary("folder") / "x").exists()


# to their places


async def test_outputs_take_their_places_over_what_is_there(workplace: Workplace) -> None:
    improved, colorized = (workplace.out / kind / "b" / "a.jpg" for kind in ("improved", "colorized"))
    for data in (b"first", b"second"):
        file = await spooled(workplace, data)
        assert not await placed(workplace, file, improved, stale=(colorized,))
        assert improved.read_bytes() == data
    assert not await placed(workplace, await spooled(workplace, b"x"), colorized, stale=(improved,))
    assert not improved.exists()


async def test_a_move_is_durable_from_the_bottom_up(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    whole = os.replace

    def replaced(old: str, new: str) -> None:
        steps.append("rename")
        whole(old, new)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(writer, "sync_file", lambda _: steps.append("sync file"))
    monkeypatch.setattr(placing, "sync_folder", lambda path: steps.append(path.relative_to(workplace.out).as_posix()))
    files = [await spooled(workplace, b"x") for _ in range(2)]
    await workplace.settle([[Kept(file.name, 1)] for file in files])
    folder = workplace.out / "improved" / "x"
    await workplace.place([Move([(str(file.path), str(folder / file.name))]) for file in files])
    assert steps == ["sync file", "sync file", ".", "improved", "rename", "rename", "improved/x"]


async def test_a_move_that_the_disk_refuses_keeps_no_other(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    moves = [
        Move([(str((await spooled(workplace, b"x")).path), str(place))], stale)
        for place, stale in (
            (tmp_path / "file" / "a.jpg", ()),
            (tmp_path / "b.jpg", ()),
            (tmp_path / "c.jpg", (str(tmp_path),)),
            (tmp_path / "d.jpg", ()),
        )
    ]
    refused = await workplace.place(moves)
    assert [error is None for error in refused] == [False, True, False, True]
    assert [(tmp_path / f"{name}.jpg").exists() for name in "abcd"] == [False, True, False, True]


async def test_a_folder_that_cannot_be_synced_is_the_error_of_all_in_it(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(folder: Path) -> None:
        if folder.name == "bad":
            raise OSError(5, "Input/output error")

    folders = [workplace.out / name for name in ("bad", "good", "bad")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    monkeypatch.setattr(placing, "sync_folder", sync)
    files = [await spooled(workplace, b"x") for _ in folders]
    moves = [Move([(str(file.path), str(folder / file.name))]) for file, folder in zip(files, folders, strict=True)]
    refused = await workplace.place(moves)
    assert [str(error).partition("': ")[2] for error in refused] == ["Input/output error", "", "Input/output error"]


async def test_many_photos_make_one_folder_together(workplace: Workplace) -> None:
    files = [await spooled(workplace, bytes([number])) for number in range(20)]
    folder = workplace.out / "improved" / "a" / "b" / "c"
    await asyncio.gather(*(placed(workplace, file, folder / file.name) for file in files))
    assert len(list(folder.iterdir())) == 20


def test_what_the_disk_refuses_to_remove_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    told = r"cannot remove '.*a\.jpg'"
    with pytest.raises(DiskError, match=told):
        remove([tmp_path / "a.jpg"])
    [refused] = place([Move([], [str(tmp_path / "a.jpg")])])
    assert re.search(told, str(refused))


def test_what_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remove([tmp_path / "a.jpg", tmp_path / "no" / "a.jpg", tmp_path / "file" / "a.jpg"])


def test_a_temporary_that_is_gone_is_our_error(tmp_path: Path) -> None:
    [refused] = place([Move([(str(tmp_path / "gone"), str(tmp_path / "a.jpg"))])])
    assert re.search(r"cannot write '.*a\.jpg': No such file", str(refused))


# on other systems


def test_macos_flushes_the_drive_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Fcntl:
        F_FULLFSYNC = 51

        @staticmethod
        def fcntl(_: int, what: int) -> None:
            asked.append(what)

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "fcntl", Fcntl)
    monkeypatch.setattr(os, "fsync", lambda _: asked.append("fsync"))
    (tmp_path / "a").touch()
    durable.sync_file(tmp_path / "a")
    assert asked == [51]


def test_windows_has_no_folders_to_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Path("not there")
    monkeypatch.setattr(durable.os, "name", "nt")
    durable.sync_folder(gone)
