"""Takes items, forms chunks of them, and has each chunk sent when a permit is free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import partial
from typing import cast

import msgspec
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying

from smarty_async.errors import PhotoFailed, SmartyError
from smarty_async.options import Limits, Retries
from smarty_async.progress import InFlight
from smarty_async.results import ErrorInfo
from smarty_async.thread_limit import is_thread_limit, no_more_threads
from smarty_async.transport.batcher import Batcher, Outlook
from smarty_async.transport.connection import Connection
from smarty_async.transport.item import BatchGroup, Item, Stopped, Submitter
from smarty_async.transport.limiter import AdaptiveSemaphore
from smarty_async.transport.retry import Sleep, item_retrying
from smarty_async.transport.sender import ChunkSender
from smarty_async.transport.tokens import Tokens
from smarty_async.wire.verdict import Judge

__all__ = ["Announcement", "Dispatcher"]

_PREPARATION_SECONDS = 0.5
"""A single photo that takes longer to be read and converted holds no other one back."""


class _Steps(msgspec.Struct, frozen=True):
    """What to do next: chunks to send, and senders to cancel."""

    send: list[list[Item]]
    cancel: list[asyncio.Task[None]]


class Announcement(msgspec.Struct, frozen=True):
    """Submissions that are announced while its block lasts; see `Dispatcher.announce`."""

    begin: Callable[[], None]
    end: Callable[[], None]
    on_end: Callable[[], None]

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()
        self.on_end()


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
        self._retries = retries
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
        self._items: set[Item] = set()  # submitted, and not replied to
        self._senders: dict[asyncio.Task[None], list[Item]] = {}
        self._may_be_abandoned = False  # whether someone has ceased to wait for an item in flight
        self._woken = False
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def check_loop(self) -> None:
        """Refuse another event loop than the one it was made in: its connections cannot be used there.

        Raises:
            SmartyError: another one runs.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise SmartyError(
                "the client belongs to the event loop in which it was opened: use it there, or open one in each loop"
            )

    def set_capacity(self, requests: int | None) -> int:
        """Open at most `requests` at once from now on, within the dispatcher's own bound; None for that alone.

        Returns:
            How many may be open now.
        """
        self._limit.cap(self._concurrency if requests is None else min(self._concurrency, requests))
        return self._limit.size

    # items in, replies out

    def announce(self, submitter: Submitter) -> Announcement:
        """Announce one submission during a block, so that partial chunks of `submitter` are held back.

        It is to be made as soon as the block ends.
        """
        forecast = submitter.forecast
        return Announcement(forecast.announce, forecast.fulfil, self._wake)

    @contextmanager
    def announce_single(self, submitter: Submitter) -> Generator[None]:
        """Announce one submission during a block, for `_PREPARATION_SECONDS` at most.

        How long a block takes that reads what a caller has given is not known: a file may be an upload that stalls.
        """
        with ExitStack() as announced:
            announced.enter_context(self.announce(submitter))
            timer = self._loop.call_later(_PREPARATION_SECONDS, announced.close)
            try:
                yield
            finally:
                timer.cancel()

    def announce_unknown(self, submitter: Submitter) -> Announcement:
        """Announce submissions of an unknown number during a block: chunks are filled, not spread over the permits."""
        forecast = submitter.forecast
        return Announcement(forecast.announce_unknown, forecast.fulfil_unknown, self._wake)

    def retry_policy(self, submitter: Submitter) -> AsyncRetrying:
        """When `submitter` is to submit an item with a temporary error again."""
        return item_retrying(self._retries, sleep=partial(self._backoff, submitter), hooks=submitter.hooks)

    async def _backoff(self, submitter: Submitter, seconds: float) -> None:
        """Wait `seconds` before an item is submitted again; partial chunks are held back while that is short."""
        short = submitter.forecast.start_backoff(seconds, request_seconds=self._sender.request_seconds)
        try:
            await submitter.sleep(seconds)
        finally:
            submitter.forecast.end_backoff(short=short)
            self._wake()

    async def submit(self, item: Item) -> ErrorInfo | None:
        """Send `item` together with others and wait for its reply, without holding a permit.

        Answers stay with the item until `Item.take`, also those that were received before an error or a cancellation.

        Returns:
            Why a mode is missing; None when all are answered.

        Raises:
            ConfigurationError: every request would fail like this one.
            ServiceUnavailable: the service was given up on.
            PhotoError: the photo cannot be sent, or is to blame for failed requests.
            Stopped: the submitter sends nothing more, or has nothing more to pay with.
        """
        submitter = item.group.submitter
        if submitter.is_stopped:
            raise Stopped
        if self._closed or submitter.error is not None:
            raise _closed() if submitter.error is None else _copy_of(submitter.error)
        self._sender.check(item)
        self._items.add(item)
        submitter.forecast.submitted(item.body)
        self._batcher.add(item)
        self._wake()
        try:
            fault = await item.reply
        except BaseException:
            item.reply.cancel()
            self._batcher.note_done()
            self._may_be_abandoned = True
            raise
        else:
            submitter.forecast.replied(item.body, returns=fault is not None or item.is_temporary)
            return fault
        finally:
            self._items.discard(item)
            self._wake()

    def in_flight(self, submitter: Submitter) -> list[InFlight]:
        """What the items of `submitter` show that have been sent and are not answered."""
        return [
            item.photo
            for item in self._items
            if item.photo and item.group.submitter is submitter and item.in_flight and not item.done
        ]

    def stop(self, submitter: Submitter) -> None:
        """Send nothing more of `submitter`; items that are in flight will be answered."""
        submitter.is_stopped = True
        submitter.budget.close()
        for item in self._items:
            if item.group.submitter is submitter and not item.in_flight:
                item.fail(Stopped())
        self._wake()

    async def abort(self, submitter: Submitter) -> None:
        """Cancel the requests of `submitter` that are open, and wait until their files are discarded."""
        senders = [sender for sender, chunk in self._senders.items() if chunk[0].group.submitter is submitter]
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
        """Decide, from the state alone, what to send, which is in flight from now on, and what to cancel."""
        send: list[list[Item]] = []
        while len(send) < self._limit.free:
            next_chunk = self._batcher.take(permits=self._limit.size, outlook=_outlook)
            if next_chunk is None:
                break
            next_chunk[0].group.submitter.forecast.in_flight += len(next_chunk)
            send.append(next_chunk)
        if not self._may_be_abandoned:
            return _Steps(send, [])
        self._may_be_abandoned = bool(self._senders)
        return _Steps(send, [sender for sender, chunk in self._senders.items() if _abandoned(chunk)])

    def _sent(self, sender: asyncio.Task[None]) -> None:
        chunk = self._senders.pop(sender)
        chunk[0].group.submitter.forecast.in_flight -= len(chunk)
        error = None if sender.cancelled() else sender.exception()
        if error is not None and is_thread_limit(error):  # the lookup of a host takes one
            error = no_more_threads()
        if isinstance(error, SmartyError):
            self._fail(chunk, error)
        elif error is not None:
            for item in chunk:
                item.fail(_internal(error, item))
        if not self._senders and all(item.done for item in self._items):
            self._sender.note_idle()
        self._wake()

    def _fail(self, chunk: list[Item], error: SmartyError) -> None:
        """No photo of `chunk` is to blame for `error`: whatever waits in its group would meet it, too."""
        group = chunk[0].group
        if group.submitter.ends_with_error:
            group.submitter.error = error
        queued = [item for item in self._items if item.group == group and not item.in_flight]
        for item in (*chunk, *queued):
            item.fail(_copy_of(error))


def _outlook(group: object) -> Outlook:
    return cast("BatchGroup", group).submitter.forecast.outlook()


def _abandoned(chunk: list[Item]) -> bool:
    """Whether a chunk whose request is open, or waits for a retry, is not awaited any more."""
    # From the end: what was sent last is answered last, so for most chunks the first look decides.
    return all(item.done for item in reversed(chunk)) and any(
        item.reply.cancelled() or not item.in_flight for item in chunk
    )


def _copy_of(error: SmartyError) -> SmartyError:
    """`error` for one of several callers: each `raise` extends an error's traceback, which keeps frames alive."""
    copied = copy(error)
    copied.__cause__ = error.__cause__
    return copied


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
