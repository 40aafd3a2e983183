from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from smarty_async.archive.outputs.placing import Move, place, remove

from smarty_async.archive import fsync
from smarty_async.archive.journal.records import StoredOutput
from smarty_async.archive.outputs import folder as output_folder
from smarty_async.archive.outputs import placing
from smarty_async.archive.outputs.folder import OutputDirectory, TempFile
from smarty_async.errors import DiskError, OutputInUse

full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture
def directory(tmp_path: Path) -> OutputDirectory:
    directory = OutputDirectory(tmp_path / "deep" / "out")
    directory.lock()
    directory.clear()
    return directory


async def spooled(directory: OutputDirectory, data: bytes) -> TempFile:
    file = directory.open()
    await file.write([data])
    return file


async def settled(directory: OutputDirectory, file: TempFile) -> DiskError | None:
    [refused] = await directory.settle([[StoredOutput(file.name, 0)]])
    return refused


async def placed(
    directory: OutputDirectory, file: TempFile, *places: Path, stale: tuple[Path, ...] = ()
) -> DiskError | None:
    [refused] = await directory.place([Move([(str(file.path), str(place)) for place in places], [*map(str, stale)])])
    return refused


def left(directory: OutputDirectory) -> set[str]:
    return {path.name for path in directory.state_dir.rglob("*") if path.name != "lock"}


# copies


async def test_a_copy_is_whole_or_none(directory: OutputDirectory, tmp_path: Path) -> None:
    output = tmp_path / "output.jpg"
    output.write_bytes(b"x" * 2_500_000)
    copied = await directory.copy(output, 2_500_000)
    assert copied is not None
    assert copied.path.read_bytes() == output.read_bytes()
    await copied.discard()
    assert await directory.copy(output, 2_499_999) is None
    assert await directory.copy(tmp_path / "gone", 5) is None
    assert await directory.copy(output / "x.jpg", 5) is None
    with pytest.raises(DiskError, match="cannot read"):  # so nobody knows that it is not there
        await directory.copy(tmp_path, 5)
    assert left(directory) == {"tmp"}


