"""Disk space for the answers to open requests: an answer that has none is paid for and lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from smarty_async.errors import DiskFull
from smarty_async.options import ModeSpec
from smarty_async.results import KINDS_BY_MODE

__all__ = ["DiskSpace"]


class DiskSpace:
    """Reserves space for the outputs of open requests. A request waits while there is none for its own."""

    def __init__(self) -> None:
        self._expected = 0  # bytes, of the open requests
        self._open = 0
        self._growth: dict[tuple[ModeSpec, ...], float] = {}
        self._turn = asyncio.Lock()
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def reserved(
        self, specs: tuple[ModeSpec, ...], sent: int, *, check: Callable[[int], Awaitable[None]]
    ) -> AsyncGenerator[None]:
        """Reserve space for the answer to a request while the block lasts.

        While there is none and other requests are open, it waits: they may bring less than was expected.

        Args:
            specs: what is asked of each of its images.
            sent: their bytes.
            check: raises DiskFull if so many bytes are not free.

        Raises:
            DiskFull: there is none, and no other request is open.
        """
        async with self._turn:
            while True:
                self._ended.clear()
                expected = round(sent * self._growth_of(specs))
                try:
                    await check(self._expected + expected)
                    break
                except DiskFull:
                    if not self._open and not self._ended.is_set():
                        raise
                await self._ended.wait()
            self._expected += expected
            self._open += 1
        try:
            yield
        finally:
            self._expected -= expected
            self._open -= 1
            self._ended.set()

    def note_answer(self, specs: tuple[ModeSpec, ...], *, sent: int, received: int) -> None:
        """A request was answered: from now on, answers to others like it may grow as much.

        Args:
            specs: what was asked.
            sent: bytes of the request; 0 when it was answered before any was sent, which says nothing.
            received: bytes of its answer.
        """
        if not sent:
            return
        growth = received * 3 / 4 / sent  # without base64
        self._growth[specs] = max(1.0, growth, self._growth.get(specs, 0.0))

    def _growth_of(self, specs: tuple[ModeSpec, ...]) -> float:
        """Bytes of outputs for each byte sent: as many as ever, at least one; before the first answer, the most."""
        most = sum((spec.rfactor or 0) ** 2 or len(KINDS_BY_MODE[spec.mode]) for spec in specs)
        return self._growth.get(specs, most)
