"""How long items back off, and how attempts are counted."""

from __future__ import annotations

from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clients import no_wait, retries
from tenacity import AsyncRetrying, RetryCallState
from tenacity.stop import stop_base

from smarty_async.hooks import all_hooks
from smarty_async.options import Retries
from smarty_async.transport.retry import TemporaryAnswer, item_retrying, retried


async def no_sleep(_: float) -> None:
    raise AssertionError


def backoff_of(options: Retries, *, attempt: int, now: float) -> float:
    """Seconds, after that many attempts."""
    retrying = item_retrying(options, sleep=no_sleep, hooks=all_hooks(()), clock=lambda: now)
    state = RetryCallState(retrying, None, (), {})
    state.attempt_number = attempt
    assert callable(retrying.wait)
    return float(retrying.wait(state))


@given(now=st.floats(0, 1e6), later=st.floats(0, 0.99), attempt=st.integers(1, 9))
def test_items_that_back_off_together_come_back_together(now: float, later: float, attempt: int) -> None:
    options = Retries(first_wait=1.0, longest_wait=60.0)
    first = backoff_of(options, attempt=attempt, now=now)
    second = backoff_of(options, attempt=attempt, now=now + first * later)
    assert 0 < first <= min(60.0, 2.0 ** (attempt - 1))
    assert first * later + second == pytest.approx(first, abs=1e-6)


def test_waits_are_spread_over_the_whole_backoff() -> None:
    waits = sorted(backoff_of(Retries(first_wait=10.0), attempt=1, now=now * 0.1) for now in range(100))
    assert waits == pytest.approx([waits[0] + 0.1 * number for number in range(100)], abs=1e-6)


def test_the_backoff_may_be_zero() -> None:
    assert backoff_of(retries(first_wait=0), attempt=3, now=5.0) == 0


@pytest.mark.parametrize("attempt", [1_024, 1_025, 100_000])
def test_attempts_may_be_many(attempt: int) -> None:
    assert 0 < backoff_of(Retries(first_wait=5.0, longest_wait=60.0), attempt=attempt, now=5.0) <= 60


class Attempts:
    """Attempts that end as they are reported to, and policies that are counted."""

    def __init__(self, *ends: Exception | None) -> None:
        self.left = list(ends)
        self.policies = 0

    async def attempt(self) -> None:
        if error := self.left.pop(0):
            raise error

    def policy(self) -> AsyncRetrying:
        self.policies += 1
        return item_retrying(retries(max_attempts=3), sleep=no_wait, hooks=all_hooks(()))


async def test_no_policy_is_made_when_the_first_attempt_succeeds() -> None:
    attempts = Attempts(None)
    await retried(attempts.attempt, attempts.policy)
    assert (attempts.left, attempts.policies) == ([], 0)


async def test_the_first_attempt_counts_towards_the_limit() -> None:
    attempts = Attempts(*(TemporaryAnswer() for _ in range(4)))
    with pytest.raises(TemporaryAnswer):
        await retried(attempts.attempt, attempts.policy)
    assert (len(attempts.left), attempts.policies) == (1, 1)
    attempts = Attempts(TemporaryAnswer(), TemporaryAnswer(), None)
    await retried(attempts.attempt, attempts.policy)
    assert (attempts.left, attempts.policies) == ([], 1)


async def test_an_error_not_covered_by_the_policy_is_raised_at_once() -> None:
    for before in ((), (TemporaryAnswer(),)):
        attempts = Attempts(*before, ZeroDivisionError(), None)
        with pytest.raises(ZeroDivisionError):
            await retried(attempts.attempt, attempts.policy)
        assert attempts.left == [None]


async def test_time_is_measured_from_the_first_answer() -> None:
    starts: list[float] = []

    class Noting(stop_base):
        def __call__(self, retry_state: RetryCallState) -> bool:
            starts.append(retry_state.start_time)
            return True

    async def attempt() -> None:
        starts.append(monotonic())
        raise TemporaryAnswer

    with pytest.raises(TemporaryAnswer):
        await retried(attempt, lambda: AsyncRetrying(stop=Noting(), sleep=no_wait, reraise=True))
    first, counted_from = starts  # a request may wait long for its permit
    assert counted_from >= first