async def test_a_copy_for_which_there_is_no_room_leaves_nothing(
    directory: OutputDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output.jpg"
    output.write_bytes(b"x" * 2_500_000)
    whole, pieces = TempFile.append, 0

    def append(file: TempFile, data: list[bytes]) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            raise DiskError.of(OSError(28, "No space left on device"), file.path, "write")
        whole(file, data)

    monkeypatch.setattr(TempFile, "append", append)
    with pytest.raises(DiskError, match="No space left"):
        await directory.copy(output, 2_500_000)
    assert left(directory) == {"tmp"}


# temporaries


async def test_a_temporary_is_made_by_its_first_write_and_grows(directory: OutputDirectory) -> None:
    file = directory.open()
    assert not file.path.exists()
    await file.write([b"one ", b"two "])
    await file.write([b"three"])
    assert file.path.read_bytes() == b"one two three"
    assert directory.temporary(file.name) == file.path
    for _ in range(2):
        await file.discard()
    assert left(directory) == {"tmp"}


async def test_no_temporary_goes_on_with_what_another_run_left(tmp_path: Path) -> None:
    names: set[str] = set()
    for _ in range(2):
        directory = OutputDirectory(tmp_path)
        names |= {directory.open().path.name for _ in range(10)}
    assert len(names) == 20


@full_disk
async def test_a_full_disk_is_our_error(directory: OutputDirectory) -> None:
    file = directory.open()
    file.path.symlink_to("/dev/full")
    with pytest.raises(DiskError, match="No space left") as caught:
        await file.write([b"x"])
    assert (caught.value.path, caught.value.errno) == (file.path, 28)


async def test_bytes_that_cannot_be_settled_are_our_error(directory: OutputDirectory) -> None:
    whole, gone = await spooled(directory, b"x"), directory.open()
    refused = await directory.settle([[StoredOutput(file.name, 1)] for file in (gone, whole)])
    assert "No such file" in str(refused[0])
    assert refused[1] is None


# the lock


def test_the_output_folder_belongs_to_one_run(tmp_path: Path) -> None:
    first, second = OutputDirectory(tmp_path), OutputDirectory(tmp_path)
    first.lock()
    with pytest.raises(OutputInUse, match="another run is writing to"):
        second.lock()
    first.release()
    second.lock()
    second.release()


async def test_a_run_that_was_refused_takes_nothing_from_the_other(directory: OutputDirectory) -> None:
    file = await spooled(directory, b"paid for")
    second = OutputDirectory(directory.out)
    with pytest.raises(OutputInUse):
        second.lock()
    second.release()
    assert file.path.read_bytes() == b"paid for"
    with pytest.raises(OutputInUse):
        OutputDirectory(directory.out).lock()


@pytest.mark.parametrize("blocked", ["", ".smarty-async", ".smarty-async/tmp", ".smarty-async/lock"])
def test_an_output_folder_that_cannot_be_made_is_our_error(tmp_path: Path, blocked: str) -> None:
    out = tmp_path / "out"
    path = out / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if blocked.endswith("lock") else path.touch()
    directory = OutputDirectory(out)
    with pytest.raises(DiskError, match=r"cannot write to '.*out'"):
        directory.lock()
    directory.release()
    assert path.exists()


# what outlives a run


async def test_nothing_is_left_by_a_run_that_ends(directory: OutputDirectory) -> None:
    file = await spooled(directory, b"never placed")
    kept = await spooled(directory, b"placed")
    await settled(directory, kept)
    await placed(directory, kept, directory.out / "improved" / "a.jpg")
    directory.release()
    assert left(directory) == set()
    assert not file.path.exists()
    assert (directory.out / "improved" / "a.jpg").read_bytes() == b"placed"


async def test_what_is_settled_and_could_not_be_placed_stays_for_the_next_run(directory: OutputDirectory) -> None:
    file, other = await spooled(directory, b"paid for"), await spooled(directory, b"not whole")
    (directory.out / "improved").touch()
    await settled(directory, file)
    assert await placed(directory, file, directory.out / "improved" / "a.jpg")
    directory.release()
    assert left(directory) == {"tmp", file.name}
    assert not other.path.exists()


async def test_what_an_earlier_run_left_stays_until_the_journal_is_done_with_it(directory: OutputDirectory) -> None:
    file = await spooled(directory, b"paid for")
    directory._lock.release()  # as a kill does
    following = OutputDirectory(directory.out)
    following.lock()
    following.release()
    assert file.path.read_bytes() == b"paid for"
    following.lock()
    following.clear()
    assert not file.path.exists()
    following.release()


async def test_what_cannot_be_removed_does_not_stop_a_run(directory: OutputDirectory) -> None:
    (directory.temporary("folder") / "x").mkdir(parents=True)
    directory.clear()
    directory.release()
    assert (directory.temporary("folder") / "x").exists()


# to their places


async def test_outputs_take_their_places_over_what_is_there(directory: OutputDirectory) -> None:
    improved, colorized = (directory.out / kind / "b" / "a.jpg" for kind in ("improved", "colorized"))
    for data in (b"first", b"second"):
        file = await spooled(directory, data)
        assert not await placed(directory, file, improved, stale=(colorized,))
        assert improved.read_bytes() == data
    assert not await placed(directory, await spooled(directory, b"x"), colorized, stale=(improved,))
    assert not improved.exists()


async def test_a_move_is_durable_from_the_bottom_up(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    whole = os.replace

    def replaced(old: str, new: str) -> None:
        steps.append("rename")
        whole(old, new)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(output_folder, "sync_file", lambda _: steps.append("sync file"))
    monkeypatch.setattr(placing, "sync_folder", lambda path: steps.append(path.relative_to(directory.out).as_posix()))
    files = [await spooled(directory, b"x") for _ in range(2)]
    await directory.settle([[StoredOutput(file.name, 1)] for file in files])
    folder = directory.out / "improved" / "x"
    await directory.place([Move([(str(file.path), str(folder / file.name))]) for file in files])
    assert steps == ["sync file", "sync file", ".", "improved", "rename", "rename", "improved/x"]


async def test_a_move_that_the_disk_refuses_keeps_no_other(directory: OutputDirectory, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    moves = [
        Move([(str((await spooled(directory, b"x")).path), str(place))], stale)
        for place, stale in (
            (tmp_path / "file" / "a.jpg", ()),
            (tmp_path / "b.jpg", ()),
            (tmp_path / "c.jpg", (str(tmp_path),)),
            (tmp_path / "d.jpg", ()),
        )
    ]
    refused = await directory.place(moves)
    assert [error is None for error in refused] == [False, True, False, True]
    assert [(tmp_path / f"{name}.jpg").exists() for name in "abcd"] == [False, True, False, True]


async def test_a_folder_that_cannot_be_synced_is_the_error_of_all_in_it(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(folder: Path) -> None:
        if folder.name == "bad":
            raise OSError(5, "Input/output error")

    folders = [directory.out / name for name in ("bad", "good", "bad")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    monkeypatch.setattr(placing, "sync_folder", sync)
    files = [await spooled(directory, b"x") for _ in folders]
    moves = [Move([(str(file.path), str(folder / file.name))]) for file, folder in zip(files, folders, strict=True)]
    refused = await directory.place(moves)
    assert [str(error).partition("': ")[2] for error in refused] == ["Input/output error", "", "Input/output error"]


async def test_many_photos_make_one_folder_together(directory: OutputDirectory) -> None:
    files = [await spooled(directory, bytes([number])) for number in range(20)]
    folder = directory.out / "improved" / "a" / "b" / "c"
    await asyncio.gather(*(placed(directory, file, folder / file.name) for file in files))
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
    fsync.sync_file(tmp_path / "a")
    assert asked == [51]


def test_windows_has_no_folders_to_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Path("not there")
    monkeypatch.setattr(fsync.os, "name", "nt")
    fsync.sync_folder(gone)
