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
    async with (
        space.reserved(IMPROVE, images=1, sent=100, check=disk.check),
        space.reserved(LARGER, images=1, sent=10, check=disk.check),
    ):
        pass
    async with space.reserved(IMPROVE + LARGER, images=1, sent=1, check=disk.check):
        pass
    assert disk.asked == [300, 300 + 160, 3 + 16]

    space.note_answer(LARGER, images=1, sent=0, received=800)
    space.note_answer(LARGER, images=1, sent=100, received=800)  # 600 bytes in base64
    space.note_answer(LARGER, images=1, sent=100, received=400)
    space.note_answer(IMPROVE, images=1, sent=100, received=4)
    disk.asked.clear()
    async with (
        space.reserved(LARGER, images=1, sent=10, check=disk.check),
        space.reserved(IMPROVE, images=1, sent=100, check=disk.check),
    ):
        pass
    assert disk.asked == [60, 160]


@pytest.mark.parametrize(
    ("images", "sent", "expected"),
    [
        pytest.param(1, 2_000, 200_000, id="a page like those"),
        pytest.param(48, 96_000, 9_600_000, id="many of them"),
        pytest.param(10, 100_000, 2_000_000, id="larger pages, which bring at least as much"),
        pytest.param(40, 20_000_000, 60_000_000, id="photos, which bring what photos bring"),
        pytest.param(4, 32_000_000, 96_000_000, id="photos as large as the one"),
        pytest.param(48, 24_000_000, 72_000_000, id="photos smaller than the one"),
    ],
)
async def test_small_pictures_that_grow_much_say_little_of_larger_ones(images: int, sent: int, expected: int) -> None:
    space, disk = DiskSpace(), Disk(10**9)
    space.note_answer(IMPROVE, images=48, sent=48 * 2_000, received=48 * 200_000 * 4 // 3)
    space.note_answer(IMPROVE, images=1, sent=8_000_000, received=2 * 8_000_000 * 4 // 3)
    async with space.reserved(IMPROVE, images=images, sent=sent, check=disk.check):
        assert disk.asked == [expected]


async def test_larger_answers_for_each_image_are_expected_again() -> None:
    space, disk = DiskSpace(), Disk(10**9)
    space.note_answer(IMPROVE, images=1, sent=1_000_000, received=12_000_000)
    async with space.reserved(IMPROVE, images=8, sent=8_000_000, check=disk.check):
        assert disk.asked == [72_000_000]


async def test_without_space_a_request_waits_for_those_that_are_open() -> None:
    space, disk = DiskSpace(), Disk(400)
    order: list[str] = []

    async def request(name: str, sent: int) -> None:
        async with space.reserved(IMPROVE, images=1, sent=sent, check=disk.check):
            order.append(name)

    async with AsyncExitStack() as first:
        await first.enter_async_context(space.reserved(IMPROVE, images=1, sent=100, check=disk.check))
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
        async with space.reserved(IMPROVE, images=1, sent=200, check=disk.check):
            pytest.fail("there is no space")
    async with space.reserved(IMPROVE, images=1, sent=100, check=disk.check):
        pass


async def test_a_request_that_ends_during_the_check_is_no_full_disk() -> None:
    space, disk = DiskSpace(), Disk(400)
    first = AsyncExitStack()
    await first.enter_async_context(space.reserved(IMPROVE, images=1, sent=100, check=disk.check))

    async def ending(size: int) -> None:
        await first.aclose()
        await disk.check(size)

    async with space.reserved(IMPROVE, images=1, sent=100, check=ending):
        assert disk.asked == [300, 600, 300]
