"""An object of a bucket as a file that is read and sought in: in ranges, as far as they are needed. Blocking."""

from __future__ import annotations

import errno
import io
from typing import Any, BinaryIO, Final, cast

from smarty_async.archive.object_store import Bucket
from smarty_async.archive.store_errors import ObjectChanged, ObjectMissing
from smarty_async.errors import StoreError

__all__ = ["FIRST_RANGE", "ObjectFile", "opened_object"]

FIRST_RANGE: Final = 1 << 16
"""Bytes of the first range: headers and metadata of most photos, and many small ones whole."""
_LARGEST_RANGE: Final = 1 << 22


class ObjectFile(io.RawIOBase):
    """An object, opened for reading.

    The first range is kept, for formats are read from their beginning several times; of the others, the last one. Where
    reading goes on from it, or a little behind it, each range is four times as long as the one before.

    Args:
        bucket: where it is.
        key: of the object.
        size: bytes.
        etag: of the object; a read fails when it has another one by then.

    Attributes:
        failure: why a read failed; None when none has. Decoders may hide it.
    """

    def __init__(self, bucket: Bucket, key: str, *, size: int, etag: str) -> None:
        super().__init__()
        self.failure: StoreError | None = None
        self._bucket = bucket
        self._key = key
        self._size = size
        self._etag = etag
        self._at = 0
        self._first = b""
        self._start, self._range = 0, b""
        self._length = FIRST_RANGE

    @property
    def whole(self) -> bytes | None:
        """All its bytes, when the first range holds them; None when they are more, or were not read."""
        return self._first if len(self._first) == self._size else None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to `offset`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Read up to the length of `buffer`.

        Raises:
            OSError: the store refuses; `failure` says why.
        """
        view = memoryview(buffer).cast("B")
        if self._at >= self._size or not view:
            return 0
        data = self._from_range(len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _from_range(self, wanted: int) -> memoryview:
        for start, data in ((0, self._first), (self._start, self._range)):
            if start <= self._at < start + len(data):
                return memoryview(data)[self._at - start : self._at - start + wanted]
        end = self._start + len(self._range) if self._range else len(self._first)
        goes_on = bool(self._first) and end <= self._at <= end + self._length
        self._length = min(_LARGEST_RANGE, 4 * self._length) if goes_on else FIRST_RANGE
        start = self._at if self._first else 0
        data = self._get(start, min(self._size, max(self._at + wanted, start + self._length)))
        if self._first:
            self._start, self._range = start, data
        else:
            self._first = data
        return memoryview(data)[self._at - start : self._at - start + wanted]

    def _get(self, start: int, end: int) -> bytes:
        try:
            data = self._bucket.get(self._key, etag=self._etag, start=start, end=end)
        except StoreError as error:
            self.failure = error
            gone = isinstance(error, ObjectChanged | ObjectMissing)
            raise OSError(errno.EIO, "it changed while the run was under way" if gone else str(error)) from None
        if len(data) != end - start:
            self.failure = StoreError(f"{self._key!r}: the store gave {len(data):,} bytes of {end - start:,}")
            raise OSError(errno.EIO, str(self.failure))
        return data


def opened_object(file: ObjectFile) -> BinaryIO:
    """`file` with a small buffer: parsers read a few bytes at a time."""
    return cast("BinaryIO", io.BufferedReader(file, 1 << 14))
