"""The images of a request, and how they are read and sent as its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVar

from smarty_async.errors import PhotoError, StoreError
from smarty_async.wire.messages import Multipart

__all__ = ["Body", "BodyFailed", "InThread", "MemoryBody", "stream"]

T = TypeVar("T")

_PIECE_BYTES = 1 << 18
"""Small enough that an upload that is slow, and not stalled, shows it (`Timeouts.silence`)."""


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
        """The bytes in pieces.

        Raises:
            PhotoError: they are no longer what they were.
            StoreError: the store does not answer.
        """
        ...

    @property
    def read_whole(self) -> Callable[[], bytes] | None:
        """Reads a small image at once, and blocks; raises as `read` does. None where `read` is the only way."""
        ...


class InThread(Protocol):
    """Makes a blocking call in a thread, as `asyncio.to_thread` does."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """Wait for `call`."""
        ...


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

    def read_whole(self) -> bytes:
        """The bytes."""
        return self._data


class BodyFailed(Exception):
    """An image could not be read while it was being sent; the request was given up.

    Attributes:
        number: of the image.
        error: why: the image is to blame, or the store that it is in.
    """

    def __init__(self, number: int, error: PhotoError | StoreError) -> None:
        super().__init__(str(error))
        self.number = number
        self.error = error


async def stream(multipart: Multipart, bodies: Sequence[Body], in_thread: InThread) -> AsyncIterator[bytes]:
    """A request's body in pieces. Each image is read as its turn comes; small ones are read and sent together.

    Raises:
        BodyFailed: an image could not be read.
    """
    for batch in _batches(multipart, bodies):
        images = [frame for frame in batch if isinstance(frame, int)]
        if len(images) > 1:
            read = iter(await _read_together(bodies, images, in_thread))
            yield b"".join([frame if isinstance(frame, bytes) else next(read) for frame in batch])
            continue
        for frame in batch:
            if isinstance(frame, bytes):
                yield frame
                continue
            async for piece in _read(bodies, frame):
                yield piece


async def _read_together(bodies: Sequence[Body], images: Sequence[int], in_thread: InThread) -> list[bytes]:
    """The bytes of several images: in one call to a thread, unless one of them takes more than that."""
    calls = [(number, call) for number in images if (call := bodies[number].read_whole) is not None]
    if len(calls) == len(images):
        return await in_thread(partial(_read_all, calls))
    read = await asyncio.gather(*[_joined(_read(bodies, number)) for number in images], return_exceptions=True)
    return [_or_raised(data) for data in read]


def _read_all(calls: Sequence[tuple[int, Callable[[], bytes]]]) -> list[bytes]:
    read: list[bytes] = []
    for number, call in calls:
        try:
            read.append(call())
        except (PhotoError, StoreError) as error:
            raise BodyFailed(number, error) from None
    return read


async def _read(bodies: Sequence[Body], number: int) -> AsyncIterator[bytes]:
    try:
        async for piece in bodies[number].read():
            yield piece
    except (PhotoError, StoreError) as error:
        raise BodyFailed(number, error) from None


async def _joined(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def _or_raised(read: bytes | BaseException) -> bytes:
    if isinstance(read, BaseException):
        raise read
    return read


def _batches(multipart: Multipart, bodies: Sequence[Body]) -> Iterator[list[bytes | int]]:
    """The frames in batches of about a piece, a large image in a batch of its own."""
    batch: list[bytes | int] = []
    bytes_left = _PIECE_BYTES
    for frame in multipart.frames():
        if isinstance(frame, int):
            bytes_left -= bodies[frame].size
            if bytes_left < 0:
                yield batch
                batch, bytes_left = [], _PIECE_BYTES - bodies[frame].size
        batch.append(frame)
    yield batch
