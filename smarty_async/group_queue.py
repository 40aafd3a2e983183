"""A queue whose items are processed in groups: those that come while a group is processed are the next one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["GroupQueue"]

T = TypeVar("T")


class GroupQueue(Generic[T]):
    """Processes items in groups, one group after another, each with all that have come by then.

    It does so in a task of its own: a group goes on when someone who waits for one of its items is cancelled.

    Args:
        take: processes a group.
        fail: is called with each item of a group whose processing raised an error, and with the error.
        name: of the task.
        most: items in a group, at most.
        tasks: holds the task; queues that add to each other share it, and `wait` waits for all of them.
    """

    def __init__(
        self,
        take: Callable[[list[T]], Awaitable[None]],
        fail: Callable[[T, BaseException], None],
        *,
        name: str,
        most: int = sys.maxsize,
        tasks: set[asyncio.Task[None]] | None = None,
    ) -> None:
        self._take = take
        self._fail = fail
        self._name = name
        self._most = most
        self._tasks = set[asyncio.Task[None]]() if tasks is None else tasks
        self._waiting: list[T] = []
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Items that wait, without those that are being processed."""
        return len(self._waiting)

    def add(self, items: Iterable[T]) -> None:
        """Have `items` processed, after those that wait."""
        self._waiting.extend(items)
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name=self._name)
            self._tasks.add(self._task)
            self._task.add_done_callback(self._ended)

    async def wait(self) -> None:
        """Wait until everything is processed."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def cancel(self) -> None:
        """Drop what waits, and cancel what is being processed."""
        self._waiting.clear()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.add(())  # a task that was cancelled, because the event loop ends, has left some

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                await self._take(group)
            except BaseException as error:  # whatever it is, those who wait must not wait for ever
                for item in group:
                    self._fail(item, error)
                if not isinstance(error, Exception):
                    raise
