"""Takes items, forms chunks of them, and has each chunk sent when a permit is free."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import cast
from weakref import WeakKeyDictionary

import msgspec
from aiolimiter import AsyncLimiter

from smarty_async.errors import PhotoFailed, SmartyError
from smarty_async.options import Limits, Retries
from smarty_async.transport.batcher import Batcher, Forecast, Outlook
from smarty_async.transport.connection import Connection
from smarty_async.transport.limiter import AdaptiveSemaphore
from smarty_async.transport.request import BatchGroup, Item, Reply, Stopped
from smarty_async.transport.retry import Sleep
from smarty_async.transport.sender import ChunkSender
from smarty_async.transport.tokens import Tokens
from smarty_async.wire.verdict import Judge, judge_item

__all__ = ["Dispatcher"]


class _Steps(msgspec.Struct, frozen=True):
    """What to do next: chunks to send, and senders to cancel."""

    send: list[list[Item]]
    cancel: list[asyncio.Task[None]]


class Dispatcher:
    """Sends items in chunks: items are submitted one by one, and each gets its own reply.

    All decisions are made by one synchronous function, `_next_steps`, whenever something has changed.

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
        self._concurrency = concurrency
        self._limit = AdaptiveSemaphore(concurrency, on_free=self._wake)
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
        self._failed: WeakKeyDictionary[object, SmartyError] = WeakKeyDictionary()  # why, by source
        self._forecasts: WeakKeyDictionary[object, Forecast] = WeakKeyDictionary()  # by the source of the items
        self._items: set[Item] = set()  # submitted, and not replied to
        self._senders: dict[asyncio.Task[None], list[Item]] = {}
        self._woken = False
        self._closed = False

    def set_capacity(self, requests: int | None) -> int:
        """Open at most `requests` at once from now on, within the dispatcher's own bound; None for that alone.

        Returns:
            How many may be open now.
        """
        self._limit.cap(self._concurrency if requests is None else min(self._concurrency, requests))
        return self._limit.size

    # items in, replies out

    @contextmanager
    def announce(self, items: int | None = 1, *, source: object = None) -> Generator[None]:
        """Announce `items` upcoming submissions, so that partial chunks are held back.

        They are to be submitted as soon as the block ends.

        Args:
            items: how many. None: the number is unknown; chunks are filled instead of spread over the permits.
            source: `BatchGroup.source` of the items; chunks of other sources do not wait.
        """
        forecast = self._forecast(source)
        forecast.announce(items)
        try:
            yield
        finally:
            forecast.fulfil(items)
            self._wake()

    async def backoff(self, seconds: float, *, sleep: Sleep, source: object = None) -> None:
        """Wait `seconds` before an item is submitted again; partial chunks are held back while that is short.

        Args:
            seconds: how long.
            sleep: waits.
            source: as for `announce`.
        """
        forecast = self._forecast(source)
        short = forecast.start_backoff(seconds, request_seconds=self._sender.request_seconds)
        try:
            await sleep(seconds)
        finally:
            forecast.end_backoff(short=short)
            self._wake()

    async def submit(self, item: Item) -> Reply:
        """Send `item` together with others and wait for its reply, without holding a permit.

        Answers stay with the item until `Item.take`, also those that were received before an error or a cancellation.

        Raises:
            ConfigurationError: every request would fail like this one.
            ServiceUnavailable: the service was given up on.
            PhotoError: the photo cannot be sent, or is to blame for failed requests.
            Stopped: the run sends nothing more.
        """
        if self._closed:
            raise _closed()
        self._sender.check(item)
        if item.group.source is not None and (error := self._failed.get(item.group.source)):
            raise error
        forecast = self._forecast(item.group.source)
        self._items.add(item)
        forecast.submitted(item.body)
        self._batcher.add(item)
        self._wake()
        try:
            reply = await item.reply
        except BaseException:
            item.reply.cancel()
            raise
        else:
            forecast.replied(item.body, returns=_returns(reply))
            return reply
        finally:
            self._items.discard(item)
            self._wake()

    def cancel_queued(self, items: Iterable[Item]) -> None:
        """Stop those of `items` that are not in flight; those that are will be answered."""
        for item in items:
            if not item.in_flight:
                item.fail(Stopped())
        self._wake()

    async def abort(self, source: object) -> None:
        """Cancel the requests for items of `source` that are open, and wait until their files are discarded.

        Args:
            source: as for `announce`; its items are not awaited any more.
        """
        senders = [sender for sender, chunk in self._senders.items() if chunk[0].group.source is source]
        for sender in senders:
            sender.cancel()
        if senders:
            await asyncio.wait(senders)

    async def close(self) -> None:
        """Close every open request, and fail every item that is or will be submitted."""
        self._closed = True
        for item in self._items:
            item.fail(_closed())
        for sender in self._senders:
            sender.cancel()
        if self._senders:
            await asyncio.wait(self._senders)

    # decisions

    def _wake(self) -> None:
        """Take the next steps two turns of the event loop from now: what is submitted together goes together.

        The first turn lets tasks that were just created announce their items. Two turns also make sure that the
        senders of the last decision have taken their permits before the next one counts the free permits.
        """
        if not self._woken and not self._closed:
            self._woken = True
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._take_steps)

    def _take_steps(self) -> None:
        self._woken = False
        if self._closed or any(sender.done() for sender in self._senders):
            return  # what has ended may fail all that is queued: `_sent` decides that first, and wakes
        steps = self._next_steps()
        for sender in steps.cancel:
            sender.cancel()
        for chunk in steps.send:
            sender = asyncio.create_task(self._sender.send(chunk), name="smarty_async sender")
            self._senders[sender] = chunk
            sender.add_done_callback(self._sent)

    def _next_steps(self) -> _Steps:
        """Decide, from the state alone, what to send and what to cancel."""
        in_flight: defaultdict[object, int] = defaultdict(int)
        for chunk in self._senders.values():
            in_flight[chunk[0].group.source] += len(chunk)
        send: list[list[Item]] = []

        def outlook(group: object) -> Outlook:
            source = cast("BatchGroup", group).source
            return self._forecast(source).outlook(in_flight=in_flight[source])

        while len(send) < self._limit.free:
            next_chunk = self._batcher.take(permits=self._limit.size, outlook=outlook)
            if next_chunk is None:
                break
            in_flight[next_chunk[0].group.source] += len(next_chunk)
            send.append(next_chunk)
        return _Steps(send, [sender for sender, chunk in self._senders.items() if _abandoned(chunk)])

    def _forecast(self, source: object) -> Forecast:
        source = self if source is None else source
        forecast = self._forecasts.get(source)
        if forecast is None:
            forecast = self._forecasts[source] = Forecast()
        return forecast

    def _sent(self, sender: asyncio.Task[None]) -> None:
        chunk = self._senders.pop(sender)
        error = None if sender.cancelled() else sender.exception()
        if isinstance(error, SmartyError):
            self._fail(chunk, error)
        elif error is not None:
            for item in chunk:
                item.fail(_internal(error, item))
        self._wake()

    def _fail(self, chunk: list[Item], error: SmartyError) -> None:
        """No photo of `chunk` is to blame for `error`: whatever waits in its group would meet it, too.

        So would what its source submits before it has heard of the error.
        """
        if chunk[0].group.source is not None:
            self._failed[chunk[0].group.source] = error
        queued = [item for item in self._items if item.group is chunk[0].group and not item.in_flight]
        for item in (*chunk, *queued):
            item.fail(error)


def _abandoned(chunk: list[Item]) -> bool:
    """Whether a chunk whose request is open, or waits for a retry, is not awaited any more."""
    # From the end: what was sent last is answered last, so for most chunks the first look decides.
    return all(item.done for item in reversed(chunk)) and any(
        item.reply.cancelled() or not item.in_flight for item in chunk
    )


def _returns(reply: Reply) -> bool:
    """Whether a photo with this reply is likely to be submitted again, after a backoff."""
    return reply.fault is not None or any(
        judge_item(received.answered)[0] == "temporary" for received in reply.received.values()
    )


def _closed() -> SmartyError:
    return SmartyError("the client was closed before the answer came")


def _internal(error: BaseException, item: Item) -> PhotoFailed:
    failed = PhotoFailed(
        f"an unexpected error, which is a bug of this program: {type(error).__name__}: {error}",
        type="internal",
        attempts=item.attempts,
    )
    failed.__cause__ = error
    return failed
