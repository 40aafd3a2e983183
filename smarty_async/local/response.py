"""The answer to a request: its items, streamed one by one, and how long the engine takes for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from threading import Lock
from time import monotonic
from typing import Literal

from aiohttp import web

from smarty_async.local.contract import FOOT, HEAD, ImproveItem, Mode, ResolutionItem, encode_item
from smarty_async.local.engine.decoding import pixel_count
from smarty_async.local.engine.protocol import ItemRefused

__all__ = ["BLANK_EVERY", "Pace", "ResponseWriter", "failed_item"]


class Pace:
    """Measures how long the engine takes for a megapixel, over all images that it works on at the same time."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._active = 0
        self._since = 0.0
        self._seconds = 0.0
        self._megapixels = 0.0

    @property
    def seconds(self) -> float | None:
        """Seconds a megapixel of the images that were sent; None before the first one is finished."""
        with self._lock:
            busy = self._seconds + (self._clock() - self._since if self._active else 0.0)
            return busy / self._megapixels if self._megapixels else None

    @contextmanager
    def measured(self, image: bytes) -> Generator[None, None, None]:
        """Count the block as work on `image`, if it does not raise."""
        with self._lock:
            if not self._active:
                self._since = self._clock()
            self._active += 1
        megapixels = 0.0
        try:
            yield
            megapixels = _megapixels(image)
        finally:
            with self._lock:
                self._active -= 1
                self._megapixels += megapixels
                if not self._active:
                    self._seconds += self._clock() - self._since


def _megapixels(image: bytes) -> float:
    """The size of an image, by its header; 0 when it has none."""
    try:
        return pixel_count(image) / 1e6
    except ItemRefused:
        return 0.0


def failed_item(mode: Mode, name: str, *, status: Literal[1, 2], error: str) -> list[bytes]:
    """Return the JSON, in pieces, of an item that failed."""
    make = ImproveItem if mode == "improve" else ResolutionItem
    return encode_item(make(status=status, name=name, error=error))


BLANK_EVERY = 15.0
"""Seconds between the spaces that are sent while no item is ready. JSON allows white space between items."""


class ResponseWriter:
    """Writes the answer's JSON as items become ready, from several tasks at the same time.

    Attributes:
        response: the response that is written to.
    """

    def __init__(
        self, request: web.Request, response: web.StreamResponse, *, drop_after: int | None, pause: float
    ) -> None:
        self.response = response
        self._request = request
        self._items_left = drop_after
        self._pause = pause
        self._writing = asyncio.Lock()
        self._separator = b""

    @classmethod
    async def begin(cls, request: web.Request, *, drop_after: int | None = None, pause: float = 0) -> ResponseWriter:
        """Start the answer: send everything before the lists.

        Args:
            request: the request.
            drop_after: break the connection in the middle of the item after so many; None to keep it.
            pause: seconds to wait before each item.
        """
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(HEAD)
        return cls(request, response, drop_after=drop_after, pause=pause)

    @asynccontextmanager
    async def kept_alive(self) -> AsyncGenerator[None, None]:
        """Send a space now and then during the block: some photos take minutes, and clients give up on silence."""
        blanks = asyncio.create_task(self._send_blanks())
        try:
            yield
        finally:
            blanks.cancel()

    async def _send_blanks(self) -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(BLANK_EVERY)
                async with self._writing:
                    await self.response.write(b" ")

    async def begin_list(self, mode: Mode) -> None:
        """Send the start of a list."""
        await self.response.write(self._separator + f'"{mode}":['.encode())
        self._separator = b""

    async def write_item(self, item: list[bytes]) -> None:
        """Send one item's JSON, piece by piece.

        Raises:
            ConnectionError: the client disconnected, or was disconnected on purpose.
        """
        async with self._writing:
            await asyncio.sleep(self._pause)
            if self._items_left == 0:
                await self._drop(item)
            for piece in (b"".join((self._separator, *item[:1])), *item[1:]):
                await self.response.write(piece)
                # Let other tasks run: the writes never wait while the client reads fast enough.
                await asyncio.sleep(0)
            self._separator = b","
            if self._items_left is not None:
                self._items_left -= 1

    async def _drop(self, item: list[bytes]) -> None:
        whole = b"".join(item)
        await self.response.write(self._separator + whole[: len(whole) // 2])
        if self._request.transport is not None:
            self._request.transport.close()
        raise ConnectionResetError("disconnected on purpose")

    async def end_list(self) -> None:
        """Send the end of a list."""
        await self.response.write(b"]")
        self._separator = b","

    async def end(self) -> None:
        """Send everything after the lists."""
        await self.response.write(FOOT)
        await self.response.write_eof()
