"""A caller that leaves early leaves nothing behind: no task, no open file, no connection, no temporary."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.clients import client_of, photos
from support.fake_service import FakeService, Request, expected, hold, http, items, ok, until
from support.pictures import heavy, jpeg

from smarty_async.archive.commit import OutputCommitter
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.client import SmartyClient
from smarty_async.errors import DiskError, SmartyError
from smarty_async.local import embedded
from smarty_async.local.embedded import embedded_service
from smarty_async.options import Limits, OAuthCredentials
from smarty_async.run import ArchiveRun

DESCRIPTORS = Path("/proc/self/fd")


def descriptors() -> dict[str, str]:
    """Open files and connections of this process, where the system tells."""
    found: dict[str, str] = {}
    for path in DESCRIPTORS.iterdir() if DESCRIPTORS.is_dir() else ():
        with suppress(OSError):
            found[path.name] = os.readlink(path)  # noqa: PTH115 - a socket's is no path
    return {name: target for name, target in found.items() if not target.startswith(str(DESCRIPTORS.resolve()))}


@asynccontextmanager
async def nothing_left(service: FakeService | None = None) -> AsyncIterator[None]:
    """What was made inside is gone in the end."""
    gc.collect()
    tasks, files = asyncio.all_tasks(), set(descriptors().items())
    yield
    await until(lambda: not service or not service.open_now)
    await until(lambda: not asyncio.all_tasks() - tasks)
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            while set(descriptors().items()) - files:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert not set(descriptors().items()) - files


def temporaries(out: Path) -> list[Path]:
    return [*(out / ".smarty-async").glob("tmp/*")]


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def taken(run: ArchiveRun) -> list[str]:
    return [result.photo async for result in run]


@asynccontextmanager
async def quiet(service: FakeService, **options: Any) -> AsyncIterator[SmartyClient]:
    """A client that leaves nothing behind."""
    # The server keeps a task for each connection: it is gone when the client is.
    async with nothing_left(service), client_of(service, **options) as client:
        yield client


class HalfAnswered:
    """Answers the first item whole, then waits."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, request: Request) -> web.StreamResponse:
        whole = await ok()(request)
        assert isinstance(whole, web.Response)
        assert isinstance(whole.body, bytes)
        cut = whole.body.index(b"}") + 30
        response = web.StreamResponse()
        await response.prepare(request.http)
        await response.write(whole.body[:cut])
        self.begun.set()
        await self.go.wait()
        await response.write(whole.body[cut:])
        return response


