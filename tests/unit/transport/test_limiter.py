"""How many requests may be open at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarty_async.transport.limiter import AdaptiveSemaphore, Permit, rate_limit


def slots_of(limit: AdaptiveSemaphore) -> list[Permit]:
    """Every slot that is free."""
    permits: list[Permit] = []
    while slot := limit.try_acquire():
        permits.append(slot)
    return permits


def test_there_are_as_many_slots_as_said() -> None:
    limit = AdaptiveSemaphore(3)
    permits = slots_of(limit)
    assert len(permits) == limit.size == 3
    permits[0].release()
    permits[0].release()  # does no harm
    assert len(slots_of(limit)) == 1


def test_it_is_halved_once_for_all_requests_that_were_open_then() -> None:
    limit = AdaptiveSemaphore(8)
    epoch = limit.epoch
    for _ in range(8):
        limit.slow_down(epoch)
    assert limit.size == 4
    limit.slow_down(limit.epoch)
    assert limit.size == 2


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=200), st.integers(1, 20))
def test_its_size_stays_between_one_and_the_most(good: list[bool], most: int) -> None:
    limit = AdaptiveSemaphore(most)
    for works in good:
        if works:
            limit.speed_up()
        else:
            limit.slow_down(limit.epoch)
        assert 1 <= limit.size <= most


def test_it_grows_by_one_in_a_round_of_good_answers() -> None:
    limit = AdaptiveSemaphore(8)
    limit.slow_down(limit.epoch)
    for _ in range(5):  # a little more than one answer a slot: each step divides by a size that grew meanwhile
        limit.speed_up()
    assert limit.size == 5


async def test_a_slot_given_back_is_taken_again_in_the_order_of_asking() -> None:
    limit = AdaptiveSemaphore(1)
    (first,) = slots_of(limit)
    first.release()
    (second,) = slots_of(limit)
    order: list[str] = []

    async def take(slot: Permit, name: str) -> None:
        await slot.acquire()
        order.append(name)

    second.release()
    other = slots_of(limit)
    waits = [asyncio.create_task(take(first, "first")), asyncio.create_task(take(second, "second"))]
    await asyncio.sleep(0)
    assert not order
    other[0].release()
    await waits[0]
    assert limit.try_acquire() is None  # the second has asked before
    first.release()
    await waits[1]
    assert order == ["first", "second"]


async def test_holding_it_already_takes_no_second_one() -> None:
    limit = AdaptiveSemaphore(1)
    (slot,) = slots_of(limit)
    await slot.acquire()
    slot.release()
    assert len(slots_of(limit)) == 1


async def test_who_stops_waiting_leaves_the_slot_to_others() -> None:
    limit = AdaptiveSemaphore(1)
    (slot,) = slots_of(limit)
    slot.release()
    (busy,) = slots_of(limit)
    waiting = asyncio.create_task(slot.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    busy.release()
    assert len(slots_of(limit)) == 1


async def test_a_slot_handed_over_in_the_moment_of_leaving_is_given_back() -> None:
    limit = AdaptiveSemaphore(1)
    (slot,) = slots_of(limit)
    slot.release()
    (busy,) = slots_of(limit)
    waiting = asyncio.create_task(slot.acquire())
    await asyncio.sleep(0)
    busy.release()  # hands it over …
    waiting.cancel()  # … to someone who is already leaving
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(slots_of(limit)) == 1


async def test_it_hands_out_nothing_new_until_it_is_under_its_new_size() -> None:
    limit = AdaptiveSemaphore(4)
    permits = slots_of(limit)
    limit.slow_down(limit.epoch)
    permits[0].release()
    permits[1].release()
    assert limit.try_acquire() is None
    permits[2].release()
    assert len(slots_of(limit)) == 1


async def test_growing_wakes_who_waits() -> None:
    limit = AdaptiveSemaphore(2)
    permits = slots_of(limit)
    limit.slow_down(limit.epoch)
    permits[0].release()
    waiting = asyncio.create_task(permits[0].acquire())
    await asyncio.sleep(0)
    assert not waiting.done()
    limit.speed_up()
    await waiting


def test_a_rate_is_spaced_evenly() -> None:
    limit = rate_limit(4)
    assert (limit.max_rate, limit.time_period) == (1, 0.25)
