"""Move outputs from temporary files to their final places: rename, then fsync of the folder. Blocking.

No Paths here: creating one costs as much as the rename.
"""
# ruff: noqa: PTH105, PTH108, PTH120

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import stat
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from smarty_async.archive.fsync import sync_file, sync_folder
from smarty_async.archive.journal.records import StoredOutput
from smarty_async.archive.outputs.store import NameTaken, OutputMove, OutputRefused
from smarty_async.errors import DiskError
from smarty_async.results import Kind

__all__ = ["commit_moves", "file_size", "remove_known"]

_NAME_ERRORS = frozenset({
    errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR,
    errno.ENOTEMPTY,
})  # fmt: skip
"""Errors that concern one name: the disk takes others."""

_creating_folders = threading.Lock()


def commit_moves(out: str, temp_dir: str, moves: Sequence[OutputMove]) -> list[DiskError | None]:
    """Make each move, and wait until all are durable; a folder with many new outputs is synced once.

    Args:
        out: the output folder.
        temp_dir: the folder of the temporary files.
        moves: what to move.

    Returns:
        For each move what the disk refused, None when nothing.
    """
    created: set[str] = set()
    refused = [_move(out, temp_dir, move, created) for move in moves]
    synced: dict[str, DiskError | None] = {}
    for number, move in enumerate(moves):
        for kind in move.outputs:
            if refused[number] is None:
                folder = os.path.dirname(f"{out}/{kind}/{move.place}")
                if folder not in synced:
                    synced[folder] = _sync_folder(folder)
                refused[number] = synced[folder]
    return refused


def _move(out: str, temp_dir: str, move: OutputMove, created: set[str]) -> DiskError | None:
    final = out
    try:
        remove_known(out, move.place, move.removes)
        for kind, output in move.outputs.items():
            final = f"{out}/{kind}/{move.place}"
            _check_free(final, output, f"{temp_dir}/{output.temporary}")
        for kind, output in move.outputs.items():
            final = f"{out}/{kind}/{move.place}"
            folder = os.path.dirname(final)
            if folder not in created:
                _create_folder(folder)
                created.add(folder)
            _rename(f"{temp_dir}/{output.temporary}", final)
    except OSError as error:
        return (OutputRefused if error.errno in _NAME_ERRORS else DiskError).of(error, Path(final), "write")
    except DiskError as error:
        return error
    return None


def _check_free(final: str, output: StoredOutput, temp: str) -> None:
    """Make sure that nothing is at `final` but what `output` replaces, or the output itself.

    Raises:
        NameTaken: something else is.
    """
    size = file_size(final)
    if size is None or size == output.replaces:
        return
    # An earlier run may have copied it there, and not come to remove the temporary file.
    if size == output.size and filecmp.cmp(temp, final, shallow=False):
        return
    told = f"{final!r} is a file that no run made, or that was changed since: move it away, and run again"
    raise NameTaken(told, path=Path(final), errno=errno.EEXIST)


def file_size(path: str) -> int | None:
    """The size of the file at `path`; -1 for what is no file, None when nothing is there.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def remove_known(out: str, place: str, outputs: Mapping[Kind, StoredOutput]) -> None:
    """Remove those of `outputs` that are at `place` in `out` with the size they had when they were committed.

    Raises:
        DiskError: the disk refuses.
    """
    for kind, output in outputs.items():
        path = f"{out}/{kind}/{place}"
        try:
            if file_size(path) == output.size:
                os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DiskError.of(error, Path(path), "remove") from None


def _rename(temp: str, final: str) -> None:
    try:
        os.replace(temp, final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_to_other_disk(temp, final)


def _copy_to_other_disk(temp: str, final: str) -> None:
    """What a rename does, where the folder of `final` is a link to another disk: copy beside it, and rename there."""
    beside = f"{os.path.dirname(final)}/.smarty-async-{os.path.basename(temp)}"  # noqa: PTH119
    try:
        shutil.copy2(temp, beside)
        sync_file(beside)
        os.replace(beside, final)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    os.unlink(temp)


def _sync_folder(folder: str) -> DiskError | None:
    try:
        sync_folder(Path(folder))
    except OSError as error:
        return DiskError.of(error, Path(folder), "write to")
    return None


def _create_folder(folder: str) -> None:
    """Create `folder`; its name is durable before another photo finds the folder there."""
    with _creating_folders:
        for parent in _create_missing(Path(folder)):
            sync_folder(parent)


def _create_missing(folder: Path) -> list[Path]:
    """Create `folder` and those above it that are missing; the folders that got a new name in them."""
    if folder.is_dir():
        return []
    created = _create_missing(folder.parent)
    folder.mkdir(exist_ok=True)
    return [*created, folder.parent]
