"""Run blocking calls in threads, in batches: calls that wait at the same time share one hand-over to a thread.

One executor call per blocking call costs the event loop a future with locks and a wake-up of its own, while hundreds of
photos are alive. A `ThreadBatcher` queues the calls instead; a thread that is already running takes the next call from
the queue, and results return to the event loop together.

Two running threads also take turns with the interpreter's lock, which each call of the system gives away: for brief
calls that costs more than the calls. So the event loop waits for a thread whose calls are brief, a few milliseconds at
a time (`BriefWait`), and looks after its sockets in between. It does not wait for calls that turn out to be slow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial, wraps
from threading import Lock, local
from time import monotonic
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary, ref

from smarty_async.thread_limit import no_more_threads

__all__ = [
    "BRIEF_SECONDS",
    "BriefWait",
    "ThreadBatcher",
    "finish_despite_cancel",
    "first_error",
    "start_threads",
    "threaded",
    "work_beside_loop",
]

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
_Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


BRIEF_SECONDS = 0.005
"""The event loop waits for a thread so long at a time: as long as a running thread may keep the interpreter's lock."""

_SLOW_SECONDS, _FAST_CALLS = 0.1, 8
"""A thread that begins fewer calls in so many seconds has slow ones, which wait for a disk: another one helps it."""
_REPORT_EVERY = 0.005
"""Seconds after which a thread reports the results it has, before it takes the next call."""
_LONG_SECONDS, _NO_WAIT_SECONDS = 0.03, 1.0
"""A call that takes so long waits for a disk, not for a core: for some time the event loop waits for no thread of its
pool. Calls that write a whole group of outputs take up to half of it."""


def threaded(call: Callable[P, T], *, pool: str = "disk") -> Callable[P, asyncio.Future[T]]:
    """Turn the blocking `call` into a function that returns a future.

    A call whose future is cancelled before it starts is not made.

    Args:
        call: a blocking function.
        pool: which of the event loop's thread pools runs it, a key of `_POOLS`.
    """

    @wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        latest_loop, latest = _latest
        batchers = latest() if latest_loop() is loop else None
        if batchers is None or pool not in batchers:
            batchers = _batchers_of(loop, pool)
        return batchers[pool].call(partial(call, *args, **kwargs), loop)

    return run


async def start_threads() -> None:
    """Start one thread of each pool of the event loop: a pool that has one never fails for want of more.

    Raises:
        DiskError: the system starts no more threads.
    """
    await asyncio.gather(*(threaded(_nothing, pool=pool)() for pool in _POOLS))


def _nothing() -> None:
    """What a thread does that is only to be started."""


async def finish_despite_cancel(work: Awaitable[T]) -> T:
    """Wait until `work` has ended, even when this task is cancelled meanwhile; then raise the cancellation.

    An error of `work` is raised instead of the cancellation.
    """
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


def first_error(group: BaseExceptionGroup[E]) -> E:
    """The error that ended a group of tasks; the others followed from it."""
    error = group.exceptions[0]
    return first_error(cast("BaseExceptionGroup[E]", error)) if isinstance(error, BaseExceptionGroup) else error


class BriefWait:
    """The event loop's wait for a thread, which the thread ends.

    Attributes:
        active: the event loop waits, or is about to. If it does not, the thread has to wake it.
        ended: the thread has ended it.
    """

    def __init__(self, *, active: bool = True) -> None:
        self.active = active
        self.ended = False
        self._lock = Lock()
        self._lock.acquire()

    def wait(self, seconds: float) -> None:
        """Block the event loop until the thread ends the wait, `seconds` at most."""
        self.active = True
        try:
            self._lock.acquire(timeout=seconds)
        finally:
            self.active = False

    def end(self) -> None:
        """End the wait, from the thread, once and for all."""
        if not self.ended:
            self.ended = True
            self._lock.release()


class _Visit:
    """What a thread does from its first call until the queue is empty.

    Attributes:
        wait: the event loop's.
        outcomes: of the calls it has made, which are not reported yet.
        ended: the queue is empty, and `outcomes` are all.
        reported: the end is.
    """

    def __init__(self, *, waited_for: bool) -> None:
        self.wait = BriefWait(active=waited_for)
        self.outcomes: deque[_Outcome] = deque()
        self.ended = self.reported = False


