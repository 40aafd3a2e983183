"""Calls that block, run in threads: what waits at the same time shares a visit, and its answers come back together.

A call through an executor costs the loop a future with locks, a wake-up of a thread and one of its own; a photo has
six such calls, and a few hundred photos are alive. Here a thread that is there anyway takes the next call too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial, wraps
from time import monotonic
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from smarty_async.errors import DiskError

__all__ = ["finish_despite_cancel", "no_more_threads", "threaded"]

P = ParamSpec("P")
T = TypeVar("T")
Done = list[tuple[asyncio.Future[Any], Any, BaseException | None]]

_THREADS = {"disk": 6, "reading": 2, "appending": 2, "hashing": 2}
"""Visits at a time, at most, of each crew. Fsyncs that meet in the file system's journal share a commit; what an open
request waits for has a crew of its own, and never waits behind them."""
_CALLS = 8
"""Waiting calls for which one more thread is sent."""
_TELL_EVERY = 0.005
"""Seconds after which a visit tells what it has, before it goes on."""


def threaded(call: Callable[P, T], *, pool: str = "disk") -> Callable[P, asyncio.Future[T]]:
    """`call`, which blocks, as a function to be awaited. A call whose caller has gone before it began is left out."""

    @wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        crews = _crews.setdefault(loop, {})
        if pool not in crews:
            crews[pool] = _ThreadBatcher(_THREADS[pool])
        return crews[pool].call(partial(call, *args, **kwargs), loop)

    return run


async def finish_despite_cancel(work: Awaitable[T]) -> T:
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


def no_more_threads() -> DiskError:
    """The error for a system that starts no more threads (a container's limit on processes, for example)."""
    return DiskError("the system starts no more threads: raise the limit on processes (ulimit -u, pids-limit)")


class _ThreadBatcher:
    """Keeps no loop: it would never let go of it."""

    def __init__(self, threads: int) -> None:
        self._most = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="smarty_async")
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._away = 0
        self._woken = False

    def call(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[T]:
        told: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, told))
        if not self._woken:
            self._woken = True
            loop.call_soon(self._send, loop)
        return told

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        self._woken = False
        while self._away < min(self._most, -(-len(self._waiting) // _CALLS)):
            self._away += 1
            self._threads.submit(self._visit, loop)

    def _back(self, done: Done, *, leaving: asyncio.AbstractEventLoop | None) -> None:
        for told, answer, error in done:
            if told.done():
                continue
            if error is None:
                told.set_result(answer)
            else:
                told.set_exception(error)
        if leaving is not None:
            self._away -= 1
            self._send(leaving)

    # in a thread

    def _visit(self, loop: asyncio.AbstractEventLoop) -> None:
        done: Done = []
        since = monotonic()
        with suppress(IndexError):
            while True:
                work, told = self._waiting.popleft()
                if not told.cancelled():
                    done.append((told, *_tried(work)))
                if monotonic() - since > _TELL_EVERY:
                    _tell(loop, partial(self._back, done, leaving=None))
                    done, since = [], monotonic()
        _tell(loop, partial(self._back, done, leaving=loop))


_crews: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _ThreadBatcher]] = WeakKeyDictionary()


def _tell(loop: asyncio.AbstractEventLoop, news: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop was closed
        loop.call_soon_threadsafe(news)


def _tried(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        return None, error
