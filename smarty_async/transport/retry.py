"""When to try again, and when to stop: tenacity policies for items and for requests, and the circuit breaker."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from sys import float_info
from time import monotonic
from typing import TypeVarTuple

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_random_exponential

from smarty_async.errors import RequestError
from smarty_async.hooks import Hooks, RetryDetails
from smarty_async.options import Retries

__all__ = ["CircuitBreaker", "Sleep", "TemporaryAnswer", "item_retrying", "request_retrying", "retried"]

Args = TypeVarTuple("Args")

Sleep = Callable[[float], Awaitable[None]]
"""Waits for some seconds; tests pass one that returns at once."""

_RETRY_TOKENS = 10.0
"""Failures in a row that empty the retry budget; requests are held back at half of it (gRPC A6: `maxTokens`)."""
_TOKENS_PER_SUCCESS = 0.1
"""What an answered request returns to the retry budget (gRPC A6: `tokenRatio`)."""
_PHASE = random.random() * 1e6  # noqa: S311 - so that no two clients retry at the same moments
"""Offset of the moments at which items are retried, in seconds."""


class TemporaryAnswer(Exception):
    """An item was answered with a temporary error, or not at all: send it again."""


async def retried(
    attempt: Callable[[*Args], Awaitable[None]], policy: Callable[[], AsyncRetrying], *args: *Args
) -> None:
    """Make an `attempt` with `args`, and more under `policy` while it fails; raises what the last one raises.

    The policy is made only when the first attempt has failed, which few do: tenacity's objects for one policy are
    some sixty, in reference cycles that keep alive whatever the attempt held until the cycle collector runs.
    """
    try:
        await attempt(*args)
    except Exception as error:  # noqa: BLE001 - the policy decides
        first = [error]
    else:
        return
    async for again in policy():
        with again:
            if first:
                raise first.pop()
            await attempt(*args)


class CircuitBreaker:
    """Tells an outage of the service from the trouble of one photo.

    It holds the retry budget, so that retries never multiply the service's trouble: while it `is_open`, one request
    with one photo at a time finds out whether the service is back, and the first answer closes it.

    Events are numbered in order (`tick`). A photo is to blame for failed requests only when the service has meanwhile
    answered a request that was sent after the photo's first failure, and no other photo has begun to fail since:
    in an outage everything fails, so no photo is blamed for one.

    Attributes:
        answered: whether the service has given one good answer.
    """

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock
        self._failing_since: float | None = None
        self._idle_since: float | None = None
        self._tokens = _RETRY_TOKENS
        self._spoke_http = False
        self._events = 0
        self._last_success = 0  # start of the latest request that was answered whole
        self._last_suspicion = 0
        self.answered = False

    def tick(self) -> int:
        """The number of the next event."""
        self._events += 1
        return self._events

    def note_idle(self) -> None:
        """Nothing is sent, and nothing waits to be: whether the service fails is not known until that changes."""
        self._idle_since = self._clock()

    def begin(self) -> int:
        """A request begins; returns the event's number. Failures from before a long idle time count no more."""
        if self._idle_since is not None and self._clock() - self._idle_since > self._retries.longest_wait:
            self._failing_since = None
        self._idle_since = None
        return self.tick()

    def record_success(self, *, started: int | None) -> None:
        """A request was answered.

        Args:
            started: `tick` at its start; None when its answer broke off, which the service may have died of.
        """
        self.answered = True
        self._failing_since = None
        self._tokens = _RETRY_TOKENS if self.is_open else min(_RETRY_TOKENS, self._tokens + _TOKENS_PER_SUCCESS)
        self._last_success = max(self._last_success, started or 0)

    def record_failure(self, *, spoke_http: bool) -> None:
        """A request failed.

        Args:
            spoke_http: whether an HTTP server answered it.
        """
        self._spoke_http = self._spoke_http or spoke_http
        self._tokens = max(0.0, self._tokens - 1)
        if self._failing_since is None:
            self._failing_since = self._clock()

    def trip(self) -> None:
        """Spend half of the retry budget at once: from now on `is_open`."""
        self._tokens = min(self._tokens, _RETRY_TOKENS / 2)

    def suspect(self) -> int:
        """A photo's request failed for the first time; returns the event's number."""
        self._last_suspicion = self.tick()
        return self._last_suspicion

    def can_blame(self, suspected_at: int) -> bool:
        """Whether requests with a photo suspected at that event fail because of the photo, not of an outage."""
        return self._last_success > max(suspected_at, self._last_suspicion)

    @property
    def is_open(self) -> bool:
        """Whether the retry budget is spent: send one photo at a time, and nothing else."""
        return self._tokens <= _RETRY_TOKENS / 2

    @property
    def failing_for(self) -> float:
        """Seconds since the first of the failures that no answer has interrupted; 0 without failures."""
        return 0.0 if self._failing_since is None else self._clock() - self._failing_since

    def time_left(self, give_up_after: float) -> float:
        """Seconds of failing that are left until the service is given up on.

        Args:
            give_up_after: how long it may fail, in seconds.
        """
        limit = give_up_after
        if not (self.answered or self._spoke_http):  # then the address is probably wrong
            limit = min(limit, self._retries.give_up_before_first)
        return max(0.0, limit - self.failing_for)


