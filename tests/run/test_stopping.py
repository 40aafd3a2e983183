"""`drain`: what is being looked into is left for the next run, what is paid for is waited for."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from support.archives import client, outcomes, restore, sent
from support.fake_service import FakeService, until
from support.pictures import webp

from smarty_async.archive.photos import convert
from smarty_async.results import Result

PHOTOS = 60


@pytest.mark.slow
async def test_photos_that_wait_for_their_conversion_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    for number in range(PHOTOS):
        (source / f"{number}.webp").write_bytes(webp(20, 16, seed=number))
    conversions, go = [0], threading.Event()
    upright = convert.upright

    def slowly(*args: object) -> object:
        conversions[0] += 1
        assert go.wait(20)
        return upright(*args)  # type: ignore[arg-type] # handed through

    async with FakeService() as service, client(service) as open_client:
        with monkeypatch.context() as patched:
            patched.setattr(convert, "upright", slowly)
            run = open_client.improve_archive(source, out=out)

            async def all_of_it() -> list[Result]:
                return [result async for result in run]

            running = asyncio.create_task(all_of_it())
            await until(lambda: conversions[0] > 0 and run.progress.found == PHOTOS)
            run.drain()
            go.set()
            assert await running == []
        assert conversions[0] < PHOTOS // 2
        assert not service.requests
        assert set(outcomes(await restore(service, source, out)).values()) == {"restored"}
        assert len(sent(service)) == PHOTOS
