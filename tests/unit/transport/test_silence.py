"""Silence is measured only while the process is able to listen."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.clients import client_of, retries
from support.fake_service import FakeService, expected, hold, until
from support.pictures import jpeg

from smarty_async.options import Timeouts
from smarty_async.transport.connection import SilenceTimer

SECONDS = 20.0


class ManualTimer:
    """A timer whose ticks come when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer = SilenceTimer(SECONDS, clock=lambda: self.now)
        self._entered: list[asyncio.Task[None]] = []

    async def start(self) -> asyncio.Task[None]:
        async def wait() -> None:
            async with self.timer:
                await asyncio.Event().wait()

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        return waiting

    async def tick(self, count: int = 1, *, after: float = 1.0) -> None:
        """So many ticks, each `after` seconds after the one before."""
        for _ in range(count):
            assert self.timer._timer is not None
            self.timer._timer.cancel()
            self.now += after
            self.timer._tick()
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def timer() -> ManualTimer:
    return ManualTimer()


class TestTimer:
    async def test_it_ends_the_block_after_the_time_without_a_sound(self, timer: ManualTimer) -> None:
        waiting = await timer.start()
        await timer.tick(19)
        assert not waiting.done()
        await timer.tick()
        with pytest.raises(TimeoutError):
            await waiting

    async def test_each_sound_starts_it_from_zero(self, timer: ManualTimer) -> None:
        waiting = await timer.start()
        for _ in range(10):
            await timer.tick(19)
            timer.timer.restart()
        assert not waiting.done()
        waiting.cancel()

    async def test_a_pause_does_not_count(self, timer: ManualTimer) -> None:
        waiting = await timer.start()
        timer.timer.pause()
        await timer.tick(1000)
        timer.timer.restart()
        await timer.tick(19)
        assert not waiting.done()
        waiting.cancel()

    async def test_time_in_which_the_process_was_stopped_does_not_count(self, timer: ManualTimer) -> None:
        waiting = await timer.start()
        await timer.tick(19)
        await timer.tick(after=3600.0)
        assert not waiting.done(), "what arrived meanwhile is read before the next tick"
        await timer.tick()
        with pytest.raises(TimeoutError):
            await waiting


@contextmanager
def slow_thread_server(after: float) -> Iterator[tuple[str, threading.Event]]:
    """A server in a thread of its own, which answers `after` seconds after it got a whole request."""
    got_request = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            data = b""
            while b"--\r\n" not in data[-8:]:
                data += connection.recv(1 << 16)
            got_request.set()
            time.sleep(after)
            body = b'{"status":200,"body":{"improve":[{"status":0,"name":"file_0","improved":"/9j/2Q=="}]}}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", got_request
    finally:
        thread.join()
        listener.close()


@pytest.mark.slow
async def test_an_answer_that_lies_in_the_socket_after_a_stall_is_read() -> None:
    with slow_thread_server(0.1) as (url, got_request):
        async with FakeService() as service:
            timeouts = Timeouts(connect=5, silence=0.5)
            async with client_of(service, base_url=url, timeouts=timeouts) as c:
                asking = asyncio.create_task(c.improve(jpeg()))
                await until(got_request.is_set)
                time.sleep(1.5)  # noqa: ASYNC251 - the event loop stands still, as in a stopped process
                result = await asking
    assert (result.attempts, result.improved) == (1, b"\xff\xd8\xff\xd9")


CHILD = """
import asyncio, sys
from smarty_async import SmartyClient
from smarty_async.options import Retries, Timeouts

async def main(url, photo):
    timeouts = Timeouts(connect=5, silence=1)
    async with SmartyClient(token="t", base_url=url, timeouts=timeouts) as client:
        result = await client.improve(bytes.fromhex(photo))
        print(result.attempts, result.improved.hex())

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
async def test_a_stopped_process_does_not_pay_again_for_an_answer_that_came_meanwhile() -> None:
    image, gate = jpeg(16, 12), asyncio.Event()
    async with FakeService() as service:
        service.script(hold(gate))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, service.url, image.hex(), stdout=asyncio.subprocess.PIPE
        )
        await until(lambda: bool(service.requests))
        os.kill(child.pid, signal.SIGSTOP)
        gate.set()
        await asyncio.sleep(3)  # longer than the silence it bears
        os.kill(child.pid, signal.SIGCONT)
        output, _ = await child.communicate()
        assert output.decode().split() == ["1", expected("improved", image).hex()]
        assert len(service.requests) == 1


async def test_real_silence_still_ends_a_request() -> None:
    gate = asyncio.Event()
    timeouts = Timeouts(connect=5, silence=0.2)
    async with FakeService() as service, client_of(service, timeouts=timeouts, retries=retries()) as c:
        service.script(hold(gate))
        assert (await c.improve(jpeg())).attempts == 2
