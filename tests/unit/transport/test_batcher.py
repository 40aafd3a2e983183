"""Which photos ride together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from smarty_async.options import Limits
from smarty_async.transport.batcher import Batcher
from smarty_async.wire.multipart import FRAME_BYTES, TAIL_BYTES


@dataclass(eq=False)
class Batchable:
    size: int = 1000
    group: str = "improve"
    gone: bool = False


def batcher(*, images: int = 48, max_bytes: int = 30_000_000) -> Batcher[Batchable]:
    return Batcher(Limits(max_images=images, max_request_bytes=max_bytes))


def filled(count: int, *, size: int = 1000, images: int = 48, max_bytes: int = 30_000_000) -> Batcher[Batchable]:
    made = batcher(images=images, max_bytes=max_bytes)
    for _ in range(count):
        made.add(Batchable(size))
    return made


def all_of(made: Batcher[Batchable], *, permits: int, more: bool = False) -> list[list[Batchable]]:
    chunks: list[list[Batchable]] = []
    while chunk := made.take(permits=permits, more=more, coming=None if more else 0):
        chunks.append(chunk)
    return chunks


def weight(chunk: list[Batchable]) -> int:
    return TAIL_BYTES + sum(rider.size + FRAME_BYTES for rider in chunk)


class Batching(RuleBasedStateMachine):
    """Whatever is added, put back, shrunk or leaves: every rider goes out once each time, within the limits."""

    IMAGES = 5
    BYTES = 20_000

    def __init__(self) -> None:
        super().__init__()
        self.batcher = batcher(images=self.IMAGES, max_bytes=self.BYTES)
        self.bound = self.BYTES
        self.waiting: list[Batchable] = []
        self.formed: list[list[Batchable]] = []
        self.out: list[list[Batchable]] = []

    @rule(
        sizes=st.lists(st.integers(0, 30_000) | st.integers(0, 3000), min_size=1, max_size=12),
        group=st.sampled_from("ab"),
    )
    def add(self, sizes: list[int], group: str) -> None:
        for size in sizes:
            rider = Batchable(size, group)
            self.batcher.add(rider)
            self.waiting.append(rider)

    @rule(permits=st.integers(1, 6), more=st.booleans(), coming=st.none() | st.integers(0, 20))
    def take(self, permits: int, more: bool, coming: int | None) -> None:  # noqa: FBT001
        chunk = self.batcher.take(permits=permits, more=more, coming=coming)
        if chunk is None:
            assert not any(not rider.gone for formed in self.formed for rider in formed)
            assert more or not any(not rider.gone for rider in self.waiting)
            self.formed.clear()
            return
        assert chunk
        assert len({rider.group for rider in chunk}) == 1
        assert not any(rider.gone for rider in chunk)
        self.formed = [formed for formed in self.formed if any(not rider.gone for rider in formed)]
        if self.formed:
            assert chunk == [rider for rider in self.formed.pop(0) if not rider.gone]
        else:
            assert len(chunk) <= self.IMAGES
            assert len(chunk) == 1 or weight(chunk) <= self.bound
            for rider in chunk:
                self.waiting.remove(rider)  # fails when it went out already
        self.out.append(chunk)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 1000))
    def put_back(self, which: int) -> None:
        chunk = self.out.pop(which % len(self.out))
        self.batcher.put_back(chunk)
        self.formed.append(chunk)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 1000))
    def shrink(self, which: int) -> None:
        chunk = self.out.pop(which % len(self.out))
        self.batcher.shrink(chunk)
        self.bound = min(self.bound, (weight(chunk) - TAIL_BYTES) // 2 + TAIL_BYTES)
        self.waiting += chunk

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 1000))
    def leave(self, which: int) -> None:
        self.waiting[which % len(self.waiting)].gone = True

    def teardown(self) -> None:
        chunks = all_of(self.batcher, permits=3)
        due = [rider for rider in chain(self.waiting, *self.formed) if not rider.gone]
        assert sorted(map(id, due)) == sorted(id(rider) for chunk in chunks for rider in chunk)


TestBatching = Batching.TestCase
TestBatching.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)


@settings(deadline=None)
@given(count=st.integers(1, 400), permits=st.integers(1, 12), images=st.integers(1, 60))
def test_a_small_job_is_spread_evenly_and_in_as_few_rounds_as_can_be(count: int, permits: int, images: int) -> None:
    sizes = [len(chunk) for chunk in all_of(filled(count, images=images), permits=permits)]
    rounds = ceil(len(sizes) / permits)
    assert sum(sizes) == count
    assert rounds == ceil(count / images / permits)
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(count, rounds * permits)


@settings(deadline=None)
@given(
    count=st.integers(1, 400),
    permits=st.integers(1, 12),
    images=st.integers(1, 60),
    full=st.integers(0, 30),
    steps=st.lists(st.integers(1, 60)),
)
def test_it_is_spread_as_evenly_while_it_is_on_its_way(
    count: int, permits: int, images: int, full: int, steps: list[int]
) -> None:
    """Nobody knows how many come until `full` chunks have left; then photos come in `steps`."""
    made, sizes = batcher(images=images), [images] * full
    for _ in range(full):
        for _ in range(images):
            made.add(Batchable())
        assert len(made.take(permits=permits, more=True) or []) == images
    left = count
    for step in [*steps, count]:
        for _ in range(min(left, step)):
            made.add(Batchable())
        left -= min(left, step)
        while chunk := made.take(permits=permits, more=left > 0, coming=left):
            sizes.append(len(chunk))
    assert sum(sizes[full:]) == count
    assert max(sizes[full:]) - min(sizes[full:]) <= 1
    assert ceil(len(sizes) / permits) == ceil((full + ceil(count / images)) / permits)  # rounds, from the first on


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=60), permits=st.integers(1, 6))
def test_two_neighbouring_chunks_would_never_have_fitted_into_one(sizes: list[int], permits: int) -> None:
    made = batcher(images=1000, max_bytes=10_000)
    for size in sizes:
        made.add(Batchable(size))
    while chunk := made.take(permits=permits, more=True):
        left = [rider for queue in made._queues.values() for rider in queue.items]
        assert all(weight([*chunk, rider]) > 10_000 for rider in left)


def test_nothing_leaves_half_full_while_more_is_on_its_way() -> None:
    made = filled(47)
    assert made.take(permits=8, more=True) is None
    made.add(Batchable())
    assert len(made.take(permits=8, more=True) or []) == 48


def test_enough_bytes_fill_a_chunk_too() -> None:
    made = filled(3, size=4_000, max_bytes=12_000)
    assert len(made.take(permits=8, more=True) or []) == 2


@pytest.mark.parametrize("more", [True, False])
def test_what_is_too_large_for_company_goes_alone(more: bool) -> None:  # noqa: FBT001
    made = filled(1, size=50_000, max_bytes=30_000)
    made.add(Batchable(10))
    chunk = made.take(permits=1, more=more)
    assert [rider.size for rider in chunk or []] == [50_000]


@pytest.mark.parametrize("max_bytes", [1, TAIL_BYTES, TAIL_BYTES + 1, TAIL_BYTES + FRAME_BYTES])
def test_a_bound_that_nothing_fits_under_sends_each_alone(max_bytes: int) -> None:
    assert [len(chunk) for chunk in all_of(filled(3, max_bytes=max_bytes), permits=2)] == [1, 1, 1]


def test_lanes_do_not_mix_and_the_one_that_is_full_goes_first() -> None:
    made = filled(3)
    for _ in range(48):
        made.add(Batchable(group="resolution"))
    chunk = made.take(permits=1, more=True) or []
    assert {rider.group for rider in chunk} == {"resolution"}
    assert made.take(permits=1, more=True) is None


def test_chunks_refused_together_halve_the_bound_once() -> None:
    made = filled(16, size=1000, images=4)
    for chunk in all_of(made, permits=4):
        made.shrink(chunk)
    assert [len(chunk) for chunk in all_of(made, permits=4)] == [2] * 8


def test_a_chunk_refused_again_is_halved_again_down_to_one() -> None:
    made = filled(8, images=8)
    sizes: list[int] = []
    while len(chunk := made.take(permits=1, more=False, coming=0) or []) > 1:
        sizes.append(len(chunk))
        made.shrink(chunk)
    assert sizes == [8, 4, 2]


def test_riders_that_come_later_are_shared_out_anew() -> None:
    made = filled(4, images=48)
    assert len(made.take(permits=4, more=False, coming=0) or []) == 1
    for _ in range(80):
        made.add(Batchable())
    assert made.take(permits=4, more=True) is not None  # full
    assert [len(chunk) for chunk in all_of(made, permits=4)] == [18, 17]  # two have left before


def test_riders_that_come_when_the_rest_is_already_shared_out_do_not_go_one_by_one() -> None:
    made = filled(4)
    assert len(made.take(permits=4, more=False, coming=0) or []) == 1
    for _ in range(37):
        made.add(Batchable())
    assert [len(chunk) for chunk in all_of(made, permits=4)] == [14, 13, 13]  # one has left before


def test_nobody_waits_for_those_that_come_later_but_their_share_is_kept() -> None:
    made = filled(4)
    assert [len(made.take(permits=4, more=False, coming=6) or []) for _ in range(3)] == [3, 1, 0]
    for _ in range(6):
        made.add(Batchable())
    assert [len(chunk) for chunk in all_of(made, permits=4)] == [2, 2, 1, 1]
