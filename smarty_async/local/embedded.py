"""The embedded service in a process of its own, which is watched and started again once if it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec
from yarl import URL

from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import ConfigurationError, ServiceUnavailable
from smarty_async.local.contract import Health
from smarty_async.local.engine import best_engine

__all__ = ["EmbeddedService", "embedded_service"]

_READY: Final = re.compile(rb"listening on (http://\S+)")
_STDERR_KEPT: Final = 4000
"""Bytes of the end of the process's standard error that are kept for messages."""
_MAX_RESTARTS: Final = 1
_CANCELLED_SECONDS: Final = 2.0
"""Time to stop when the block is cancelled: nobody takes what it still does, and the program shall end soon."""

logger = logging.getLogger(__name__)


class EmbeddedService:
    """The embedded service on loopback, running during an ``async with`` block.

    The process ends when its standard input does, so it never outlives this process, however that ends. It is in a
    session of its own, so that Ctrl-C in a terminal reaches the parent alone. If it dies, it is started again once,
    on the same port. If it dies again, `failed` is set and the block of `supervised` ends.

    Args:
        engine: ``restore``, ``basic`` or ``echo``; by default the best one that is installed.
        options: more options of ``smarty-async serve``.
        start_seconds: how long it may take to start, in seconds.
        stop_seconds: how long it may take to stop before it is killed, in seconds; when the block is cancelled, 2 at
            most.
        on_restart: called with a sentence for people when it has died and is started again.

    Attributes:
        base_url: its address, during the block.
        restarts: how often it was started again.
        failed: set when it has died for good.
        failure: the error then, else None.
    """

    def __init__(
        self,
        *,
        engine: str | None = None,
        options: Sequence[str] = (),
        start_seconds: float = 60.0,
        stop_seconds: float = 5.0,
        on_restart: Callable[[str], None] | None = None,
    ) -> None:
        self.engine = engine or best_engine()
        self.base_url = ""
        self.restarts = 0
        self.failed = asyncio.Event()
        self.failure: ServiceUnavailable | None = None
        self._options = options
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._on_restart = on_restart
        self._child: _Child | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process that runs now, None when there is none."""
        child = self._child
        return child.process.pid if child and child.process.returncode is None else None

    async def health(self) -> Health:
        """Return the limits and the pace of the service, as it reports them itself.

        Raises:
            ServiceUnavailable: it does not answer.
        """
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.base_url}/healthz") as response:
                return msgspec.json.decode(await response.read(), type=Health)
        except (aiohttp.ClientError, OSError, *DAMAGED_JSON) as error:
            raise ServiceUnavailable(f"the embedded service does not answer: {error}", seconds=0) from None

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            ConfigurationError: it does not start; the message quotes its standard error.
        """
        try:
            self._child = await _Child.spawn(self.engine, self._options)
            self.base_url = await self._child.base_url(self._start_seconds)
        except BaseException:
            await self._stop(0)
            raise
        self._watcher = asyncio.create_task(self._watch(), name="smarty_async embedded service")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        await self._stop(min(self._stop_seconds, _CANCELLED_SECONDS) if is_cancelled else self._stop_seconds)

    @asynccontextmanager
    async def supervised(self) -> AsyncGenerator[None, None]:
        """End the block with an error when the service dies for good, instead of waiting for it.

        Raises:
            ServiceUnavailable: it died, was started again, and died again.
        """
        limit = asyncio.timeout(None)
        try:
            async with limit:
                watching = asyncio.create_task(self._expire(limit))
                try:
                    yield
                finally:
                    watching.cancel()
        except TimeoutError:
            if self.failure is not None and limit.expired():
                raise self.failure from None
            raise

    async def _expire(self, limit: asyncio.Timeout) -> None:
        await self.failed.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    async def _watch(self) -> None:
        began = monotonic()
        said = ""
        while self._child is not None:
            said = await self._child.ended()
            if self.restarts >= _MAX_RESTARTS or not await self._restart(said):
                break
        died = "died twice" if self.restarts else "died and did not start again"
        self.failure = ServiceUnavailable(f"the embedded service {died}; it said: {said}", seconds=monotonic() - began)
        self.failed.set()

    async def _restart(self, said: str) -> bool:
        """Start the process again on the same port; whether it runs."""
        message = f"the embedded service died and is started again; it said: {said}"
        logger.warning("%s", message)
        if self._on_restart is not None:
            self._on_restart(message)
        try:
            self._child = await _Child.spawn(self.engine, self._options, port=URL(self.base_url).port or 0)
            await self._child.base_url(self._start_seconds)
        except ConfigurationError as error:
            logger.warning("%s", error)
            return False
        self.restarts += 1
        return True

    async def _stop(self, seconds: float) -> None:
        """Stop it; it is killed if that takes longer than `seconds`."""
        # A task of its own: a second cancellation must not leave the process half stopped.
        stopping = asyncio.create_task(self._end(seconds))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            if self._child is not None:
                self._child.kill()
            await stopping
            raise

    async def _end(self, seconds: float) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._child is not None:
            await self._child.stop(seconds)


