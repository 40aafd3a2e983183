"""The hooks for Prometheus, and the latencies that a run's progress keeps."""

from __future__ import annotations

import asyncio
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.archives import client, fill
from support.fake_service import FakeService, http

from smarty_async.errors import ConfigurationError, MissingExtra
from smarty_async.hooks import ResponseDetails, RetryDetails
from smarty_async.progress import LATENCY_BOUNDS, Latencies, Progress
from smarty_async.report.metrics import MetricsHooks


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def values_of(hooks: MetricsHooks) -> dict[str, float]:
    return samples(generate_latest(hooks.registry).decode())


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        return str(response.read().decode())


def response(seconds: float) -> ResponseDetails:
    return ResponseDetails(1, 1, 10, 1, 200, seconds, 1, bytes_sent=10, bytes_received=20, paid=True)


async def test_a_run_is_counted_as_its_progress_counts_it(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "photos" / "d.jpg").write_bytes(b"")
    hooks = MetricsHooks(CollectorRegistry())
    async with FakeService() as service, client(service, hooks=[hooks]) as c:
        service.script(http(429), http(503))
        run = c.improve_archive(tmp_path / "photos", out=tmp_path / "out")
        with hooks.serving(lambda: run.progress) as port:
            assert [result async for result in run]
            values = samples(await asyncio.to_thread(read, port))
    progress = run.progress
    assert values["smarty_photos_totalrestored"] == 3
    assert values["smarty_photos_totalrejected"] == 1
    assert values["smarty_photos_totalskipped"] == 0
    assert values["smarty_photos_found_total"] == 4
    assert values["smarty_files_left_alone_total"] == 0
    assert values["smarty_scanning"] == 0
    assert values["smarty_requests_total"] == progress.requests >= 3
    assert values["smarty_images_total"] == progress.images
    assert values["smarty_images_paid_total"] == progress.images_paid < progress.images
    assert values["smarty_sent_bytes_total"] == progress.bytes_sent > 0
    assert values["smarty_received_bytes_total"] == progress.bytes_received > 0
    assert values["smarty_retries_total"] == progress.retries == 2
    assert values["smarty_permits"] == progress.permits > 0
    assert values["smarty_request_seconds_count"] == progress.latencies.count > 0


def test_latencies_are_a_cumulative_histogram() -> None:
    hooks = MetricsHooks()
    for seconds in (0.0005, 0.5, 0.5, 5_000):
        hooks.on_response(response(seconds))
    values = values_of(hooks)
    buckets = [value for name, value in values.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert buckets[0] == 1
    assert values["smarty_request_seconds_bucket+Inf"] == values["smarty_request_seconds_count"] == 4
    assert values["smarty_request_seconds_sum"] == pytest.approx(5_001.0005)


def test_no_text_is_part_of_it() -> None:
    hooks = MetricsHooks()
    hooks.on_retry(RetryDetails(1, 1, 0.5, "the token is secret"))
    assert values_of(hooks)["smarty_retries_total"] == 1
    assert "secret" not in generate_latest(hooks.registry).decode()


@pytest.mark.parametrize("seconds", [0.001, 0.3, 7.0, 900.0])
def test_a_quantile_is_at_most_a_fifth_too_long(seconds: float) -> None:
    latencies = Latencies()
    for _ in range(10):
        latencies.add(seconds)
    assert seconds <= latencies.quantile(0.5) <= seconds * 1.2


def test_quantiles_of_nothing_and_beyond_the_last_bound() -> None:
    latencies = Latencies()
    assert latencies.quantile(0.99) == 0
    latencies.add(1e6)
    assert latencies.quantile(0.5) == LATENCY_BOUNDS[-1]


@pytest.mark.slow
async def test_the_scan_of_the_moment_is_served() -> None:
    progress = Progress()
    hooks = MetricsHooks()
    with hooks.serving(lambda: progress) as port:
        for found in (0, 5):
            progress.found = found
            assert samples(await asyncio.to_thread(read, port))["smarty_photos_found_total"] == found
    assert "smarty_photos_found_total" not in values_of(hooks)


@pytest.mark.slow
def test_a_port_that_is_taken_is_an_error() -> None:
    with (
        MetricsHooks().serving(Progress) as port,
        pytest.raises(ConfigurationError, match=str(port)),
        MetricsHooks().serving(Progress, port=port),
    ):
        pass


@pytest.mark.slow
def test_a_registry_that_refuses_a_second_run_leaves_no_server() -> None:
    hooks = MetricsHooks(CollectorRegistry(auto_describe=True))
    with hooks.serving(Progress):
        threads = threading.active_count()
        with pytest.raises(ValueError, match="Duplicated"), hooks.serving(Progress):
            pass
        assert threading.active_count() == threads
    with hooks.serving(Progress) as port:
        assert "smarty_photos_found_total" in samples(read(port))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match=r"smarty_async\[metrics\]"):
        MetricsHooks()
