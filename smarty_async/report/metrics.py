"""A run's counters for Prometheus, by the extra `metrics`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Final, get_args

from smarty_async.errors import ConfigurationError, MissingExtra
from smarty_async.results import LATENCY_BOUNDS, Latencies, Outcome, Progress

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["ProgressCollector", "serving_metrics"]

_EVERY: Final = 4
"""Every fourth of `LATENCY_BOUNDS` is a bucket: each is twice the one before."""

_OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class ProgressCollector:
    """Collects metrics from a run's progress; a collector of `prometheus_client` for any registry.

    Args:
        look: returns the progress of the run, now; called from the thread that collects.
    """

    def __init__(self, look: Callable[[], Progress]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        from prometheus_client.core import (  # noqa: PLC0415 - an extra
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        progress = self._look()
        photos = CounterMetricFamily(
            "smarty_photos", "Photos that came to an end in this run, by outcome.", labels=["outcome"]
        )
        for outcome in _OUTCOMES:
            photos.add_metric([outcome], progress.outcomes.get(outcome, 0))
        yield photos
        for name, about, value in (
            ("smarty_photos_found", "Photos found so far.", progress.found),
            ("smarty_files_left_alone", "Files that are no photos.", progress.left_alone),
            ("smarty_requests", "Requests sent.", progress.requests),
            ("smarty_images", "Images sent; a photo that is sent again counts again.", progress.images),
            ("smarty_images_paid", "Images probably paid for.", progress.images_paid),
            ("smarty_sent_bytes", "Bytes of request bodies.", progress.bytes_sent),
            ("smarty_received_bytes", "Bytes of answers.", progress.bytes_received),
            ("smarty_retries", "Photos and requests sent again.", progress.retries),
        ):
            yield CounterMetricFamily(name, about, value=value)
        yield GaugeMetricFamily("smarty_scanning", "Whether more photos may be found.", value=int(progress.scanning))
        yield GaugeMetricFamily("smarty_permits", "Requests that may be open at once now.", value=progress.permits)
        yield HistogramMetricFamily(
            "smarty_request_seconds",
            "From sending a request to the last byte of its answer.",
            buckets=_buckets(progress.latencies),
            sum_value=progress.latencies.seconds,
        )


def _buckets(latencies: Latencies) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound."""
    cumulated = list(accumulate(latencies.counts))
    bounds = [f"{bound:g}" for bound in LATENCY_BOUNDS]
    return [*list(zip(bounds, cumulated, strict=False))[::_EVERY], ("+Inf", cumulated[-1])]


@contextmanager
def serving_metrics(
    look: Callable[[], Progress], *, host: str = "127.0.0.1", port: int = 0
) -> Generator[int, None, None]:
    """Serve the metrics of a run over HTTP during the block; gives the port, which for 0 is one that was free.

    Args:
        look: returns the progress of the run, now.
        host: the address to listen on.
        port: the port.

    Raises:
        MissingExtra: the extra `metrics` is not installed.
        ConfigurationError: the address cannot be listened on.
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("prometheus_client", "metrics") from None
    registry = CollectorRegistry()
    registry.register(ProgressCollector(look))
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"cannot listen on {host}:{port} for metrics: {reason}; choose another port"
        ) from error
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
