"""Items processed in groups."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from smarty_async.group_queue import GroupQueue


class Squares:
    """Squares numbers in groups, with a queue; it is held back until `go` is set.

    Attributes:
        groups: those that were begun.
        error: what the next group raises.
    """

    def __init__(self, **options: Any) -> None:
        self.groups: list[list[int]] = []
        self.error: BaseException | None = None
        self.go = asyncio.Event()
        self.queue = GroupQueue(self._square, self._fail, name="squares", **options)

    async def of(self, number: int) -> int:
        squared: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.queue.add([(number, squared)])
        return await squared

    async def _square(self, group: list[tuple[int, asyncio.Future[int]]]) -> None:
        self.groups.append([number for number, _ in group])
        await self.go.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        for number, squared in group:
            if not squared.done():
                squared.set_result(number**2)

    @staticmethod
    def _fail(item: tuple[int, asyncio.Future[int]], error: BaseException) -> None:
        _, squared = item
        if not squared.done():
            squared.set_exception(error)


async def begun(squares: Squares, *groups: list[int]) -> list[asyncio.Task[int]]:
    """Tasks that ask for the numbers of each group; all of the first are being processed."""
    tasks: list[asyncio.Task[int]] = []
    for group in groups:
        tasks += [asyncio.create_task(squares.of(number)) for number in group]
        for _ in range(3):
            await asyncio.sleep(0)
    return tasks


async def test_what_comes_meanwhile_is_the_next_group_in_its_order() -> None:
    squares = Squares()
    tasks = await begun(squares, [1, 2], [3], [4, 5])
    assert squares.groups == [[1, 2]]
    assert len(squares.queue) == 3
    squares.go.set()
    assert await asyncio.gather(*tasks) == [1, 4, 9, 16, 25]
    assert squares.groups == [[1, 2], [3, 4, 5]]


async def test_a_group_has_no_more_items_than_it_may_have() -> None:
    squares = Squares(most=2)
    squares.go.set()
    assert await asyncio.gather(*map(squares.of, range(5))) == [0, 1, 4, 9, 16]
    assert squares.groups == [[0, 1], [2, 3], [4]]


async def test_an_error_reaches_each_item_of_its_group_and_no_other() -> None:
    squares = Squares()
    tasks = await begun(squares, [1, 2], [3])
    squares.error = LookupError("the first group")
    squares.go.set()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, LookupError)
    assert second is first
    assert third == 9


async def test_a_group_goes_on_when_one_that_waits_for_it_is_cancelled() -> None:
    squares = Squares()
    first, second = await begun(squares, [1, 2])
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    squares.go.set()
    assert await second == 4


async def test_what_a_cancelled_task_leaves_is_processed_by_another() -> None:
    squares = Squares()
    tasks = await begun(squares, [1], [2])
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == "squares"]
    task.cancel()
    squares.go.set()
    first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert second == 4


async def test_it_waits_for_everything_also_of_queues_that_share_its_tasks() -> None:
    shared = set[asyncio.Task[None]]()
    squares, others = Squares(tasks=shared), Squares(tasks=shared)
    tasks = [*await begun(squares, [1], [2]), *await begun(others, [3])]
    waiting = asyncio.create_task(squares.queue.wait())
    squares.go.set()
    await asyncio.gather(*tasks[:2])
    assert not waiting.done()
    others.go.set()
    await waiting
    assert [await task for task in tasks] == [1, 4, 9]


async def test_cancelling_drops_what_waits() -> None:
    squares = Squares()
    first, second = await begun(squares, [1], [2])
    await squares.queue.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(squares.queue) == 0
    assert not second.done()
    second.cancel()
    squares.go.set()
    assert await squares.of(3) == 9
    assert squares.groups == [[1], [3]]
