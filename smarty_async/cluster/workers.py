"""Which workers of the cluster are there, and which of them can be used."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from distributed import Client

from smarty_async.archive.object_store import Bucket
from smarty_async.archive.threads import finish_despite_cancel
from smarty_async.cluster.messages import VERSION
from smarty_async.cluster.storage import ChunkStorage
from smarty_async.cluster.worker import prepare
from smarty_async.errors import ConfigurationError, DiskError, ServiceUnavailable
from smarty_async.options import is_loopback
from smarty_async.store_address import StoreAddress, is_store_address
from smarty_async.transport.item import Stopped

__all__ = ["ClusterWorkers", "is_private", "unreachable"]

_log = logging.getLogger("smarty_async")

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the cluster."""
_ANSWER_SECONDS: Final = 30.0
"""Seconds within which the scheduler, or a worker, must answer."""
_SILENT_SECONDS: Final = 30.0
"""Seconds without a sign of life after which a worker is given nothing more: Dask itself removes it after five to ten
minutes (``distributed.scheduler.worker-ttl``)."""
_ASK_AGAIN_SECONDS: Final = 30.0
"""Seconds after which a worker that answered why it cannot be used is asked again: a mount or a store comes back."""


class _Worker(msgspec.Struct, frozen=True):
    """A worker.

    Attributes:
        threads: how many requests it has open at once.
        refused: why it cannot be used, None when it can.
        ask_at: when it is asked again whether it can, as `monotonic` counts.
    """

    threads: int
    refused: str | None = None
    ask_at: float = inf


