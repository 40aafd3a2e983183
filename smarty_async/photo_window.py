"""The photos of a run that are alive at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from smarty_async.archive.entries import PhotoEntry
from smarty_async.run_context import RunContext

__all__ = ["PhotoWindow"]


class PhotoWindow:
    """Runs a bounded number of photos at a time; the others wait, in their order, until some of them have ended.

    Args:
        size: photos that run at a time.
        run: runs a photo.
    """

    def __init__(self, size: int, run: Callable[[PhotoEntry, RunContext], Awaitable[None]]) -> None:
        self._size = size
        self._run = run
        self._running = 0
        self._waiting: deque[PhotoEntry] = deque()
        self._all_started = asyncio.Event()

    def __len__(self) -> int:
        """Photos that wait."""
        return len(self._waiting)

    def start(self, entries: Sequence[PhotoEntry], context: RunContext) -> bool:
        """Have `entries` run, after those that wait; whether there is room for all of them at once."""
        self._waiting.extend(entries)
        room = min(len(entries), self._size - self._running)
        for _ in range(room):
            self._running += 1
            context.tasks.create_task(self._run_waiting(context))
        return room == len(entries)

    async def all_started(self) -> None:
        """Wait until no photo waits."""
        self._all_started.clear()
        if self._waiting:
            await self._all_started.wait()

    async def _run_waiting(self, context: RunContext) -> None:
        """Run one photo after another, while there are some that wait."""
        try:
            while self._waiting:
                await self._run(self._next(), context)
        finally:
            self._running -= 1

    def _next(self) -> PhotoEntry:
        entry = self._waiting.popleft()
        if not self._waiting:
            self._all_started.set()
        return entry
