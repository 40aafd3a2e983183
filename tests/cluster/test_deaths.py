"""Workers, the scheduler and the caller are killed at random moments: nothing is lost, and how much is paid twice."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.clients import photos
from support.cluster import THREADS, Cluster
from support.fake_service import FakeService, late, until
from support.program import end_of, started

from smarty_async import Limits, ServiceUnavailable, SmartyClient

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")]

PHOTOS, IMAGES = 200, 5
OPEN = THREADS * IMAGES
"""Photos in the open requests of one worker, at most."""
TOKEN = "a-token-that-stays-secret"


def paid(service: FakeService) -> Counter[bytes]:
    """How often each photo was paid for."""
    return Counter(image for request in service.requests for image in request.images.values())


def paid_again(service: FakeService) -> int:
    return sum(times - 1 for times in paid(service).values())


async def requests_came(service: FakeService, count: int) -> None:
    async with asyncio.timeout(60):
        while len(service.requests) < count:  # noqa: ASYNC110 - requests come from other processes
            await asyncio.sleep(0.01)


async def run(service: FakeService, source: Path, out: Path, dask: Any) -> Counter[str]:
    limits = Limits(max_images=IMAGES)
    async with SmartyClient(token=TOKEN, base_url=service.url, concurrency=2 * THREADS, limits=limits) as client:
        outcomes: Counter[str] = Counter()
        async for result in client.improve_archive(source, out=out, cluster=dask):
            assert result.outcome in ("restored", "skipped"), result
            outcomes[result.outcome] += 1
        return outcomes


@pytest.fixture
def moment() -> int:
    """After how many of the forty requests somebody dies."""
    return Random().randint(6, 24)  # noqa: S311 - no secret; a failing test shows it


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two hundred photos."""
    return photos(tmp_path / "photos", PHOTOS)


async def kill_worker(cluster: Cluster, _: Any) -> None:
    cluster.workers[0].kill()
    await cluster.add_worker()


async def retire_worker(cluster: Cluster, dask: Any) -> None:
    address = min((await dask.scheduler.identity())["workers"])
    await dask.retire_workers([address])
    await cluster.add_worker()


async def stop_worker(cluster: Cluster, _: Any) -> None:
    cluster.workers[0].terminate()
    await cluster.add_worker()


@pytest.mark.parametrize(
    ("end_worker", "bound"),
    [(kill_worker, OPEN), (retire_worker, 0), (stop_worker, 0)],
    ids=["killed", "retired", "stopped"],
)
async def test_a_worker_goes_and_another_joins(
    cluster: Cluster,
    service: FakeService,
    source: Path,
    out: Path,
    moment: int,
    *,
    end_worker: Callable[[Cluster, Any], Awaitable[None]],
    bound: int,
) -> None:
    service.default = lambda _: late(0.3)
    async with cluster.client() as dask:
        running = asyncio.create_task(run(service, source, out, dask))
        await requests_came(service, moment)
        await end_worker(cluster, dask)
        assert await running == {"restored": PHOTOS}
    assert len(paid(service)) == PHOTOS
    assert paid_again(service) <= bound
    assert len(list((out / "improved").iterdir())) == PHOTOS


async def test_the_scheduler_is_killed_and_the_same_run_goes_on(
    cluster: Cluster, service: FakeService, source: Path, out: Path, moment: int
) -> None:
    service.default = lambda _: late(0.3)
    async with cluster.client() as dask:
        running = asyncio.create_task(run(service, source, out, dask))
        await requests_came(service, moment)
        cluster.kill_scheduler()
        with pytest.raises(ServiceUnavailable, match="gave up on the cluster"):
            await running
    await cluster.close()
    await cluster.start()
    async with cluster.client() as dask:
        outcomes = await run(service, source, out, dask)
    assert outcomes["restored"] + outcomes["skipped"] == PHOTOS
    assert outcomes["skipped"] > 0
    assert len(paid(service)) == PHOTOS
    assert paid_again(service) <= 2 * OPEN


async def test_the_caller_is_killed_and_the_same_command_goes_on(
    cluster: Cluster, service: FakeService, source: Path, out: Path, *, moment: int, tmp_path: Path
) -> None:
    service.default = lambda _: late(0.3)
    async with cluster.client():
        pass
    command = ("improve", source, "--out", out, "--scheduler", cluster.address, "--base-url", service.url)
    options = (*command, "--max-images", IMAGES, "--concurrency", 2 * THREADS, "--json")
    environment = cluster.environment | {"SMARTY_TOKEN": TOKEN}
    async with started(*map(str, options), **environment) as process:
        await requests_came(service, moment)
        process.kill()
        await process.communicate()
    async with started(*map(str, options), **environment) as process:
        ended = await end_of(process)
    assert ended.status == 0, ended.err
    assert TOKEN not in ended.out + ended.err
    assert Counter(result["outcome"] for result in ended.results).keys() <= {"restored", "skipped"}
    assert len(ended.results) == len(paid(service)) == PHOTOS
    assert paid_again(service) <= 2 * OPEN
    await until(lambda: not list((out / ".smarty-async").glob("tmp/*")))
    assert not [log for log in (tmp_path / "cluster").glob("*.log") if TOKEN in log.read_text()]
