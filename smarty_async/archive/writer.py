"""Outputs on their way to the disk: temporary, fsync, rename, folder fsync."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from smarty_async.archive.crew import threaded
from smarty_async.archive.durable import sync_file, sync_folder
from smarty_async.archive.names import STATE
from smarty_async.errors import DiskError, OutputInUse

__all__ = ["Spooled", "Workplace", "place", "remove"]

_making_folders = threading.Lock()

_PIECE = 1 << 20
"""Bytes of an output that are copied at a time."""


class Appendable(Protocol):
    """What pieces can be appended to."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...


class Spooled:
    """One output in a temporary file. No file is kept open between writes: thousands may be waiting."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; blocks.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        try:
            with self.path.open("ab", buffering=0) as file:
                data = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                while data:
                    data = data[file.write(data) :]
        except OSError as error:
            raise DiskError.of(error, self.path, "write") from None

    async def write(self, pieces: list[bytes]) -> None:
        """Append `pieces`; raises as `append` does."""
        await _append([(self, pieces)])

    async def discard(self) -> None:
        """Remove the file, if it is there. One that the disk does not let go spoils nothing: the next run clears it."""
        await _remove(self.path)


class Workplace:
    """``DIR/.smarty-async``, and the way from there to ``DIR/<kind>/``. One run at a time owns it.

    Args:
        out: the output folder; made when it is opened.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.own = out / STATE
        self._temporaries = self.own / "tmp"
        # Not thread-local: it is taken and given back by whichever thread is at hand.
        self._lock = FileLock(self.own / "lock", thread_local=False)
        # What an earlier run left, if it could not be removed, has other names.
        self._names = (f"{run}-{number}" for run in [secrets.token_hex(4)] for number in itertools.count())
        self._clear = False
        self._awaited: set[Path] = set()  # temporaries that the journal may know of

    def claim(self) -> None:
        """Make the folder and lock it; blocks, but does not wait for another run.

        Raises:
            OutputInUse: another run owns it.
            DiskError: it cannot be made or written.
        """
        try:
            self.own.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._temporaries.mkdir(exist_ok=True)
        except Timeout:
            raise OutputInUse(self.out) from None
        except OSError as error:
            raise DiskError.of(error, self.out, "write to") from None

    def clear(self) -> None:
        """Remove what an earlier run left in temporaries, when the journal is done with it; blocks."""
        self._clear = True
        self._remove_temporaries()

    def release(self) -> None:
        """Unlock, and remove the temporaries that the next run has no use for; blocks."""
        if self._clear:
            self._remove_temporaries()
            with suppress(OSError):
                self._temporaries.rmdir()
        self._lock.release()

    def _remove_temporaries(self) -> None:
        for path in self._temporaries.glob("*"):
            if path not in self._awaited:
                with suppress(OSError):
                    path.unlink()

    def open(self) -> Spooled:
        """A new temporary file; it is made by the first write."""
        return Spooled(self._temporaries / next(self._names))

    async def write(self, lots: Sequence[tuple[Appendable, list[bytes]]]) -> None:
        """Append its pieces to each file, all in one visit to a thread.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        await _append(lots)

    def temporary(self, name: str) -> Path:
        """The path of the temporary called `name`."""
        return self._temporaries / name

    async def copy(self, output: Path, size: int) -> Spooled | None:
        """A temporary with the bytes of `output`; None when they are not there, or not `size`.

        Raises:
            DiskError: the disk is full, or refuses for another reason: then it is not known that they are not there.
        """
        copied = self.open()
        try:
            if await _copy(output, copied) == size:
                return copied
        except BaseException:
            await copied.discard()
            raise
        await copied.discard()
        return None

    async def settle(self, files: Iterable[Spooled]) -> None:
        """Wait until the bytes of `files` are on the disk. They outlive this run now, unless they are placed.

        Raises:
            DiskError: the disk refuses.
        """
        paths = [file.path for file in files]
        await _settle(paths)
        self._awaited.update(paths)

    async def place(self, moves: Mapping[Path, Path], *, stale: Iterable[Path] = ()) -> None:
        """Move each temporary onto its final path, remove what is `stale`, and wait until the names are on the disk.

        Raises:
            DiskError: the disk refuses.
        """
        await _place(moves, stale)
        self._awaited.difference_update(moves)


def place(moves: Mapping[Path, Path], stale: Iterable[Path] = ()) -> None:
    """Move each temporary onto its final path and remove what is `stale`; blocks.

    Raises:
        DiskError: the disk refuses.
    """
    remove(stale)
    for temporary, final in moves.items():
        try:
            _make_lasting(final.parent)
            temporary.replace(final)
            sync_folder(final.parent)
        except OSError as error:
            raise DiskError.of(error, final, "write") from None


def remove(outputs: Iterable[Path]) -> None:
    """Remove those of `outputs` that are there; blocks.

    Raises:
        DiskError: the disk refuses.
    """
    for path in outputs:
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            continue  # so it is not there either
        except OSError as error:
            raise DiskError.of(error, path, "remove") from None


def _make_lasting(folder: Path) -> None:
    """Make `folder`, its name on the disk before any other photo finds it there."""
    with _making_folders:
        for parent in _make_folder(folder):
            sync_folder(parent)


def _make_folder(folder: Path) -> list[Path]:
    """Make `folder`; the folders that got a new name in them."""
    if folder.is_dir():
        return []
    made = _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    return [*made, folder.parent]


def _append_all(lots: Sequence[tuple[Appendable, list[bytes]]]) -> None:
    for file, pieces in lots:
        file.append(pieces)


_append = threaded(_append_all, crew="appending")


@threaded
def _copy(output: Path, copied: Spooled) -> int | None:
    """How many bytes were there; None when it is not there."""
    try:
        with output.open("rb") as file:
            while piece := file.read(_PIECE):
                copied.append([piece])
            return file.tell()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DiskError.of(error, output, "read") from None


@threaded
def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


@threaded
def _settle(paths: list[Path]) -> None:
    for path in paths:
        try:
            sync_file(path)
        except OSError as error:
            raise DiskError.of(error, path, "write") from None


_place = threaded(place)
