"""What `OutputDirectory` does beyond the contract of `OutputStore`: files, folders, and what the disk refuses."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from smarty_async.archive.entries import StoredOutput
from smarty_async.archive.outputs import folder as output_folder
from smarty_async.archive.outputs import sync as output_sync
from smarty_async.archive.outputs.folder import OutputDirectory, move_all, remove_known
from smarty_async.archive.outputs.store import NameTaken, OutputMove, OutputRefused
from smarty_async.archive.outputs.sync import GroupSync
from smarty_async.archive.outputs.temp_file import TempFile
from smarty_async.errors import DiskError, OutputInUse
from smarty_async.results import Kind

full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
posix = pytest.mark.skipif(os.name == "nt", reason="symbolic links take a privilege on Windows")


@pytest.fixture
def directory(tmp_path: Path) -> OutputDirectory:
    directory = OutputDirectory(tmp_path / "deep" / "out")
    directory.lock()
    directory.remove_stale_temp_files()
    return directory


async def written(directory: OutputDirectory, data: bytes = b"x") -> StoredOutput:
    file = directory.open()
    await file.write([data])
    return StoredOutput(file.name, len(data))


async def moved(directory: OutputDirectory, moves: list[OutputMove]) -> list[DiskError | None]:
    """What the disk refuses, as it moves outputs or as it makes that durable."""
    refused = await directory.move(moves)
    return [before or after for before, after in zip(refused, await directory.fsync([], moves), strict=True)]


async def committed(directory: OutputDirectory, place: str, output: StoredOutput) -> DiskError | None:
    [refused] = await moved(directory, [OutputMove(place, {"improved": output})])
    return refused


def files_of(directory: OutputDirectory) -> set[str]:
    """What is in the state folder, except the lock."""
    return {path.name for path in directory.state_dir.rglob("*") if path.name != "lock"}


def paths_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# copies


async def test_a_copy_is_complete_or_none(directory: OutputDirectory) -> None:
    output = directory.out / "improved" / "a.jpg"
    output.parent.mkdir()
    output.write_bytes(b"x" * 2_500_000)
    copied = await directory.copy("improved", "a.jpg", StoredOutput("", 2_500_000))
    assert copied is not None
    assert copied.path.read_bytes() == output.read_bytes()
    await copied.discard()
    assert await directory.copy("improved", "a.jpg", StoredOutput("", 2_499_999)) is None
    assert await directory.copy("improved", "gone.jpg", StoredOutput("", 5)) is None
    assert await directory.copy("improved", "a.jpg/x.jpg", StoredOutput("", 5)) is None
    with pytest.raises(DiskError, match="cannot read"):  # so it is not known that it does not exist
        await directory.copy("improved", ".", StoredOutput("", 5))
    assert files_of(directory) == {"tmp"}


async def test_a_copy_for_which_there_is_no_space_is_removed(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory.out / "improved").mkdir()
    (directory.out / "improved" / "a.jpg").write_bytes(b"x" * 2_500_000)
    complete, pieces = TempFile.append, 0

    def append(file: TempFile, data: list[bytes]) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            raise DiskError.of(OSError(28, "No space left on device"), file.path, "write")
        complete(file, data)

    monkeypatch.setattr(TempFile, "append", append)
    with pytest.raises(DiskError, match="No space left"):
        await directory.copy("improved", "a.jpg", StoredOutput("", 2_500_000))
    assert files_of(directory) == {"tmp"}


# temporary files


async def test_the_first_write_creates_a_temporary_file(directory: OutputDirectory) -> None:
    file = directory.open()
    assert not file.path.exists()
    await file.write([b"one ", b"two "])
    await file.write([b"three"])
    assert file.path.read_bytes() == b"one two three"
    assert directory.temp_path(file.name) == file.path
    for _ in range(2):
        await file.discard()
    assert files_of(directory) == {"tmp"}


async def test_temporary_files_of_two_runs_have_different_names(tmp_path: Path) -> None:
    names: set[str] = set()
    for _ in range(2):
        directory = OutputDirectory(tmp_path)
        names |= {directory.open().path.name for _ in range(10)}
    assert len(names) == 20


@full_disk
async def test_a_full_disk_raises_disk_error(directory: OutputDirectory) -> None:
    file = directory.open()
    file.path.symlink_to("/dev/full")
    with pytest.raises(DiskError, match="No space left") as caught:
        await file.write([b"x"])
    assert (caught.value.path, caught.value.errno) == (file.path, 28)


async def test_an_answer_that_cannot_be_synced_gets_its_error(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(output_sync, "sync_file_system", broken)
    refused = await directory.fsync([[StoredOutput("gone", 1)], [await written(directory)]])
    assert "No such file" in str(refused[0])
    assert refused[1] is None


# the lock


def test_the_lock_can_be_acquired_after_it_is_released(tmp_path: Path) -> None:
    first, second = OutputDirectory(tmp_path), OutputDirectory(tmp_path)
    first.lock()
    with pytest.raises(OutputInUse, match="another run is writing to"):
        second.lock()
    first.release()
    second.lock()
    second.release()


async def test_a_run_that_cannot_lock_removes_nothing(directory: OutputDirectory) -> None:
    output = await written(directory, b"paid for")
    second = OutputDirectory(directory.out)
    with pytest.raises(OutputInUse):
        second.lock()
    second.release()
    assert directory.temp_path(output.temporary).read_bytes() == b"paid for"
    with pytest.raises(OutputInUse):
        OutputDirectory(directory.out).lock()


@pytest.mark.parametrize("blocked", ["", ".smarty-async", ".smarty-async/tmp", ".smarty-async/lock"])
def test_an_output_folder_that_cannot_be_created_raises_disk_error(tmp_path: Path, blocked: str) -> None:
    out = tmp_path / "out"
    path = out / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if blocked.endswith("lock") else path.touch()
    directory = OutputDirectory(out)
    with pytest.raises(DiskError, match=r"cannot write to '.*out'"):
        directory.lock()
    directory.release()
    assert path.exists()


def test_files_of_an_interrupted_probe_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".smarty-async" / "probe-0123"
    left.mkdir(parents=True)
    (left / "Sample").touch()
    directory = OutputDirectory(tmp_path)
    directory.lock()
    assert files_of(directory) == {"tmp"}
    directory.release()


# what stays after a run


async def test_a_finished_run_leaves_no_temporary_file(directory: OutputDirectory) -> None:
    await written(directory, b"never received whole")
    output = await written(directory, b"committed")
    await directory.fsync([[output]])
    await committed(directory, "a.jpg", output)
    directory.release()
    assert files_of(directory) == set()
    assert (directory.out / "improved" / "a.jpg").read_bytes() == b"committed"


async def test_an_output_that_could_not_be_committed_stays_for_the_next_run(directory: OutputDirectory) -> None:
    output, other = await written(directory, b"paid for"), await written(directory, b"not whole")
    (directory.out / "improved").touch()
    await directory.fsync([[output]])
    assert await committed(directory, "a.jpg", output)
    directory.release()
    assert files_of(directory) == {"tmp", output.temporary}
    assert not directory.temp_path(other.temporary).exists()


async def test_temporary_files_of_an_earlier_run_stay_until_the_journal_has_recovered(
    directory: OutputDirectory,
) -> None:
    output = await written(directory, b"paid for")
    directory._lock.release()  # as a kill does
    following = OutputDirectory(directory.out)
    following.lock()
    following.release()
    assert following.temp_path(output.temporary).read_bytes() == b"paid for"
    following.lock()
    following.remove_stale_temp_files()
    assert not following.temp_path(output.temporary).exists()
    following.release()


async def test_a_temporary_file_that_cannot_be_removed_does_not_stop_a_run(directory: OutputDirectory) -> None:
    (directory.temp_path("folder") / "x").mkdir(parents=True)
    directory.remove_stale_temp_files()
    directory.release()
    assert (directory.temp_path("folder") / "x").exists()


# places


@posix
def test_a_place_is_taken_by_a_file_a_folder_and_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "improved"
    (folder / "folder.jpg").mkdir(parents=True)
    (folder / "file.jpg").touch()
    (folder / "link.jpg").symlink_to("nowhere")
    directory = OutputDirectory(tmp_path)
    taken = [name for name in ("folder", "file", "link", "none") if directory.is_taken(f"{name}.jpg")]
    assert taken == ["folder", "file", "link"]


@posix
def test_a_path_that_is_too_long_is_known_beforehand(directory: OutputDirectory) -> None:
    free = directory.rules.max_path - len(os.fsencode(directory.out)) - len("/colorized_improved/")
    assert directory.problem_of("x" * free) is None
    problem = directory.problem_of("x" * (free + 1))
    assert problem is not None
    assert problem.type == "path_too_long"
    assert f"{directory.rules.max_path:,} are possible" in problem.message


# commit


async def test_a_file_that_a_person_has_changed_is_not_replaced(directory: OutputDirectory) -> None:
    await committed(directory, "a.jpg", await written(directory, b"first"))
    (directory.out / "improved" / "a.jpg").write_bytes(b"retouched by hand")
    refused = await committed(
        directory, "a.jpg", StoredOutput((await written(directory, b"second")).temporary, 6, replaces=5)
    )
    assert isinstance(refused, OutputRefused)
    assert "no run made, or that was changed since" in str(refused)
    assert (directory.out / "improved" / "a.jpg").read_bytes() == b"retouched by hand"


async def test_a_move_is_durable_from_the_outermost_folder_on(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    rename = os.replace

    def replaced(old: str, new: str) -> None:
        steps.append("rename")
        rename(old, new)

    def synced(_: GroupSync, files: list[str], folders: list[str]) -> tuple[list[None], list[None]]:
        steps.extend(Path(folder).relative_to(directory.out).as_posix() for folder in folders)
        steps.extend(["temporary file"] * len(files))
        return [None] * len(files), [None] * len(folders)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(GroupSync, "sync", synced)
    monkeypatch.setattr(
        output_folder, "sync_folder", lambda path: steps.append(path.relative_to(directory.out).as_posix())
    )
    outputs = [await written(directory) for _ in range(2)]
    await directory.fsync([[output] for output in outputs])
    await moved(directory, [OutputMove(f"x/{number}.jpg", {"improved": out}) for number, out in enumerate(outputs)])
    assert steps == [*["temporary file"] * 2, ".", "improved", "rename", "rename", "improved/x"]


async def test_a_move_that_the_disk_refuses_does_not_stop_the_others(directory: OutputDirectory) -> None:
    (directory.out / "improved" / "c.jpg").mkdir(parents=True)
    (directory.out / "improved" / "file").touch()
    refused = await moved(
        directory,
        [
            OutputMove(place, {"improved": await written(directory)})
            for place in ("file/a.jpg", "b.jpg", "c.jpg", "x" * 300, "d.jpg")
        ],
    )
    refusals = [OutputRefused, type(None), NameTaken, OutputRefused, type(None)]
    assert [type(error) for error in refused] == refusals
    assert {path.name for path in (directory.out / "improved").iterdir()} == {"b.jpg", "c.jpg", "d.jpg", "file"}


async def test_an_output_that_another_program_has_open_on_windows_does_not_stop_the_others(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await committed(directory, "a.jpg", await written(directory, b"first"))
    replace = os.replace

    def refusing(old: str, new: str) -> None:
        if new.endswith(("a.jpg", "new.jpg")):
            error = PermissionError(errno.EACCES, "Access is denied")
            setattr(error, "winerror", 5)  # noqa: B010 - type checkers of other systems know no such attribute
            raise error
        replace(old, new)

    monkeypatch.setattr(os, "replace", refusing)
    second = StoredOutput((await written(directory, b"second")).temporary, 6, replaces=5)
    others = [OutputMove(place, {"improved": await written(directory)}) for place in ("b.jpg", "new.jpg")]
    refused = await moved(directory, [OutputMove("a.jpg", {"improved": second}), *others])
    assert [type(error) for error in refused] == [OutputRefused, type(None), DiskError]


async def test_an_output_that_cannot_be_removed_on_windows_refuses_no_other_photo(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = await written(directory, b"first")
    await committed(directory, "a.jpg", output)

    def refusing(_: str) -> None:
        error = PermissionError(errno.EACCES, "Access is denied")
        setattr(error, "winerror", 32)  # noqa: B010 - as above
        raise error

    monkeypatch.setattr(os, "unlink", refusing)
    with pytest.raises(DiskError) as refused:
        directory.remove("a.jpg", {"improved": output})
    assert not isinstance(refused.value, OutputRefused)


async def test_a_folder_that_cannot_be_synced_is_the_error_of_all_moves_into_it(
    directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(folder: Path) -> None:
        if folder.name == "bad":
            raise OSError(5, "Input/output error")

    folders = ("bad", "good", "bad")
    for folder in folders:
        (directory.out / "improved" / folder).mkdir(parents=True, exist_ok=True)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(output_sync, "sync_file_system", broken)  # each folder by itself says which one it is
    monkeypatch.setattr(output_sync, "sync_folder", sync)
    refused = await moved(
        directory,
        [
            OutputMove(f"{folder}/{number}.jpg", {"improved": await written(directory)})
            for number, folder in enumerate(folders)
        ],
    )
    assert [type(error) for error in refused] == [DiskError, type(None), DiskError]
    assert [str(error).partition("': ")[2] for error in refused] == ["Input/output error", "", "Input/output error"]


async def test_many_photos_create_one_folder_together(directory: OutputDirectory) -> None:
    outputs = [await written(directory, bytes([number])) for number in range(20)]
    await asyncio.gather(
        *(committed(directory, f"a/b/c/{number}.jpg", output) for number, output in enumerate(outputs))
    )
    assert len(list((directory.out / "improved" / "a" / "b" / "c").iterdir())) == 20


def test_a_temporary_file_that_is_gone_is_an_error_of_the_disk(tmp_path: Path) -> None:
    [refused] = move_all(str(tmp_path), str(tmp_path), [OutputMove("a.jpg", {"improved": StoredOutput("gone", 1)})])
    assert type(refused) is DiskError
    assert "No such file" in str(refused)


# removal


def test_what_the_disk_does_not_remove_raises_disk_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "improved").mkdir()
    (tmp_path / "improved" / "a.jpg").write_bytes(b"12345")

    def refuse(_: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "unlink", refuse)
    removes: dict[Kind, StoredOutput] = {"improved": StoredOutput("", 5)}
    with pytest.raises(DiskError, match=r"cannot remove '.*a\.jpg'"):
        remove_known(str(tmp_path), "a.jpg", removes)
    [refused] = move_all(str(tmp_path), str(tmp_path), [OutputMove("a.jpg", {}, removes)])
    assert "cannot remove" in str(refused)


def test_only_the_known_output_is_removed(tmp_path: Path) -> None:
    (tmp_path / "improved" / "folder.jpg").mkdir(parents=True)
    (tmp_path / "improved" / "file").write_bytes(b"12345")
    (tmp_path / "improved" / "changed.jpg").write_bytes(b"retouched by hand")
    (tmp_path / "improved" / "known.jpg").write_bytes(b"12345")
    for place in ("folder.jpg", "file/x.jpg", "changed.jpg", "known.jpg", "gone.jpg"):
        remove_known(str(tmp_path), place, {"improved": StoredOutput("", 5), "colorized": StoredOutput("", 5)})
    assert {path.name for path in (tmp_path / "improved").iterdir()} == {"folder.jpg", "file", "changed.jpg"}


# a folder on another disk


@pytest.fixture
def other_disk(directory: OutputDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``improved`` is a link to another disk: renaming into it is refused, as the system does."""
    other = tmp_path / "other disk"
    other.mkdir()
    (directory.out / "improved").symlink_to(other)
    rename = os.replace

    def replace(old: str, new: str) -> None:
        if Path(old).resolve().is_relative_to(other) is not Path(new).resolve().is_relative_to(other):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(old, new)

    monkeypatch.setattr(os, "replace", replace)
    return other


