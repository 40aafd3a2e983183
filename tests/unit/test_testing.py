"""The fake service that users test their code with."""

from __future__ import annotations

import asyncio
import io
from importlib.metadata import entry_points

import pytest
from PIL import Image
from support.clients import no_wait, retries
from support.pictures import jpeg

from smarty_async import SmartyClient
from smarty_async.errors import AuthorizationError, OptionsError, PhotoFailed, SmartyError
from smarty_async.pytest_plugin import smarty_service
from smarty_async.testing import FakeService, Faults, Limits, RequestFaults, kind_of

__all__ = ["smarty_service"]  # the fixture: the entry point may not be installed


def client_of(service: FakeService, *, token: str | None = None, concurrency: int = 1) -> SmartyClient:
    return SmartyClient(base_url=service.url, token=token, retries=retries(), sleep=no_wait, concurrency=concurrency)


async def test_it_answers_with_the_photo_and_records_what_was_asked() -> None:
    async with FakeService() as service, client_of(service) as client:
        photo = await client.improve(jpeg(), modes=("improve", "resolution"), rfactor=4, rtype="art")
    assert photo.improved is not None
    assert photo.resolved is not None
    assert (kind_of(photo.improved), kind_of(photo.resolved)) == ("improved", "resolved")
    with Image.open(io.BytesIO(photo.improved)) as image, Image.open(io.BytesIO(jpeg())) as sent:
        assert image.size == sent.size
    [request] = service.requests
    assert (request.number, request.provider) == (0, "mcs")
    assert (request.meta.modes, request.meta.rfactor, request.meta.rtype) == (("improve", "resolution"), 4, "art")
    assert request.images == {"file_0": jpeg()}
    assert service.images == [jpeg()]


async def test_requests_fail_as_scripted_and_then_no_more() -> None:
    async with FakeService() as service, client_of(service) as client:
        service.fail_next(503, retry_after=0)
        service.drop_next()
        service.fail_items_next("file_0")
        assert (await client.improve(jpeg())).attempts == 4
    assert len(service.requests) == 4


async def test_items_fail_for_good() -> None:
    async with FakeService() as service, client_of(service) as client:
        service.fail_items_next("file_0", permanent=True)
        with pytest.raises(PhotoFailed, match="permanent error"):
            await client.improve(jpeg())
        service.fail_items_next("file_0", mode="resolution", permanent=True)
        with pytest.raises(PhotoFailed):
            await client.improve(jpeg(seed=1), modes=("resolution",), rfactor=2)
    assert len(service.requests) == 2


async def test_any_faults_by_request() -> None:
    async with FakeService() as service, client_of(service) as client:
        service.script(None, RequestFaults(status=400, text="rfactor must be 2 or 4"))
        assert (await client.improve(jpeg())).improved
        with pytest.raises(SmartyError, match="rfactor must be 2 or 4"):
            await client.improve(jpeg(seed=1))


async def test_random_faults_pass() -> None:
    faults = Faults(fail_request=0.3, fail_temporary=0.3, seed=3)
    async with FakeService(faults=faults, limits=Limits(max_images=2)) as service, client_of(service) as client:
        photos = await asyncio.gather(*(client.improve(jpeg(seed=seed)) for seed in range(4)), return_exceptions=True)
    assert len(photos) == 4
    assert len(service.requests) > 2


async def test_tokens_are_checked_where_they_are_given() -> None:
    async with FakeService(tokens=["right-token"]) as service:
        async with client_of(service, token="right-token") as client:
            assert (await client.improve(jpeg())).improved
        async with client_of(service, token="wrong-token") as client:
            with pytest.raises(AuthorizationError) as caught:
                await client.improve(jpeg())
        assert "wrong-token" not in str(caught.value)
        assert [request.token for request in service.requests] == ["right-token"]
        assert "right-token" not in repr(service.requests)


def test_without_an_event_loop(smarty_service: FakeService) -> None:
    async def use() -> None:
        async with client_of(smarty_service) as client:
            assert (await client.improve(jpeg())).improved

    asyncio.run(use())
    assert repr(smarty_service) == f"FakeService(url={smarty_service.url!r}, requests=1)"


async def test_a_thread_beside_an_event_loop(smarty_service: FakeService) -> None:
    async with client_of(smarty_service) as client:
        assert (await client.improve(jpeg())).improved


def test_a_block_that_was_never_entered() -> None:
    with pytest.raises(SmartyError, match="not started"):
        FakeService().__exit__(None, None, None)


@pytest.mark.parametrize("status", [200, 399, 600])
def test_a_failure_has_an_error_s_status(status: int) -> None:
    with pytest.raises(OptionsError, match="400 to 599"):
        FakeService().fail_next(status)


def test_an_output_of_another_service_has_no_kind() -> None:
    with pytest.raises(ValueError, match="not a stamped JPEG"):
        kind_of(jpeg())


def test_the_plugin_is_registered_where_the_package_is_installed() -> None:
    plugins = {entry.name: entry.value for entry in entry_points(group="pytest11")}
    assert plugins.get("smarty_async", "smarty_async.pytest_plugin") == "smarty_async.pytest_plugin"
