"""No batch group waits for another: bounds on how many chunks pass before a photo that someone awaits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.archives import client, fill
from support.fake_service import FakeService, hold, until
from support.pictures import jpeg

from smarty_async.client import SmartyClient
from smarty_async.options import Limits
from smarty_async.run import ArchiveRun


async def consume(run: ArchiveRun) -> int:
    return len([result async for result in run])


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_an_awaited_photo_goes_with_the_next_free_permit_while_an_archive_runs(
    tmp_path: Path, concurrency: int
) -> None:
    fill(tmp_path / "photos", *(f"{number}.jpg" for number in range(120)))
    awaited = jpeg(seed=7)
    async with FakeService() as service, client(service, concurrency=concurrency, limits=Limits(max_images=3)) as c:
        gate = asyncio.Event()
        service.script(*[hold(gate)] * concurrency)
        archive = asyncio.create_task(consume(c.improve_archive(tmp_path / "photos", out=tmp_path / "out")))
        await until(lambda: service.open_now == concurrency)
        single = asyncio.create_task(c.improve(awaited))
        await asyncio.sleep(0.05)
        before = len(service.requests)
        gate.set()
        await single
        passed = [awaited in request.images.values() for request in service.requests[before:]].index(True)
        assert passed < concurrency, "it is among those that the next free permits were used for"
        assert await archive == 120


@pytest.mark.slow
async def test_awaited_photos_do_not_starve_an_archive(tmp_path: Path) -> None:
    fill(tmp_path / "photos", *(f"{number}.jpg" for number in range(30)))
    async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=3)) as c:
        archive = asyncio.create_task(consume(c.improve_archive(tmp_path / "photos", out=tmp_path / "out")))
        async with asyncio.timeout(120):  # one that starves never ends
            while not archive.done():
                await asyncio.gather(*(c.improve(jpeg(16, 12, seed=seed)) for seed in range(4)))
        assert await archive == 30


@pytest.mark.slow
async def test_a_second_archive_does_not_wait_for_the_first(tmp_path: Path) -> None:
    first = fill(tmp_path / "first", *(f"{number}.jpg" for number in range(120)))
    second = fill(tmp_path / "second", *(f"s{number}.jpg" for number in range(6)))
    async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=3)) as c:
        gate = asyncio.Event()
        service.script(hold(gate))
        runs = [asyncio.create_task(run_of(c, tmp_path, "first"))]
        await until(lambda: service.open_now == 1)
        runs.append(asyncio.create_task(run_of(c, tmp_path, "second")))
        await asyncio.sleep(0.2)
        gate.set()
        await runs[1]
        assert not runs[0].done()
        sent = [set(request.images.values()) <= set(second.values()) for request in service.requests]
        assert sum(sent[: sent.index(True) + 4]) == 2, "its two chunks go in turn with those of the first"
        assert await runs[0] == len(first)


async def run_of(c: SmartyClient, folder: Path, name: str) -> int:
    return await consume(c.improve_archive(folder / name, out=folder / f"{name}-out"))
