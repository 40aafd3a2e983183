"""Which workers are used: those of the same version that see the folders, over connections that nobody reads."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from support.clients import client_of, photos
from support.cluster import THREADS, Cluster, cluster_in_process
from support.fake_service import FakeService, hold, ok, until

from smarty_async import ArchiveRun, ConfigurationError, Limits
from smarty_async.cluster.opening import open_cluster
from smarty_async.cluster.storage import FolderStorage
from smarty_async.cluster.worker import PLUGIN, prepare
from smarty_async.cluster.workers import is_private

pytestmark = pytest.mark.slow

_PAGES = ("/info/main/workers.html", "/json/identity.json", "/metrics", "/health")


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("tls://10.0.0.5:8786", True),
        ("tls://scheduler.example:8786", True),
        ("inproc://10.0.0.5/1/2", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://localhost:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://10.0.0.5:8786", False),
        ("ws://10.0.0.5:8786", False),
        ("ucx://10.0.0.5:8786", False),
        ("10.0.0.5:8786", False),
        ("", False),
    ],
)
def test_a_token_goes_where_nobody_reads_it(address: str, *, private: bool) -> None:
    assert is_private(address) is private


async def outcomes_of(run: ArchiveRun) -> Counter[str]:
    return Counter([result.outcome async for result in run])


async def test_a_worker_tells_what_it_does_not_see(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with cluster_in_process(1) as dask:
        answers: list[tuple[str, str | None]] = []
        for folder, sources in ((tmp_path, [str(tmp_path)]), (tmp_path / "gone", []), (tmp_path, ["/nowhere/at/all"])):
            answers += (await dask.run(prepare, FolderStorage(str(folder)), "file", sources)).values()
        plugins = await dask.run(lambda dask_worker: list(dask_worker.plugins))
    same = version("smarty_async")
    assert answers == [
        (same, None),
        (same, f"it does not see the folder {str(tmp_path / 'gone')!r} of the caller"),
        (same, "it does not see '/nowhere/at/all'"),
    ]
    assert [names.count(PLUGIN) for names in plugins.values()] == [1]


async def test_a_worker_that_may_not_look_is_there_and_says_why(
    service: FakeService, source: Path, out: Path, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(source, 1)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/nfs/restored")

    monkeypatch.setattr(FolderStorage, "unseen", refuse)  # the workers are in this process
    async with client_of(service) as client:
        with pytest.raises(ConfigurationError, match=r"cannot be used: .*Permission denied: '/nfs/restored'"):
            await anext(aiter(client.improve_archive(source, out=out, cluster=dask)))


async def test_a_run_that_is_stopped_waits_for_no_worker(service: FakeService, source: Path, out: Path) -> None:
    photos(source, 1)
    async with (
        cluster_in_process(0) as dask,
        client_of(service) as client,
    ):
        run = client.improve_archive(source, out=out, cluster=dask)
        running = asyncio.create_task(outcomes_of(run))
        await until(lambda: run.progress.status_message is not None)
        run.drain()
        await until(running.done)
        assert not await running
    assert not service.requests


async def test_a_run_that_is_stopped_after_its_workers_have_gone_leaves_its_photos_to_the_next(
    service: FakeService, source: Path, out: Path
) -> None:
    photos(source, 2)
    answered = asyncio.Event()
    service.default = lambda _: hold(answered, ok())
    async with (
        cluster_in_process(1, threads=1) as dask,
        client_of(service, limits=Limits(max_images=1)) as client,
    ):
        run = client.improve_archive(source, out=out, cluster=dask)
        running = asyncio.create_task(outcomes_of(run))
        await until(lambda: service.open_now == 1)
        dask.cluster.scale(0)
        answered.set()
        await until(lambda: run.progress.workers == 0 and bool(run.progress.outcomes) and bool(run.in_flight))
        run.drain()
        assert await running == {"restored": 1}
    assert len(service.requests) == 1


async def test_a_worker_that_cannot_be_used_is_asked_again(
    service: FakeService, source: Path, out: Path, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(source, 4)
    looks = count()
    unseen = FolderStorage.unseen

    def look(storage: FolderStorage, *args: Any) -> str | None:
        return "the mount is not there" if not next(looks) else unseen(storage, *args)

    monkeypatch.setattr(FolderStorage, "unseen", look)  # the workers are in this process
    monkeypatch.setattr("smarty_async.cluster.workers._ASK_AGAIN_SECONDS", 0.0)
    answered = asyncio.Event()
    service.default = lambda _: hold(answered, ok())
    async with client_of(service) as client:
        run = client.improve_archive(source, out=out, cluster=dask)
        running = asyncio.create_task(outcomes_of(run))
        await until(lambda: run.progress.workers == 1)
        await until(lambda: run.progress.workers == 2)
        answered.set()
        assert await running == {"restored": 4}
    assert [warning.partition(": ")[2] for warning in run.progress.warnings] == ["the mount is not there"]


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGSTOP")
async def test_a_worker_that_hangs_is_given_nothing_until_it_goes_on(
    service: FakeService, source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smarty_async.cluster.workers._SILENT_SECONDS", 3.0)
    photos(source, 40)
    answered = asyncio.Event()
    service.default = lambda _: hold(answered, ok())
    cluster = Cluster(tmp_path / "cluster")
    try:
        await cluster.start()
        async with cluster.client() as dask, client_of(service, limits=Limits(max_images=4)) as client:
            run = client.improve_archive(source, out=out, cluster=dask)
            running = asyncio.create_task(outcomes_of(run))
            await until(lambda: service.open_now == 2 * THREADS)
            cluster.workers[0].send_signal(signal.SIGSTOP)
            await until(lambda: run.progress.workers == 1)
            assert run.progress.permits <= THREADS
            cluster.workers[0].send_signal(signal.SIGCONT)
            await until(lambda: run.progress.workers == 2)
            answered.set()
            assert await running == {"restored": 40}
    finally:
        await cluster.close()
    assert any("shows no sign of life" in warning for warning in run.progress.warnings)
    assert sum(len(request.images) for request in service.requests) == 40


async def test_a_worker_of_another_version_is_given_nothing(
    service: FakeService, source: Path, out: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos(source, 5)
    other = tmp_path / "other" / "smarty_async-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: smarty_async\nVersion: 9.9.9\n")
    path = os.pathsep.join([str(other.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    cluster = Cluster(tmp_path / "cluster")
    try:
        await cluster.start(workers=1, environ={"PYTHONPATH": path})
        async with cluster.client(workers=1) as dask, client_of(service) as client:
            with pytest.raises(ConfigurationError, match=r"it has version 9\.9\.9 of smarty_async, and this is"):
                await anext(aiter(client.improve_archive(source, out=out, cluster=dask)))
            assert not service.requests
            await cluster.add_worker()
            await dask.wait_for_workers(2)
            run = client.improve_archive(source, out=out, cluster=dask)
            assert {(result.outcome, run.progress.workers) async for result in run} == {("restored", 1)}
    finally:
        await cluster.close()
    assert "is not used: it has version 9.9.9" in caplog.text


async def test_workers_on_this_machine_speak_tls_and_show_no_pages() -> None:
    async with open_cluster(scheduler=None, workers=1, requests=2) as dask:
        known = await cast("Any", dask).scheduler.identity()
        assert known["address"].startswith("tls://127.0.0.1:")
        assert [worker["nthreads"] for worker in known["workers"].values()] == [2]
        pages = {f"http://127.0.0.1:{known['services']['dashboard']}{path}" for path in _PAGES}
        async with aiohttp.ClientSession() as session:
            statuses = [(await session.get(page)).status for page in pages]
    assert statuses == [404] * len(_PAGES)