class ThreadBatcher:
    """A queue of blocking calls and the threads that drain it.

    It holds no reference to an event loop, so that a loop that has ended is not kept alive.

    Args:
        threads: how many may run at a time, at most.
        thread_each: start one for each call that waits, at once. Else one makes all calls while they are quick: two
            would take turns with the interpreter's lock, which costs more than the calls.
        brief: seconds for which the event loop waits for a thread at a time, while its calls are quick; 0: not at all.
    """

    def __init__(self, threads: int, *, thread_each: bool = False, brief: float = 0.0) -> None:
        self._max_threads = threads
        self._thread_each = thread_each
        self._brief = brief
        self._no_wait_until = 0.0
        self._executor = _executor(threads)
        self._has_thread = False
        self._queue: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._draining = 0
        self._begun = 0  # calls
        self._scheduled = self._watched = False

    def call(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[T]:
        """Queue `work`; the future gets its result or its error.

        The future fails with DiskError when the system starts no thread at all.
        """
        future: asyncio.Future[T] = loop.create_future()
        self._queue.append((work, future))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._start_threads, loop)
        return future

    def _start_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        wanted = min(self._max_threads, len(self._queue) if self._thread_each else 1)
        while self._queue and self._draining < wanted:
            self._start_thread(loop)
        if self._queue and self._draining < self._max_threads and not self._watched:
            self._watched = True
            loop.call_later(_SLOW_SECONDS, self._help, loop, self._begun)

    def _help(self, loop: asyncio.AbstractEventLoop, begun: int) -> None:
        """Start one more thread if the others have begun few calls since there were `begun`."""
        self._watched = False
        if self._queue and self._begun - begun < _FAST_CALLS * self._draining:
            self._wait_no_more()
            self._start_thread(loop)
        self._start_threads(loop)

    def _start_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        visit = _Visit(waited_for=self._brief > 0 and not self._draining and monotonic() >= self._no_wait_until)
        try:
            self._executor.submit(self._drain, visit, loop)
        except RuntimeError:  # can't start new thread
            if not self._has_thread:
                self._fail_queued()
                return
            # The executor has queued the call all the same: one of the threads it has makes it.
        self._has_thread = True
        self._draining += 1
        if visit.wait.active:
            self._wait_for(visit, loop, self._begun, monotonic())

    def _wait_for(self, visit: _Visit, loop: asyncio.AbstractEventLoop, begun: int, since: float) -> None:
        """Wait for the thread of `visit`, again and again, with a turn of the event loop in between.

        Args:
            visit: the thread's.
            loop: the event loop.
            begun: how many calls had begun when it was last looked.
            since: when the last of them was seen.
        """
        try:
            visit.wait.wait(self._brief)
        finally:  # what comes after this is reported by the thread
            self._report(visit, loop)
        now = monotonic()
        if self._begun != begun:
            begun, since = self._begun, now
        if now - since > _LONG_SECONDS:
            self._wait_no_more()
        elif not visit.wait.ended and now >= self._no_wait_until:
            loop.call_soon(self._wait_for, visit, loop, begun, since)

    def _wait_no_more(self) -> None:
        """Let the event loop wait for no thread for some time, because calls are slow."""
        self._no_wait_until = monotonic() + _NO_WAIT_SECONDS

    def _fail_queued(self) -> None:
        self._executor = _executor(self._max_threads)  # the old one holds a call that is never made
        while self._queue:
            _, future = self._queue.popleft()
            if not future.done():
                future.set_exception(no_more_threads())

    def _report(self, visit: _Visit, loop: asyncio.AbstractEventLoop) -> None:
        ended = visit.ended  # looked at first: what the thread adds after this, it reports itself
        while visit.outcomes:
            future, answer, error = visit.outcomes.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)
        if ended and not visit.reported:
            visit.reported = True
            self._draining -= 1
            self._start_threads(loop)

    def _drain(self, visit: _Visit, loop: asyncio.AbstractEventLoop) -> None:
        """Make the queued calls one after another until none is left; runs in a thread."""
        since = monotonic()
        _thread.wait = visit.wait
        with suppress(IndexError):
            while True:
                work, future = self._queue.popleft()
                self._begun += 1
                if not future.cancelled():
                    visit.outcomes.append((future, *_outcome(work)))
                if monotonic() - since > _REPORT_EVERY and not visit.wait.active:
                    _call_in_loop(loop, partial(self._report, visit, loop))
                    since = monotonic()
        visit.ended = True
        visit.wait.end()
        if not visit.wait.active:
            _call_in_loop(loop, partial(self._report, visit, loop))


class _Thread(local):
    """What belongs to the running thread.

    Attributes:
        wait: the event loop's for it, if it makes calls of a `ThreadBatcher`.
    """

    wait: BriefWait | None = None


_thread = _Thread()


def work_beside_loop() -> None:
    """The call that runs in this thread goes on without the interpreter's lock: the event loop need not wait for it."""
    if _thread.wait is not None:
        _thread.wait.end()


class _Batchers(dict[str, ThreadBatcher]):
    """The batchers of an event loop, by pool; unlike a plain dict it can be referred to weakly."""


_batchers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Batchers] = WeakKeyDictionary()
_latest: tuple[Callable[[], asyncio.AbstractEventLoop | None], Callable[[], _Batchers | None]] = _nothing, _nothing
"""The event loop that made the latest call, which mostly makes the next one, and its batchers: weak references."""


_POOLS: dict[str, Callable[[], ThreadBatcher]] = {
    "disk": partial(ThreadBatcher, 10, brief=BRIEF_SECONDS),
    "syncing": partial(ThreadBatcher, 2),
    "hashing": partial(ThreadBatcher, 2),
    "probing": partial(ThreadBatcher, 4, brief=BRIEF_SECONDS),
    "fetching": partial(ThreadBatcher, 24, thread_each=True),
    "storing": partial(ThreadBatcher, 24, thread_each=True),
    "logs": partial(ThreadBatcher, 1),
}
"""Reads and writes share a pool: while they are quick, one thread makes them all, and the event loop waits for it.
Waits for the disk have a pool of their own: the next outputs are written meanwhile. Calls to an object store wait for
its answer: each has a thread, and what is fetched for a request does not queue behind what is stored. The logs by which
a cluster's workers show that they live wait for none of them."""


def _batchers_of(loop: asyncio.AbstractEventLoop, pool: str) -> _Batchers:
    """The batchers of `loop`, with that of `pool` among them."""
    global _latest  # noqa: PLW0603 - it is replaced whole: loops may run in several threads
    batchers = _batchers.setdefault(loop, _Batchers())
    if pool not in batchers:
        batchers[pool] = _POOLS[pool]()
    _latest = ref(loop), ref(batchers)
    return batchers


def _executor(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="smarty_async")


def _call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(callback)


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except StopIteration as error:  # no future takes one; a generator and a coroutine turn it into this, too: PEP 479
        unexpected = RuntimeError("a call in a thread raised StopIteration")
        unexpected.__cause__ = error
        return None, unexpected
    except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
        return None, error
