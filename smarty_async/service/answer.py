"""An answer on its way out, item by item."""

from __future__ import annotations

import asyncio

from aiohttp import web

from smarty_async.service.contract import FOOT, HEAD, Mode

__all__ = ["Answer"]


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

    async def begin_list(self, mode: Mode) -> None:
        """Send what stands before a list's items."""
        await self.response.write(self._before + f'"{mode}":['.encode())
        self._before = b""

    async def write_item(self, item: bytes) -> None:
        """Send one item's JSON.

        Raises:
            ConnectionError: the client left, or was dropped on purpose.
        """
        async with self._turn:
            await asyncio.sleep(self._pause)
            if self._left == 0:
                await self._drop(item)
            await self.response.write(self._before + item)
            self._before = b","
            if self._left is not None:
                self._left -= 1

    async def _drop(self, item: bytes) -> None:
        await self.response.write(self._before + item[: len(item) // 2])
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
