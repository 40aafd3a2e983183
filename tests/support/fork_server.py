"""A process that has imported the program and forks itself for each run of it: a run starts in milliseconds.

``python fork_server.py SOCKET MODULE ...`` imports the modules and answers calls at the socket until its other end is
closed. A call names a module, or a script by its path, to run as `__main__`, and brings four descriptors: stdin,
stdout, stderr, and a pipe to which the number of the new process and, once it has ended, its exit status are written.
What is run ends as every program does, with the interpreter's own clearing up.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import NamedTuple

__all__ = ["Call", "main"]


class Call(NamedTuple):
    """What is to be run, and where."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str


def _next_call(calls: socket.socket) -> Call | None:
    """Return in a new process, for each call once; in this one at the end of the calls."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(calls, 1 << 18, 4)
        if not message:
            return None
        if os.fork() == 0:
            calls.close()
            *streams, report = descriptors
            _watch_a_child(streams, report)
            return Call(*json.loads(message))
        for descriptor in descriptors:
            os.close(descriptor)


def _watch_a_child(streams: list[int], report: int) -> None:
    """Return in a child with these streams; this process only reports its number and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(report)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(report, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _run(call: Call) -> None:
    os.setsid()
    os.chdir(call.folder)
    os.environ.clear()
    os.environ.update(call.environment)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # type: ignore[misc] # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    if "PYTHONFAULTHANDLER" in call.environment:
        faulthandler.enable()
    sys.argv = [call.module, *call.arguments]
    if call.module.endswith(".py"):
        runpy.run_path(call.module, run_name="__main__")
    else:
        runpy.run_module(call.module, run_name="__main__", alter_sys=True)


def main() -> None:
    """Import what the arguments name, and run what is called for."""
    calls = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that watch are reaped by the system
    call = _next_call(calls)
    if call:
        _run(call)


if __name__ == "__main__":
    main()
