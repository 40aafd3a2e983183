"""Photos that workers look into, many in one call: the caller's CPU is what bounds a large cluster."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from itertools import count, repeat
from typing import Any, Final

from distributed import Client

from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.sources.source import PhotoFile, PhotoSource
from smarty_async.cluster.worker import look_into
from smarty_async.cluster.workers import ClusterWorkers
from smarty_async.options import Limits
from smarty_async.store_address import is_store_address

__all__ = ["ClusterProbes"]

_log = logging.getLogger("smarty_async")

_CALL_PHOTOS: Final = 64
"""Photos in one call, at most: a call costs the caller as much CPU as looking into ten."""
_CALL_BYTES: Final = 32_000_000
"""Bytes of their files: what has to be converted comes back with the answer."""
_FILL_SECONDS: Final = 0.02
"""How long a call waits for more photos."""

_Waiting = tuple[PhotoFile, asyncio.Future[Probed]]


class ClusterProbes:
    """Lets the workers of a cluster look into photos.

    What a worker cannot read, the caller looks into itself, as it does when there is no worker: it says why, and it may
    have a decoder that the worker lacks.

    Args:
        dask: an asynchronous client of the cluster.
        workers: its workers.
        source: where the photos come from.
        limits: what the endpoint takes.
        fit: whether to make smaller what is over the limits.
    """

    def __init__(
        self, dask: Client, workers: ClusterWorkers, *, source: PhotoSource, limits: Limits, fit: bool
    ) -> None:
        self._dask: Any = dask
        self._workers = workers
        self._source = source
        self._limits = limits
        self._fit = fit
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._turns = count()

    def probe(self, file: PhotoFile) -> asyncio.Future[Probed]:
        """Look into `file`; the future fails as `PhotoSource.probe` does."""
        future: asyncio.Future[Probed] = asyncio.get_running_loop().create_future()
        self._waiting.append((file, future))
        if len(self._waiting) >= _CALL_PHOTOS:
            self._start_calls()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FILL_SECONDS, self._start_calls)
        return future

    async def aclose(self) -> None:
        """Wait for no answer any more."""
        if self._timer is not None:
            self._timer.cancel()
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)

    def _start_calls(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            call = asyncio.create_task(self._look_into(self._next_photos()), name="smarty_async probes")
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    def _next_photos(self) -> list[_Waiting]:
        photos: list[_Waiting] = []
        size = 0
        while self._waiting and len(photos) < _CALL_PHOTOS and size < _CALL_BYTES:
            photos.append(self._waiting.popleft())
            size += photos[-1][0].size
        return photos

    async def _look_into(self, photos: Sequence[_Waiting]) -> None:
        answers: Sequence[Probed | None] = []
        try:
            answers = await self._ask_worker([file for file, _ in photos])
        except Exception as error:  # noqa: BLE001 - whatever Dask raises: the caller looks itself
            _log.debug("a worker did not look into %d photos: %s: %s", len(photos), type(error).__name__, error)
        for (file, future), probed in zip(photos, answers or repeat(None), strict=False):
            if future.done():
                continue
            if probed is None:
                self._look_here(file, future)
            else:
                future.set_result(probed)

    async def _ask_worker(self, files: Sequence[PhotoFile]) -> Sequence[Probed | None]:
        """What a worker finds, None for photos that it cannot read; empty when there is no worker, or it has left."""
        addresses = sorted(self._workers.addresses)
        if not addresses:
            return []
        address = addresses[next(self._turns) % len(addresses)]
        running = asyncio.ensure_future(
            self._dask.run(
                look_into,
                [self._source.prober(file) for file in files],
                limits=self._limits,
                fit=self._fit,
                pool="fetching" if is_store_address(files[0].path) else "probing",
                workers=[address],
            )
        )
        waits: set[asyncio.Future[Any]] = {running, asyncio.create_task(self._workers.gone([address]))}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            answers: Sequence[Probed | None] = running.result()[address] if running.done() else []
            return answers
        finally:
            for wait in waits:
                wait.cancel()

    def _look_here(self, file: PhotoFile, future: asyncio.Future[Probed]) -> None:
        def pass_on(done: asyncio.Future[Probed]) -> None:
            if future.done() or done.cancelled():
                return
            error = done.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())

        probing = asyncio.ensure_future(self._source.probe(file, limits=self._limits, fit=self._fit))
        probing.add_done_callback(pass_on)
        future.add_done_callback(lambda _: probing.cancel())
