"""A system that starts no more threads: a clear error before anything is sent, and signals that still end the run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.fake_service import FakeService, hold, until
from support.program import TOKEN, out, photos, posix, service

__all__ = ["out", "photos", "service"]  # fixtures

LIMITED = """
import runpy, sys, threading
left, start = int(sys.argv[1]), threading.Thread.start

def limited(thread):
    global left
    left -= 1
    if left < 0:
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = limited
sys.argv = ["smarty-async", *sys.argv[2:]]
runpy.run_module("smarty_async", run_name="__main__")
"""
"""The program where the system starts so many threads and no more."""

WITHOUT_TIMERS = LIMITED.replace("left -= 1", "left -= isinstance(thread, threading.Timer)")
"""The program where only so many timers are started."""


async def started(threads: int, *args: str | Path, program: str = LIMITED) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(threads), *map(str, args)),
        env={**os.environ, "SMARTY_TOKEN": TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("threads", [0, *(pytest.param(count, marks=pytest.mark.slow) for count in range(1, 9))])
async def test_it_is_a_clear_error_before_anything_is_sent(
    service: FakeService, photos: Path, out: Path, threads: int
) -> None:
    process = await started(threads, "improve", photos, "--out", out, "--base-url", service.url)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 5, err
    assert b"the system starts no more threads: raise the limit" in err
    assert b"bug" not in err
    assert not service.requests


@posix
@pytest.mark.slow
async def test_the_second_signal_ends_the_run(service: FakeService, photos: Path, out: Path) -> None:
    service.default = lambda _: hold(asyncio.Event())
    args = ("improve", photos, "--out", out, "--base-url", service.url)
    process = await started(0, *args, program=WITHOUT_TIMERS)
    await until(lambda: service.open_now > 0)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert b"waiting for" in await process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode in (5, 130), err  # asyncio takes a thread to close
