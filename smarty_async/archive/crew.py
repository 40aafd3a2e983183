"""Calls that block, run in threads: what waits at the same time shares a visit, and its answers come back together.

A call through an executor costs the loop a future with locks, a wake-up of a thread and one of its own; a photo has
six such calls, and a few hundred photos are alive. Here a thread that is there anyway takes the next call too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial, wraps
from time import monotonic
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["threaded", "uncut"]

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 6
"""Visits at a time, at most: fsyncs that meet in the file system's journal share a commit."""
_CALLS = 8
"""Waiting calls for which one more thread is sent."""
_TELL_EVERY = 0.005
"""Seconds after which a visit tells what it has, before it goes on."""


def threaded(call: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """`call`, which blocks, as a coroutine function. A call whose caller has gone before it began is left out."""

    @wraps(call)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        crew = _crews.get(loop) or _crews.setdefault(loop, _Crew(loop))
        return await crew.call(partial(call, *args, **kwargs))

    return run


async def uncut(work: Awaitable[T]) -> T:
    """Wait for `work`; cancellations wait for its end, and are passed over when it fails."""
    working = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and working.exception() is None:
        raise cancelled
    return working.result()


class _Crew:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._away = 0
        self._woken = False

    def call(self, work: Callable[[], T]) -> asyncio.Future[T]:
        told: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((work, told))
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._send)
        return told

    def _send(self) -> None:
        self._woken = False
        while self._away < min(_THREADS, -(-len(self._waiting) // _CALLS)):
            self._away += 1
            self._loop.run_in_executor(None, self._visit)

    def _back(self, done: list[tuple[asyncio.Future[Any], Any, BaseException | None]], *, leaving: bool) -> None:
        for told, answer, error in done:
            if told.done():
                continue
            if error is None:
                told.set_result(answer)
            else:
                told.set_exception(error)
        if leaving:
            self._away -= 1
            self._send()

    # in a thread

    def _visit(self) -> None:
        done: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        since = monotonic()
        with suppress(IndexError):
            while True:
                work, told = self._waiting.popleft()
                if not told.cancelled():
                    done.append((told, *_tried(work)))
                if monotonic() - since > _TELL_EVERY:
                    self._tell(done, leaving=False)
                    done, since = [], monotonic()
        self._tell(done, leaving=True)

    def _tell(self, done: list[tuple[asyncio.Future[Any], Any, BaseException | None]], *, leaving: bool) -> None:
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(partial(self._back, done, leaving=leaving))


_crews: WeakKeyDictionary[asyncio.AbstractEventLoop, _Crew] = WeakKeyDictionary()


def _tried(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        return None, error
