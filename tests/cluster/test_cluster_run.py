"""A run with workers comes to the same as one without, whatever the service answers."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
from distributed import Client
from PIL import Image
from support.archives import tree
from support.clients import TOKEN, client_of, photos, retries
from support.cluster import cluster_in_process
from support.fake_service import FakeService, drop, envelope, http, items, late, ok, part, until
from support.field import answering, camera_exif, exact_scene, honouring_exif
from support.pictures import encoded

from smarty_async import AuthorizationError, Limits, OAuthCredentials, OptionsError, Result, ServiceUnavailable
from smarty_async.archive.paths import STATE
from smarty_async.archive.sources.scan import Scan
from smarty_async.errors import DiskError
from smarty_async.results import PRICE

pytestmark = pytest.mark.slow


async def run(service: FakeService, source: Path, out: Path, **choices: Any) -> list[Result]:
    async with client_of(service, limits=Limits(max_images=4)) as client:
        return [result async for result in client.improve_archive(source, out=out, **choices)]


def files(out: Path) -> dict[str, bytes]:
    """Every output by its path."""
    return {path: (out / path).read_bytes() for path in tree(out) if path.endswith(".jpg")}


async def test_it_comes_to_the_same_as_without_a_cluster(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 30)
    (source / "again.jpg").write_bytes((source / "a000.jpg").read_bytes())
    (source / "sideways.jpg").write_bytes(encoded(exact_scene(), exif=camera_exif(orientation=6)))
    (source / "deep.tif").write_bytes(encoded(Image.new("I;16", (40, 30), 9000), "TIFF"))
    (source / "text.jpg").write_text("no photo")
    service.default = answering(honouring_exif)
    choices: dict[str, Any] = {"modes": ("improve", "resolution"), "rfactor": 2, "chain": True}
    alone = await run(service, source, tmp_path / "alone", **choices)
    spread = await run(service, source, tmp_path / "spread", cluster=dask, **choices)
    assert by_photo(spread) == by_photo(alone)
    assert Counter(result.outcome for result in spread) == {"restored": 32, "duplicate": 1, "rejected": 1}
    assert files(tmp_path / "spread") == files(tmp_path / "alone")
    assert not list((tmp_path / "spread" / ".smarty-async").glob("tmp/*"))


def by_photo(results: list[Result]) -> dict[str, Result]:
    return {result.photo: result for result in results}


async def test_faults_of_the_service_come_back_as_they_are(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 12)
    faults = [
        http(503, "busy", {"Retry-After": "0"}),
        drop(after_bytes=900, of=ok()),
        items({"file_0": {"status": 2, "error": "later"}, "file_1": {"status": 1, "error": "never"}}),
        envelope(429, "too many"),
        items({"file_2": {"improved": "*** no base64"}}),
    ]
    service.script(*faults)
    spread = await run(service, source, tmp_path / "out", cluster=dask)
    reasons = Counter((result.outcome, result.error.message if result.error else "") for result in spread)
    assert reasons == {("restored", ""): 11, ("failed", "never"): 1}
    assert len(service.requests) > len(faults)


async def test_what_refuses_every_request_ends_the_run(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 12)
    service.valid_tokens = {"another"}
    with pytest.raises(AuthorizationError) as refused:
        await run(service, source, tmp_path / "out", cluster=dask)
    assert refused.value.status == 403
    assert TOKEN not in str(refused.value)


async def test_one_token_is_renewed_for_all_workers(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 40)
    service.valid_tokens = set()
    credentials = OAuthCredentials(client_id="id", client_secret="secret", auth_url=service.auth_url)

    def expire(request: Any) -> Any:
        if len(service.requests) == 4:
            service.valid_tokens = set()
        return service.answer_rightly(request)

    service.default = expire
    async with client_of(service, credentials=credentials, limits=Limits(max_images=4)) as client:
        results = [result async for result in client.improve_archive(source, out=tmp_path / "out", cluster=dask)]
    assert Counter(result.outcome for result in results) == {"restored": 40}
    assert len(service.grants) == 2


async def test_a_spend_limit_holds_for_all_workers(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 40)
    await run(service, source, tmp_path / "out", cluster=dask, max_cost=11 * PRICE)
    assert sum(len(request.images) for request in service.requests) == 11


async def test_leaving_early_closes_the_requests_of_the_workers(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 40)
    service.script(ok(), ok())
    service.default = lambda _: late(60)
    async with client_of(service, limits=Limits(max_images=4)) as client:
        results = client.improve_archive(source, out=tmp_path / "out", cluster=dask)
        async for _ in results:
            await until(lambda: service.open_now == 4)
            break
        await results.aclose()
        await until(lambda: not service.open_now)
    assert not list((tmp_path / "out" / ".smarty-async").glob("tmp/*"))


async def test_what_workers_had_answered_when_the_run_was_left_is_not_paid_for_again(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 16)
    service.default = lambda _: part(2)
    out = tmp_path / "out"
    running = asyncio.create_task(run(service, source, out, cluster=dask))
    logs = Path(out, ".smarty-async", "tmp")
    await until(lambda: sum(log.read_bytes().count(b'"file_') for log in logs.glob("chunk-*")) == 8)
    running.cancel()
    await asyncio.wait([running])
    service.default = lambda _: ok()
    results = await run(service, source, out, cluster=dask)
    assert Counter(result.outcome for result in results) == {"restored": 16}
    assert sum(len(request.images) for request in service.requests) == 16 + 8


async def test_draining_waits_for_the_open_requests(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 40)
    service.default = lambda _: late(0.3)
    async with client_of(service, limits=Limits(max_images=4)) as client:
        results = client.improve_archive(source, out=tmp_path / "out", cluster=dask)
        outcomes: Counter[str] = Counter()
        async for result in results:
            outcomes[result.outcome] += 1
            results.drain()
    images = sum(len(request.images) for request in service.requests)
    assert outcomes == {"restored": images}
    assert 0 < images < 40


async def test_the_requests_are_as_many_as_the_workers_have_threads(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, 60)
    service.default = lambda _: late(0.1)
    async with client_of(service, limits=Limits(max_images=4), concurrency=16) as client:
        results = client.improve_archive(source, out=tmp_path / "out", cluster=dask)
        seen = {(results.progress.workers, results.progress.permits) async for _ in results}
    assert seen == {(2, 4)}
    assert service.most_open == 4


async def test_a_run_without_workers_waits_and_ends(service: FakeService, source: Path, tmp_path: Path) -> None:
    photos(source, 3)
    async with (
        cluster_in_process(0) as empty,
        client_of(service, retries=retries(give_up_after=0.2, give_up_before_first=0.2)) as client,
    ):
        results = client.improve_archive(source, out=tmp_path / "out", cluster=empty)
        with pytest.raises(ServiceUnavailable, match="gave up on the cluster: it has no workers"):
            await anext(aiter(results))
    assert results.progress.status_message == "the cluster has no worker that can be used: waiting for one"


async def test_a_client_that_closes_itself_fails_no_photo(
    service: FakeService, source: Path, tmp_path: Path, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(source, 12)

    def closed(*_: object, **__: object) -> None:
        raise RuntimeError("Client is closed.")

    with monkeypatch.context() as patched:
        patched.setattr(Client, "submit", closed)
        with pytest.raises(ServiceUnavailable, match="gave up on the cluster: its scheduler cannot be reached"):
            await run(service, source, tmp_path / "out", cluster=dask)
    results = await run(service, source, tmp_path / "out", cluster=dask)
    assert Counter(result.outcome for result in results) == {"restored": 12}


async def test_a_client_that_is_not_asynchronous_is_refused(service: FakeService, source: Path, out: Path) -> None:
    def connected() -> Any:
        return cast("Any", Client)(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", set_as_default=False)

    dask = await asyncio.to_thread(connected)
    try:
        async with client_of(service) as client:
            with pytest.raises(OptionsError, match="asynchronous"):
                client.improve_archive(source, out=out, cluster=dask)
    finally:
        await asyncio.to_thread(dask.close)


async def test_settings_that_cannot_travel_are_refused(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    async with client_of(service, ssl=ssl.create_default_context()) as client:
        with pytest.raises(OptionsError, match="without session and ssl"):
            client.improve_archive(source, out=tmp_path / "out", cluster=dask)


async def test_what_workers_have_reported_is_kept_when_the_source_fails(
    service: FakeService, source: Path, tmp_path: Path, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(source, 16)
    service.default = lambda _: part(2)
    next_batch, logs = Scan.next_batch, tmp_path / "out" / STATE / "tmp"

    async def failing(scan: Scan) -> Any:
        if batch := await next_batch(scan):
            return batch
        await until(lambda: sum(log.read_bytes().count(b'"file_') for log in logs.glob("chunk-*")) >= 4)
        raise DiskError("the source is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Scan, "next_batch", failing)
        with pytest.raises(DiskError):
            await run(service, source, tmp_path / "out", cluster=dask)
    before = sum(len(request.images) for request in service.requests)
    service.default = lambda _: ok()
    results = await run(service, source, tmp_path / "out", cluster=dask)
    again = sum(len(request.images) for request in service.requests) - before
    assert Counter(result.outcome for result in results) == {"restored": 16}
    assert again <= 12
