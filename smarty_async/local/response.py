"""An answer on its way out, item by item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from smarty_async.local.contract import FOOT, HEAD, Mode

__all__ = ["BLANK_EVERY", "Answer"]

BLANK_EVERY = 15.0
"""Seconds between the blanks that are sent between two items: JSON allows them there."""


class Answer:
    """Writes the answer's JSON as its items come; items may come from several tasks at once.

    Attributes:
        response: what is being written to.
    """

    def __init__(
        self, request: web.Request, response: web.StreamResponse, *, drop_after: int | None, pause: float
    ) -> None:
        self.response = response
        self._request = request
        self._left = drop_after
        self._pause = pause
        self._turn = asyncio.Lock()
        self._before = b""

    @classmethod
    async def begin(cls, request: web.Request, *, drop_after: int | None = None, pause: float = 0) -> Answer:
        """Send what stands before the lists.

        Args:
            request: what is answered.
            drop_after: break the connection amid the item that follows so many; None to keep it.
            pause: seconds each item takes on its way.
        """
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(HEAD)
        return cls(request, response, drop_after=drop_after, pause=pause)

    @asynccontextmanager
    async def kept_alive(self) -> AsyncGenerator[None, None]:
        """Send a blank now and then during the block: some photos take minutes, and clients give up on silence."""
        blanks = asyncio.create_task(self._send_blanks())
        try:
            yield
        finally:
            blanks.cancel()

    async def _send_blanks(self) -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(BLANK_EVERY)
                async with self._turn:
                    await self.response.write(b" ")

    async def begin_list(self, mode: Mode) -> None:
        """Send what stands before a list's items."""
        await self.response.write(self._before + f'"{mode}":['.encode())
        self._before = b""

    async def write_item(self, item: list[bytes]) -> None:
        """Send one item's JSON, piece by piece.

        Raises:
            ConnectionError: the client left, or was dropped on purpose.
        """
        async with self._turn:
            await asyncio.sleep(self._pause)
            if self._left == 0:
                await self._drop(item)
            for piece in (self._before, *item):
                await self.response.write(piece)
                # A client that reads as fast as this writes would have the loop to itself.
                await asyncio.sleep(0)
            self._before = b","
            if self._left is not None:
                self._left -= 1

    async def _drop(self, item: list[bytes]) -> None:
        whole = b"".join(item)
        await self.response.write(self._before + whole[: len(whole) // 2])
        if self._request.transport is not None:
            self._request.transport.close()
        raise ConnectionResetError("dropped on purpose")

    async def end_list(self) -> None:
        """Send what stands after a list's items."""
        await self.response.write(b"]")
        self._before = b","

    async def end(self) -> None:
        """Send what stands after the lists."""
        await self.response.write(FOOT)
        await self.response.write_eof()
