"""Parts of a file, and bytes of one's own between them, read as one file: nothing is copied."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, BinaryIO

__all__ = ["Part", "excerpt"]

Part = bytes | tuple[int, int]
"""Bytes, or offset and length of some in the file."""

_PIECE_BYTES = 1 << 20
"""Bytes that are read at a time."""


def excerpt(stream: BinaryIO, parts: Iterable[Part]) -> BinaryIO:
    """A seekable stream of `parts` of the file in `stream`, one after the other; `stream` has to stay open.

    Args:
        stream: seekable; where it is read next does not matter.
        parts: those in the file lie within it.
    """
    return io.BufferedReader(_Excerpt(stream, tuple(parts)))


class _Excerpt(io.RawIOBase):
    def __init__(self, stream: BinaryIO, parts: tuple[Part, ...]) -> None:
        self._stream = stream
        self._parts = parts
        lengths = (len(part) if isinstance(part, bytes) else part[1] for part in parts)
        self._starts = list(accumulate(lengths, initial=0))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Read from one part: the caller asks again for what is in the next one."""
        if self._at >= self._starts[-1]:
            return 0
        room = memoryview(buffer).cast("B")
        index = bisect_right(self._starts, self._at) - 1
        part, skipped = self._parts[index], self._at - self._starts[index]
        size = min(len(room), self._starts[index + 1] - self._at, _PIECE_BYTES)
        if isinstance(part, bytes):
            data = part[skipped : skipped + size]
        else:
            self._stream.seek(part[0] + skipped)
            data = self._stream.read(size)
        room[: len(data)] = data
        self._at += len(data)
        return len(data)
