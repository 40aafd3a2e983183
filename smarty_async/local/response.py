"""Streaming of an answer, item by item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from smarty_async.local.contract import FOOT, HEAD, Mode

__all__ = ["BLANK_EVERY", "ResponseWriter"]

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
            for piece in (self._separator, *item):
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
