"""Which items share a request."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import ceil, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from smarty_async.options import Limits
from smarty_async.transport.batcher import Batcher, Outlook
from smarty_async.wire.messages import FRAME_BYTES, TAIL_BYTES


@dataclass(eq=False)
class Batchable:
    size: int = 1000
    group: str = "improve"
    done: bool = False


def batcher(*, images: float = 48, max_bytes: float = 30_000_000) -> Batcher[Batchable]:
    return Batcher(Limits(max_images=images, max_request_bytes=max_bytes))  # type: ignore[arg-type] # infinity, too


def filled(count: int, *, size: int = 1000, images: float = 48, max_bytes: float = 30_000_000) -> Batcher[Batchable]:
    made = batcher(images=images, max_bytes=max_bytes)
    for _ in range(count):
        made.add(Batchable(size))
    return made


def take(
    made: Batcher[Batchable], *, permits: int, more: bool = False, coming: int | None = None
) -> list[Batchable] | None:
    return made.take(permits=permits, outlook=lambda _: Outlook(more, coming))


def all_of(made: Batcher[Batchable], *, permits: int, more: bool = False) -> list[list[Batchable]]:
    chunks: list[list[Batchable]] = []
    while chunk := take(made, permits=permits, more=more, coming=None if more else 0):
        chunks.append(chunk)
    return chunks


def weight(chunk: list[Batchable]) -> int:
    return TAIL_BYTES + sum(item.size + FRAME_BYTES for item in chunk)


class Batching(RuleBasedStateMachine):
    """Whatever is added, put back, shrunk or leaves: every item is taken once each time, within the limits."""

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
            item = Batchable(size, group)
            self.batcher.add(item)
            self.waiting.append(item)

    @rule(permits=st.integers(1, 6), more=st.booleans(), coming=st.none() | st.integers(0, 20))
    def take(self, permits: int, more: bool, coming: int | None) -> None:  # noqa: FBT001
        chunk = take(self.batcher, permits=permits, more=more, coming=coming)
        if chunk is None:
            assert not any(not item.done for formed in self.formed for item in formed)
            assert more or not any(not item.done for item in self.waiting)
            self.formed.clear()
            return
        assert chunk
        assert len({item.group for item in chunk}) == 1
        assert not any(item.done for item in chunk)
        self.formed = [formed for formed in self.formed if any(not item.done for item in formed)]
        own = [formed for formed in self.formed if formed[0].group == chunk[0].group]
        if own:
            assert chunk == [item for item in own[0] if not item.done]
            self.formed = [formed for formed in self.formed if formed is not own[0]]
        else:
            assert len(chunk) <= self.IMAGES
            assert len(chunk) == 1 or weight(chunk) <= self.bound
            for item in chunk:
                self.waiting.remove(item)  # fails when it went out already
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
        self.waiting[which % len(self.waiting)].done = True
        self.batcher.note_done()

    def teardown(self) -> None:
        chunks = all_of(self.batcher, permits=3)
        due = [item for item in chain(self.waiting, *self.formed) if not item.done]
        assert sorted(map(id, due)) == sorted(id(item) for chunk in chunks for item in chunk)


TestBatching = Batching.TestCase
pytest.mark.slow(TestBatching)
TestBatching.settings = settings(max_examples=60, stateful_step_count=30)


@given(count=st.integers(1, 400), permits=st.integers(1, 12), images=st.integers(1, 60))
def test_a_small_job_is_spread_evenly_in_as_few_rounds_as_possible(count: int, permits: int, images: int) -> None:
    sizes = [len(chunk) for chunk in all_of(filled(count, images=images), permits=permits)]
    rounds = ceil(len(sizes) / permits)
    assert sum(sizes) == count
    assert rounds == ceil(count / images / permits)
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(count, rounds * permits)


@given(
    count=st.integers(1, 400),
    permits=st.integers(1, 12),
    images=st.integers(1, 60),
    full=st.integers(0, 30),
    steps=st.lists(st.integers(1, 60)),
)
def test_items_still_being_added_are_spread_as_evenly(
    count: int, permits: int, images: int, full: int, steps: list[int]
) -> None:
    """The number to come is unknown until `full` chunks have been taken; then items are added in `steps`."""
    made, sizes = batcher(images=images), [images] * full
    for _ in range(full):
        for _ in range(images):
            made.add(Batchable())
        assert len(take(made, permits=permits, more=True) or []) == images
    left = count
    for step in [*steps, count]:
        for _ in range(min(left, step)):
            made.add(Batchable())
        left -= min(left, step)
        while chunk := take(made, permits=permits, more=left > 0, coming=left):
            sizes.append(len(chunk))
    assert sum(sizes[full:]) == count
    assert max(sizes[full:]) - min(sizes[full:]) <= 1
    assert ceil(len(sizes) / permits) == ceil((full + ceil(count / images)) / permits)  # rounds, from the first on


@given(sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=60), permits=st.integers(1, 6))
def test_two_consecutive_chunks_would_never_have_fitted_into_one(sizes: list[int], permits: int) -> None:
    made = batcher(images=1000, max_bytes=10_000)
    for size in sizes:
        made.add(Batchable(size))
    while chunk := take(made, permits=permits, more=True):
        left = [item for queue in made._queues.values() for item in queue.items]
        assert all(weight([*chunk, item]) > 10_000 for item in left)


def test_no_partial_chunk_is_taken_while_more_is_coming() -> None:
    made = filled(47)
    assert take(made, permits=8, more=True) is None
    made.add(Batchable())
    assert len(take(made, permits=8, more=True) or []) == 48


@pytest.mark.parametrize("more", [True, False])
def test_without_any_limit_all_that_waits_is_taken(more: bool) -> None:  # noqa: FBT001
    made = filled(5, images=inf, max_bytes=inf)
    chunk = take(made, permits=1, more=more, coming=0)
    assert len(chunk or []) == 5


def test_a_chunk_may_be_full_of_bytes() -> None:
    made = filled(3, size=4_000, max_bytes=12_000)
    assert len(take(made, permits=8, more=True) or []) == 2


@pytest.mark.parametrize("more", [True, False])
def test_an_item_too_large_for_a_shared_request_goes_alone(more: bool) -> None:  # noqa: FBT001
    made = filled(1, size=50_000, max_bytes=30_000)
    made.add(Batchable(10))
    chunk = take(made, permits=1, more=more)
    assert [item.size for item in chunk or []] == [50_000]


@pytest.mark.parametrize("max_bytes", [1, TAIL_BYTES, TAIL_BYTES + 1, TAIL_BYTES + FRAME_BYTES])
def test_a_limit_that_nothing_fits_under_sends_each_item_alone(max_bytes: int) -> None:
    assert [len(chunk) for chunk in all_of(filled(3, max_bytes=max_bytes), permits=2)] == [1, 1, 1]


def test_groups_do_not_mix_and_a_full_chunk_goes_first() -> None:
    made = filled(3)
    for _ in range(48):
        made.add(Batchable(group="resolution"))
    chunk = take(made, permits=1, more=True) or []
    assert {item.group for item in chunk} == {"resolution"}
    assert take(made, permits=1, more=True) is None


def test_chunks_refused_together_halve_the_limit_once() -> None:
    made = filled(16, size=1000, images=4)
    for chunk in all_of(made, permits=4):
        made.shrink(chunk)
    assert [len(chunk) for chunk in all_of(made, permits=4)] == [2] * 8


def test_a_chunk_refused_again_is_halved_again_down_to_one_item() -> None:
    made = filled(8, images=8)
    sizes: list[int] = []
    while len(chunk := take(made, permits=1, more=False, coming=0) or []) > 1:
        sizes.append(len(chunk))
        made.shrink(chunk)
    assert sizes == [8, 4, 2]


def test_items_added_later_are_spread_again() -> None:
    made = filled(4, images=48)
    assert len(take(made, permits=4, more=False, coming=0) or []) == 1
    for _ in range(80):
        made.add(Batchable())
    assert take(made, permits=4, more=True) is not None  # full
    assert [len(chunk) for chunk in all_of(made, permits=4)] == [18, 17]  # two have left before


def test_items_added_when_the_rest_is_planned_do_not_go_one_by_one() -> None:
    made = filled(4)
    assert len(take(made, permits=4, more=False, coming=0) or []) == 1
    for _ in range(37):
        made.add(Batchable())
    assert [len(chunk) for chunk in all_of(made, permits=4)] == [14, 13, 13]  # one has left before


def test_items_to_come_later_are_not_waited_for_but_their_share_is_kept() -> None:
    made = filled(4)
    assert [len(take(made, permits=4, more=False, coming=6) or []) for _ in range(3)] == [3, 1, 0]
    for _ in range(6):
        made.add(Batchable())
    assert [len(chunk) for chunk in all_of(made, permits=4)] == [2, 2, 1, 1]


def test_items_that_will_probably_return_have_their_share_but_no_round_of_their_own() -> None:
    made = filled(90, images=48)
    assert len(made.take(permits=2, outlook=lambda _: Outlook(returning=4)) or []) == 47
    assert len(made.take(permits=2, outlook=lambda _: Outlook(returning=40)) or []) == 43  # not 28 of three rounds
    made = filled(90, images=48)
    assert len(made.take(permits=2, outlook=lambda _: Outlook(returning=40)) or []) == 48


def test_an_awaited_item_goes_before_the_next_chunk_of_a_busy_group() -> None:
    made = filled(480)
    assert len(take(made, permits=8, more=True) or []) == 48
    made.add(Batchable(group="awaited"))
    chunk = made.take(permits=8, outlook=lambda group: Outlook(group == "improve", None))
    assert [item.group for item in chunk or []] == ["awaited"]


@pytest.mark.slow
@given(
    sizes=st.lists(st.integers(1, 200), min_size=2, max_size=5),
    split=st.booleans(),
)
def test_no_group_waits_for_more_than_one_chunk_of_each_other(sizes: list[int], split: bool) -> None:  # noqa: FBT001
    made = batcher(images=4)
    for number, size in enumerate(sizes):
        for _ in range(size):
            made.add(Batchable(group=str(number)))
        if split:
            made.put_back([Batchable(group=str(number))])
    last_taken = dict.fromkeys(map(str, range(len(sizes))), 0)
    waiting = dict(zip(last_taken, (size + split for size in sizes), strict=True))
    turn = 0
    while chunk := take(made, permits=3):
        turn += 1
        group = chunk[0].group
        waiting[group] -= len(chunk)
        last_taken[group] = turn
        assert all(turn - last_taken[other] < len(sizes) for other, left in waiting.items() if left)
    assert not any(waiting.values())


def test_a_group_that_is_refilled_again_and_again_leaves_turns_to_others() -> None:
    made = filled(480)
    served: list[str] = []
    for _ in range(6):
        made.add(Batchable(group="refilled"))
        served += [item.group for item in (take(made, permits=8) or [])[:1]]
    assert served.count("improve") == served.count("refilled") == 3
