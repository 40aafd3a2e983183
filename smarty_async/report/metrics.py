"""A run's counters as Prometheus text, and the little server that gives it to whoever asks.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import accumulate
from typing import Final, get_args

from smarty_async.errors import ConfigurationError
from smarty_async.results import LATENCY_BOUNDS, Latencies, Outcome, Progress

__all__ = ["metrics_text", "serving_metrics"]

_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_EVERY: Final = 4
"""Of the bounds between latencies one in so many is told: each is twice the one before."""
_PATIENCE: Final = 5.0
"""Seconds that whoever connects has for asking."""


def metrics_text(progress: Progress) -> str:
    """What is counted in `progress`; a scrape's whole body."""
    return "\n".join([*_photos(progress), *_counters(progress), *_latencies(progress.latencies), ""])


def _photos(progress: Progress) -> Iterator[str]:
    yield from _about("smarty_photos_total", "counter", "Photos that came to an end in this run, by outcome.")
    outcomes: tuple[Outcome, ...] = get_args(Outcome)
    for outcome in outcomes:
        yield f'smarty_photos_total{{outcome="{outcome}"}} {progress.outcomes.get(outcome, 0)}'


def _counters(progress: Progress) -> Iterator[str]:
    for name, kind, about, value in (
        ("smarty_photos_found_total", "counter", "Photos seen by the scan.", progress.found),
        ("smarty_scanning", "gauge", "Whether the scan may find more.", int(progress.scanning)),
        ("smarty_requests_total", "counter", "Requests sent.", progress.requests),
        ("smarty_images_total", "counter", "Images sent, which is what is paid for.", progress.images),
        ("smarty_sent_bytes_total", "counter", "Bytes of request bodies.", progress.bytes_sent),
        ("smarty_received_bytes_total", "counter", "Bytes of answers.", progress.bytes_received),
        ("smarty_retries_total", "counter", "Items and requests tried again.", progress.retries),
        ("smarty_slots", "gauge", "Requests that may be open at once now.", progress.permits),
    ):
        yield from _about(name, kind, about)
        yield f"{name} {value}"


def _latencies(latencies: Latencies) -> Iterator[str]:
    name = "smarty_request_seconds"
    yield from _about(name, "histogram", "From sending a request to its answer's last byte.")
    cumulated = list(accumulate(latencies.counts))
    for bound, count in list(zip(LATENCY_BOUNDS, cumulated, strict=False))[::_EVERY]:
        yield f'{name}_bucket{{le="{bound:g}"}} {count}'
    yield f'{name}_bucket{{le="+Inf"}} {cumulated[-1]}'
    yield f"{name}_sum {latencies.seconds:.6f}"
    yield f"{name}_count {cumulated[-1]}"


def _about(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


@asynccontextmanager
async def serving_metrics(
    look: Callable[[], Progress], *, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[int, None]:
    """Answer whoever asks with `metrics_text` while the block lasts; gives the port, which for 0 is one that was free.

    Args:
        look: gives the progress of the run, now.
        host: the address to listen on.
        port: the port.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_PATIENCE):
                await reader.readuntil(b"\r\n\r\n")
                body = metrics_text(look()).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: {_TYPE}\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
                await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(answer, host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"cannot listen on {host}:{port} for metrics: {reason}; choose another port"
        ) from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