class _WaitForRequest(wait_base):
    """Exponential backoff with full jitter, which never lasts beyond the moment at which the service is given up on."""

    def __init__(self, retries: Retries, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._give_up_after = retries.give_up_after
        self._backoff = wait_random_exponential(multiplier=retries.first_wait, max=retries.longest_wait)

    def __call__(self, retry_state: RetryCallState) -> float:
        wait = self._backoff(retry_state)
        return min(wait, self._breaker.time_left(self._give_up_after)) if self._breaker.failing_for else wait


class _WaitForItem(wait_base):
    """Exponential backoff with full jitter: the time left to the next of moments that are one backoff apart.

    Items that back off at the same time come back at the same time, and so share requests again.
    """

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock

    def __call__(self, retry_state: RetryCallState) -> float:
        doublings = min(retry_state.attempt_number, float_info.max_exp) - 1
        apart = min(self._retries.longest_wait, self._retries.first_wait * 2.0**doublings)
        return apart - (self._clock() + _PHASE) % apart if apart else 0.0


class _StopForRequest(stop_base):
    """Stop when the service is given up on, or when the attempts are spent and a photo is to blame."""

    def __init__(self, retries: Retries, breaker: CircuitBreaker, photo_to_blame: Callable[[], bool]) -> None:
        self._attempts = retries.max_attempts
        self._give_up_after = retries.give_up_after
        self._breaker = breaker
        self._photo_to_blame = photo_to_blame

    def __call__(self, retry_state: RetryCallState) -> bool:
        spent = retry_state.attempt_number >= self._attempts
        return not self._breaker.time_left(self._give_up_after) or (spent and self._photo_to_blame())


def item_retrying(
    retries: Retries, *, sleep: Sleep, hooks: Hooks, clock: Callable[[], float] = monotonic
) -> AsyncRetrying:
    """The policy for one photo: retry while its answer is temporary, within the limits on attempts and time.

    Args:
        retries: the limits.
        sleep: waits, in seconds.
        hooks: called before each retry.
        clock: monotonic seconds.
    """

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        seconds = state.next_action.sleep if state.next_action else 0.0
        hooks.on_retry(RetryDetails(1, state.attempt_number, seconds, str(error), scope="photo"))

    return AsyncRetrying(
        sleep=sleep,
        stop=stop_after_attempt(retries.max_attempts) | stop_after_delay(retries.max_seconds),
        wait=_WaitForItem(retries, clock),
        retry=retry_if_exception_type(TemporaryAnswer),
        before_sleep=before_sleep,
        reraise=True,
    )


def request_retrying(
    retries: Retries,
    breaker: CircuitBreaker,
    *,
    photo_to_blame: Callable[[], bool],
    sleep: Sleep,
    before_sleep: Callable[[RetryCallState], None],
) -> AsyncRetrying:
    """The policy for one chunk: retry while its request fails, until the service is given up on, or the chunk.

    The attempts are limited only when there is a `photo_to_blame`: otherwise it may be an outage.
    """
    return AsyncRetrying(
        sleep=sleep,
        stop=_StopForRequest(retries, breaker, photo_to_blame),
        wait=_WaitForRequest(retries, breaker),
        retry=retry_if_exception_type(RequestError),
        before_sleep=before_sleep,
        reraise=True,
    )
