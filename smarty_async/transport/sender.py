"""Sends one chunk: its requests, and what the verdicts on them say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from functools import partial
from http import HTTPStatus

import msgspec
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState

from smarty_async.errors import (
    ConfigurationError,
    NotTheService,
    PhotoFailed,
    RequestError,
    RequestRefused,
    ServiceUnavailable,
    StoreError,
)
from smarty_async.hooks import RetryDetails
from smarty_async.options import ModeSpec, Retries
from smarty_async.results import ErrorInfo
from smarty_async.transport.answer_check import AnswerCheck
from smarty_async.transport.batcher import Batcher
from smarty_async.transport.body import BodyFailed
from smarty_async.transport.connection import Connection
from smarty_async.transport.item import Item, Stopped, pending, reserve_budget
from smarty_async.transport.limiter import AdaptiveSemaphore, Permit
from smarty_async.transport.request import ChunkRequest
from smarty_async.transport.retry import CircuitBreaker, Sleep, request_retrying, retried
from smarty_async.transport.tokens import Tokens
from smarty_async.wire.verdict import Abort, Drop, Judge, Refresh, Retry, Shrink, SlowDown, Split, Verdict

__all__ = ["ChunkSender"]

_log = logging.getLogger("smarty_async")

_SUSPECT_ATTEMPTS = 2
"""Attempts for each half of a chunk on the way to the photo that makes its requests fail. Fewer than for others:
there are log2(48) halvings, and each attempt may be paid for."""


class ChunkSender:
    """Sends chunks, each with its retries; items that have to go in another chunk return to the batcher.

    Its arguments are those of `Dispatcher`, but for `batcher`, which gets back items that are to be sent in another
    chunk, and `limit`, which says how many requests may be open.

    Attributes:
        request_seconds: duration of the last answered request.
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
        self._answer_check = AnswerCheck(self._breaker)
        self._clock = clock
        self._requests = self._open = 0
        self.request_seconds = 0.0
        self._accepted: str | None = None  # the last token that was
        self._answered_specs: set[tuple[ModeSpec, ...]] = set()
        self._largest_answered = 0  # bytes of a request
        self._trials = 0
        self._resume_at = 0.0  # nothing is sent before: the service has asked for it

    def note_idle(self) -> None:
        """Nothing is sent, and nothing waits to be."""
        self._breaker.note_idle()

    async def send(self, chunk: Sequence[Item]) -> None:
        """Send `chunk`, again while its requests fail, holding a permit while one is open.

        Raises:
            SmartyError: no request like this one can succeed; none of the photos is to blame.
        """
        try:
            await retried(partial(self._attempt, chunk), partial(self._policy, chunk, self._retries_for(chunk)))
        except RequestError as error:
            self._give_up(pending(chunk), error)

    def check(self, item: Item) -> None:
        """Refuse to send an item again that the service answered with outputs that cannot be used.

        Raises:
            ServiceUnavailable: its outputs, and those of all others, were unusable.
        """
        self._answer_check.check_item(item)

    # one request

    async def _attempt(self, chunk: Sequence[Item]) -> None:
        """Send one request.

        Raises:
            RequestError: it failed, and is to be retried for the items that have no answer.
            SmartyError: none like it can succeed.
        """
        async with self._limit.permit() as permit:
            await self._pause(chunk)
            token = await self._token()
            if self._rate is not None:
                await self._rate.acquire()
            async with _disk_space(chunk):
                waiting = pending(chunk)  # only now: items that were cancelled meanwhile are not paid for
                items = reserve_budget(self._trial(waiting) if self._breaker.is_open else waiting)
                if not items:
                    for item in waiting:  # all of them, not the one on trial alone: the budget is empty
                        item.fail(Stopped())
                    return
                await self._exchange(self._request(items, token, permit))
                self._halve([item for item in waiting if item not in items])

    def _request(self, items: list[Item], token: str, permit: Permit) -> ChunkRequest:
        self._requests += 1
        return ChunkRequest(
            items,
            number=self._requests,
            token=token,
            epoch=self._limit.epoch,
            started=self._breaker.begin(),
            permits=self._limit.size,
            clock=self._clock,
            on_usable=self._answer_check.note_usable,
            on_complete=partial(self._answer_check.release, permit),
        )

    def _trial(self, chunk: list[Item]) -> list[Item]:
        """One photo to find out with whether the service is back; another one each time, as it may be to blame."""
        self._trials += 1
        return chunk[self._trials % len(chunk) :][:1] if chunk else []

    async def _exchange(self, request: ChunkRequest) -> None:
        began = self._clock()
        self._open += 1
        try:
            try:
                async with request.in_flight():
                    await (request.sender or self._connection).send(request)
            finally:
                self._open -= 1
        except BodyFailed as failure:
            if isinstance(failure.error, StoreError):
                raise failure.error from None
            request.items[failure.number].fail(failure.error)
            self._batcher.put_back(request.items)
        except Stopped:
            for item in request.items:
                item.fail(Stopped())
        except RequestError as error:
            self._answer_check.check_readable(error, request, others_open=self._open > 0)
            await self._apply(self._verdict(error, request), error, request)
        else:
            self.request_seconds = self._clock() - began
            self._answered(request)

    def _answered(self, request: ChunkRequest) -> None:
        self._record_success(request.token, started=request.started)
        self._largest_answered = max(self._largest_answered, request.size)
        if request.received:
            self._answered_specs.add(request.specs)
        self._limit.speed_up()
        for item in request.items:
            item.finish(ErrorInfo("unanswered", "the service's answer did not mention it"))
        self._answer_check.check_outputs(request)

    async def _pause(self, chunk: Sequence[Item]) -> None:
        """Wait as long as the service has asked for with `Retry-After`, or until it is given up on."""
        waited_until = 0.0
        while waited_until < self._resume_at:  # another answer may have put it off
            waited_until = self._resume_at
            seconds = waited_until - self._clock()
            if self._breaker.failing_for:
                seconds = min(seconds, self._breaker.time_left(self._retries_for(chunk).give_up_after))
            if seconds > 0:
                await self._sleep(seconds)

    # the token

    async def _token(self) -> str:
        with self._authorization_outages():
            return await self._tokens.get()

    async def _refresh(self, waiting: list[Item], stale: str, stop: ConfigurationError) -> None:
        """Send `waiting` again with another token; else raise `stop`.

        A token that was never accepted is refreshed once; one that was, and so has expired, as often as anything is
        tried.
        """
        most = self._retries.max_attempts if stale == self._accepted else 1
        if any(item.token_refreshes >= most for item in waiting):
            raise stop
        with self._authorization_outages():
            if not await self._tokens.renew(stale):
                raise stop
        _log.info("the access token was refreshed")
        for item in waiting:
            item.token_refreshes += 1
        self._batcher.put_back(waiting)

    @contextmanager
    def _authorization_outages(self) -> Generator[None]:
        """An outage of the authorization server is an outage of the service: no photo is to blame."""
        try:
            yield
        except RequestError as error:
            self._record_failure(error)
            raise

    # verdicts

    def _verdict(self, error: RequestError, request: ChunkRequest) -> Verdict:
        """The judge's verdict, unless it faults a photo, the token or the options for what is not the service's answer.

        Options that were answered before are not refused: a photo is, and is looked for.

        An answer without the service's envelope comes from a front end: a proxy, an edge, a deployment. After a good
        answer it is an outage of the way to the service; before the first one the address is probably wrong, unless
        other requests are open: one of them may be answered. A 413 is believed to anyone, also before the first answer:
        it is about the request's size. Where a request of this size was answered before, only after all attempts.
        """
        verdict = self._judge(error, request.names)
        refuses_options = isinstance(verdict, Abort) and isinstance(verdict.error, RequestRefused)
        if refuses_options and request.specs in self._answered_specs:
            verdict = Split()
        refused = error.status is not None and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        is_doubtful = request.size <= self._largest_answered and request.items[0].attempts < self._retries.max_attempts
        too_large = isinstance(verdict, Shrink) and not is_doubtful
        if error.enveloped or not refused or too_large or isinstance(verdict, Retry | SlowDown):
            return verdict
        if self._breaker.answered or self._open:
            return SlowDown()
        known = isinstance(verdict, Abort) and isinstance(verdict.error, NotTheService)
        return verdict if known else Abort(_not_the_service(error))

    async def _apply(self, verdict: Verdict, error: RequestError, request: ChunkRequest) -> None:
        """Do what `verdict` says about the request that failed with `error`."""
        self._record(verdict, error, request)
        waiting = pending(request.items)
        match verdict:
            case Retry() | SlowDown():
                asked = min(error.retry_after or 0.0, self._retries.longest_retry_after)
                self._resume_at = max(self._resume_at, self._clock() + asked)
                if isinstance(verdict, SlowDown):
                    self._slow_down(request, error)
                self._retry(waiting, error)
            case Drop(name):
                request.names[name].fail(_permanent(error, request.names[name]))
                self._batcher.put_back(waiting)
            case Split() | Shrink() if len(request.items) == 1:
                for item in waiting:
                    item.fail(_permanent(error, item))
            case Split() | Shrink() if len(waiting) <= 1:  # the others may be to blame: it is sent alone
                self._batcher.put_back(waiting)
            case Split():
                self._halve(waiting)
            case Shrink():
                self._batcher.shrink(waiting)
            case Refresh(stop):
                await self._refresh(waiting, request.token, stop)
            case _:
                raise verdict.error

    def _record(self, verdict: Verdict, error: RequestError, request: ChunkRequest) -> None:
        """Tell the circuit breaker what a failed request shows of the service."""
        temporary = isinstance(verdict, Retry | SlowDown)
        if error.enveloped and not temporary and not isinstance(verdict, Refresh):
            self._record_success(request.token, started=request.started)
        elif request.received:
            self._record_success(request.token, started=None)
        elif temporary:
            self._record_failure(error)

    def _slow_down(self, request: ChunkRequest, error: RequestError) -> None:
        before = self._limit.size
        self._limit.slow_down(request.epoch)
        if (size := self._limit.size) < before:
            _log.info("slowing down to %d requests at once: %s", size, error, extra={"permits": size})

    def _record_success(self, token: str, *, started: int | None) -> None:
        self._accepted = token
        if self._breaker.is_open:
            seconds = self._breaker.failing_for
            _log.info("the service is back after %.0f s", seconds, extra={"failing_for": seconds})
        self._breaker.record_success(started=started)
        self._limit.resume()

    def _record_failure(self, error: RequestError) -> None:
        was_open = self._breaker.is_open
        self._breaker.record_failure(spoke_http=error.enveloped or error.status is not None)
        if self._breaker.is_open:
            self._limit.suspend()
            if not was_open:
                _log.info("the service is down, probing with one photo at a time: %s", error)

    def _retry(self, waiting: list[Item], error: RequestError) -> None:
        """Raise `error`, so that the request is retried, if anyone still waits for all of it and may be paid for."""
        for item in waiting:
            item.finish(ErrorInfo("temporary", str(error)), only_partly=True)
            if item.group.submitter.budget.empty:
                item.fail(Stopped())
        waiting = pending(waiting)
        if any(item.suspected_at is None for item in waiting):
            event = self._breaker.suspect()
            for item in waiting:
                item.suspected_at = event if item.suspected_at is None else item.suspected_at
        if waiting:
            raise error

    def _halve(self, chunk: list[Item]) -> None:
        middle = len(chunk) // 2
        for half in (chunk[:middle], chunk[middle:]):
            self._batcher.put_back(half)

    def _give_up(self, chunk: list[Item], error: RequestError) -> None:
        """Requests with `chunk` failed too often. In an outage no photo is to blame, else find the one that is."""
        if not self._breaker.time_left(self._retries_for(chunk).give_up_after):
            seconds = self._breaker.failing_for
            hint = "" if self._breaker.answered or error.enveloped else "; is the address right?"
            raise ServiceUnavailable(
                f"gave up on the service after {seconds:.0f} s: {error}{hint}", status=error.status, seconds=seconds
            )
        if len(chunk) > 1:
            self._halve(chunk)  # until the photo to blame, if there is one, is alone
        else:
            for item in chunk:
                item.fail(PhotoFailed(f"its requests keep failing: {error}", type="temporary", attempts=item.attempts))

    # retries

    def _retries_for(self, chunk: Sequence[Item]) -> Retries:
        retries = self._retries
        limit = chunk[0].group.submitter.give_up_after if chunk else None
        if limit is not None:
            retries = msgspec.structs.replace(retries, give_up_after=min(limit, retries.give_up_after))
        if len(chunk) > 1 and [item for item in chunk if item.suspected_at is not None]:
            retries = msgspec.structs.replace(retries, max_attempts=_SUSPECT_ATTEMPTS)
        return retries

    def _policy(self, chunk: Sequence[Item], retries: Retries) -> AsyncRetrying:
        def before_sleep(state: RetryCallState) -> None:
            error = state.outcome and state.outcome.exception()
            chunk[0].group.submitter.hooks.on_retry(
                RetryDetails(
                    images=len(pending(chunk)),
                    attempt=state.attempt_number,
                    wait=max(state.next_action.sleep if state.next_action else 0.0, self._resume_at - self._clock()),
                    error=str(error),
                    failing_for=self._breaker.failing_for,
                    giving_up_in=self._breaker.time_left(retries.give_up_after) if self._breaker.is_open else None,
                )
            )

        def photo_to_blame() -> bool:
            suspicions = [item.suspected_at for item in pending(chunk) if item.suspected_at is not None]
            return bool(suspicions) and self._breaker.can_blame(min(suspicions))

        return request_retrying(
            retries, self._breaker, photo_to_blame=photo_to_blame, sleep=self._sleep, before_sleep=before_sleep
        )


def _disk_space(chunk: Sequence[Item]) -> AbstractAsyncContextManager[None]:
    """Reserves disk space for the answer to a request while the block lasts, where requests are recorded."""
    group = chunk[0].group
    submitter = group.submitter
    if submitter.request_log is None:
        return nullcontext()
    sizes = [item.size for item in pending(chunk)]
    return submitter.disk_space.reserved(
        group.specs, images=len(sizes), sent=sum(sizes), check=submitter.request_log.check_disk_space
    )


def _permanent(error: RequestError, item: Item) -> PhotoFailed:
    return PhotoFailed(str(error), type="permanent", attempts=item.attempts)


def _not_the_service(error: RequestError) -> NotTheService:
    return NotTheService(
        f"what answers at this address is not the service ({error}): check the address and the path",
        status=error.status,
    )
