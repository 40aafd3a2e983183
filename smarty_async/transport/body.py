"""Where an image's bytes come from when their turn in a request comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

__all__ = ["Body", "MemoryBody"]


class Body(Protocol):
    """One image's bytes, read when their turn comes."""

    @property
    def size(self) -> int:
        """Bytes, exactly."""
        ...

    @property
    def content_type(self) -> str:
        """``image/jpeg`` or the real type."""
        ...

    def read(self) -> AsyncIterator[bytes]:
        """The bytes in pieces; raises PhotoError when they are no longer what they were."""
        ...


_PIECE_BYTES = 1 << 18
"""Small enough that an upload that is slow, and not stalled, shows it (`Timeouts.silence`)."""


class MemoryBody:
    """An image that is in memory."""

    def __init__(self, data: bytes, content_type: str) -> None:
        self._data = data
        self.size = len(data)
        self.content_type = content_type

    async def read(self) -> AsyncIterator[bytes]:
        """The bytes in pieces."""
        for start in range(0, self.size, _PIECE_BYTES):
            yield self._data[start : start + _PIECE_BYTES]
