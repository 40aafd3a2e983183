"""A temporary file for one output: held in memory while it is small, and edited as it is written where possible."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from smarty_async.archive.entries import StoredOutput
from smarty_async.archive.threads import threaded, work_beside_loop
from smarty_async.errors import DiskError

if TYPE_CHECKING:
    from _hashlib import HASH

__all__ = [
    "Appendable",
    "StartEditor",
    "TempFile",
    "append_all",
    "copy_file",
    "digest_of",
    "joined",
    "output_digest",
    "temp_file_digest",
    "write_pieces",
]

_DIGITS = 24
"""Hexadecimal digits of a digest that are kept: enough to notice any change that is no attack."""
_COPY_BYTES = 1 << 20
"""Bytes of an output that are copied at a time."""
_LARGEST_JOINED = 1 << 18
"""Bytes of pieces that are joined, at most."""
_LARGEST_BRIEF = 1 << 17
"""Bytes, at most, whose writing and digest take less time than a change of threads or two."""

_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""How a temporary file is opened."""


class Appendable(Protocol):
    """A file that pieces can be appended to."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...


class StartEditor(Protocol):
    """Gives an output the photo's metadata as it is written."""

    def edited_start(self, start: Sequence[bytes]) -> Sequence[bytes | memoryview] | None:
        """What replaces `start`, with which an output starts; None when it has to be complete first; may block."""
        ...


class TempFile:
    """One output in a temporary file. It is open only while it is written to: thousands may exist at a time.

    A small one may be held in memory instead, until all of it is known.

    Attributes:
        is_finished: whether it has the photo's metadata, and is durable.
        is_stored: whether it is at its place, and no temporary file any more.
    """

    is_finished = False
    is_stored = False

    def __init__(
        self,
        folder: str,
        name: str,
        *,
        on_discard: Callable[[TempFile], None] | None = None,
    ) -> None:
        # No Path: creating one costs more than anything else done here for a small output.
        self.name = name
        self._path = f"{folder}/{name}"
        self._editor: StartEditor | None = None
        self._on_discard = on_discard
        self._size = 0
        self._hash: HASH | None = None  # of an output that is edited as it is written
        self._held: list[bytes] | None = []  # None once the file exists
        self.held_bytes = 0

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self._path)

    def edit_with(self, editor: StartEditor) -> None:
        """Let `editor` give the output the photo's metadata as it is written, unless the file exists already."""
        self._editor = editor

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; blocks. The first call creates the file.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        received = [*self.take(), *pieces]
        written: Sequence[bytes | memoryview] = received
        if self._held is not None and self._editor is not None:
            edited = self._editor.edited_start(received)
            if edited is not None:
                written, self._hash = joined(edited), hashlib.sha256()
        self._held = None
        try:
            write_pieces(self._path, written)
        except OSError as error:
            raise DiskError.of(error, self.path, "write") from None
        if self._hash is not None:
            for piece in written:
                self._hash.update(piece)
                self._size += len(piece)

    def stored(self, size: int) -> StoredOutput:
        """What the journal notes of it; if it was edited as it was written, with its digest and the size it has now.

        Args:
            size: bytes that were received.
        """
        if self._hash is None:
            return StoredOutput(self.name, size)
        return StoredOutput(self.name, self._size, digest=_shortened(self._hash))

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
        self.held_bytes += added
        return added

    def take(self) -> list[bytes]:
        """What is held in memory, which is no longer held then."""
        if not self._held:
            return []
        held, self._held, self.held_bytes = self._held, [], 0
        return held


def joined(pieces: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
    """`pieces` as one if they are small: a digest hands the interpreter's lock over for each, which costs more."""
    return [b"".join(pieces)] if sum(map(len, pieces)) <= _LARGEST_JOINED else pieces


def write_pieces(
    path: str, pieces: Sequence[bytes | memoryview], *, set_time: Callable[[str | int], object] | None = None
) -> None:
    """Append `pieces` to the file at `path`, with the fewest calls of the system: each may wait for another thread.

    Args:
        path: of the file, which is created if needed.
        pieces: what is written.
        set_time: is called with the file, as `set_modified` takes it, when it is written.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(path, _APPENDING, 0o666)
    try:
        _write_all(descriptor, pieces)
        if set_time is not None and _SETS_TIME_OF_OPEN_FILES:
            set_time(descriptor)
    finally:
        os.close(descriptor)
    if set_time is not None and not _SETS_TIME_OF_OPEN_FILES:
        set_time(path)


def _write_all(descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
    size = sum(map(len, pieces))
    if _WRITES_PIECES and 1 < len(pieces) <= _MAX_PIECES:
        written = os.writev(descriptor, pieces)
        if written == size:
            return
    else:
        written = 0
    rest = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))[written:]
    while rest:
        rest = rest[os.write(descriptor, rest) :]


_WRITES_PIECES = hasattr(os, "writev")  # not on Windows
_MAX_PIECES = 1024
"""Pieces that the system takes in one call: IOV_MAX of Linux and macOS."""
_SETS_TIME_OF_OPEN_FILES = os.utime in os.supports_fd


@threaded
def append_all(writes: Sequence[tuple[Appendable, list[bytes]]]) -> None:
    """Append its pieces to each file, all in one call to a thread. Raises DiskError."""
    for file, pieces in writes:
        if sum(map(len, pieces)) > _LARGEST_BRIEF:
            work_beside_loop()
        file.append(pieces)


def output_digest(path: str) -> str:
    """`StoredOutput.digest` of the file at `path`.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path for each output costs more than its opening
        return _shortened(hashlib.file_digest(file, "sha256"))


def digest_of(pieces: Iterable[bytes | memoryview]) -> str:
    """`StoredOutput.digest` of a file that consists of `pieces`."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return _shortened(digest)


def _shortened(digest: HASH) -> str:
    return digest.hexdigest()[:_DIGITS]


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
