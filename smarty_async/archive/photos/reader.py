"""A photo's file, read when its turn in a request comes, and caught if it is no longer what was looked at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiofiles

from smarty_async.archive.threads import threaded
from smarty_async.errors import PhotoRejected

__all__ = ["FileBody"]

_PIECE_BYTES = 1 << 18


class FileBody:
    """An image in a file.

    Args:
        path: of the file.
        size: bytes it had when it was probed.
        version: its modification time then, in nanoseconds, as text; None when that does not matter.
        content_type: of the image.

    Attributes:
        digest: SHA-256 of the bytes, None before they were all read.
    """

    def __init__(self, path: str | Path, *, size: int, version: str | None, content_type: str) -> None:
        self._path = path
        self._version = version
        self.size = size
        self.content_type = content_type
        self.digest: bytes | None = None

    async def read(self) -> AsyncIterator[bytes]:
        """The file's bytes in pieces, exactly `size` of them.

        Raises:
            PhotoRejected: it cannot be read, or has changed since it was probed.
        """
        try:
            if self.size <= _PIECE_BYTES:
                yield await _read_whole(self)
                return
            left, digest = self.size, hashlib.sha256()
            async with aiofiles.open(self._path, "rb", buffering=0) as file:
                self.check(file.fileno())
                while left:
                    piece = await file.read(min(left, _PIECE_BYTES))
                    if not piece:
                        raise self._changed()
                    left -= len(piece)
                    digest.update(piece)
                    if not left:
                        self.check(file.fileno())
                        self.digest = digest.digest()
                    yield piece
        except OSError as error:
            raise PhotoRejected(f"cannot be read: {error.strerror or error}", type="unreadable") from None

    def read_whole(self) -> bytes:
        """All its bytes; blocks."""
        with open(self._path, "rb", buffering=0) as file:  # noqa: PTH123 - the path may hold bytes that are no text
            self.check(file.fileno())
            data = file.read(self.size + 1)
        if len(data) != self.size:
            raise self._changed()
        self.digest = hashlib.sha256(data).digest()
        return data

    def check(self, descriptor: int) -> None:
        """Raise PhotoRejected if the open file is not the one that was probed."""
        now = os.fstat(descriptor)
        if now.st_size != self.size or self._version not in (None, str(now.st_mtime_ns)):
            raise self._changed()

    def _changed(self) -> PhotoRejected:
        return PhotoRejected("it changed while the run was under way", type="changed")


_read_whole = threaded(FileBody.read_whole, pool="reading")
