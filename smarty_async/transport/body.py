"""Where the images' bytes come from when their turn in a request comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

from smarty_async.errors import PhotoError
from smarty_async.wire.messages import Multipart

__all__ = ["Body", "BodyFailed", "MemoryBody", "stream"]


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


class BodyFailed(Exception):
    """An image could not be read while it was being sent; the request was given up."""

    def __init__(self, number: int, error: PhotoError) -> None:
        super().__init__(number, error)
        self.number = number
        self.error = error


async def stream(multipart: Multipart, bodies: Sequence[Body]) -> AsyncIterator[bytes]:
    """A request's body in pieces. Each image is read as its turn comes; small ones are read and sent together.

    Raises:
        BodyFailed: an image could not be read.
    """
    for lot in _lots(multipart, bodies):
        images = [frame for frame in lot if isinstance(frame, int)]
        if len(images) > 1:
            read = await asyncio.gather(*(_whole(bodies, number) for number in images), return_exceptions=True)
            whole = dict(zip(images, map(_or_raised, read), strict=True))
            yield b"".join(frame if isinstance(frame, bytes) else whole[frame] for frame in lot)
            continue
        for frame in lot:
            if isinstance(frame, bytes):
                yield frame
                continue
            async for piece in _read(bodies, frame):
                yield piece


def _lots(multipart: Multipart, bodies: Sequence[Body]) -> Iterator[list[bytes | int]]:
    """The frames in lots of about a piece, a large image in a lot of its own."""
    lot: list[bytes | int] = []
    room = _PIECE_BYTES
    for frame in multipart.frames():
        if isinstance(frame, int):
            room -= bodies[frame].size
            if room < 0:
                yield lot
                lot, room = [], _PIECE_BYTES - bodies[frame].size
        lot.append(frame)
    yield lot


async def _read(bodies: Sequence[Body], number: int) -> AsyncIterator[bytes]:
    try:
        async for piece in bodies[number].read():
            yield piece
    except PhotoError as error:
        raise BodyFailed(number, error) from None


async def _whole(bodies: Sequence[Body], number: int) -> bytes:
    try:
        return b"".join([piece async for piece in bodies[number].read()])
    except PhotoError as error:
        raise BodyFailed(number, error) from None


def _or_raised(read: bytes | BaseException) -> bytes:
    if isinstance(read, BaseException):
        raise read
    return read
