"""Workers that read photos from a bucket and store outputs in one themselves."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.clients import client_of
from support.cluster import THREADS, Cluster
from support.fake_service import FakeService, late, until
from support.pictures import jpeg
from support.s3_server import S3Server

from smarty_async import ConfigurationError, Limits, Result
from smarty_async.archive.object_store import Bucket
from smarty_async.archive.outputs.object_store import OutputBucket
from smarty_async.archive.outputs.store import METADATA_KEY, OutputOrigin
from smarty_async.cluster import worker
from smarty_async.cluster.chunk_log import ChunkLog, ChunkUnwanted, LogObject
from smarty_async.cluster.messages import VERSION, ChunkEnd, ChunkJob, ChunkReport
from smarty_async.store_address import StoreAddress

pytestmark = pytest.mark.slow

PHOTOS = 24


def fill(s3: S3Server) -> None:
    s3.put({f"scans/{number:03}.jpg": jpeg(16, 12, seed=number) for number in range(PHOTOS)})


async def run(service: FakeService, s3: S3Server, out: str, state: Path, **choices: Any) -> list[Result]:
    given: dict[str, Any] = {"out": out, "state": state, "store_options": s3.options} | choices
    async with client_of(service, limits=Limits(max_images=4)) as client:
        return [result async for result in client.improve_archive("s3://photos/scans", **given)]


def pictures(objects: dict[str, bytes]) -> dict[str, bytes]:
    return {key: data for key, data in objects.items() if key.endswith(".jpg")}


async def test_it_comes_to_the_same_as_without_a_cluster(
    service: FakeService, s3: S3Server, tmp_path: Path, dask: Any
) -> None:
    fill(s3)
    alone = await run(service, s3, "s3://photos/alone", tmp_path / "alone")
    spread = await run(service, s3, "s3://photos/spread", tmp_path / "spread", cluster=dask)
    assert {result.photo: result for result in spread} == {result.photo: result for result in alone}
    assert pictures(s3.objects("spread/")) == pictures(s3.objects("alone/"))
    assert len(pictures(s3.objects("spread/"))) == 3 * PHOTOS
    assert not s3.objects("spread/.smarty-async/chunks/")
    text = Bucket(StoreAddress.parse("s3://photos/spread"), s3.options).about("improved/000.jpg", name=METADATA_KEY)
    origin = OutputOrigin.read(text)
    assert origin is not None
    assert (origin.source, origin.photo, set(origin.kinds)) == (
        "s3://photos/scans",
        "000.jpg",
        {"improved", "colorized_improved", "colorized"},
    )
    again = await run(service, s3, "s3://photos/spread", tmp_path / "spread", cluster=dask)
    assert Counter(result.outcome for result in again) == {"skipped": PHOTOS}
    assert sum(len(request.images) for request in service.requests) == 2 * PHOTOS


async def test_kinds_that_are_not_wanted_are_not_stored(
    service: FakeService, s3: S3Server, tmp_path: Path, dask: Any
) -> None:
    fill(s3)
    results = await run(
        service, s3, "s3://photos/kinds", tmp_path / "state", cluster=dask, outputs=("improved",), strip_metadata=True
    )
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    assert {key.partition("/")[0] for key in pictures(s3.objects("kinds/"))} == {"improved"}


@pytest.mark.parametrize("choices", [{}, {"modes": ("improve", "resolution"), "rfactor": 2}], ids=["one", "two modes"])
async def test_a_name_that_is_taken_is_replaced_as_without_a_cluster(
    service: FakeService, s3: S3Server, tmp_path: Path, dask: Any, choices: dict[str, Any]
) -> None:
    fill(s3)
    stem = f"taken-{len(choices)}"
    s3.put({f"{stem}-{way}/improved/003.jpg": b"somebody's" for way in ("alone", "spread")})
    alone = await run(service, s3, f"s3://photos/{stem}-alone", tmp_path / "alone", **choices)
    out = f"s3://photos/{stem}-spread"
    spread = await run(service, s3, out, tmp_path / "spread", cluster=dask, **choices)
    assert {result.photo: result for result in spread} == {result.photo: result for result in alone}
    assert Counter(result.outcome for result in spread) == {"restored": PHOTOS}
    [result] = [result for result in spread if result.photo == "003.jpg"]
    objects = pictures(s3.objects(f"{stem}-spread/"))
    assert objects["improved/003.jpg"] == b"somebody's"
    assert {kind: objects[path] for kind, path in result.outputs.items()} == {
        kind: pictures(s3.objects(f"{stem}-alone/"))[path] for kind, path in result.outputs.items()
    }
    assert "~" in result.outputs["improved"]
    assert not s3.objects(f"{stem}-spread/.smarty-async/chunks/")
    again = await run(service, s3, out, tmp_path / "spread", cluster=dask, **choices)
    assert Counter(result.outcome for result in again) == {"skipped": PHOTOS}


async def test_a_store_that_ignores_conditions_is_refused(
    service: FakeService, s3: S3Server, tmp_path: Path, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(s3)
    monkeypatch.setattr(OutputBucket, "_creates_once", lambda _: False)  # a server with keys refuses a changed request
    with pytest.raises(ConfigurationError, match="ignores conditional writes, by which workers"):
        await run(service, s3, "s3://photos/ignoring", tmp_path / "state", cluster=dask)
    assert not service.requests


async def test_one_process_has_the_right_to_a_chunk(s3: S3Server) -> None:
    bucket = Bucket(StoreAddress.parse("s3://photos/out"), s3.options)
    logs = [ChunkLog(LogObject(bucket, "log")) for _ in range(5)]
    assert sorted([await log.begin() for log in logs]) == [False] * 4 + [True]
    assert (await logs[1].read())[1] == 0


async def test_a_log_that_was_removed_is_not_written_again(s3: S3Server) -> None:
    bucket = Bucket(StoreAddress.parse("s3://photos/logs"), s3.options)
    log = ChunkLog(LogObject(bucket, "log"))
    await log.begin()
    await log.append()
    end = ChunkEnd(seconds=1, sent=True)
    await log.append(end)
    assert (await log.read())[0].end == end
    await ChunkLog(LogObject(bucket, "log")).remove()
    with pytest.raises(ChunkUnwanted):
        await log.append()
    assert not s3.objects("logs/")


async def test_a_write_of_a_log_whose_answer_is_lost_is_known_as_its_own(s3: S3Server) -> None:
    bucket = Bucket(StoreAddress.parse("s3://photos/lost"), s3.options)
    log, other = ChunkLog(LogObject(bucket, "log")), ChunkLog(LogObject(bucket, "log"))
    s3.losing.append(("PUT", "lost/log"))
    assert await log.begin()
    assert not await other.begin()
    s3.losing.append(("PUT", "lost/log"))
    await log.append()
    end = ChunkEnd(seconds=1, sent=True)
    await log.append(end)
    assert not s3.losing
    assert (await log.read())[0].end == end


async def test_a_log_that_was_closed_is_neither_created_nor_written(s3: S3Server) -> None:
    bucket = Bucket(StoreAddress.parse("s3://photos/closed"), s3.options)
    never, given_up = ChunkLog(LogObject(bucket, "never")), ChunkLog(LogObject(bucket, "begun"))
    s3.losing.append(("PUT", "closed/never"))
    await never.close()
    assert not await ChunkLog(LogObject(bucket, "never")).begin()
    await given_up.begin()
    end = ChunkEnd(seconds=1, sent=True)
    await given_up.append(end)
    s3.losing.append(("PUT", "closed/begun"))
    log = ChunkLog(LogObject(bucket, "begun"))
    await log.close()
    assert not s3.losing
    assert (await log.read())[0].end == end
    with pytest.raises(ChunkUnwanted):
        await given_up.append()
    await log.remove()
    assert not await given_up.begin()


async def test_a_request_that_is_cancelled_before_a_worker_takes_it_is_not_sent(
    service: FakeService, s3: S3Server, tmp_path: Path, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(s3)
    send, go, reports = worker._send_chunk, threading.Event(), list[ChunkReport]()  # pyright: ignore[reportPrivateUsage]
    taken = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def send_later(job: ChunkJob) -> ChunkReport:
        loop.call_soon_threadsafe(taken.set)
        await asyncio.to_thread(go.wait)
        report = await send(job)
        reports.append(report)
        return report

    monkeypatch.setattr(worker, "_send_chunk", send_later)
    running = asyncio.create_task(run(service, s3, "s3://photos/cancelled", tmp_path / "state", cluster=dask))
    await taken.wait()
    running.cancel()
    try:
        await asyncio.wait([running])
    finally:
        go.set()
    await until(lambda: bool(reports))
    assert {report.refused for report in reports} == {"it was begun before"}
    assert not service.requests
    monkeypatch.undo()
    results = await run(service, s3, "s3://photos/cancelled", tmp_path / "state", cluster=dask)
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    assert not s3.objects("cancelled/.smarty-async/chunks/")


async def test_the_answers_to_writes_of_logs_are_lost(
    service: FakeService, s3: S3Server, tmp_path: Path, dask: Any
) -> None:
    fill(s3)
    service.default = lambda _: late(2.5)  # longer than a beat
    running = asyncio.create_task(run(service, s3, "s3://photos/lossy", tmp_path / "state", cluster=dask))
    await until(lambda: len(service.requests) == 4)
    s3.losing += [("PUT", "/chunks/chunk-")] * 4
    assert Counter(result.outcome for result in await running) == {"restored": PHOTOS}
    assert not s3.losing
    assert sum(len(request.images) for request in service.requests) == PHOTOS


@pytest.mark.parametrize("while_it_runs", [False, True], ids=["at the start", "later"])
async def test_a_worker_that_may_not_write_to_the_bucket_is_not_used(
    service: FakeService,
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    while_it_runs: bool,
) -> None:
    fill(s3)
    service.default = lambda _: late(0.5)
    key, secret = s3.readers
    out = f"s3://photos/readers-{while_it_runs}"
    cluster = Cluster(tmp_path / "cluster")
    reading = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    version = VERSION

    async def prepared(*_: object) -> tuple[str, None]:  # local: workers cannot import this module
        return version, None

    if while_it_runs:  # as when its credentials change after it was made ready
        monkeypatch.setattr("smarty_async.cluster.workers.prepare", prepared)
    try:
        await cluster.start(workers=1, environ=s3.environment | reading)
        await cluster.add_worker(s3.environment)
        async with cluster.client() as dask:
            results = await run(service, s3, out, tmp_path / "state", cluster=dask, store_options={})
    finally:
        await cluster.close()
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    assert sum(len(request.images) for request in service.requests) == PHOTOS
    assert f"is not used{' any more' if while_it_runs else ''}: cannot write 's3://photos/readers-" in caplog.text


@pytest.mark.parametrize(
    ("failing", "said", "paid_again"),
    [
        (("LIST", "/photos", 403), "is not used: cannot list 's3://photos/scans'", 0),
        (("GET", "/scans/", 403), "is not used any more: cannot read 's3://photos/scans/", 0),
        (
            ("PUT", "/improved/", 403),
            "is not used any more: cannot write 's3://photos/skewed-PUT/improved",
            THREADS * 4,
        ),
    ],
)
async def test_a_worker_whose_clock_is_wrong_is_not_used(
    service: FakeService,
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    failing: tuple[str, str, int],
    said: str,
    paid_again: int,
) -> None:
    fill(s3)
    key, secret = s3.others
    skewed = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(tmp_path / "cluster")
    s3.failing, s3.code, s3.failing_key = [failing], "RequestTimeTooSkewed", key
    try:
        await cluster.start(workers=1, environ=s3.environment | skewed)
        await cluster.add_worker(s3.environment)
        async with cluster.client() as dask, client_of(service, limits=Limits(max_images=4)) as client:
            archive = client.improve_archive(
                "s3://photos/scans", out=f"s3://photos/skewed-{failing[0]}", state=tmp_path / "state", cluster=dask
            )
            results = [result async for result in archive]
    finally:
        await cluster.close()
        s3.failing, s3.code, s3.failing_key = [], "", ""
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    [warning] = archive.progress.warnings
    assert said in warning
    images = sum(len(request.images) for request in service.requests)
    assert PHOTOS <= images <= PHOTOS + paid_again


async def test_a_worker_is_killed(service: FakeService, s3: S3Server, tmp_path: Path) -> None:
    fill(s3)
    service.default = lambda _: late(1)
    moment = Random().randint(1, 3)  # noqa: S311 - no secret
    cluster = Cluster(tmp_path / "cluster")
    try:
        await cluster.start(environ=s3.environment)
        async with cluster.client() as dask:
            running = asyncio.create_task(run(service, s3, "s3://photos/killed", tmp_path / "state", cluster=dask))
            async with asyncio.timeout(60):
                while len(service.requests) < moment:  # noqa: ASYNC110 - requests come from other processes
                    await asyncio.sleep(0.01)
            cluster.workers[0].kill()
            results = await running
    finally:
        await cluster.close()
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    paid = Counter(image for request in service.requests for image in request.images.values())
    assert len(paid) == PHOTOS
    assert paid.total() <= PHOTOS + THREADS * 4
    assert len(pictures(s3.objects("killed/"))) == 3 * PHOTOS
