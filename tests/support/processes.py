"""The program in processes of its own, forked where that can be: they start in milliseconds (see `fork_server`)."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from support import fork_server
from support.fork_server import Call

__all__ = ["ForkedProcess", "Process", "closed", "start"]

FORKS = sys.platform == "linux"

_IMPORTED = ("smarty_async.cli", "smarty_async.cli.improve_run", "smarty_async.cli.check_run")


class ForkedProcess:
    """A process as `asyncio.subprocess.Process` is one; to be `closed`."""

    def __init__(self, pid: int, stdin: asyncio.StreamWriter, streams: Sequence[asyncio.StreamReader]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = stdin
        self.stdout, self.stderr, self._report = streams
        self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        self.returncode = int(await self._report.readline())

    async def wait(self) -> int:
        """Return its exit status."""
        await asyncio.shield(self._ending)
        assert self.returncode is not None
        return self.returncode

    async def communicate(self, sent: bytes | None = None) -> tuple[bytes, bytes]:
        """Write to stdin and close it, read what it says to its end, and wait for it."""
        self.stdin.write(sent or b"")
        self.stdin.close()
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Close its streams."""
        self._ending.cancel()
        for reader in (self.stdout, self.stderr, self._report):
            reader._transport.close()  # type: ignore[attr-defined]
        self.stdin.close()


Process = asyncio.subprocess.Process | ForkedProcess


async def closed(process: Process) -> None:
    """Kill it if it has not ended, and close its streams."""
    if process.returncode is None:
        process.kill()
        await process.wait()
    if isinstance(process, ForkedProcess):
        process.close()
        await asyncio.sleep(0)  # what is closed goes in the next turn of the loop


@cache
def _server(path: str) -> socket.socket:
    """The server of this process, with modules from `path`, ended with this process."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-P", fork_server.__file__, str(its.fileno()), *_IMPORTED],
        env=os.environ | {"PYTHONPATH": path},
        cwd=Path(sys.executable).parent,
        stdin=subprocess.DEVNULL,
        pass_fds=[its.fileno()],
        start_new_session=True,
    )
    its.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def _fork(call: Call) -> ForkedProcess:
    stdin, its_stdin = socket.socketpair()
    pipes = [os.pipe() for _ in range(3)]
    with its_stdin:
        its = [its_stdin.fileno(), *(writing for _, writing in pipes)]
        server = _server(call.environment.get("PYTHONPATH", ""))
        socket.send_fds(server, [json.dumps(call).encode()], its)
    for _, writing in pipes:
        os.close(writing)
    streams = [await _reader(reading) for reading, _ in pipes]
    _, writer = await asyncio.open_connection(sock=stdin)
    return ForkedProcess(int(await streams[-1].readline()), writer, streams)


async def start(module: str, *arguments: str, environment: Mapping[str, str], folder: Path | None = None) -> Process:
    """Run ``python -m module arguments`` in a session of its own, with pipes to all streams.

    Args:
        module: or the path of a script, which ends in `.py`.
        environment: all of it.
        folder: where it runs; if None, one where no checkout lies.
    """
    folder = folder or Path(sys.executable).parent
    if FORKS:
        return await _fork(Call(module, list(arguments), dict(environment), str(folder)))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *([] if module.endswith(".py") else ["-m"]), module, *arguments),
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a signal can be sent to it and its own processes alone
    )