class TestImprove:
    async def test_while_waiting_for_the_answer(self) -> None:
        async with FakeService() as service:
            service.default = lambda _: hold(asyncio.Event())
            async with quiet(service) as client:
                asking = asyncio.create_task(client.improve(jpeg()))
                await until(lambda: service.open_now == 1)
                await cancelled(asking)
                await until(lambda: not service.open_now)  # at once, not when the client is closed

    async def test_in_the_middle_of_the_answer(self) -> None:
        async with FakeService() as service:
            service.default = lambda _: answer
            answer = HalfAnswered()
            async with quiet(service) as client:
                asking = asyncio.create_task(client.improve(jpeg(), modes=("improve", "resolution"), rfactor=2))
                await answer.begun.wait()
                await cancelled(asking)
                await until(lambda: not service.open_now)

    async def test_in_the_middle_of_the_upload(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(heavy(7_000_000))
        connected, gone = asyncio.Event(), asyncio.Event()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)  # and no more: the rest is on its way
            connected.set()
            await gone.wait()
            writer.transport.abort()

        server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with nothing_left(), client_of(FakeService(url=url), concurrency=1) as client:
                asking = asyncio.create_task(client.improve(path))
                await connected.wait()
                await until(lambda: str(path) in descriptors().values() or not DESCRIPTORS.is_dir())
                await cancelled(asking)
                await until(lambda: str(path) not in descriptors().values())
                gone.set()

    async def test_in_the_middle_of_a_backoff(self) -> None:
        for answer in (http(503), items({"file_0": {"status": 2}})):
            sleeping = asyncio.Event()

            async def sleep(_: float, sleeping: asyncio.Event = sleeping) -> None:
                sleeping.set()
                await asyncio.Event().wait()

            async with FakeService() as service:
                service.script(answer)
                async with quiet(service, sleep=sleep, concurrency=1) as client:
                    asking = asyncio.create_task(client.improve(jpeg()))
                    await sleeping.wait()
                    await cancelled(asking)
                    assert (await client.improve(jpeg(seed=1))).improved  # the slot is free

    async def test_while_the_token_is_asked_for(self) -> None:
        async with FakeService() as service:
            credentials = OAuthCredentials(client_id="me", client_secret="x", auth_url=service.auth_url)
            service.script_grants(hold(asyncio.Event()))
            async with quiet(service, credentials=credentials) as client:
                asking = asyncio.create_task(client.improve(jpeg()))
                await until(lambda: bool(service.grants))
                await cancelled(asking)
                assert (await client.improve(jpeg())).improved

    async def test_while_its_turn_has_not_come(self) -> None:
        gate = asyncio.Event()
        async with FakeService() as service:
            service.script(hold(gate))
            async with quiet(service, concurrency=1) as client:
                first = asyncio.create_task(client.improve(jpeg()))
                await until(lambda: service.open_now == 1)
                waiting = asyncio.create_task(client.improve(jpeg(seed=1)))
                await asyncio.sleep(0.01)
                await cancelled(waiting)
                gate.set()
                await first
            assert len(service.requests) == 1

    async def test_neighbours_in_the_same_request_are_not_harmed(self) -> None:
        gate = asyncio.Event()
        async with FakeService() as service:
            service.script(hold(gate))
            async with quiet(service, concurrency=1) as client:
                asking = [asyncio.create_task(client.improve(jpeg(seed=seed))) for seed in range(3)]
                await until(lambda: service.open_now == 1)
                await cancelled(asking[1])
                gate.set()
                first, third = await asyncio.gather(asking[0], asking[2])
            assert first.improved == expected("improved", jpeg(seed=0))
            assert third.improved == expected("improved", jpeg(seed=2))
            assert len(service.requests) == 1

    async def test_the_cancelled_one_is_not_in_the_next_attempt(self) -> None:
        sleeping, go = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            sleeping.set()
            await go.wait()

        async with FakeService() as service:
            service.script(http(503))
            async with quiet(service, concurrency=1, sleep=sleep) as client:
                asking = [asyncio.create_task(client.improve(jpeg(seed=seed))) for seed in range(3)]
                await sleeping.wait()
                await cancelled(asking[0])
                go.set()
                await asyncio.gather(*asking[1:])
            assert [len(request.images) for request in service.requests] == [3, 2]

    @pytest.mark.slow
    async def test_at_any_moment(self) -> None:
        """After every number of turns of the loop there are."""
        async with FakeService() as service, quiet(service, concurrency=1) as client:
            for turns in range(40):
                asking = asyncio.create_task(client.improve(jpeg()))
                staying = asyncio.create_task(client.improve(jpeg(seed=1)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait([asking])
                assert (await staying).improved == expected("improved", jpeg(seed=1))
            for turns in range(40):
                asking = asyncio.create_task(client.improve(jpeg()))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait([asking])

    async def test_after_its_chunk_was_formed_and_before_it_is_sent(self) -> None:
        async with FakeService() as service, quiet(service) as client:
            asking = asyncio.create_task(client.improve(jpeg()))
            dispatcher = client._dispatcher
            assert dispatcher is not None
            while not dispatcher._senders:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await cancelled(asking)
            assert not service.requests


Leaving = Callable[[ArchiveRun, asyncio.Event], Awaitable[None]]


async def by_cancelling(run: ArchiveRun, begun: asyncio.Event) -> None:
    task = asyncio.create_task(taken(run))
    await begun.wait()
    await cancelled(task)


async def by_cancelling_twice(run: ArchiveRun, begun: asyncio.Event) -> None:
    task = asyncio.create_task(taken(run))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    await cancelled(task)


async def by_break(run: ArchiveRun, begun: asyncio.Event) -> None:
    async for _ in run:
        await begun.wait()
        break


async def by_an_exception(run: ArchiveRun, begun: asyncio.Event) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving the loop is what is tested
        async for _ in run:
            await begun.wait()
            raise ZeroDivisionError


async def by_aclose(run: ArchiveRun, begun: asyncio.Event) -> None:
    task = asyncio.create_task(taken(run))
    await begun.wait()
    await run.aclose()
    with pytest.raises(SmartyError, match="closed"):
        await task


async def by_letting_go(run: ArchiveRun, begun: asyncio.Event) -> None:
    results = aiter(run)
    await anext(results)
    await begun.wait()
    del results


class TestArchive:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "leave", [by_cancelling, by_cancelling_twice, by_break, by_an_exception, by_aclose, by_letting_go]
    )
    @pytest.mark.parametrize("stage", ["waiting", "answering", "backoff"])
    async def test_leaving(self, tmp_path: Path, leave: Leaving, stage: str) -> None:
        source, out = photos(tmp_path / "in", 12), tmp_path / "out"
        begun = asyncio.Event()
        answer = HalfAnswered()

        async def sleep(_: float) -> None:
            begun.set()
            await asyncio.Event().wait()

        async def stall(request: Request) -> web.StreamResponse:
            if stage == "backoff":
                return await items({"file_0": {"status": 2}})(request)
            asyncio.get_running_loop().call_soon(begun.set)
            return await (hold(asyncio.Event()) if stage == "waiting" else answer)(request)

        async with FakeService() as service:
            service.script(ok())
            service.default = lambda _: stall
            async with quiet(service, concurrency=2, limits=Limits(max_images=3), sleep=sleep) as client:
                run = client.improve_archive(source, out=out)
                await leave(run, begun)
                del run
            assert not temporaries(out)
            service.default = service.answer_rightly
            async with quiet(service) as client:
                results = [result async for result in client.improve_archive(source, out=out)]
        assert {result.outcome for result in results} <= {"restored", "skipped"}
        assert len(results) == 12
        for result in results:
            image = (source / result.photo).read_bytes()
            assert all((out / place).read_bytes() == expected(kind, image) for kind, place in result.outputs.items())

    @pytest.mark.slow
    async def test_at_any_moment(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 4), tmp_path / "out"
        async with FakeService() as service, quiet(service, limits=Limits(max_images=2)) as client:
            for turns in [*range(0, 60, 4), *range(60, 400, 37)]:
                task = asyncio.create_task(taken(client.improve_archive(source, out=out)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                assert not temporaries(out)
            assert len(await taken(client.improve_archive(source, out=out))) == 4

    async def test_closing_the_client_under_a_run(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 4), tmp_path / "out"
        async with FakeService() as service:
            service.default = lambda _: hold(asyncio.Event())
            async with quiet(service) as client:
                task = asyncio.create_task(taken(client.improve_archive(source, out=out)))
                await until(lambda: service.open_now > 0)
            with pytest.raises(SmartyError, match="closed"):
                await task
        assert not temporaries(out)

    async def test_a_client_closed_by_a_cancelled_task_still_closes_everything(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 4), tmp_path / "out"
        gone = asyncio.Event()

        def ended(task: asyncio.Task[Any]) -> None:
            task.exception()
            gone.set()

        async def main(service: FakeService) -> None:
            async with client_of(service) as client:
                run = client.improve_archive(source, out=out)
                asyncio.create_task(taken(run)).add_done_callback(ended)
                await asyncio.Event().wait()

        async with FakeService() as service:
            service.default = lambda _: hold(asyncio.Event())
            async with nothing_left(service):
                task = asyncio.create_task(main(service))
                await until(lambda: service.open_now > 0)
                task.cancel()
                await asyncio.sleep(0)
                await cancelled(task)  # impatiently, while it closes
                await gone.wait()

    async def test_an_output_being_committed_is_waited_for_however_often_the_run_is_closed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, out = photos(tmp_path / "in", 1), tmp_path / "out"
        keeping, go = asyncio.Event(), asyncio.Event()
        fsync = OutputDirectory.fsync

        async def slow(directory: OutputDirectory, *answers: Any) -> list[DiskError | None]:
            keeping.set()
            await go.wait()
            return await fsync(directory, *answers)

        monkeypatch.setattr(OutputDirectory, "fsync", slow)
        async with FakeService() as service, quiet(service) as client:
            run = client.improve_archive(source, out=out)
            taking = asyncio.create_task(taken(run))
            await keeping.wait()
            closing: list[asyncio.Task[None]] = []
            for turn in range(12):
                if turn % 4 == 0:
                    closing.append(asyncio.create_task(run.aclose()))
                await asyncio.sleep(0)
            assert not any(task.done() for task in closing)
            go.set()
            await asyncio.gather(*closing)
            with pytest.raises(SmartyError, match="closed"):
                await taking
            assert await taken(client.improve_archive(source, out=out)) == ["a000.jpg"]
            assert len(service.requests) == 1  # what was paid for was kept

    async def test_the_journal_is_closed_when_the_run_is_left_while_its_last_outputs_are_committed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, out = photos(tmp_path / "in", 1), tmp_path / "out"
        closing, go = asyncio.Event(), asyncio.Event()
        close = OutputCommitter.close

        async def slow(committer: OutputCommitter) -> None:
            closing.set()
            await go.wait()
            await close(committer)

        monkeypatch.setattr(OutputCommitter, "close", slow)
        async with FakeService() as service, quiet(service) as client:
            run = client.improve_archive(source, out=out)
            taking = asyncio.create_task(taken(run))
            await closing.wait()
            leaving = asyncio.create_task(run.aclose())
            for _ in range(4):
                await asyncio.sleep(0)
            assert not leaving.done()
            go.set()
            await leaving
            with pytest.raises(SmartyError, match="closed"):
                await taking

    async def test_a_run_that_is_never_iterated_over_costs_nothing(self, tmp_path: Path) -> None:
        async with FakeService() as service, quiet(service) as client:
            client.improve_archive(photos(tmp_path / "in", 1), out=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    async def test_an_application_that_is_cancelled_leaves_no_child(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, out = photos(tmp_path / "in", 12), tmp_path / "out"
        children: list[asyncio.subprocess.Process] = []
        begun = asyncio.Event()
        spawn = asyncio.create_subprocess_exec

        async def spawning(*args: Any, **options: Any) -> asyncio.subprocess.Process:
            children.append(await spawn(*args, **options))
            return children[-1]

        async def application() -> None:
            async with (
                embedded_service(engine="echo", options=["--latency", "0.2"], stop_seconds=60) as url,
                SmartyClient(base_url=url, concurrency=2, limits=Limits(max_images=2)) as client,
            ):
                async for _ in client.improve_archive(source, out=out):
                    begun.set()

        monkeypatch.setattr(embedded, "_CANCELLED_SECONDS", 60)
        monkeypatch.setattr(asyncio, "create_subprocess_exec", spawning)
        async with nothing_left():
            running = asyncio.create_task(application())
            await begun.wait()
            await cancelled(running)
            assert [child.returncode for child in children] == [0]  # it ended by itself, and was waited for
        assert not temporaries(out)

    async def test_an_archive_and_single_photos_do_not_harm_each_other(self, tmp_path: Path) -> None:
        source, out = photos(tmp_path / "in", 4), tmp_path / "out"
        gate = asyncio.Event()
        async with FakeService() as service:
            service.default = lambda _: hold(gate, ok())
            async with quiet(service) as client:
                running = asyncio.create_task(taken(client.improve_archive(source, out=out)))
                asking = asyncio.create_task(client.improve(jpeg()))
                await until(lambda: service.open_now > 1)
                await cancelled(running)
                gate.set()
                assert (await asking).improved == expected("improved", jpeg())
