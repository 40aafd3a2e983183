"""Connects to a cluster, or starts one on this machine."""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing import resource_tracker
from typing import Any, Final, cast

import dask.config
from distributed import Client, LocalCluster, Security

from smarty_async.cluster.workers import is_private
from smarty_async.errors import ConfigurationError, OptionsError, ServiceUnavailable

__all__ = ["open_cluster"]

_CONNECT_SECONDS: Final = 10.0
"""How long to wait for a scheduler, also for one that is gone."""
_NO_ADDRESS: Final = "--scheduler takes an address such as tls://host:8786, with nothing after the port"
_URL: Final = re.compile(r"[a-z]+://[^/@\s]+:\d+/?")
_IGNORE_INTERRUPTS: Final = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Run by each worker on this machine: Ctrl-C in the terminal is for the caller alone, which waits for what is paid."""
_NO_PAGES: Final[dict[str, list[str]]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
"""Dask's own pages show calls, and with these the token, to everyone on this machine."""
_NO_TRACKER_WARNINGS: Final = "ignore:resource_tracker"
"""For Python's resource tracker, which removes what other processes leave: after a second Ctrl-C it would warn."""

_client = cast("Any", Client)
_local_cluster = cast("Any", LocalCluster)
_security = cast("Any", Security)
"""Dask says little of the types of their arguments."""


@asynccontextmanager
async def open_cluster(*, scheduler: str | None, workers: int | None, requests: int) -> AsyncGenerator[Client]:
    """A client of the cluster at `scheduler`, or of one with so many `workers` that ends with the block.

    Dask's own settings hold: certificates for ``tls://`` are named in ``DASK_DISTRIBUTED__COMM__TLS__…``.

    Args:
        scheduler: its address; None to start a cluster on this machine.
        workers: how many processes to start for that.
        requests: how many requests these have open at once, together.

    Raises:
        OptionsError: the address is none.
        ConfigurationError: the token would travel unencrypted, or Dask lacks certificates.
        ServiceUnavailable: no scheduler answers.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is reported by the run
    if scheduler is None:
        async with _started(workers or 1, requests) as client:
            yield client
        return
    client = await _connected(scheduler)
    try:
        yield client
    finally:
        await cast("Any", client).close(timeout=2)  # without waiting for a scheduler that is gone


@asynccontextmanager
async def _started(workers: int, requests: int) -> AsyncGenerator[Client]:
    with _tracker_warnings_ignored(), _interrupts_kept_from_children():
        with dask.config.set(_NO_PAGES):
            cluster = await _local_cluster(
                n_workers=workers,
                threads_per_worker=-(-requests // workers),
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                security=_security.temporary(),  # else any user of this machine can let the workers run anything
                memory_limit=None,
                silence_logs=logging.CRITICAL,
                preload=[_IGNORE_INTERRUPTS],
                asynchronous=True,
            )
        async with (
            cluster,
            _client(cluster, asynchronous=True, set_as_default=False, timeout=_CONNECT_SECONDS) as client,
        ):
            yield client


@contextmanager
def _interrupts_kept_from_children() -> Generator[None]:
    """Start processes that Ctrl-C in the terminal does not reach, also while they start, during the block.

    A thread hands the signals it blocks down to the threads and processes that it starts. So this one, the event
    loop's, blocks the signal, and another one takes it; Python handles it in the main thread all the same.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # when it is started by a thread, that thread blocks nothing any more
    ended = threading.Event()
    taking = threading.Thread(target=ended.wait, name="smarty_async interrupts", daemon=True)
    taking.start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ended.set()
        taking.join()


@contextmanager
def _tracker_warnings_ignored() -> Generator[None]:
    """Processes that are started during the block ignore the warnings of Python's resource tracker."""
    sys.warnoptions.append(_NO_TRACKER_WARNINGS)
    try:
        yield
    finally:
        sys.warnoptions.remove(_NO_TRACKER_WARNINGS)


async def _connected(scheduler: str) -> Client:
    if not _URL.fullmatch(scheduler):
        raise OptionsError(_NO_ADDRESS)
    if not is_private(scheduler):
        raise ConfigurationError(f"the token would travel unencrypted to {scheduler}: use tls://")
    try:
        client: Client = await _client(scheduler, asynchronous=True, set_as_default=False, timeout=_CONNECT_SECONDS)
    except ValueError:
        raise OptionsError(_NO_ADDRESS) from None
    except (RuntimeError, TypeError) as error:  # no TLS context
        raise ConfigurationError(
            f"Dask has no certificates for {scheduler} ({error}): name them in "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY"
        ) from None
    except OSError as error:
        raise ServiceUnavailable(
            f"gave up on the cluster: no scheduler answers at {scheduler} ({type(error).__name__})",
            seconds=_CONNECT_SECONDS,
        ) from None
    return client
