"""How long photos rest before they go again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quick import retries
from tenacity import RetryCallState

from smarty_async.options import Retries
from smarty_async.transport.retrying import item_retrying


async def no_sleep(_: float) -> None:
    raise AssertionError


def rest(options: Retries, *, attempt: int, now: float) -> float:
    """Seconds, after that many attempts."""
    retrying = item_retrying(options, sleep=no_sleep, clock=lambda: now)
    state = RetryCallState(retrying, None, (), {})
    state.attempt_number = attempt
    assert callable(retrying.wait)
    return float(retrying.wait(state))


@given(now=st.floats(0, 1e6), later=st.floats(0, 0.99), attempt=st.integers(1, 9))
def test_whoever_rests_at_the_same_time_goes_again_at_the_same_time(now: float, later: float, attempt: int) -> None:
    options = Retries(first_wait=1.0, longest_wait=60.0)
    first = rest(options, attempt=attempt, now=now)
    second = rest(options, attempt=attempt, now=now + first * later)
    assert 0 < first <= min(60.0, 2.0 ** (attempt - 1))
    assert first * later + second == pytest.approx(first, abs=1e-6)


def test_rests_are_spread_over_all_of_the_backoff() -> None:
    rests = sorted(rest(Retries(first_wait=10.0), attempt=1, now=now * 0.1) for now in range(100))
    assert rests == pytest.approx([rests[0] + 0.1 * number for number in range(100)], abs=1e-6)


def test_there_may_be_none() -> None:
    assert rest(retries(first_wait=0), attempt=3, now=5.0) == 0
