"""A consumer that leaves the iteration early: what was received is paid for, and the next run finds it."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.archives import assert_right, client, fill, lines, outcomes, restore, sent, temporaries
from support.fake_service import FakeService, Request, hold, items, until

from smarty_async.errors import SmartyError
from smarty_async.options import Limits
from smarty_async.results import Result
from smarty_async.run import ArchiveRun

BOTH: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, BOTH], ids=["improve", "both"])
async def test_leaving_after_the_first_result_keeps_the_whole_answer(
    source: Path, out: Path, options: dict[str, Any]
) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(48)))
    kinds = ("improved", "colorized_improved", "colorized", *(["resolved"] if options else []))
    async with FakeService() as service:
        async with client(service, concurrency=1) as open_client:
            run = open_client.improve_archive(source, out=out, **options)
            async with aclosing(aiter(run)) as results_of_run:
                async for _ in results_of_run:
                    await until(lambda: all(item.done for item in run._dispatcher._items))
                    break
        assert len(sent(service)) == 48
        assert not temporaries(out)
        results = await restore(service, source, out, **options)
        assert len(sent(service)) == 48, "something was paid for twice"
    assert set(outcomes(results)) == set(photos)
    assert {line["outcome"] for line in lines(out)} == {"restored"}
    assert_right(out, photos, kinds=kinds)


@pytest.mark.slow
@pytest.mark.parametrize("turns", range(1, 40, 3))
async def test_a_run_that_is_cancelled_at_any_moment_keeps_what_was_received(
    source: Path, out: Path, turns: int
) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(6)))
    async with FakeService() as service:
        async with client(service, limits=Limits(max_images=6)) as open_client:
            run = open_client.improve_archive(source, out=out)
            results = aiter(run)
            first = asyncio.ensure_future(anext(results))
            await until(lambda: len(sent(service)) == 6 and all(item.done for item in run._dispatcher._items))
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            await run.aclose()
        await restore(service, source, out)
        assert Counter(Counter(sent(service)).values()) == {1: 6}
    assert_right(out, photos)


async def test_an_error_of_one_mode_keeps_the_answer_of_the_other(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    half_answered = asyncio.Event()

    def never_whole(_: Request) -> Any:
        return hold(half_answered, items({}))

    async with FakeService() as service:
        service.script(never_whole)
        async with client(service) as open_client:
            run = open_client.improve_archive(source, out=out, **BOTH)
            results = aiter(run)
            first = asyncio.ensure_future(anext(results))
            await until(lambda: len(service.requests) == 1)
            await open_client.__aexit__(None, None, None)
            with pytest.raises(SmartyError, match="closed before it came to its end"):
                await first
        assert not temporaries(out)
        await restore(service, source, out, **BOTH)
    assert_right(out, photos, kinds=("improved", "colorized_improved", "colorized", "resolved"))


@pytest.mark.parametrize("ending", ["break", "cancel"])
async def test_leaving_reads_what_has_arrived(source: Path, out: Path, ending: str) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(48)))
    large = base64.b64encode(b"\xff\xd8\xff" + bytes(120_000) + b"\xff\xd9").decode()

    async def respond(request: Request) -> web.StreamResponse:
        response = await items({name: {"improved": large} for name in request.names[1:]})(request)
        await response.prepare(request.http)
        await response.write_eof()
        return response

    async with FakeService() as service:
        service.default = lambda _: respond
        async with client(service, concurrency=1) as open_client:
            run = open_client.improve_archive(source, out=out)
            if ending == "break":
                async with aclosing(aiter(run)) as results_of_run:
                    async for _ in results_of_run:
                        break
            else:
                running = asyncio.create_task(_all(run))
                await until(lambda: bool(run.progress.outcomes))
                running.cancel()
                await asyncio.wait([running])
        assert not temporaries(out)
        await restore(service, source, out)
        assert Counter(Counter(sent(service)).values()) == {1: len(photos)}, "something was paid for twice"


async def test_failures_are_journalled_although_nobody_takes_the_results(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number:02}.jpg" for number in range(60)))
    async with FakeService() as service:
        service.default = lambda request: items({name: {"status": 1, "error": "no"} for name in request.names})
        async with client(service, concurrency=1, limits=Limits(max_images=1)) as open_client:
            run = open_client.improve_archive(source, out=out)
            async with aclosing(aiter(run)) as results_of_run:
                await anext(results_of_run)
                await until(lambda: len((out / "results.jsonl").read_bytes().splitlines()) == len(photos))
        assert set(outcomes(await restore(service, source, out)).values()) == {"failed"}
        assert len(sent(service)) == len(photos), "something was paid for twice"


async def _all(run: ArchiveRun) -> list[Result]:
    return [result async for result in run]


async def test_another_run_goes_on_right_after_a_break(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(20)))
    async with FakeService() as service:
        async with client(service, concurrency=2, limits=Limits(max_images=2)) as open_client:
            async for _ in open_client.improve_archive(source, out=out):
                break
            results = await _all(open_client.improve_archive(source, out=out))
        assert set(outcomes(results)) == set(photos)
        assert len(sent(service)) <= 20 + 2 * 2
    assert_right(out, photos)


@pytest.mark.parametrize("closed", ["run", "client"])
async def test_a_run_that_was_closed_does_not_begin(source: Path, out: Path, closed: str) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        async with client(service) as open_client:
            run = open_client.improve_archive(source, out=out)
            await (run if closed == "run" else open_client).aclose()
            assert not run.active
            with pytest.raises(SmartyError, match="closed before it began"):
                await _all(run)
        assert not service.requests
