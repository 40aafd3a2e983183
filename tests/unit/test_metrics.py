from __future__ import annotations

import asyncio
import sys
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from smarty_async.errors import ConfigurationError, MissingExtra
from smarty_async.report.metrics import ProgressCollector, serving_metrics
from smarty_async.results import LATENCY_BOUNDS, Latencies, Progress


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def text_of(progress: Progress) -> str:
    registry = CollectorRegistry()
    registry.register(ProgressCollector(lambda: progress))
    return generate_latest(registry).decode()


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        return str(response.read().decode())


def test_every_counter_is_there() -> None:
    progress = Progress(
        found=9,
        scanning=False,
        outcomes={"restored": 5, "failed": 1},
        requests=3,
        images=7,
        images_paid=6,
        bytes_sent=100,
        bytes_received=400,
        retries=2,
        permits=4,
        left_alone=8,
    )
    values = samples(text_of(progress))
    assert values["smarty_photos_totalrestored"] == 5
    assert values["smarty_photos_totalfailed"] == 1
    assert values["smarty_photos_totalskipped"] == 0
    assert values["smarty_photos_found_total"] == 9
    assert values["smarty_files_left_alone_total"] == 8
    assert values["smarty_scanning"] == 0
    assert values["smarty_requests_total"] == 3
    assert values["smarty_images_total"] == 7
    assert values["smarty_images_paid_total"] == 6
    assert values["smarty_sent_bytes_total"] == 100
    assert values["smarty_received_bytes_total"] == 400
    assert values["smarty_retries_total"] == 2
    assert values["smarty_permits"] == 4


def test_latencies_are_a_cumulative_histogram() -> None:
    progress = Progress()
    for seconds in (0.0005, 0.5, 0.5, 5_000):
        progress.latencies.add(seconds)
    values = samples(text_of(progress))
    buckets = [value for name, value in values.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert buckets[0] == 1
    assert values["smarty_request_seconds_bucket+Inf"] == values["smarty_request_seconds_count"] == 4
    assert values["smarty_request_seconds_sum"] == pytest.approx(5_001.0005)


def test_no_message_and_no_token_is_part_of_it() -> None:
    assert "secret" not in text_of(Progress(status_message="the token is secret"))


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
async def test_the_progress_of_the_moment_is_served() -> None:
    progress = Progress()
    with serving_metrics(lambda: progress) as port:
        for images in (0, 5):
            progress.images = images
            assert samples(await asyncio.to_thread(read, port))["smarty_images_total"] == images


@pytest.mark.slow
def test_a_port_that_is_taken_is_an_error() -> None:
    with (
        serving_metrics(Progress) as port,
        pytest.raises(ConfigurationError, match=str(port)),
        serving_metrics(Progress, port=port),
    ):
        pass


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match=r"smarty_async\[metrics\]"), serving_metrics(Progress):
        pass
