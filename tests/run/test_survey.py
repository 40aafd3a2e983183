"""What a run says of the photos that its scan has not come to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.archives import client, fill
from support.fake_service import FakeService, hold, until

from smarty_async.options import Limits
from smarty_async.results import Result

PHOTOS = 700
"""More than are looked up at a time; a client with one small request at a time works on 64 photos."""


def names(number: int) -> list[str]:
    return [f"{index:04}.jpg" for index in range(number)]


@pytest.mark.slow
async def test_the_photos_ahead_are_counted_once_the_window_is_full(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    fill(photos, *names(PHOTOS))
    (photos / "notes.txt").write_text("no photo")
    size = sum(path.stat().st_size for path in photos.glob("*.jpg"))
    gate = asyncio.Event()
    async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=1)) as c:
        service.default = lambda _: hold(gate)
        run = c.improve_archive(photos, out=tmp_path / "out")
        results: list[Result] = []

        async def consume() -> None:
            async for result in run:
                results.append(result)  # noqa: PERF401 - what comes before a cancellation is kept

        consuming = asyncio.create_task(consume())
        await until(lambda: run.progress.total is not None)
        assert run.progress.scanning
        assert run.progress.total == PHOTOS
        assert run.progress.work.bytes + run.progress.work.bytes_ahead == size
        run.drain()
        gate.set()
        await consuming


@pytest.mark.slow
async def test_what_earlier_runs_have_finished_is_no_work_ahead(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    fill(photos / "old", *names(PHOTOS))
    async with FakeService() as service, client(service) as c:
        async for _ in c.improve_archive(photos / "old", out=out):
            pass
        fill(photos / "new", *(f"new-{name}" for name in names(100)))
        new = sum(path.stat().st_size for path in (photos / "new").iterdir())
    gate = asyncio.Event()
    async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=1)) as c:
        service.default = lambda _: hold(gate)
        run = c.improve_archive([photos / "new", photos / "old"], out=out)
        running = asyncio.create_task(anext(aiter(run)))
        await until(lambda: run.progress.total is not None)
        assert run.progress.total == PHOTOS + 100
        assert run.progress.work.bytes + run.progress.work.bytes_ahead == new
        gate.set()
        await running
        await run.aclose()


@pytest.mark.slow
async def test_a_list_that_can_be_read_only_once_is_not_counted(tmp_path: Path) -> None:
    fill(tmp_path / "photos", *names(100))
    listed = (str(tmp_path / "photos" / name) for name in names(100))
    async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=1)) as c:
        run = c.improve_archive(listed=listed, out=tmp_path / "out")
        async for _ in run:
            assert run.progress.ahead is None
    assert run.progress.total == 100