class ClusterWorkers:
    """The workers of a cluster; looks for those that join and leave.

    Args:
        dask: an asynchronous client of the cluster.
        storage: where outputs go; every worker must see it.
        sources: where photos come from; likewise.
        store_options: what buckets among them are opened with.
        wait_seconds: how long to wait for a worker when there is none, in seconds.
        on_change: called with the usable workers and their threads when these change.
        on_refused: called with a sentence for a person when a worker is not used, once for each reason.
        stopping: set when the run is to end: no worker is waited for any more.
    """

    def __init__(
        self,
        dask: Client,
        *,
        storage: ChunkStorage,
        sources: Sequence[str],
        store_options: Mapping[str, Any],
        wait_seconds: float,
        on_change: Callable[[int, int], None],
        on_refused: Callable[[str], None],
        stopping: asyncio.Event,
    ) -> None:
        self._dask: Any = dask  # its methods are coroutines or not, which their types do not tell
        self._storage = storage
        self._sources = [
            Bucket(StoreAddress.parse(source), store_options)
            if is_store_address(source)
            else str(Path(source).absolute())
            for source in sources
            if is_store_address(source) or Path(source).exists()
        ]
        self._mark = f"cluster-{secrets.token_hex(8)}"
        self._wait_seconds = wait_seconds
        self._on_change = on_change
        self._on_refused = on_refused
        self._stopping = stopping
        self._reasons: set[str] = set()
        self._known: dict[str, _Worker] = {}
        # What the scheduler says of the last sign of life of each, and since when.
        self._heard: dict[str, tuple[float, float]] = {}
        self._changed = asyncio.Condition()
        self._unreachable: ServiceUnavailable | None = None

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Look for workers during the block; the first are there when it begins.

        Raises:
            ConfigurationError: none of the workers can be used.
            ServiceUnavailable: there is no worker, or no scheduler.
            DiskError: the folder cannot be written to.
        """
        await finish_despite_cancel(asyncio.to_thread(self._storage.clear_logs))
        await finish_despite_cancel(asyncio.to_thread(self._storage.mark, self._mark))
        try:
            await self._look()
            if not self.addresses:
                self._on_change(0, 0)
            watching = asyncio.create_task(self._watch(), name="smarty_async cluster")
            try:
                with suppress(Stopped):  # nothing is sent then
                    await self.usable(all_refused_is_final=True)
                yield
            finally:
                watching.cancel()
                await asyncio.wait([watching])
        finally:
            with suppress(OSError, DiskError):
                await finish_despite_cancel(asyncio.to_thread(self._storage.clear, self._mark))

    async def usable(self, *, all_refused_is_final: bool = False) -> frozenset[str]:
        """The addresses of the workers that can be used; waits for one when there is none.

        Args:
            all_refused_is_final: do not wait for others when there are some that cannot be used.

        Raises:
            ConfigurationError: see `all_refused_is_final`.
            ServiceUnavailable: none came in time, or the scheduler cannot be reached.
            Stopped: there is none, and the run is to end.
        """
        try:
            async with asyncio.timeout(self._wait_seconds):
                while not self.addresses:
                    if self._stopping.is_set():
                        raise Stopped
                    if all_refused_is_final and self._known:
                        raise ConfigurationError(self._why_none)
                    await self._change()
        except TimeoutError:
            raise ServiceUnavailable(f"gave up on the cluster: {self._why_none}", seconds=self._wait_seconds) from None
        return self.addresses

    async def gone(self, addresses: Iterable[str]) -> None:
        """Wait until none of `addresses` is in the cluster, or the scheduler cannot be reached."""
        waiting = set(addresses)
        with suppress(ServiceUnavailable):
            while waiting & self._known.keys():
                await self._change()

    async def refuse(self, address: str, reason: str) -> None:
        """Do not use the worker at `address` any more: it cannot do what it was given, for `reason`."""
        worker = self._known.get(address)
        if worker is not None and worker.refused is None:
            self._warn(f"the worker {address} is not used any more: {reason}", reason)
            await self._changed_to(self._known | {address: _Worker(worker.threads, reason)})

    def _warn(self, sentence: str, reason: str) -> None:
        """Say that a worker is not used; a platform may start another of the same kind again and again."""
        _log.warning("%s", sentence)
        if reason not in self._reasons:
            self._reasons.add(reason)
            self._on_refused(sentence)

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses of the workers that can be used now."""
        return frozenset(address for address, worker in self._known.items() if worker.refused is None)

    @property
    def _why_none(self) -> str:
        refused = [(address, worker.refused) for address, worker in self._known.items() if worker.refused]
        if not refused:
            return "it has no workers"
        others = "" if len(refused) == 1 else f" (and {len(refused) - 1} more that cannot be used)"
        return f"the worker {refused[0][0]} cannot be used: {refused[0][1]}{others}"

    async def _change(self) -> None:
        """Wait for the next change.

        Raises:
            ServiceUnavailable: the scheduler cannot be reached.
        """
        if self._unreachable is None:
            async with self._changed:
                await self._changed.wait()
        if self._unreachable is not None:
            raise self._unreachable

    async def _watch(self) -> None:
        while self._unreachable is None:
            await asyncio.sleep(_LOOK_EVERY)
            await self._look()
            if self._stopping.is_set():
                async with self._changed:
                    self._changed.notify_all()

    async def _look(self) -> None:
        """Look at the workers that are there now, and make those ready that are new."""
        try:
            found = self._alive((await _answer(self._dask.scheduler.identity()))["workers"])
            prepared = await self._prepared({address: found[address]["nthreads"] for address in self._to_ask(found)})
            known = {address: worker for address, worker in self._known.items() if address in found} | prepared
        except Exception as error:  # noqa: BLE001 - whatever Dask raises when its scheduler is gone
            known = {}
            self._unreachable = unreachable(error)
        if known != self._known or self._unreachable is not None:
            await self._changed_to(known)

    def _to_ask(self, found: Iterable[str]) -> list[str]:
        """Those of the workers that are new, or that are to be asked again whether they can be used."""
        now = monotonic()
        return [address for address in found if address not in self._known or self._known[address].ask_at <= now]

    def _alive(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the workers that show signs of life; one that hangs counts as one that has left."""
        now = monotonic()
        heard: dict[str, tuple[float, float]] = {}
        for address, worker in found.items():
            seen, since = self._heard.get(address, (0.0, now))
            heard[address] = (seen, since) if worker["last_seen"] == seen else (worker["last_seen"], now)
        self._heard = heard
        silent = [address for address, (_, since) in heard.items() if now - since > _SILENT_SECONDS]
        for address in self._known.keys() & silent:
            self._warn(f"the worker {address} shows no sign of life: it is given nothing until it does", address)
        return {address: worker for address, worker in found.items() if address not in silent}

    async def _changed_to(self, known: dict[str, _Worker]) -> None:
        self._known = known
        usable = [worker.threads for worker in known.values() if worker.refused is None]
        self._on_change(len(usable), sum(usable))
        async with self._changed:
            self._changed.notify_all()

    async def _prepared(self, threads: Mapping[str, int]) -> dict[str, _Worker]:
        """The workers at some addresses, with so many threads, those that can be used made ready.

        One that has left meanwhile is left out.
        """
        workers = await asyncio.gather(*(self._prepare(address, count) for address, count in threads.items()))
        prepared = {address: worker for address, worker in zip(threads, workers, strict=True) if worker is not None}
        for address, worker in prepared.items():
            before = self._known[address].refused if address in self._known else None
            if worker.refused is not None and worker.refused != before:
                self._warn(f"the worker {address} is not used: {worker.refused}", worker.refused)
        return prepared

    async def _prepare(self, address: str, threads: int) -> _Worker | None:
        """One worker, made ready if it can be used; None when it has left."""
        if not is_private(address):  # neither the token nor the keys of a store may travel to it
            return _Worker(threads, "the token would travel to it unencrypted: use tls://")
        running = self._dask.run(
            prepare, self._storage, self._mark, self._sources, workers=[address], on_error="return"
        )
        try:
            answer = (await _answer(running)).get(address)
        except TimeoutError:
            return _Worker(threads, "it does not answer")
        except (OSError, ValueError):
            return None
        if answer is None or isinstance(answer, OSError):
            return None
        refused = _refused(answer)
        return _Worker(threads, refused, inf if refused is None else monotonic() + _ASK_AGAIN_SECONDS)


def _refused(answer: tuple[str, str | None] | Exception) -> str | None:
    """Why a worker cannot be used, given its answer to `prepare`."""
    if isinstance(answer, Exception) and "ModuleNotFoundError" in repr(answer):
        return f"smarty_async is not installed there, or in another version ({answer})"
    if isinstance(answer, Exception):
        return f"{type(answer).__name__}: {answer}"
    if answer[0] != VERSION:
        return f"it has version {answer[0]} of smarty_async, and this is {VERSION}"
    return answer[1]


async def _answer(asked: Any) -> Any:
    """The answer of a function of Dask that says nothing of its types, and that is a coroutine here.

    Raises:
        TimeoutError: there was none.
    """
    async with asyncio.timeout(_ANSWER_SECONDS):
        return await asked


def unreachable(error: Exception) -> ServiceUnavailable:
    """What to raise when Dask raises `error` because its scheduler is gone."""
    return ServiceUnavailable(
        f"gave up on the cluster: its scheduler cannot be reached ({type(error).__name__})", seconds=0.0
    )


def is_private(address: str) -> bool:
    """Whether what is sent to `address` is encrypted, or stays on this machine."""
    parts = urlsplit(address)
    return parts.scheme in ("tls", "wss", "inproc") or is_loopback(parts.hostname or "")
