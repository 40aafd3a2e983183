"""The application on a socket, in this process, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from aiohttp import web

from smarty_async.errors import ConfigurationError, DiskError

__all__ = ["serve_until_stopped", "serving"]

_GRACE: Final = 1.0
"""Seconds the open answers have left once the service is told to stop."""

_INTERRUPTED: Final = 130
"""The exit status of what was interrupted from the keyboard, as shells count it."""


@asynccontextmanager
async def serving(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[int, None]:
    """Serve the application while the block lasts; gives the port, which for 0 is one that was free.

    A client that leaves cancels its request's work. No access is logged: tokens ride in the query.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        yield await _listen(runner, host, port)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {reason}; choose another --host or --port"
        ) from error
    address: tuple[str, int] = runner.addresses[0]
    return address[1]


async def serve_until_stopped(
    app: web.Application,
    *,
    host: str,
    port: int,
    port_file: Path | None = None,
    exit_with_stdin: bool = False,
    ready: Callable[[str], None],
) -> int:
    """Serve until a signal comes; the exit status: 0, or 130 when interrupted from the keyboard.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port; 0 picks one.
        port_file: where to write the port, once it is listened on.
        exit_with_stdin: stop also when standard input ends, as it does when the parent process is gone.
        ready: called with the base URL, once it is listened on.

    Raises:
        ConfigurationError: the address cannot be listened on.
        DiskError: the port file cannot be written.
    """
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with _signals_to(stopped):
        async with serving(app, host=host, port=port) as bound:
            if port_file is not None:
                await asyncio.to_thread(_write_whole, port_file, f"{bound}\n")
            if exit_with_stdin:
                _stop_at_end_of_stdin(stopped)
            ready(f"http://{_in_url(host)}:{bound}")
            return await stopped


def _in_url(host: str) -> str:
    """Hosts that mean every address are no address to connect to."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - told apart, not chosen
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DiskError.of(error, path, "write") from error


@contextmanager
def _signals_to(stopped: asyncio.Future[int]) -> Generator[None, None, None]:
    """Signals end the wait with the exit status each means; `signal.signal`, as Windows has no loop handlers."""
    loop = asyncio.get_running_loop()

    def stop(number: int, _frame: FrameType | None) -> None:
        _resolve(loop, stopped, _INTERRUPTED if number == signal.SIGINT else 0)

    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [(number, signal.signal(number, stop)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _stop_at_end_of_stdin(stopped: asyncio.Future[int]) -> None:
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def watch() -> None:
        # Straight from the descriptor: a daemon thread inside sys.stdin's lock would break the interpreter's exit.
        with suppress(OSError):
            while os.read(descriptor, 4096):
                pass
        _resolve(loop, stopped, 0)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def _resolve(loop: asyncio.AbstractEventLoop, stopped: asyncio.Future[int], status: int) -> None:
    def settle() -> None:
        if not stopped.done():
            stopped.set_result(status)

    with suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(settle)
