"""Hooks that count requests and photos for Prometheus, by the extra `metrics`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, get_args

from smarty_async.errors import MissingExtra
from smarty_async.hooks import RequestDetails, ResponseDetails, RetryDetails
from smarty_async.progress import LATENCY_BOUNDS, Progress
from smarty_async.results import Outcome, Result

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

__all__ = ["MetricsHooks"]

_EVERY: Final = 4
"""Every fourth of `LATENCY_BOUNDS` is a bucket: each is twice the one before."""


class MetricsHooks:
    """Counts what a client does; give it to `SmartyClient(hooks=[…])`.

    Args:
        registry: of `prometheus_client`, where the metrics are registered; None for a new one.

    Attributes:
        registry: where the metrics are registered.

    Raises:
        MissingExtra: the extra `metrics` is not installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        try:
            from prometheus_client import (  # noqa: PLC0415 - an extra
                CollectorRegistry,
                Counter,
                Gauge,
                Histogram,
            )
        except ImportError:
            raise MissingExtra("prometheus_client", "metrics") from None
        self.registry = registry = registry if registry is not None else CollectorRegistry()

        def counter(name: str, text: str) -> Counter:
            return Counter(f"smarty_{name}", text, registry=registry)

        self._photos = Counter(
            "smarty_photos", "Photos that came to an end, by outcome.", labelnames=["outcome"], registry=registry
        )
        for outcome in get_args(Outcome):
            self._photos.labels(outcome)
        self._requests = counter("requests", "Requests sent.")
        self._images = counter("images", "Images sent; a photo that is sent again counts again.")
        self._images_paid = counter("images_paid", "Images probably paid for, counted when their request has ended.")
        self._sent = counter("sent_bytes", "Bytes of request bodies.")
        self._received = counter("received_bytes", "Bytes of answers.")
        self._retries = counter("retries", "Photos and requests sent again.")
        self._permits = Gauge("smarty_permits", "Requests that may be open at once now.", registry=registry)
        self._seconds = Histogram(
            "smarty_request_seconds",
            "From sending a request to the last byte of its answer.",
            buckets=LATENCY_BOUNDS[::_EVERY],
            registry=registry,
        )

    def on_request(self, details: RequestDetails) -> None:
        """Count a request and its images."""
        self._requests.inc()
        self._images.inc(details.images)
        self._permits.set(details.permits)

    def on_response(self, details: ResponseDetails) -> None:
        """Count the bytes, what is paid for, and how long an answer took."""
        self._sent.inc(details.bytes_sent)
        self._received.inc(details.bytes_received)
        if details.paid:
            self._images_paid.inc(details.images)
        if details.error is None:
            self._seconds.observe(details.seconds)

    def on_retry(self, details: RetryDetails) -> None:
        """Count it."""
        del details
        self._retries.inc()

    def on_photo(self, result: Result) -> None:
        """Count the outcome."""
        self._photos.labels(result.outcome).inc()

    @contextmanager
    def serving(
        self, look: Callable[[], Progress], *, host: str = "127.0.0.1", port: int = 0
    ) -> Generator[int, None, None]:
        """Serve the metrics over HTTP during the block, and with them how far the scan of a run has come.

        Args:
            look: returns the progress of the run, now; called from the thread that serves.
            host: the address to listen on.
            port: the port; for 0 one that is free, which the block is given.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        from prometheus_client import start_http_server  # noqa: PLC0415 - an extra

        from smarty_async.web.listening import listening_errors  # noqa: PLC0415 - few runs need aiohttp's server

        scan = _ScanCollector(look)
        with listening_errors(f"{host}:{port} for metrics", choose="port"):
            server, thread = start_http_server(port, addr=host, registry=self.registry)
        try:
            self.registry.register(scan)
            try:
                yield int(server.server_address[1])
            finally:
                self.registry.unregister(scan)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _ScanCollector:
    """What a scan has found, which no hook is called with.

    Args:
        look: returns the progress of the run, now.
    """

    def __init__(self, look: Callable[[], Progress]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - an extra

        progress = self._look()
        yield CounterMetricFamily("smarty_photos_found", "Photos found so far.", value=progress.found)
        yield CounterMetricFamily("smarty_files_left_alone", "Files that are not photos.", value=progress.left_alone)
        yield GaugeMetricFamily("smarty_scanning", "Whether more photos may be found.", value=int(progress.scanning))
