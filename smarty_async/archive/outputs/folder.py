"""Outputs on their way to the disk: in temporaries, made durable, and from there to their places."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from smarty_async.archive.fsync import sync_file
from smarty_async.archive.journal.records import StoredOutput
from smarty_async.archive.outputs.placing import Move, place
from smarty_async.archive.paths import STATE
from smarty_async.archive.threads import threaded
from smarty_async.errors import DiskError, OutputInUse

__all__ = ["OutputDirectory", "TempFile"]

_PIECE = 1 << 20
"""Bytes of an output that are copied at a time."""


class Appendable(Protocol):
    """What pieces can be appended to."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...


class TempFile:
    """One output in a temporary file. No file is kept open between writes: thousands may be waiting."""

    def __init__(self, folder: str, name: str) -> None:
        # No Path: its making costs more than anything else done here for a small output.
        self.name = name
        self._place = f"{folder}/{name}"

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self._place)

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; blocks.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        try:
            with open(self._place, "ab", buffering=0) as file:  # noqa: PTH123 - see above
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
        await _remove(self._place)


class OutputDirectory:
    """``DIR/.smarty-async``, and the way from there to ``DIR/<kind>/``. One run at a time owns it.

    Args:
        out: the output folder; made when it is claimed.

    Attributes:
        state_dir: ``DIR/.smarty-async``.
        temporaries: where outputs wait.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.state_dir = out / STATE
        self.temporaries = self.state_dir / "tmp"
        # Not thread-local: it is taken and given back by whichever thread is at hand.
        self._lock = FileLock(self.state_dir / "lock", thread_local=False)
        # What an earlier run left, if it could not be removed, has other names.
        self._names = (f"{run}-{number}" for run in [secrets.token_hex(4)] for number in itertools.count())
        self._clear = False
        self._awaited: set[str] = set()  # temporaries that the journal may know of

    def lock(self) -> None:
        """Make the folder and lock it; blocks, but does not wait for another run.

        Raises:
            OutputInUse: another run owns it.
            DiskError: it cannot be made or written.
        """
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self.temporaries.mkdir(exist_ok=True)
        except Timeout:
            raise OutputInUse(self.out) from None
        except OSError as error:
            raise DiskError.of(error, self.out, "write to") from None

    def clear(self, keep: Iterable[str] = ()) -> None:
        """Remove the temporaries of earlier runs, but those named in `keep`, which the journal needs; blocks."""
        self._clear = True
        self._awaited.update(keep)
        self._remove_temporaries()

    def release(self) -> None:
        """Unlock, and remove the temporaries that the next run has no use for; blocks."""
        if self._clear:
            self._remove_temporaries()
            with suppress(OSError):
                self.temporaries.rmdir()
        self._lock.release()

    def _remove_temporaries(self) -> None:
        for path in self.temporaries.glob("*"):
            if path.name not in self._awaited:
                with suppress(OSError):
                    path.unlink()

    def open(self) -> TempFile:
        """A new temporary file; it is made by the first write."""
        return TempFile(str(self.temporaries), next(self._names))

    async def write(self, lots: Sequence[tuple[Appendable, list[bytes]]]) -> None:
        """Append its pieces to each file, all in one visit to a thread.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        await _append(lots)

    def temporary(self, name: str) -> Path:
        """The path of the temporary called `name`."""
        return self.temporaries / name

    async def copy(self, output: Path, size: int) -> TempFile | None:
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

    async def settle(self, answers: Iterable[Iterable[StoredOutput]]) -> list[DiskError | None]:
        """Wait until the outputs of each answer are on the disk. They outlive this run now, unless they are placed.

        Returns:
            For each answer what the disk refused, None when nothing.
        """
        names = [[kept.temporary for kept in outputs] for outputs in answers]
        refused: list[DiskError | None] = await asyncio.gather(
            *(_settle(str(self.temporaries), each) for each in names)
        )
        self._awaited.update(name for each, error in zip(names, refused, strict=True) if not error for name in each)
        return refused

    async def place(self, moves: Sequence[Move]) -> list[DiskError | None]:
        """Move outputs to their places, and wait until their names are on the disk; as `place` does."""
        refused = await _place(moves)
        for move, error in zip(moves, refused, strict=True):
            if error is None:
                self._awaited.difference_update(os.path.basename(temporary) for temporary, _ in move.outputs)  # noqa: PTH119 - likewise
        return refused


def _append_all(lots: Sequence[tuple[Appendable, list[bytes]]]) -> None:
    for file, pieces in lots:
        file.append(pieces)


_append = threaded(_append_all, pool="appending")


@threaded
def _copy(output: Path, copied: TempFile) -> int | None:
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
def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - likewise


@threaded
def _settle(folder: str, names: Sequence[str]) -> DiskError | None:
    for name in names:
        try:
            sync_file(f"{folder}/{name}")
        except OSError as error:
            return DiskError.of(error, Path(folder, name), "write")
    return None


_place = threaded(place)