@asynccontextmanager
async def embedded_service(
    *, engine: str | None = None, options: Sequence[str] = (), start_seconds: float = 60.0, stop_seconds: float = 5.0
) -> AsyncGenerator[str, None]:
    """Run the embedded service on loopback during the block; yield its base URL.

    Args:
        engine: ``restore``, ``basic`` or ``echo``; by default the best one that is installed.
        options: more options of ``smarty-async serve``.
        start_seconds: how long it may take to start, in seconds.
        stop_seconds: how long it may take to stop before it is killed, in seconds; when the block is cancelled, 2 at
            most.

    Raises:
        ConfigurationError: it does not start; the message quotes its standard error.
    """
    service = EmbeddedService(engine=engine, options=options, start_seconds=start_seconds, stop_seconds=stop_seconds)
    async with service:
        yield service.base_url


class _Child:
    """The process, and the end of what it writes to standard error."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._tail = bytearray()
        self._reader = asyncio.create_task(self._read_stderr())

    @classmethod
    async def spawn(cls, engine: str, options: Sequence[str], *, port: int = 0) -> _Child:
        # -P: a file `types.py` in a photo folder must not replace Python's own. An empty config file: the one in the
        # working folder is for the user's own commands, and could make other machines reach this service.
        command = [sys.executable, "-P", "-m", "smarty_async", "--config", os.devnull]
        command += ["serve", "--port", str(port), "--engine", engine]
        # It needs no token, so it gets none.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SMARTY_")}
        command += ["--exit-with-stdin", *options]
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, **_own_session()
            )
        except OSError as error:
            raise ConfigurationError(f"the embedded service cannot be started: {error.strerror}") from error
        return cls(process)

    async def _read_stderr(self) -> None:
        """Read everything, so that the process never blocks on it, and keep the end."""
        assert self.process.stderr is not None  # noqa: S101 - it is a pipe
        while piece := await self.process.stderr.read(4096):
            self._tail += piece
            del self._tail[:-_STDERR_KEPT]

    async def base_url(self, seconds: float) -> str:
        """Wait for the line that says where the process listens; return the address in it.

        Raises:
            ConfigurationError: the process ended, or did not say so within `seconds`.
        """
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(seconds):
                while line := await self.process.stdout.readline():
                    if found := _READY.search(line):
                        return found[1].decode("ascii")
                raise ConfigurationError(f"the embedded service did not start: {await self.ended()}")
        except TimeoutError:
            raise ConfigurationError(f"the embedded service did not start within {seconds:g} s") from None

    async def ended(self) -> str:
        """Wait until the process has ended; return the end of its standard error."""
        await self.process.wait()
        await asyncio.wait([self._reader], timeout=1)  # a process that it started may hold the pipe open
        return self._tail.decode(errors="replace").strip() or "nothing"

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()

    async def stop(self, seconds: float) -> None:
        """End standard input, which stops the process; kill it if it takes too long."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(seconds):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()
        if self.process.stdout is not None:
            await self.process.stdout.read()  # the pipes are closed when they have been read to their ends
        await asyncio.gather(self._reader, return_exceptions=True)


def _own_session() -> dict[str, Any]:
    """Arguments that keep a terminal's signals from the process."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
