"""How many requests may be open at once."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from smarty_async.transport.limiter import AdaptiveSemaphore, rate_limit


class Holder:
    """Takes permits, and returns them when reported to."""

    def __init__(self, limit: AdaptiveSemaphore) -> None:
        self.limit = limit
        self.held: list[str] = []
        self._let_go: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def take(self, *names: str) -> None:
        """Ask for a permit for each name, and give all that are free time to come."""
        for name in names:
            self._let_go[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._hold(name))
        await turns()

    async def give_back(self, *names: str) -> None:
        for name in names:
            self._let_go[name].set()
        await turns()

    def cancel(self, name: str) -> None:
        self._tasks[name].cancel()

    async def _hold(self, name: str) -> None:
        async with self.limit.permit():
            self.held.append(name)
            await self._let_go[name].wait()
        self.held.remove(name)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_there_are_as_many_permits_as_configured() -> None:
    limit = AdaptiveSemaphore(3)
    holder = Holder(limit)
    await holder.take("a", "b", "c", "d")
    assert (holder.held, limit.free) == (["a", "b", "c"], 0)
    await holder.give_back("a", "b", "c", "d")
    assert (holder.held, limit.free) == ([], 3)


async def test_a_permit_may_be_released_before_its_block_ends_and_only_once() -> None:
    limit = AdaptiveSemaphore(2)
    async with limit.permit() as permit:
        permit.release()
        permit.release()
        assert limit.free == 2
    assert limit.free == 2


def test_it_is_halved_once_for_all_requests_that_were_open_then() -> None:
    limit = AdaptiveSemaphore(8)
    epoch = limit.epoch
    for _ in range(8):
        limit.slow_down(epoch)
    assert limit.size == 4
    limit.slow_down(limit.epoch)
    assert limit.size == 2


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


async def test_permits_are_given_in_the_order_of_asking() -> None:
    holder = Holder(AdaptiveSemaphore(1))
    await holder.take("first", "second", "third")
    assert holder.held == ["first"]
    await holder.give_back("first")
    assert holder.held == ["second"]
    await holder.give_back("second")
    assert holder.held == ["third"]


async def test_a_cancelled_waiter_leaves_the_permit_to_others() -> None:
    limit = AdaptiveSemaphore(1)
    holder = Holder(limit)
    await holder.take("a", "b", "c")
    holder.cancel("b")
    await holder.give_back("a")
    assert holder.held == ["c"]
    await holder.give_back("c")
    assert limit.free == 1


async def test_a_permit_handed_over_at_the_moment_of_a_cancellation_is_returned() -> None:
    limit = AdaptiveSemaphore(1)
    holder = Holder(limit)
    async with limit.permit() as permit:
        await holder.take("a")
        permit.release()  # hands it over …
        holder.cancel("a")  # … to a task that is being cancelled
        await turns()
    assert (holder.held, limit.free) == ([], 1)


async def test_no_permit_is_given_until_fewer_are_held_than_the_new_size() -> None:
    limit = AdaptiveSemaphore(4)
    holder = Holder(limit)
    await holder.take("a", "b", "c", "d")
    limit.slow_down(limit.epoch)
    await holder.take("e")
    await holder.give_back("a", "b")
    assert "e" not in holder.held
    await holder.give_back("c")
    assert holder.held == ["d", "e"]


async def test_growth_wakes_those_that_wait() -> None:
    limit = AdaptiveSemaphore(2)
    limit.slow_down(limit.epoch)
    holder = Holder(limit)
    await holder.take("a", "b")
    assert holder.held == ["a"]
    limit.speed_up()
    await turns()
    assert holder.held == ["a", "b"]


async def test_a_free_permit_that_nobody_waits_for_is_reported() -> None:
    freed: list[int] = []
    limit = AdaptiveSemaphore(1, on_free=lambda: freed.append(1))
    holder = Holder(limit)
    await holder.take("a", "b")
    await holder.give_back("a")
    assert not freed
    await holder.give_back("b")
    assert freed == [1]


def test_a_rate_is_spaced_evenly() -> None:
    limit = rate_limit(4)
    assert (limit.max_rate, limit.time_period) == (1, 0.25)


async def test_a_bound_that_changes_is_followed_by_a_size_that_was_at_it() -> None:
    limit = AdaptiveSemaphore(8)
    limit.cap(2)
    assert limit.size == 2
    limit.cap(6)
    assert limit.size == 6
    limit.slow_down(limit.epoch)
    assert limit.size == 3
    limit.cap(8)
    assert limit.size == 3, "the service had asked for less"
    limit.cap(1)
    assert limit.size == 1


async def test_a_bound_that_grows_hands_permits_to_those_that_wait() -> None:
    limit = AdaptiveSemaphore(1)
    async with limit.permit():
        waiting = asyncio.create_task(hold_one(limit))
        await asyncio.sleep(0)
        assert not waiting.done()
        limit.cap(2)
        await waiting


async def hold_one(limit: AdaptiveSemaphore) -> None:
    async with limit.permit():
        pass


def test_a_bound_that_changes_while_it_is_suspended_counts_when_it_resumes() -> None:
    limit = AdaptiveSemaphore(8)
    limit.suspend()
    limit.cap(16)
    assert limit.size == 1
    limit.cap(4)
    limit.resume()
    assert limit.size == 2
    limit.cap(1)
    limit.suspend()
    limit.cap(6)
    assert limit.size == 1
    limit.resume()
    assert limit.size == 3
