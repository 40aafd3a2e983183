"""How long to go on asking, and how long to wait in between: tenacity's policies for items and for requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_random_exponential

from smarty_async.errors import RequestError
from smarty_async.options import Retries

__all__ = ["Health", "Sleep", "TemporaryAnswer", "item_retrying", "request_retrying"]

Sleep = Callable[[float], Awaitable[None]]
"""Waits some seconds; tests give one that does not."""


class TemporaryAnswer(Exception):
    """An item was answered with a temporary error, or not at all: ask again."""


class Health:
    """Whether the service works at all: what tells an outage from one photo's trouble."""

    def __init__(self, retries: Retries, clock: Callable[[], float]) -> None:
        self._retries = retries
        self._clock = clock
        self._failing_since: float | None = None
        self.answers = 0

    def works(self) -> None:
        """A request was answered."""
        self.answers += 1
        self._failing_since = None

    def fails(self) -> None:
        """A request was not answered."""
        if self._failing_since is None:
            self._failing_since = self._clock()

    @property
    def down_for(self) -> float:
        """Seconds since when every request has failed, 0 when the last one did not."""
        return 0.0 if self._failing_since is None else self._clock() - self._failing_since

    @property
    def hopeless(self) -> bool:
        """Whether it is time to give the service up."""
        patience = self._retries.give_up_after
        if not self.answers:
            patience = min(patience, self._retries.give_up_before_first)
        return self.down_for >= patience


class _WaitAsAsked(wait_base):
    """What the service asks for, else exponential backoff with full jitter."""

    def __init__(self, retries: Retries) -> None:
        self._cap = retries.longest_retry_after
        self._backoff = wait_random_exponential(multiplier=retries.first_wait, max=retries.longest_wait)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, RequestError) and error.retry_after is not None:
            return min(error.retry_after, self._cap)
        return self._backoff(retry_state)


class _StopForRequest(stop_base):
    """Give a chunk up when its attempts are spent and others fare better, or when the service is given up on."""

    def __init__(self, retries: Retries, health: Health) -> None:
        self._attempts = retries.max_attempts
        self._health = health
        self._answers_before = health.answers

    def __call__(self, retry_state: RetryCallState) -> bool:
        spent = retry_state.attempt_number >= self._attempts
        return self._health.hopeless or (spent and self._health.answers > self._answers_before)


def item_retrying(retries: Retries, *, sleep: Sleep) -> AsyncRetrying:
    """For one photo: again while its answer is temporary, within the bounds on attempts and time."""
    return AsyncRetrying(
        sleep=sleep,
        stop=stop_after_attempt(retries.max_attempts) | stop_after_delay(retries.max_seconds),
        wait=wait_random_exponential(multiplier=retries.first_wait, max=retries.longest_wait),
        retry=retry_if_exception_type(TemporaryAnswer),
        reraise=True,
    )


def request_retrying(
    retries: Retries, health: Health, *, sleep: Sleep, before_sleep: Callable[[RetryCallState], None]
) -> AsyncRetrying:
    """For one chunk: again while its request fails, until the service is given up on."""
    return AsyncRetrying(
        sleep=sleep,
        stop=_StopForRequest(retries, health),
        wait=_WaitAsAsked(retries),
        retry=retry_if_exception_type(RequestError),
        before_sleep=before_sleep,
        reraise=True,
    )
