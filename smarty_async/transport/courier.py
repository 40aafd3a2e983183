"""Carries items to the service and their answers back: chunks, slots, verdicts, tries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial

import msgspec
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState

from smarty_async.errors import NotTheService, PhotoFailed, RequestError, ServiceUnavailable, SmartyError
from smarty_async.options import Limits, Retries
from smarty_async.results import ErrorInfo
from smarty_async.transport.batcher import Batcher
from smarty_async.transport.connection import BodyFailed, Connection
from smarty_async.transport.item import Item, Reply, Stopped
from smarty_async.transport.limiter import AdaptiveLimit, Slot
from smarty_async.transport.retrying import Health, Sleep, request_retrying
from smarty_async.transport.spool import Arrived
from smarty_async.transport.tokens import Tokens
from smarty_async.wire.messages import item_name
from smarty_async.wire.verdict import Abort, Drop, Judge, Refresh, Retry, Shrink, SlowDown, Split, Verdict

__all__ = ["Courier"]

_log = logging.getLogger("smarty_async")

_SUSPECT_ATTEMPTS = 2
"""How often each half is tried on the way to the photo that makes requests fail."""


class Courier:
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
        self._connection = connection
        self._tokens = tokens
        self._retries = retries
        self._limit = AdaptiveLimit(concurrency)
        self._rate = rate
        self._judge = judge
        self._sleep = sleep
        self._health = Health(retries, clock)
        self._batcher: Batcher[Item] = Batcher(limits)
        self._expected = 0
        self._items: set[Item] = set()
        self._carriers: dict[asyncio.Task[None], list[Item]] = {}
        self._woken = False

    # items in, replies out

    @contextmanager
    def expecting(self) -> Generator[None]:
        """An item is on its way, and will be submitted at once after this: chunks that are not full wait for it."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1
            self._wake()

    async def submit(self, item: Item) -> Reply:
        """Send `item` with others and wait for its reply, without holding a slot.

        Raises:
            ConfigurationError: every request would fail like this one.
            ServiceUnavailable: the service was given up on.
            PhotoError: the photo cannot be sent, or is to blame for failed requests.
            Stopped: the run sends nothing more.
        """
        self._items.add(item)
        self._batcher.add(item)
        self._wake()
        try:
            return await item.reply
        except BaseException:
            await item.abandon()
            raise
        finally:
            self._items.discard(item)
            self._close_deserted()

    def withdraw(self, items: Iterable[Item]) -> None:
        """Send none of `items` that is not on board now; those that are will be answered."""
        for item in items:
            if not item.aboard:
                item.fail(Stopped())
        self._close_deserted()

    async def close(self) -> None:
        """Close every open request and reply to every item that nothing comes."""
        while self._carriers:
            for carrier in self._carriers:
                carrier.cancel()
            await asyncio.wait(self._carriers)
        for item in self._items:
            item.fail(SmartyError("the client was closed before the answer came"))

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
        while slot := self._limit.try_acquire():
            chunk = self._batcher.take(slots=self._limit.size, more=self._expected > 0)
            if chunk is None:
                slot.release()
                return
            carrier = asyncio.create_task(self._carry(chunk, slot), name="smarty_async carrier")
            self._carriers[carrier] = chunk
            carrier.add_done_callback(partial(self._carried, slot))

    def _carried(self, slot: Slot, carrier: asyncio.Task[None]) -> None:
        del self._carriers[carrier]
        slot.release()
        self._wake()

    def _close_deserted(self) -> None:
        """Close requests, and end waits for a next try, that nobody waits for any more."""
        for carrier, chunk in self._carriers.items():
            if all(item.gone for item in chunk) and any(item.reply.cancelled() or not item.aboard for item in chunk):
                carrier.cancel()

    # one chunk

    async def _carry(self, chunk: list[Item], slot: Slot) -> None:
        """Bring `chunk` to the service, again while its requests fail, holding `slot` while one is open."""
        try:
            async for attempt in self._policy(chunk):
                with attempt:
                    await slot.acquire()
                    try:
                        await self._ride([item for item in chunk if not item.gone])
                    finally:
                        slot.release()
                        self._wake()
        except RequestError as error:
            self._give_up([item for item in chunk if not item.gone], error)
        except SmartyError as error:
            for item in chunk:
                item.fail(error)

    async def _ride(self, chunk: list[Item]) -> None:
        """One request.

        Raises:
            RequestError: it failed, and is to be tried again for the items that have no answer.
            SmartyError: none like it can succeed.
        """
        chunk = _paid_for(chunk)
        if not chunk:
            return
        token = await self._token()
        if self._rate is not None:
            await self._rate.acquire()
        trip, lane = _Trip(chunk, token=token, epoch=self._limit.epoch), chunk[0].lane
        try:
            with trip.aboard():
                await self._connection.send(
                    [item.body for item in chunk],
                    lane.tasks,
                    token=token,
                    spool=lane.spool,
                    deliver=trip.deliver,
                    meter=lane.meter,
                )
        except BodyFailed as failure:
            chunk[failure.number].fail(failure.error)
            self._batcher.put_back(chunk)
        except RequestError as error:
            await self._obey(self._judge(error, trip.names), error, trip)
        else:
            self._answered(chunk)

    async def _token(self) -> str:
        try:
            return await self._tokens.get()
        except RequestError:
            self._health.fails()
            raise

    def _answered(self, chunk: list[Item]) -> None:
        self._health.works()
        self._limit.speed_up()
        chunk[0].lane.meter.notice = None
        for item in chunk:
            item.settle(ErrorInfo("unanswered", "the service's answer did not mention it"))

    async def _obey(self, verdict: Verdict, error: RequestError, trip: _Trip) -> None:  # noqa: C901, PLR0912 - one case a verdict
        """Do what `verdict` says about the request that failed with `error`."""
        temporary = isinstance(verdict, Retry | SlowDown)
        if trip.delivered or (error.enveloped and not temporary):
            self._health.works()
        elif temporary:
            self._health.fails()
        live = [item for item in trip.chunk if not item.gone]
        match verdict:
            case Retry() | SlowDown():
                if isinstance(verdict, SlowDown):
                    self._limit.slow_down(trip.epoch)
                for item in live:
                    item.settle(ErrorInfo("temporary", str(error)), only_partly=True)
                raise error
            case Drop(name):
                trip.names[name].fail(_permanent(error, trip.names[name]))
                self._batcher.put_back(live)
            case Split() | Shrink() if len(live) == 1:
                self._blame(live[0], error)
            case Split():
                self._halve(live)
            case Shrink():
                self._batcher.shrink(live)
                self._halve(live)
            case Refresh(stop):
                if any(item.renewed for item in live) or not await self._tokens.renew(trip.token):
                    raise stop
                for item in live:
                    item.renewed = True
                self._batcher.put_back(live)
            case Abort(stop):
                raise stop

    def _halve(self, chunk: list[Item]) -> None:
        middle = len(chunk) // 2
        for half in (chunk[:middle], chunk[middle:]):
            self._batcher.put_back(half)

    def _blame(self, item: Item, error: RequestError) -> None:
        """`item` was refused alone. If nothing was ever answered, the address is to blame instead."""
        if not self._health.answers and not error.enveloped:
            raise NotTheService(
                f"what answers at this address is not the service ({error}): check the address and the path",
                status=error.status,
            )
        item.fail(_permanent(error, item))

    def _give_up(self, chunk: list[Item], error: RequestError) -> None:
        """Requests with `chunk` failed too often: for an outage nobody is to blame, else look for who is."""
        if self._health.hopeless:
            seconds = self._health.down_for
            hint = "" if self._health.answers else "; is the address right?"
            gone = ServiceUnavailable(
                f"the service was given up on after {seconds:.0f} s: {error}{hint}",
                status=error.status,
                seconds=seconds,
            )
            for item in chunk:
                item.fail(gone)
        elif len(chunk) > 1:
            for item in chunk:
                item.suspect = True
            self._halve(chunk)
        else:
            for item in chunk:
                item.fail(PhotoFailed(f"its requests keep failing: {error}", type="temporary", attempts=item.rides))

    def _policy(self, chunk: list[Item]) -> AsyncRetrying:
        retries = self._retries
        if any(item.suspect for item in chunk):
            retries = msgspec.structs.replace(retries, max_attempts=_SUSPECT_ATTEMPTS)
        meter = chunk[0].lane.meter

        def before_sleep(state: RetryCallState) -> None:
            meter.retries += 1
            error = state.outcome and state.outcome.exception()
            seconds = state.next_action.sleep if state.next_action else 0.0
            meter.notice = f"{error}: next try in {seconds:.0f} s"

        return request_retrying(retries, self._health, sleep=self._sleep, before_sleep=before_sleep)


