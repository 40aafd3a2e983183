"""Carries items to the service and their answers back: which of them ride together, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from weakref import WeakSet

from aiolimiter import AsyncLimiter

from smarty_async.errors import SmartyError
from smarty_async.options import Limits, Retries
from smarty_async.transport.batcher import Batcher
from smarty_async.transport.body import Body
from smarty_async.transport.connection import Connection
from smarty_async.transport.item import Item, Reply, Stopped
from smarty_async.transport.limiter import AdaptiveSemaphore, Permit
from smarty_async.transport.retry import Sleep
from smarty_async.transport.sender import ChunkSender
from smarty_async.transport.tokens import Tokens
from smarty_async.wire.verdict import Judge, judge_item

__all__ = ["Dispatcher"]

_SHORT_REST = 0.1
"""Of what a request takes. Who comes a little late would wait for a whole request more, and so may be the last."""


class Dispatcher:
    """Owns the slots. Items go in one by one and are answered one by one; between, they ride in chunks.

    Args:
        connection: to the service.
        tokens: where the token comes from.
        limits: what a request may carry.
        retries: how long to go on.
        concurrency: requests open at once, at most.
        rate: how often a request may start; None for no limit.
        judge: what a failure means.
        sleep: waits, in seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        connection: Connection,
        tokens: Tokens,
        *,
        limits: Limits,
        retries: Retries,
        concurrency: int,
        rate: AsyncLimiter | None,
        judge: Judge,
        sleep: Sleep,
        clock: Callable[[], float],
    ) -> None:
        self._limit = AdaptiveSemaphore(concurrency)
        self._batcher: Batcher[Item] = Batcher(limits)
        self._sender = ChunkSender(
            connection,
            tokens,
            batcher=self._batcher,
            limit=self._limit,
            retries=retries,
            rate=rate,
            judge=judge,
            sleep=sleep,
            clock=clock,
        )
        self._expected: Counter[int | None] = Counter()
        self._resting: WeakSet[Body] = WeakSet()  # until they are submitted again, or nobody means to
        self._short_rests = 0
        self._replies = self._returns = 0  # and how many of them were to come again
        self._items: set[Item] = set()
        self._senders: dict[asyncio.Task[None], list[Item]] = {}
        self._woken = False
        self._closed = False

    # items in, replies out

    @contextmanager
    def announce(self, items: int | None = 1) -> Generator[None]:
        """So many items are on their way, and will be submitted at once after this: others wait for their company.

        None for more than anybody knows of: they are not waited for, but chunks are filled and not spread.
        """
        self._expected[items] += 1
        try:
            yield
        finally:
            self._expected[items] -= 1
            self._wake()

    async def rest(self, seconds: float, *, sleep: Sleep) -> None:
        """Let an item rest before it is submitted again; others wait for it when that is little beside a request."""
        short = seconds <= self._sender.request_seconds * _SHORT_REST
        self._short_rests += short
        try:
            await sleep(seconds)
        finally:
            self._short_rests -= short
            self._wake()

    async def submit(self, item: Item) -> Reply:
        """Send `item` with others and wait for its reply, without holding a slot.

        Raises:
            ConfigurationError: every request would fail like this one.
            ServiceUnavailable: the service was given up on.
            PhotoError: the photo cannot be sent, or is to blame for failed requests.
            Stopped: the run sends nothing more.
        """
        if self._closed:
            raise _too_late()
        self._items.add(item)
        self._resting.discard(item.body)
        self._batcher.add(item)
        self._wake()
        try:
            reply = await item.reply
        except BaseException:
            await item.abandon()
            raise
        else:
            self._replies += 1
            if _comes_again(reply):
                self._returns += 1
                self._resting.add(item.body)
            return reply
        finally:
            self._items.discard(item)
            self._close_deserted()

    def withdraw(self, items: Iterable[Item]) -> None:
        """Send none of `items` that is not on board now; those that are will be answered."""
        for item in items:
            if not item.in_flight:
                item.fail(Stopped())
        self._close_deserted()

    async def close(self) -> None:
        """Close every open request and reply to every item that nothing comes, now or later."""
        self._closed = True
        for item in self._items:
            item.fail(_too_late())
        for sender in self._senders:
            sender.cancel()
        if self._senders:
            await asyncio.wait(self._senders)

    # which chunk, when

    def _wake(self) -> None:
        """Look for a chunk, two turns of the loop from now: what comes together rides together.

        The first turn lets tasks that were just made say what they expect.
        """
        if not self._woken:
            self._woken = True
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._dispatch)

    def _dispatch(self) -> None:
        self._woken = False
        soon = sum(items * times for items, times in self._expected.items() if items)
        coming = None if self._expected[None] else soon + self._coming_later()
        more = soon > 0 or self._short_rests > 0
        while permit := self._limit.try_acquire():
            chunk = self._batcher.take(permits=self._limit.size, more=more, coming=coming)
            if chunk is None:
                permit.release()
                return
            chunk[0].group.progress.permits = self._limit.size
            sender = asyncio.create_task(
                self._sender.carry(chunk, permit, freed=self._wake), name="smarty_async carrier"
            )
            self._senders[sender] = chunk
            sender.add_done_callback(partial(self._carried, permit))

    def _coming_later(self) -> int:
        """Items that rest before they come again, and as many of those under way as is usual here."""
        under_way = sum(map(len, self._senders.values()))
        return len(self._resting) + under_way * self._returns // max(1, self._replies)

    def _carried(self, permit: Permit, sender: asyncio.Task[None]) -> None:
        chunk = self._senders.pop(sender)
        permit.release()
        error = None if sender.cancelled() else sender.exception()
        if error is not None:
            self._fail(chunk, error)
        self._wake()

    def _fail(self, chunk: list[Item], error: BaseException) -> None:
        """What ended the carrier of `chunk` is no photo's fault: whatever waits in its lane would meet it too."""
        waiting = [item for item in self._items if item.group is chunk[0].group and not item.in_flight]
        for item in (*chunk, *waiting):
            item.fail(error)

    def _close_deserted(self) -> None:
        """Close requests, and end waits for a next try, that nobody waits for any more."""
        for sender, chunk in self._senders.items():
            # From the end: what was sent last is answered last, so most chunks are told by one look.
            if all(item.gone for item in reversed(chunk)) and any(
                item.reply.cancelled() or not item.in_flight for item in chunk
            ):
                sender.cancel()


def _comes_again(reply: Reply) -> bool:
    """Whether a photo so answered is likely to be asked for again, after a rest."""
    return reply.fault is not None or any(
        judge_item(arrived.answered)[0] == "temporary" for arrived in reply.arrived.values()
    )


def _too_late() -> SmartyError:
    return SmartyError("the client was closed before the answer came")
