"""A system that starts no more threads: a clear error before anything is sent, and signals that still end the run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.fake_service import FakeService, hold, until
from support.processes import Process, closed, start
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


@asynccontextmanager
async def started(threads: int, *args: str | Path, script: Path, program: str = LIMITED) -> AsyncIterator[Process]:
    await asyncio.to_thread(script.write_text, program)
    arguments = (str(threads), *map(str, args))
    process = await start(str(script), *arguments, environment={**os.environ, "SMARTY_TOKEN": TOKEN})
    try:
        yield process
    finally:
        await closed(process)


@pytest.mark.parametrize("threads", [0, *(pytest.param(count, marks=pytest.mark.slow) for count in range(1, 9))])
async def test_it_is_a_clear_error_before_anything_is_sent(
    service: FakeService, photos: Path, out: Path, tmp_path: Path, threads: int
) -> None:
    args = ("improve", photos, "--out", out, "--base-url", service.url)
    async with started(threads, *args, script=tmp_path / "limited.py") as process, asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode == 5, err
    assert b"the system starts no more threads: raise the limit" in err
    assert b"bug" not in err
    assert not service.requests


@posix
@pytest.mark.slow
async def test_the_second_signal_ends_the_run(service: FakeService, photos: Path, out: Path, tmp_path: Path) -> None:
    service.default = lambda _: hold(asyncio.Event())
    args = ("improve", photos, "--out", out, "--base-url", service.url)
    async with started(0, *args, script=tmp_path / "limited.py", program=WITHOUT_TIMERS) as process:
        await until(lambda: service.open_now > 0)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert b"waiting for" in await process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            _, err = await process.communicate()
    assert process.returncode in (5, 130), err  # asyncio takes a thread to close