class _Trip:
    """One request of a chunk: who is on board, under which name, and who has been answered."""

    def __init__(self, chunk: list[Item], *, token: str, epoch: int) -> None:
        self.chunk = chunk
        self.names = {item_name(number): item for number, item in enumerate(chunk)}
        self.token = token
        self.epoch = epoch
        self.delivered = 0

    @contextmanager
    def aboard(self) -> Generator[None]:
        """While the request is open."""
        for item in self.chunk:
            item.rides += 1
            item.aboard = True
        try:
            yield
        finally:
            for item in self.chunk:
                item.aboard = False

    def deliver(self, arrived: Arrived) -> bool:
        """Give an answer to the item it names; False when none takes it."""
        item = self.names.get(arrived.answered.name)
        if item is None or not item.take(arrived):
            _log.warning("an answer that was not asked for, or came twice, was passed over")
            return False
        self.delivered += 1
        return True


def _paid_for(chunk: list[Item]) -> list[Item]:
    """The items there is money for; the others stay to be done."""
    if not chunk:
        return chunk
    granted = chunk[0].lane.purse.take(len(chunk))
    for item in chunk[granted:]:
        item.fail(Stopped())
    return chunk[:granted]


def _permanent(error: RequestError, item: Item) -> PhotoFailed:
    return PhotoFailed(str(error), type="permanent", attempts=item.rides)
