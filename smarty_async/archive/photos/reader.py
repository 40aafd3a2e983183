"""Reads a photo's file: whole for those who parse it, and again, unchanged, when its turn in a request comes."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import aiofiles
from aiofiles.threadpool.binary import AsyncFileIO

from smarty_async.archive.threads import threaded
from smarty_async.errors import PhotoRejected

__all__ = ["FileBody", "PhotoData", "file_digest", "open_for_parsing"]

PhotoData = str | os.PathLike[str] | bytes | Callable[[], BinaryIO]
"""A photo: the path of its file, its bytes, or what opens it, where it is no file."""

_PIECE_BYTES = 1 << 18


def file_digest(path: str, *, size: int, version: str) -> bytes:
    """The SHA-256 of a file, empty when it cannot be read or is not of that size and version; blocks."""
    file = Path(path)
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").digest()
        status = file.stat()
    except (OSError, ValueError):
        return b""
    return digest if (status.st_size, str(status.st_mtime_ns)) == (size, version) else b""


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class FileBody:
    """An image in a file, or in a part of one.

    Args:
        path: of the file.
        size: bytes that are sent, from `start` on.
        version: its modification time when it was probed, in nanoseconds, as text; None when that does not matter.
        content_type: of the image.
        start: where the image begins in the file, in bytes.
        file_size: bytes the file had when it was probed; None when the image goes to its end.

    Attributes:
        digest: SHA-256 of the whole file, also of what is not sent; None until it was read to its end once.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: int,
        version: str | None,
        content_type: str,
        start: int = 0,
        file_size: int | None = None,
    ) -> None:
        self._path = path
        self._version = version
        self._start = start
        self._file_size = start + size if file_size is None else file_size
        self.size = size
        self.content_type = content_type
        self.digest: bytes | None = None

    async def read(self) -> AsyncIterator[bytes]:
        """The image's bytes in pieces, exactly `size` of them. `digest` is there before the last piece is.

        Raises:
            PhotoRejected: it cannot be read, or has changed since it was probed.
        """
        try:
            if self._file_size <= _PIECE_BYTES:
                yield await _read_whole(self)
                return
            async with aiofiles.open(self._path, "rb", buffering=0) as file:
                self.check(file.fileno())
                async for piece in self._pieces(file):
                    yield piece
        except OSError as error:
            raise PhotoRejected(f"cannot be read: {error.strerror or error}", type="unreadable") from None

    async def _pieces(self, file: AsyncFileIO) -> AsyncIterator[bytes]:
        digest = hashlib.sha256() if self.digest is None else None
        if digest is None:
            await file.seek(self._start)
        else:
            await self._hash(file, digest, self._start)
        left = self.size
        while left:
            piece = await file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise self._changed()
            left -= len(piece)
            if digest is not None:
                digest.update(piece)
            if not left:
                if digest is not None:
                    await self._hash(file, digest, self._file_size - self._start - self.size)
                self.check(file.fileno())
                self.digest = digest.digest() if digest is not None else self.digest
            yield piece

    async def _hash(self, file: AsyncFileIO, digest: _Digest, size: int) -> None:
        """Take the file's next `size` bytes, which are not sent, into the digest."""
        while size:
            piece = await file.read(min(size, _PIECE_BYTES))
            if not piece:
                raise self._changed()
            digest.update(piece)
            size -= len(piece)

    def read_whole(self) -> bytes:
        """All its bytes; blocks."""
        with open(self._path, "rb", buffering=0) as file:  # noqa: PTH123 - the path may hold bytes that are no text
            self.check(file.fileno())
            data = file.read(self._file_size + 1)
        if len(data) != self._file_size:
            raise self._changed()
        if self.digest is None:
            self.digest = hashlib.sha256(data).digest()
        return data if self.size == self._file_size else data[self._start : self._start + self.size]

    def is_in(self, folder: str) -> bool:
        """Whether the file is in `folder`."""
        return os.path.dirname(self._path) == folder.rstrip("/")  # noqa: PTH120 - no Path for each photo

    def check(self, descriptor: int) -> None:
        """Raise PhotoRejected if the open file is not the one that was probed."""
        now = os.fstat(descriptor)
        if now.st_size != self._file_size or self._version not in (None, str(now.st_mtime_ns)):
            raise self._changed()

    def _changed(self) -> PhotoRejected:
        return PhotoRejected("it changed while the run was under way", type="changed")


_read_whole = threaded(FileBody.read_whole, pool="reading")


_READ_AT_ONCE = 1 << 20
"""Files up to this size, in bytes, are read at once by those who parse them."""


def open_for_parsing(photo: PhotoData) -> BinaryIO:
    """Open `photo` for many small reads; blocks. A file of up to 1 MiB is read at once and closed.

    Every read and seek of an open file lets another thread take the interpreter's lock. For a photo of 20 KB, which
    takes some eighty of them, that costs more than the parsing.

    Raises:
        OSError: it cannot be opened or read.
    """
    if isinstance(photo, bytes):
        return io.BytesIO(photo)
    if callable(photo):
        return photo()
    file = open(photo, "rb", buffering=0)  # noqa: PTH123, SIM115 - a Path costs as much; closed here or by the caller
    try:
        if os.fstat(file.fileno()).st_size > _READ_AT_ONCE:
            return io.BufferedReader(file)
        with file:
            return io.BytesIO(file.read())
    except BaseException:
        file.close()
        raise
