"""Disk space for answers: when a request waits for it, and when there is none."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from smarty_async.errors import DiskFull
from smarty_async.options import ModeSpec
from smarty_async.transport.disk_space import DiskSpace

IMPROVE = (ModeSpec("improve"),)
LARGER = (ModeSpec("resolution", 4, "photo"),)


class Disk:
    """A disk with some free bytes; it keeps what was asked of it."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.asked: list[int] = []

    async def check(self, size: int) -> None:
        self.asked.append(size)
        await asyncio.sleep(0)
        if size > self.free:
            raise DiskFull("full")


async def test_what_answers_may_bring() -> None:
    space, disk = DiskSpace(), Disk(10**9)
    async with space.reserved(IMPROVE, 100, check=disk.check), space.reserved(LARGER, 10, check=disk.check):
        pass
    async with space.reserved(IMPROVE + LARGER, 1, check=disk.check):
        pass
    assert disk.asked == [300, 300 + 160, 3 + 16]

    space.note_answer(LARGER, sent=0, received=800)
    space.note_answer(LARGER, sent=100, received=800)  # 600 bytes in base64
    space.note_answer(LARGER, sent=100, received=400)
    space.note_answer(IMPROVE, sent=100, received=4)
    disk.asked.clear()
    async with space.reserved(LARGER, 10, check=disk.check), space.reserved(IMPROVE, 100, check=disk.check):
        pass
    assert disk.asked == [60, 160]


async def test_without_space_a_request_waits_for_those_that_are_open() -> None:
    space, disk = DiskSpace(), Disk(400)
    order: list[str] = []

    async def request(name: str, sent: int) -> None:
        async with space.reserved(IMPROVE, sent, check=disk.check):
            order.append(name)

    async with AsyncExitStack() as first:
        await first.enter_async_context(space.reserved(IMPROVE, 100, check=disk.check))
        waiting = [asyncio.create_task(request("second", 100)), asyncio.create_task(request("third", 1))]
        for _ in range(20):
            await asyncio.sleep(0)
        assert order == []
        cancelled = asyncio.create_task(request("cancelled", 1))
        await asyncio.sleep(0)
        cancelled.cancel()
    await asyncio.gather(*waiting)
    assert order == ["second", "third"]


async def test_without_space_and_without_an_open_request_the_disk_is_full() -> None:
    space, disk = DiskSpace(), Disk(400)
    with pytest.raises(DiskFull):
        async with space.reserved(IMPROVE, 200, check=disk.check):
            pytest.fail("there is no space")
    async with space.reserved(IMPROVE, 100, check=disk.check):
        pass


async def test_a_request_that_ends_during_the_check_is_no_full_disk() -> None:
    space, disk = DiskSpace(), Disk(400)
    first = AsyncExitStack()
    await first.enter_async_context(space.reserved(IMPROVE, 100, check=disk.check))

    async def ending(size: int) -> None:
        await first.aclose()
        await disk.check(size)

    async with space.reserved(IMPROVE, 100, check=ending):
        assert disk.asked == [300, 600, 300]
