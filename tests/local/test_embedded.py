"""The service in a process of its own: it starts, it says why not, it is restarted once, and it never stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.damaged_json import DAMAGED
from support.pictures import jpeg

from smarty_async.client import SmartyClient
from smarty_async.errors import ConfigurationError, ServiceUnavailable
from smarty_async.local.embedded import EmbeddedService, embedded_service
from smarty_async.local.engine import best_engine

pytestmark = pytest.mark.slow

SERVE = [sys.executable, "-m", "smarty_async", "serve", "--port", "0", "--engine", "echo"]

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")


async def engine_at(base: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(base + "/healthz") as response:
        return str((await response.json())["engine"])


async def refuses(base: str) -> bool:
    try:
        await engine_at(base)
    except aiohttp.ClientConnectionError:
        return True
    return False


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def gone(base: str) -> None:
    """Return when nobody listens any more."""
    async with asyncio.timeout(30):
        while not await refuses(base):  # noqa: ASYNC110 - another process's end is no event here
            await asyncio.sleep(0.01)


@asynccontextmanager
async def spawned(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with its output to read; killed if it is still there at the end."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    assert process.stdin
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        process.stdin.close()
        await process.stdout.read()
        await process.wait()


async def first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout
    return (await process.stdout.readline()).decode().strip()


def address(line: str) -> str:
    return line.split()[2]


async def test_it_serves_while_the_block_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with embedded_service(engine="echo") as base:
        assert base.startswith("http://127.0.0.1:")
        assert await engine_at(base) == "echo"
    assert await refuses(base)
    assert files(tmp_path) == []


async def test_the_best_engine_is_the_default_and_options_are_passed_on() -> None:
    async with embedded_service(options=("--fail-request", "1", "--error-style", "envelope")) as base:
        assert await engine_at(base) == best_engine()


class Spawned(NamedTuple):
    process: asyncio.subprocess.Process
    environment: dict[str, str]


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Spawned]:
    """Every process that is started, real ones."""
    started: list[Spawned] = []
    spawn = asyncio.create_subprocess_exec

    async def spying(*command: str, **options: Any) -> asyncio.subprocess.Process:
        process = await spawn(*command, **options)
        started.append(Spawned(process, options["env"]))
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spying)
    return started


async def test_no_secret_is_passed_to_the_process(children: list[Spawned], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTY_TOKEN", "bait-token")
    async with embedded_service(engine="echo"):
        [child] = children
    assert "PATH" in child.environment
    assert "bait-token" not in str(child.environment)


async def test_the_config_file_of_the_working_folder_is_not_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smarty-async.toml").write_text('[serve]\nhost = "192.0.2.1"\n')
    monkeypatch.chdir(tmp_path)
    async with embedded_service(engine="echo") as base:
        assert base.startswith("http://127.0.0.1:")


async def test_it_stops_by_itself_and_is_reaped(children: list[Spawned]) -> None:
    async with embedded_service(engine="echo"):
        pass
    assert [child.process.returncode for child in children] == [0]


@pytest.mark.parametrize(
    ("engine", "options", "said"),
    [
        ("echo", ("--no-such-option",), "--no-such-option"),
        ("echo", ("--host", "192.0.2.1"), "cannot listen on 192.0.2.1"),
    ],
)
async def test_it_says_why_it_did_not_start(engine: str, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^the embedded service did not start: ") as error:
        async with embedded_service(engine=engine, options=options):
            pytest.fail("it started")
    assert said in str(error.value)


async def test_a_start_that_takes_too_long_fails() -> None:
    with pytest.raises(ConfigurationError, match=r"did not start within 0\.001 s"):
        async with embedded_service(engine="echo", start_seconds=0.001):
            pytest.fail("it started")


async def test_a_process_that_does_not_stop_is_killed(children: list[Spawned]) -> None:
    async with embedded_service(engine="echo", stop_seconds=0) as base:
        pass
    assert await refuses(base)
    assert children[0].process.returncode


async def test_cancellation_stops_it_while_it_serves() -> None:
    bases: asyncio.Queue[str] = asyncio.Queue()

    async def use() -> None:
        async with embedded_service(engine="echo") as base:
            bases.put_nowait(base)
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    base = await bases.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await refuses(base)


async def test_a_second_cancellation_stops_it_at_once() -> None:
    bases: asyncio.Queue[str] = asyncio.Queue()

    async def use() -> None:
        async with embedded_service(engine="echo") as base:
            bases.put_nowait(base)

    task = asyncio.create_task(use())
    base = await bases.get()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await refuses(base)


@posix
async def test_cancellation_does_not_wait_for_a_process_that_does_not_stop() -> None:
    """The second Ctrl-C of a person, and the first one before a run has begun, are cancellations."""
    services: asyncio.Queue[EmbeddedService] = asyncio.Queue()

    async def use() -> None:
        async with EmbeddedService(engine="echo", stop_seconds=3600) as service:
            services.put_nowait(service)
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    service = await services.get()
    assert service.pid is not None
    os.kill(service.pid, signal.SIGSTOP)
    task.cancel()
    await asyncio.wait([task], timeout=30)
    if not task.done():
        os.kill(service.pid, signal.SIGCONT)
    assert task.cancelled()
    assert service.pid is None


async def test_cancellation_stops_it_while_it_starts() -> None:
    async def use() -> None:
        async with embedded_service(engine="echo"):
            pytest.fail("it started")

    task = asyncio.create_task(use())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@posix
async def test_it_does_not_outlive_a_parent_that_was_killed() -> None:
    parent = """
