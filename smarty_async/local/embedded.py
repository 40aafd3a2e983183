"""The service in a process of its own, for as long as someone needs it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from smarty_async.errors import ConfigurationError
from smarty_async.local.engine import best_engine

__all__ = ["embedded_service"]

_READY: Final = re.compile(rb"listening on (http://\S+)")
_STDERR_KEPT: Final = 4000


@asynccontextmanager
async def embedded_service(
    *, engine: str | None = None, options: Sequence[str] = (), start_seconds: float = 60.0, stop_seconds: float = 5.0
) -> AsyncGenerator[str, None]:
    """Start the service on loopback, and stop it at the block's end; gives its base URL.

    The child ends when its standard input does, so it outlives neither the block nor this process, however that
    ends. It is in a session of its own: a terminal's Ctrl-C reaches the parent alone, which decides.

    Args:
        engine: ``restore``, ``basic`` or ``echo``; by default the best that is installed.
        options: more options of `serve`.
        start_seconds: how long it may take to start, in seconds.
        stop_seconds: how long it may take to stop by itself before it is killed, in seconds.

    Raises:
        ConfigurationError: it could not be started; the message says what it said.
    """
    process = await _start(engine or best_engine(), options)
    tail = bytearray()
    listener = asyncio.create_task(_keep_tail(process, tail))
    try:
        yield await _base_url(process, listener, tail, start_seconds)
    finally:
        # In a task of its own: a second cancellation must not leave the child half stopped.
        stopping = asyncio.create_task(_stop(process, listener, stop_seconds))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.kill()
            await stopping
            raise


async def _start(engine: str, options: Sequence[str]) -> Process:
    # -P: a photo folder's own `types.py` must not be taken for Python's.
    command = [sys.executable, "-P", "-m", "smarty_async", "serve", "--port", "0", "--engine", engine]
    # It needs no token, so it gets none.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMARTY_")}
    try:
        return await asyncio.create_subprocess_exec(
            *command, "--exit-with-stdin", *options, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, **_apart()
        )
    except OSError as error:
        raise ConfigurationError(f"the embedded service could not be started: {error.strerror}") from error


def _apart() -> dict[str, Any]:
    """Arguments that put the child out of a terminal's reach."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


async def _keep_tail(process: Process, tail: bytearray) -> None:
    """Read what the child complains of, so that it never blocks on it, and keep the end."""
    if process.stderr is None:
        return
    while piece := await process.stderr.read(4096):
        tail += piece
        del tail[:-_STDERR_KEPT]


async def _base_url(process: Process, listener: asyncio.Task[None], tail: bytearray, seconds: float) -> str:
    """The address in the line that says the child is listening: what it prints comes after it listens."""
    if process.stdout is None:
        raise ConfigurationError("the embedded service could not be heard")
    try:
        async with asyncio.timeout(seconds):
            while line := await process.stdout.readline():
                if found := _READY.search(line):
                    return found[1].decode("ascii")
            await listener
            said = tail.decode(errors="replace").strip() or "it said nothing"
            raise ConfigurationError(f"the embedded service did not start: {said}")
    except TimeoutError:
        raise ConfigurationError(f"the embedded service did not start within {seconds:g} s") from None


async def _stop(process: Process, listener: asyncio.Task[None], seconds: float) -> None:
    """End the child's standard input, which it takes as the word to stop; kill it when it does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    # To the pipes' ends: only then are they closed.
    if process.stdout is not None:
        await process.stdout.read()
    await asyncio.gather(listener, return_exceptions=True)
