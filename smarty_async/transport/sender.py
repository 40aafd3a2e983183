"""One chunk to the service: its requests, and what the verdicts on them say."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState

from smarty_async.errors import ConfigurationError, NotTheService, PhotoFailed, RequestError, ServiceUnavailable
from smarty_async.options import Retries
from smarty_async.results import ErrorInfo
from smarty_async.transport.batcher import Batcher
from smarty_async.transport.body import BodyFailed
from smarty_async.transport.connection import Connection
from smarty_async.transport.item import Item, Stopped
from smarty_async.transport.limiter import AdaptiveSemaphore, Permit
from smarty_async.transport.request import ChunkRequest, live, paid_for
from smarty_async.transport.retry import CircuitBreaker, Sleep, request_retrying, retried
from smarty_async.transport.tokens import Tokens
from smarty_async.wire.verdict import Drop, Judge, Refresh, Retry, Shrink, SlowDown, Split, Verdict

__all__ = ["ChunkSender"]

_SUSPECT_ATTEMPTS = 2
"""How often each half is tried on the way to the photo that makes requests fail."""


class ChunkSender:
    """Carries chunks, each with its tries; what a verdict parts or sends on goes back to the batcher.

    Args:
        connection: to the service.
        tokens: where the token comes from.
        batcher: what gets back the items that are to ride in another chunk.
        limit: learns how much the service bears.
        retries: how long to go on.
        rate: how often a request may start; None for no limit.
        judge: what a failure means.
        sleep: waits, in seconds.
        clock: monotonic seconds.

    Attributes:
        request_seconds: what the last one that was answered took.
    """

    def __init__(
        self,
        connection: Connection,
        tokens: Tokens,
        *,
        batcher: Batcher[Item],
        limit: AdaptiveSemaphore,
        retries: Retries,
        rate: AsyncLimiter | None,
        judge: Judge,
        sleep: Sleep,
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._tokens = tokens
        self._batcher = batcher
        self._limit = limit
        self._retries = retries
        self._rate = rate
        self._judge = judge
        self._sleep = sleep
        self._breaker = CircuitBreaker(retries, clock)
        self._clock = clock
        self.request_seconds = 0.0
        self._accepted: str | None = None  # the last token that did
        self._probes = 0

    async def carry(self, chunk: Sequence[Item], permit: Permit, *, freed: Callable[[], None]) -> None:
        """Bring `chunk` to the service, again while its requests fail, holding `permit` while one is open.

        `freed` is called whenever the slot is given back: as soon as an answer has come, before it is all on the disk.

        Raises:
            SmartyError: no request like this one can succeed; it is about none of the photos.
        """

        def land() -> None:
            permit.release()
            freed()

        async def attempt() -> None:
            await permit.acquire()
            try:
                await self._ride(chunk, land)
            finally:
                land()

        try:
            await retried(attempt, partial(self._policy, chunk, self._retries_for(chunk)))
        except RequestError as error:
            self._give_up(live(chunk), error)

    async def _ride(self, chunk: Sequence[Item], land: Callable[[], None]) -> None:
        """One request.

        Raises:
            RequestError: it failed, and is to be tried again for the items that have no answer.
            SmartyError: none like it can succeed.
        """
        token = await self._token()
        if self._rate is not None:
            await self._rate.acquire()
        rest = live(chunk)  # only now: whoever left meanwhile is not paid for
        items = paid_for(self._probe_of(rest) if self._breaker.suspended else rest)
        if not items:
            for item in rest:  # not the probe alone: there is no money for any of them
                item.fail(Stopped())
            return
        request, began = ChunkRequest(items, token=token, epoch=self._limit.epoch), self._clock()
        try:
            await self._send(request, land)
        except BodyFailed as failure:
            items[failure.number].fail(failure.error)
            self._batcher.put_back(items)
        except RequestError as error:
            await self._obey(self._judge(error, request.names), error, request)
        else:
            self.request_seconds = self._clock() - began
            self._answered(items, token)
        if len(items) < len(rest):
            self._halve([item for item in rest if item not in items])

    def _probe_of(self, chunk: list[Item]) -> list[Item]:
        """One photo to find out with whether the service is back, another one each time: it may be what it dies of."""
        self._probes += 1
        return chunk[self._probes % len(chunk) :][:1] if chunk else []

    async def _send(self, request: ChunkRequest, land: Callable[[], None]) -> None:
        group = request.items[0].group
        with request.in_flight():
            await self._connection.send(
                [item.body for item in request.items],
                group.specs,
                token=request.token,
                sink=group.sink,
                depart=request.depart,
                deliver=request.deliver,
                land=land,
                progress=group.progress,
            )

    async def _token(self) -> str:
        with self._outages():
            return await self._tokens.get()

    async def _renew_for(self, waiting: list[Item], stale: str, stop: ConfigurationError) -> None:
        """Let `waiting` go again with another token; else raise `stop`.

        Once for a token that never worked; for one that did, and so has expired, as often as anything is tried.
        """
        most = self._retries.max_attempts if stale == self._accepted else 1
        if any(item.token_refreshes >= most for item in waiting):
            raise stop
        with self._outages():
            if not await self._tokens.renew(stale):
                raise stop
        for item in waiting:
            item.token_refreshes += 1
        self._batcher.put_back(waiting)

    @contextmanager
    def _outages(self) -> Generator[None]:
        """An authorization server that is down is an outage too: no photo's fault."""
        try:
            yield
        except RequestError:
            self._fails()
            raise

    def _works(self, token: str) -> None:
        self._accepted = token
        self._breaker.works()
        self._limit.resume()

    def _fails(self) -> None:
        self._breaker.fails()
        if self._breaker.suspended:
            self._limit.suspend()

    def _answered(self, items: list[Item], token: str) -> None:
        self._works(token)
        self._limit.speed_up()
        items[0].group.progress.status_message = None
        for item in items:
            item.settle(ErrorInfo("unanswered", "the service's answer did not mention it"))

    async def _obey(self, verdict: Verdict, error: RequestError, request: ChunkRequest) -> None:
        """Do what `verdict` says about the request that failed with `error`."""
        self._note_health(verdict, error, request)
        waiting = live(request.items)
        match verdict:
            case Retry() | SlowDown():
                if isinstance(verdict, SlowDown):
                    self._limit.slow_down(request.epoch)
                self._try_again(waiting, error)
            case Drop(name):
                request.names[name].fail(_permanent(error, request.names[name]))
                self._batcher.put_back(waiting)
            case Split() | Shrink() if len(waiting) == 1:
                self._blame(waiting[0], error)
            case Split():
                self._halve(waiting)
            case Shrink():
                self._batcher.shrink(waiting)
            case Refresh(stop):
                await self._renew_for(waiting, request.token, stop)
            case _:
                raise verdict.error

    def _note_health(self, verdict: Verdict, error: RequestError, request: ChunkRequest) -> None:
        temporary = isinstance(verdict, Retry | SlowDown)
        if request.delivered or (error.enveloped and not isinstance(verdict, Retry | SlowDown | Refresh)):
            self._works(request.token)
        elif temporary:
            self._fails()

    def _try_again(self, waiting: list[Item], error: RequestError) -> None:
        """Let the request be tried again for whoever still waits for all of it, unless its run has ended."""
        for item in waiting:
            if item.suspected_at is None:
                item.suspected_at = self._breaker.answers
            item.settle(ErrorInfo("temporary", str(error)), only_partly=True)
            if item.group.budget.empty:
                item.fail(Stopped())
        if live(waiting):
            raise error

    def _halve(self, chunk: list[Item]) -> None:
        middle = len(chunk) // 2
        for half in (chunk[:middle], chunk[middle:]):
            self._batcher.put_back(half)

    def _blame(self, item: Item, error: RequestError) -> None:
        """`item` was refused alone. If nothing was ever answered, the address is to blame instead."""
        if not self._breaker.answers and not error.enveloped:
            raise NotTheService(
                f"what answers at this address is not the service ({error}): check the address and the path",
                status=error.status,
            )
        item.fail(_permanent(error, item))

    def _give_up(self, chunk: list[Item], error: RequestError) -> None:
        """Requests with `chunk` failed too often: for an outage nobody is to blame, else look for who is."""
        if self._breaker.hopeless:
            seconds = self._breaker.down_for
            hint = "" if self._breaker.answers else "; is the address right?"
            raise ServiceUnavailable(
                f"the service was given up on after {seconds:.0f} s: {error}{hint}",
                status=error.status,
                seconds=seconds,
            )
        if len(chunk) > 1:
            self._halve(chunk)  # that finds who is to blame, if anyone is
        else:
            for item in chunk:
                item.fail(PhotoFailed(f"its requests keep failing: {error}", type="temporary", attempts=item.attempts))

    def _retries_for(self, chunk: Sequence[Item]) -> Retries:
        if len(chunk) > 1 and any(item.suspected_at is not None for item in chunk):
            return msgspec.structs.replace(self._retries, max_attempts=_SUSPECT_ATTEMPTS)
        return self._retries

    def _policy(self, chunk: Sequence[Item], retries: Retries) -> AsyncRetrying:
        progress = chunk[0].group.progress

        def before_sleep(state: RetryCallState) -> None:
            progress.retries += 1
            error = state.outcome and state.outcome.exception()
            seconds = state.next_action.sleep if state.next_action else 0.0
            progress.status_message = self._notice(str(error), seconds)

        def others_fare_better() -> bool:
            doubts = [item.suspected_at for item in live(chunk) if item.suspected_at is not None]
            return bool(doubts) and self._breaker.answers > min(doubts)

        return request_retrying(
            retries, self._breaker, others_fare_better=others_fare_better, sleep=self._sleep, before_sleep=before_sleep
        )

    def _notice(self, error: str, seconds: float) -> str:
        if not self._breaker.suspended:
            return f"{error}: next try in {seconds:.0f} s"
        return (
            f"the service has been down for {self._breaker.down_for:.0f} s ({error}): next try in {seconds:.0f} s, "
            f"giving up in {self._breaker.patience:.0f} s"
        )


def _permanent(error: RequestError, item: Item) -> PhotoFailed:
    return PhotoFailed(str(error), type="permanent", attempts=item.attempts)