import asyncio
from smarty_async.local.engine import best_engine
from smarty_async.local.embedded import embedded_service
async def main():
    async with embedded_service(engine="echo") as base:
        print("serving at", base, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    async with spawned(sys.executable, "-c", parent) as process:
        base = address(await first_line(process))
        assert await engine_at(base) == "echo"
        process.kill()
        await process.wait()
        await gone(base)


def kill(service: EmbeddedService) -> int:
    """Kill its process; the number it had."""
    pid = service.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    return pid


async def until_restarted(service: EmbeddedService) -> None:
    async with asyncio.timeout(30):
        while service.restarts == 0:  # noqa: ASYNC110 - another process's start is no event here
            await asyncio.sleep(0.01)


class TestDeath:
    async def test_it_is_started_again_once_at_the_same_address(self, children: list[Spawned]) -> None:
        said: list[str] = []
        async with EmbeddedService(engine="echo", on_restart=said.append) as service:
            base, first = service.base_url, kill(service)
            await until_restarted(service)
            assert service.base_url == base
            assert await engine_at(base) == "echo"
            assert service.pid != first
            assert (service.restarts, service.failed.is_set(), service.failure) == (1, False, None)
        assert said == ["the embedded service died and is started again; it said: nothing"]
        assert await refuses(base)
        assert len(children) == 2

    async def test_a_client_goes_on_after_the_restart(self) -> None:
        async with EmbeddedService(engine="echo") as service, SmartyClient(base_url=service.base_url) as client:
            assert (await client.improve(jpeg())).improved
            kill(service)
            assert (await client.improve(jpeg(seed=1))).improved
            assert service.restarts == 1

    async def test_the_second_death_ends_the_supervised_block(self, children: list[Spawned]) -> None:
        async with EmbeddedService(engine="echo") as service:
            with pytest.raises(ServiceUnavailable, match="died twice") as caught:  # noqa: PT012 - the block is the point
                async with service.supervised():
                    kill(service)
                    await until_restarted(service)
                    kill(service)
                    await asyncio.Event().wait()
            assert service.failed.is_set()
            assert service.failure is caught.value
            assert service.pid is None
        assert len(children) == 2

    async def test_a_restart_that_fails_is_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with EmbeddedService(engine="echo") as service:
            monkeypatch.setattr(sys, "executable", str(Path("/no/such/python")))
            kill(service)
            await service.failed.wait()
            assert service.restarts == 0
            assert "did not start again" in str(service.failure)

    async def test_a_supervised_block_that_ends_by_itself(self) -> None:
        async with EmbeddedService(engine="echo") as service:
            async with service.supervised():
                assert await engine_at(service.base_url) == "echo"
            with pytest.raises(TimeoutError):
                async with service.supervised():
                    raise TimeoutError
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0), service.supervised():
                    await asyncio.Event().wait()

    async def test_its_limits_and_its_pace_can_be_asked(self) -> None:
        async with EmbeddedService(engine="echo", options=("--max-images", "7")) as service:
            health = await service.health()
            assert (health.engine, health.max_images, health.max_request_bytes) == ("echo", 7, None)
            assert health.max_image_bytes > 21_000_000
            assert health.pace is None
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            await service.health()

    async def test_what_answers_in_its_place_is_not_taken_for_it(self) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=DAMAGED[int(request.path.split("/")[1])])

        app = web.Application()
        app.add_routes([web.get("/{number}/healthz", answer)])
        service = EmbeddedService(engine="echo")
        async with TestServer(app) as server:
            for number in range(len(DAMAGED)):
                service.base_url = str(server.make_url(f"/{number}"))
                with pytest.raises(ServiceUnavailable, match="does not answer"):
                    await service.health()

    async def test_stopping_it_does_not_count_as_dying(self, children: list[Spawned]) -> None:
        async with EmbeddedService(engine="echo") as service:
            pass
        assert (service.restarts, service.failed.is_set(), len(children)) == (0, False, 1)


@posix
async def test_ctrl_c_reaches_the_parent_alone(children: list[Spawned]) -> None:
    async with embedded_service(engine="echo"):
        [child] = children
        assert os.getsid(child.process.pid) == os.getpgid(child.process.pid) == child.process.pid


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_signals_stop_serve_cleanly(number: int, status: int, tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    port_file.write_text("1\n")  # of an earlier service
    async with spawned(*SERVE, "--port-file", str(port_file)) as process:
        line = await first_line(process)
        assert line == f"listening on http://127.0.0.1:{int(port_file.read_text())} (engine: echo)"
        assert await engine_at(address(line)) == "echo"
        process.send_signal(number)
        assert await process.wait() == status
    assert files(tmp_path) == ["port"]


@posix
async def test_serve_stops_while_a_request_is_open() -> None:
    async with spawned(*SERVE, "--latency", "3600") as process:
        base = address(await first_line(process))
        data = aiohttp.FormData()
        data.add_field("file", b"\xff\xd8\xff\xd9", filename="")
        data.add_field("meta", json.dumps({"mode": ["improve"], "images": [{"name": "file"}]}))
        async with aiohttp.ClientSession() as session:
            query = "?oauth_provider=mcs&oauth_token=bait"
            asked = asyncio.create_task(session.post(f"{base}/api/v1/photo/improve{query}", data=data))
            await engine_at(base)
            process.terminate()
            assert await process.wait() == 0
            with pytest.raises(aiohttp.ClientConnectionError):
                await asked


async def test_a_port_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    async with spawned(*SERVE, "--port-file", str(tmp_path / "nowhere" / "port")) as process:
        assert await process.wait() == 5
