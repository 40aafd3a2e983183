"""Temporary files: where outputs are written until they are committed. They are local, whatever the storage is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from smarty_async.archive.threads import threaded
from smarty_async.errors import DiskError

__all__ = ["Appendable", "TempFile", "append_all", "copy_file", "output_digest", "temp_file_digest"]

_DIGITS = 24
"""Hexadecimal digits of a digest that are kept: enough to notice any change that is no attack."""
_COPY_BYTES = 1 << 20
"""Bytes of an output that are copied at a time."""


_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""How a temporary file is opened."""


class Appendable(Protocol):
    """A file that pieces can be appended to."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...


class TempFile:
    """One output in a temporary file. It is open only while it is written to: thousands may exist at a time.

    A small one may be held in memory instead, until all of it is known.

    Args:
        folder: the folder it is in.
        name: its name.
        on_discard: is called when it is discarded.
    """

    def __init__(self, folder: str, name: str, *, on_discard: Callable[[TempFile], None] | None = None) -> None:
        # No Path: creating one costs more than anything else done here for a small output.
        self.name = name
        self._path = f"{folder}/{name}"
        self._on_discard = on_discard
        self._held: list[bytes] | None = []  # None once the file exists

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self._path)

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; blocks. The first call creates the file.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        if held := self.take():
            pieces = [held, *pieces]
        self.write_whole(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def write_whole(self, data: bytes, *, set_time: Callable[[str | int], object] | None = None) -> None:
        """Append `data`; blocks. The fewest calls of the system that do it: each may have to wait for another thread.

        Args:
            data: what is written.
            set_time: is called with the file, as `set_modified` takes it, when it is written.

        Raises:
            DiskError: as `append`.
        """
        self._held = None
        try:
            descriptor = os.open(self._path, _APPENDING, 0o666)
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
                if set_time is not None and os.utime in os.supports_fd:
                    set_time(descriptor)
            finally:
                os.close(descriptor)
            if set_time is not None and os.utime not in os.supports_fd:
                set_time(self._path)
        except OSError as error:
            raise DiskError.of(error, self.path, "write") from None

    async def write(self, pieces: list[bytes]) -> None:
        """Append `pieces`; raises as `append` does."""
        await append_all([(self, pieces)])

    async def discard(self) -> None:
        """Remove the file if it exists. One that the disk does not remove is removed by the next run."""
        if self._on_discard is not None:
            self._on_discard(self)
        if not self.take():
            await _remove(self._path)

    def hold(self, pieces: list[bytes], *, most: int) -> int | None:
        """Keep `pieces` in memory, behind what is held already.

        Args:
            pieces: what would be appended.
            most: bytes that may be held in all.

        Returns:
            How many bytes were added; None when they are too many, or the file exists already: then nothing is.
        """
        added = sum(map(len, pieces))
        if self._held is None or self.held_bytes + added > most:
            return None
        self._held += pieces
        return added

    @property
    def held_bytes(self) -> int:
        """Bytes that are held in memory."""
        return sum(map(len, self._held or ()))

    def take(self) -> bytes:
        """What is held in memory, which is no longer held then."""
        held = b"".join(self._held or ())
        if self._held:
            self._held = []
        return held


def _append_all(writes: Sequence[tuple[Appendable, list[bytes]]]) -> None:
    for file, pieces in writes:
        file.append(pieces)


append_all = threaded(_append_all, pool="appending")
"""Append its pieces to each file, all in one call to a thread. Raises DiskError."""


def output_digest(output: str | bytes) -> str:
    """`StoredOutput.digest` of the file at a path, or of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(output, bytes):
        return hashlib.sha256(output).hexdigest()[:_DIGITS]
    with open(output, "rb", buffering=0) as file:  # noqa: PTH123 - a Path for each output costs more than its opening
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def temp_file_digest(path: str) -> str:
    """`output_digest` of a temporary file, which was written just now.

    Raises:
        DiskError: it cannot be read.
    """
    try:
        return output_digest(path)
    except OSError as error:
        raise DiskError.of(error, Path(path), "read") from None


@threaded
def copy_file(source: Path, target: TempFile) -> int | None:
    """Append the bytes of `source` to `target`; returns their number, None when there is no such file.

    Raises:
        DiskError: `source` cannot be read or `target` cannot be written.
    """
    try:
        with source.open("rb") as file:
            while piece := file.read(_COPY_BYTES):
                target.append([piece])
            return file.tell()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DiskError.of(error, source, "read") from None


@threaded
def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - see above
