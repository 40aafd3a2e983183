"""Other ways to run coroutines: eager tasks, and uvloop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.archives import assert_right, client, fill, outcomes, sent
from support.clients import client_of
from support.fake_service import FakeService, drop, expected, http, items
from support.pictures import heavy, jpeg

from smarty_async.options import Limits


def eager_loop() -> asyncio.AbstractEventLoop:
    if sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def uv_loop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    return loop


LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, eager_loop, uv_loop])
MakeLoop = Callable[[], asyncio.AbstractEventLoop]


@LOOPS
def test_calls_share_requests_and_are_sent_once(make_loop: MakeLoop) -> None:
    async def main() -> None:
        images = [jpeg(16, 12, seed=seed) for seed in range(60)]
        async with FakeService() as service, client_of(service, concurrency=2) as c:
            results = await asyncio.gather(*map(c.improve, images))
            assert [one.improved for one in results] == [expected("improved", image) for image in images]
            assert [len(request.images) for request in service.requests] == [30, 30]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


@LOOPS
def test_large_outputs_are_written_and_handed_over(make_loop: MakeLoop) -> None:
    async def main() -> None:
        image = jpeg()
        async with FakeService() as service, client_of(service) as c:
            service.script(items({"file_0": {"improved": None}}))
            assert (await c.improve(image)).improved is None
            images = [heavy(300_000 + seed, seed=seed) for seed in range(12)]
            results = await asyncio.gather(*map(c.improve, images))
            assert all(one.attempts == 1 for one in results)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60))


@pytest.mark.slow
@LOOPS
def test_an_archive_is_restored_and_each_photo_sent_once(make_loop: MakeLoop, tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", *(f"{number}.jpg" for number in range(50)))

    async def main() -> None:
        limits = Limits(max_images=5)
        async with FakeService() as service, client(service, concurrency=3, limits=limits) as c:
            run = c.improve_archive(tmp_path / "photos", out=tmp_path / "out")
            assert outcomes([result async for result in run]) == dict.fromkeys(photos, "restored")
            assert sorted(sent(service)) == sorted(photos.values())

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60))
    assert_right(tmp_path / "out", photos)


@LOOPS
def test_failures_are_retried(make_loop: MakeLoop) -> None:
    async def main() -> None:
        images = [jpeg(16, 12, seed=seed) for seed in range(6)]
        async with FakeService() as service, client_of(service, concurrency=2) as c:
            service.script(http(503), drop(), items({"file_1": {"status": 2}}))
            results = await asyncio.gather(*map(c.improve, images))
            assert [one.improved for one in results] == [expected("improved", image) for image in images]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(asyncio.wait_for(main(), 60))