@posix
async def test_outputs_are_copied_to_a_folder_on_another_disk(directory: OutputDirectory, other_disk: Path) -> None:
    output = await written(directory, b"paid for")
    assert await committed(directory, "b/a.jpg", output) is None
    assert paths_in(other_disk) == {"b", "b/a.jpg"}
    assert (other_disk / "b" / "a.jpg").read_bytes() == b"paid for"
    assert not directory.temp_path(output.temporary).exists()


@posix
async def test_a_copy_to_another_disk_without_space_leaves_nothing_there(
    directory: OutputDirectory, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = await written(directory, b"paid for")

    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(output_folder, "sync_file", full)
        assert "No space left" in str(await committed(directory, "a.jpg", output))
    assert paths_in(other_disk) == set()
    assert directory.recover(OutputMove("a.jpg", {"improved": output}))
    assert (other_disk / "a.jpg").read_bytes() == b"paid for"


@posix
async def test_a_copy_to_another_disk_is_recovered_when_its_temporary_file_is_still_there(
    directory: OutputDirectory, other_disk: Path
) -> None:
    output = await written(directory, b"paid for")
    (other_disk / "a.jpg").write_bytes(b"paid for")
    assert directory.recover(OutputMove("a.jpg", {"improved": output}))
    assert not directory.temp_path(output.temporary).exists()


# on other systems


def test_macos_flushes_the_drive_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Fcntl:
        F_FULLFSYNC = 51

        @staticmethod
        def fcntl(_: int, command: int) -> None:
            calls.append(command)

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "fcntl", Fcntl)
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    (tmp_path / "a").touch()
    output_sync.sync_file(tmp_path / "a")
    assert calls == [51]


def test_macos_syncs_a_file_on_a_drive_that_cannot_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    class Fcntl:
        F_FULLFSYNC = 51

        @staticmethod
        def fcntl(_: int, _command: int) -> None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "fcntl", Fcntl)
    monkeypatch.setattr(os, "fsync", synced.append)
    (tmp_path / "a").touch()
    output_sync.sync_file(tmp_path / "a")
    assert len(synced) == 1


@pytest.mark.parametrize(("refusal", "is_error"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_takes_no_sync_is_left_to_its_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, refusal: int, is_error: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="error") if is_error else nullcontext():
        output_sync.sync_folder(tmp_path)


def test_windows_has_no_folders_to_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Path("not there")
    monkeypatch.setattr(os, "name", "nt")
    output_sync.sync_folder(gone)
