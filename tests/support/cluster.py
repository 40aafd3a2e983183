"""A Dask scheduler and workers, started by command as a person starts them, with certificates of their own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import trustme
from distributed import Client, LocalCluster, Security

THREADS = 4
"""Requests that one worker has open at once."""


@asynccontextmanager
async def cluster_in_process(workers: int, *, threads: int = THREADS) -> AsyncIterator[Any]:
    """A client of a cluster with so many workers in this process; its `cluster` can be scaled."""
    async with (
        cast("Any", LocalCluster)(
            n_workers=workers,
            threads_per_worker=threads,
            processes=False,
            dashboard_address="127.0.0.1:0",  # two runs of the tests at a time
            memory_limit=None,
            silence_logs=logging.CRITICAL,
            asynchronous=True,
        ) as cluster,
        cast("Any", Client)(cluster, asynchronous=True, set_as_default=False) as client,
    ):
        yield client


class Cluster:
    """A scheduler and its workers, each a process.

    Args:
        folder: for certificates, logs and the workers' own files.
    """

    def __init__(self, folder: Path) -> None:
        self.workers: list[asyncio.subprocess.Process] = []
        self._folder = folder
        self._scheduler: asyncio.subprocess.Process | None = None
        folder.mkdir(parents=True)
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which Dask finds the certificates."""
        name = "DASK_DISTRIBUTED__COMM__TLS__"
        both = str(self._folder / "both.pem")
        of_each = {
            f"{name}{role}__{part}": both for role in ("CLIENT", "SCHEDULER", "WORKER") for part in ("CERT", "KEY")
        }
        return {f"{name}CA_FILE": str(self._folder / "ca.pem"), **of_each}

    @property
    def address(self) -> str:
        """The scheduler's."""
        return str(json.loads((self._folder / "scheduler.json").read_text())["address"])

    def _is_written(self) -> bool:
        """Whether the scheduler has written its file to its end."""
        try:
            json.loads((self._folder / "scheduler.json").read_text())
        except (FileNotFoundError, ValueError):
            return False
        return True

    async def start(self, *, workers: int = 2, environ: Mapping[str, str] | None = None) -> None:
        """Start the scheduler and `workers`."""
        (self._folder / "scheduler.json").unlink(missing_ok=True)
        self._scheduler = await self._command("dask_scheduler", "--port", "0", "--protocol", "tls")
        for _ in range(workers):
            await self.add_worker(environ)

    async def add_worker(self, environ: Mapping[str, str] | None = None) -> None:
        """Start another worker."""
        options = ("--nthreads", str(THREADS), "--no-nanny", "--local-directory", str(self._folder))
        self.workers.append(await self._command("dask_worker", *options, environ=environ))

    async def _command(
        self, module: str, *options: str, environ: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        log = (self._folder / f"{module}.log").open("ab")
        with log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"distributed.cli.{module}", "--host", "127.0.0.1", "--no-dashboard"),
                *("--scheduler-file", str(self._folder / "scheduler.json"), *options),
                env=os.environ | self.environment | dict(environ or {}),
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )

    @asynccontextmanager
    async def client(self, *, workers: int = 2) -> AsyncIterator[Any]:
        """An asynchronous client, once there are so many workers."""
        both = str(self._folder / "both.pem")
        security = cast("Any", Security)(
            tls_ca_file=str(self._folder / "ca.pem"),
            tls_client_cert=both,
            tls_client_key=both,
            require_encryption=True,
        )
        while not self._is_written():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
        connecting = cast("Any", Client)(
            self.address, security=security, asynchronous=True, set_as_default=False, timeout=10
        )
        async with connecting as client:
            await client.wait_for_workers(workers, timeout=60)
            yield client

    def kill_scheduler(self) -> None:
        """Kill it with -9."""
        assert self._scheduler is not None
        self._scheduler.kill()

    async def close(self) -> None:
        """End all processes."""
        processes = [*self.workers, *([self._scheduler] if self._scheduler else [])]
        for process in processes:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
        for process in processes:
            await process.wait()
