"""One client in a long-lived application: what one caller does, or suffers, is no other caller's trouble."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.clients import client_of, photos
from support.fake_service import FakeService, envelope, hold, until
from support.pictures import jpeg

from smarty_async.client import SmartyClient
from smarty_async.errors import AuthorizationError, ConfigurationError, SmartyError


class StalledUpload:
    """An asynchronous file whose bytes are long in coming."""

    def __init__(self, data: bytes) -> None:
        self.goes_on = asyncio.Event()
        self._data = data

    async def read(self) -> bytes:
        await self.goes_on.wait()
        return self._data


async def test_a_photo_that_is_long_in_being_read_holds_no_other_one_back() -> None:
    upload = StalledUpload(jpeg())
    async with FakeService() as service, client_of(service, concurrency=1) as client:
        stalled = asyncio.create_task(client.improve(upload))
        for seed in range(1, 4):
            assert (await client.improve(jpeg(seed=seed), timeout=30)).improved
        upload.goes_on.set()
        assert (await stalled).improved


async def test_callers_that_fail_together_each_have_an_error_of_their_own() -> None:
    """One error raised in many tasks has the tracebacks of all of them, with all that their frames hold."""
    async with FakeService() as service, client_of(service, concurrency=1) as client:
        service.default = lambda _: envelope(401, "Access Token invalid")
        calls = [client.improve(jpeg(seed=seed)) for seed in range(20)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {AuthorizationError}
    assert len({id(error) for error in errors}) == 20
    assert {(str(error), error.status) for error in errors if isinstance(error, AuthorizationError)} == {
        (str(errors[0]), 401)
    }


async def test_a_client_that_is_open_is_not_opened_again() -> None:
    """The first block to end would close it under the others."""
    async with FakeService() as service, client_of(service) as client:
        with pytest.raises(SmartyError, match="open already"):
            await client.__aenter__()
        assert (await client.improve(jpeg())).improved


async def test_a_client_that_several_tasks_open_at_once_is_opened_by_one() -> None:
    async with FakeService() as service:
        client = client_of(service)
        opened = await asyncio.gather(*(client.__aenter__() for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in opened] == [SmartyClient, SmartyError, SmartyError]
        await client.aclose()


async def test_the_answer_for_a_caller_who_has_gone_is_no_fault_of_the_service(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = asyncio.Event()
    async with FakeService() as service, client_of(service, concurrency=1) as client:
        service.script(hold(gate))
        calls = [asyncio.create_task(client.improve(jpeg(seed=seed))) for seed in range(3)]
        await until(lambda: service.open_now == 1)
        calls[1].cancel()
        await asyncio.wait([calls[1]])
        gate.set()
        await asyncio.gather(calls[0], calls[2])
    assert len(service.requests) == 1
    assert not [record.message for record in caplog.records if record.levelno >= logging.WARNING]


async def impatiently(task: asyncio.Task[Any]) -> None:
    """Cancel `task` in every turn of the event loop until it ends, as the cancel scopes of anyio do."""
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()


@pytest.mark.parametrize("with_client", [False, True])
async def test_a_run_that_is_cancelled_again_and_again_has_ended_when_its_task_has(
    source: Path, out: Path, *, with_client: bool
) -> None:
    async def consume(client: SmartyClient) -> None:
        with suppress(SmartyError):  # the client was closed
            async for _ in client.improve_archive(source, out=out):
                pass

    async def application(client: SmartyClient) -> None:
        async with client:
            consuming = asyncio.create_task(consume(client))
            await asyncio.wait([consuming])

    photos(source, 4)
    async with FakeService() as service, client_of(service) as client:
        service.default = lambda _: hold(asyncio.Event())
        tasks = asyncio.all_tasks()
        task = asyncio.create_task(application(client_of(service)) if with_client else consume(client))
        await until(lambda: service.open_now > 0)
        await impatiently(task)
        assert not [left for left in asyncio.all_tasks() - tasks if left.get_name().startswith("smarty_async")]


async def test_a_session_that_was_closed_before_the_client_is_reported_at_once() -> None:
    async with FakeService() as service:
        async with aiohttp.ClientSession() as session:
            client = await client_of(service, session=session).__aenter__()
            assert (await client.improve(jpeg())).improved
        with pytest.raises(ConfigurationError, match="session given to the client is closed"):
            await client.improve(jpeg(seed=1))
        await client.aclose()
