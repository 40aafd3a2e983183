from __future__ import annotations

import asyncio

import aiohttp
import pytest

from smarty_async.errors import ConfigurationError
from smarty_async.report.metrics import metrics_text, serving_metrics
from smarty_async.results import LATENCY_BOUNDS, Latencies, Progress


def samples(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_every_counter_is_told() -> None:
    progress = Progress(
        found=9,
        scanning=False,
        outcomes={"restored": 5, "failed": 1},
        requests=3,
        images=7,
        bytes_sent=100,
        bytes_received=400,
        retries=2,
        permits=4,
    )
    told = samples(metrics_text(progress))
    assert told['smarty_photos_total{outcome="restored"}'] == 5
    assert told['smarty_photos_total{outcome="failed"}'] == 1
    assert told['smarty_photos_total{outcome="skipped"}'] == 0
    assert told["smarty_photos_found_total"] == 9
    assert told["smarty_scanning"] == 0
    assert told["smarty_requests_total"] == 3
    assert told["smarty_images_total"] == 7
    assert told["smarty_sent_bytes_total"] == 100
    assert told["smarty_received_bytes_total"] == 400
    assert told["smarty_retries_total"] == 2
    assert told["smarty_slots"] == 4


def test_latencies_are_a_cumulative_histogram() -> None:
    progress = Progress()
    for seconds in (0.0005, 0.5, 0.5, 5_000):
        progress.latencies.add(seconds)
    text = metrics_text(progress)
    told = samples(text)
    buckets = [value for name, value in told.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert buckets[0] == 1
    assert told['smarty_request_seconds_bucket{le="+Inf"}'] == told["smarty_request_seconds_count"] == 4
    assert told["smarty_request_seconds_sum"] == pytest.approx(5_001.0005)
    assert text.endswith("\n")
    assert text.count("# TYPE") == len({line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")})


def test_no_notice_and_no_token_can_get_into_it() -> None:
    assert "secret" not in metrics_text(Progress(status_message="the token is secret"))


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


async def test_it_is_served_as_it_stands_at_the_time() -> None:
    progress = Progress()
    async with serving_metrics(lambda: progress) as port, aiohttp.ClientSession() as session:
        for images in (0, 5):
            progress.images = images
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                assert samples(await response.text())["smarty_images_total"] == images


async def test_whoever_leaves_without_asking_does_no_harm() -> None:
    async with serving_metrics(Progress) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
            assert response.status == 200


async def test_a_port_that_is_taken_is_told() -> None:
    async with serving_metrics(Progress) as port:
        with pytest.raises(ConfigurationError, match=str(port)):
            async with serving_metrics(Progress, port=port):
                pass
