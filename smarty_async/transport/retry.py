"""How long to go on asking, and how long to wait in between: tenacity's policies for items and for requests."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from time import monotonic

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_random_exponential

from smarty_async.errors import RequestError
from smarty_async.options import Retries

__all__ = ["CircuitBreaker", "Sleep", "TemporaryAnswer", "item_retrying", "request_retrying", "retried"]

Sleep = Callable[[float], Awaitable[None]]
"""Waits some seconds; tests give one that does not."""


class TemporaryAnswer(Exception):
    """An item was answered with a temporary error, or not at all: ask again."""


async def retried(attempt: Callable[[], Awaitable[None]], policy: Callable[[], AsyncRetrying]) -> None:
    """Make an `attempt`, and others under `policy` if it fails; raises what the last one raises.

    The policy is made when the first attempt has failed, which few do: tenacity's objects for one of them are some
    sixty, in circles that hold all that the attempt held until the cycle collector comes.
    """
    began = monotonic()
    try:
        await attempt()
    except Exception as error:  # noqa: BLE001 - the policy decides
        first = [error]
    else:
        return
    async for again in policy():
        with again:
            if first:
                again.retry_state.start_time = began
                raise first.pop()
            await attempt()


_BUDGET = 10.0
"""Failures that may run up before requests are held back at half of it (gRPC's A6 retry throttling: `maxTokens`)."""
_REFUND = 0.1
"""What an answered request gives back (A6: `tokenRatio`)."""


class CircuitBreaker:
    """Whether the service works at all: what tells an outage from one photo's trouble.

    It also keeps the retry budget, so that trying again never multiplies the service's trouble: while it is
    `suspended`, one small request at a time finds out whether the service is back, and the first that is answered
    sets everything going again.
    """

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock
        self._failing_since: float | None = None
        self._budget = _BUDGET
        self.answers = 0

    def works(self) -> None:
        """A request was answered."""
        self.answers += 1
        self._failing_since = None
        self._budget = _BUDGET if self.suspended else min(_BUDGET, self._budget + _REFUND)

    def fails(self) -> None:
        """A request was not answered."""
        self._budget = max(0.0, self._budget - 1)
        if self._failing_since is None:
            self._failing_since = self._clock()

    @property
    def suspended(self) -> bool:
        """Whether the budget is spent: probe, and send nothing else."""
        return self._budget <= _BUDGET / 2

    @property
    def down_for(self) -> float:
        """Seconds since when every request has failed, 0 when the last one did not."""
        return 0.0 if self._failing_since is None else self._clock() - self._failing_since

    @property
    def patience(self) -> float:
        """Seconds of failing that are borne yet before the service is given up on."""
        patience = self._retries.give_up_after
        if not self.answers:
            patience = min(patience, self._retries.give_up_before_first)
        return max(0.0, patience - self.down_for)

    @property
    def hopeless(self) -> bool:
        """Whether it is time to give the service up."""
        return not self.patience


class _WaitAsAsked(wait_base):
    """Exponential backoff with full jitter, and no less than the service asks for: it may ask for 0 for ever.

    It never lasts beyond the moment when the service is given up on.
    """

    def __init__(self, retries: Retries, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._cap = retries.longest_retry_after
        self._backoff = wait_random_exponential(multiplier=retries.first_wait, max=retries.longest_wait)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after if isinstance(error, RequestError) else None
        wait = max(self._backoff(retry_state), min(asked or 0.0, self._cap))
        return min(wait, self._breaker.patience) if self._breaker.down_for else wait


_PHASE = random.random() * 1e6  # noqa: S311 - so that no two clients ask again at the same moments
"""Seconds."""


class _WaitTogether(wait_base):
    """Exponential backoff with full jitter: the time left to the next of moments that are as far apart as the backoff.

    So all that wait at the same time end at the same time, and photos that go again share requests.
    """

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock

    def __call__(self, retry_state: RetryCallState) -> float:
        apart = min(self._retries.longest_wait, self._retries.first_wait * 2.0 ** (retry_state.attempt_number - 1))
        return apart - (self._clock() + _PHASE) % apart if apart else 0.0


class _StopForRequest(stop_base):
    """Give a chunk up when its attempts are spent and others fare better, or when the service is given up on."""

    def __init__(self, retries: Retries, breaker: CircuitBreaker, others_fare_better: Callable[[], bool]) -> None:
        self._attempts = retries.max_attempts
        self._breaker = breaker
        self._others_fare_better = others_fare_better

    def __call__(self, retry_state: RetryCallState) -> bool:
        spent = retry_state.attempt_number >= self._attempts
        return self._breaker.hopeless or (spent and self._others_fare_better())


def item_retrying(retries: Retries, *, sleep: Sleep, clock: Callable[[], float] = monotonic) -> AsyncRetrying:
    """For one photo: again while its answer is temporary, within the bounds on attempts and time."""
    return AsyncRetrying(
        sleep=sleep,
        stop=stop_after_attempt(retries.max_attempts) | stop_after_delay(retries.max_seconds),
        wait=_WaitTogether(retries, clock),
        retry=retry_if_exception_type(TemporaryAnswer),
        reraise=True,
    )


def request_retrying(
    retries: Retries,
    breaker: CircuitBreaker,
    *,
    others_fare_better: Callable[[], bool],
    sleep: Sleep,
    before_sleep: Callable[[RetryCallState], None],
) -> AsyncRetrying:
    """For one chunk: again while its request fails, until the service is given up on, or the chunk.

    The attempts are bounded once `others_fare_better`: before that it may be an outage, and no photo's fault.
    """
    return AsyncRetrying(
        sleep=sleep,
        stop=_StopForRequest(retries, breaker, others_fare_better),
        wait=_WaitAsAsked(retries, breaker),
        retry=retry_if_exception_type(RequestError),
        before_sleep=before_sleep,
        reraise=True,
    )
