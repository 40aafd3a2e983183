"""What hooks are reported, and what the log says."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from support.archives import client, fill
from support.clients import TOKEN, client_of
from support.fake_service import FakeService, drop, envelope, expected, http, items, until
from support.pictures import jpeg

from smarty_async.client import SmartyClient
from smarty_async.errors import OptionsError, PhotoFailed
from smarty_async.hooks import ProgressHooks, RequestDetails, ResponseDetails, RetryDetails, all_hooks
from smarty_async.options import Limits, OAuthCredentials
from smarty_async.progress import Progress
from smarty_async.results import Result

LOGGER = "smarty_async"


class Recorder:
    """Hooks that record what they are reported."""

    def __init__(self) -> None:
        self.requests: list[RequestDetails] = []
        self.responses: list[ResponseDetails] = []
        self.retries: list[RetryDetails] = []
        self.photos: list[Result] = []

    def on_request(self, details: RequestDetails) -> None:
        self.requests.append(details)

    def on_response(self, details: ResponseDetails) -> None:
        self.responses.append(details)

    def on_retry(self, details: RetryDetails) -> None:
        self.retries.append(details)

    def on_photo(self, result: Result) -> None:
        self.photos.append(result)


class Broken(Recorder):
    def on_request(self, details: RequestDetails) -> None:
        raise ZeroDivisionError(details.number)


async def test_hooks_are_called_for_each_request_response_and_retry() -> None:
    recorder = Recorder()
    async with FakeService() as service, client_of(service, hooks=[recorder]) as c:
        service.script(http(503, "busy"), drop())
        await c.improve(jpeg())
        await until(lambda: len(recorder.responses) == 3)
        sizes = [request.content_length for request in service.requests]
    assert [(one.number, one.images, one.size, one.attempts) for one in recorder.requests] == [
        (number, 1, size, number) for number, size in zip((1, 2, 3), sizes, strict=True)
    ]
    assert [(one.number, one.status, one.received) for one in recorder.responses] == [
        (1, 503, 0),
        (2, None, 0),
        (3, 200, 1),
    ]
    assert recorder.responses[0].error == "503 Service Unavailable: busy"
    assert recorder.responses[2].error is None
    assert all(one.seconds > 0 for one in recorder.responses)
    assert [(one.images, one.attempt) for one in recorder.retries] == [(1, 1), (1, 2)]


async def test_hooks_are_called_with_what_a_request_carried_and_whether_it_is_paid_for() -> None:
    recorder = Recorder()
    async with FakeService() as service, client_of(service, hooks=[recorder], concurrency=3) as c:
        service.script(http(429), http(500))
        await c.improve(jpeg())
        await until(lambda: len(recorder.responses) == 3)
        size = service.requests[-1].content_length
    assert recorder.requests[0].permits == 3
    assert [one.paid for one in recorder.responses] == [False, True, True]
    last = recorder.responses[-1]
    assert last.bytes_sent == last.size == size
    assert last.bytes_received > len(expected("improved", jpeg()))


async def test_hooks_are_called_for_a_photo_that_is_to_be_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    recorder = Recorder()
    async with FakeService() as service, client_of(service, hooks=[recorder]) as c:
        service.script(items({"file_0": {"improve": {"status": 2, "error": "busy"}}}))
        await c.improve(jpeg())
    (retry,) = recorder.retries
    assert (retry.scope, retry.images, retry.attempt, retry.giving_up_in) == ("photo", 1, 1, None)
    assert "busy" in retry.error
    (record,) = [one for one in caplog.records if one.getMessage().startswith("retrying 1 image in ")]
    assert record.levelno == logging.DEBUG


async def test_a_runs_progress_says_what_the_matter_is_and_that_it_is_over() -> None:
    progress = Progress()
    hooks = ProgressHooks(progress)
    hooks.on_retry(RetryDetails(3, 1, 2.0, "503 busy"))
    assert progress.status_message == "503 busy: next try in 2 s"
    hooks.on_retry(RetryDetails(3, 2, 4.0, "503 busy", failing_for=30.0, giving_up_in=60.0))
    assert progress.status_message == (
        "the service has been down for 30 s (503 busy): next try in 4 s, giving up in 60 s"
    )
    hooks.on_retry(RetryDetails(1, 1, 1.0, "later", scope="photo"))
    assert progress.retries == 3
    assert progress.status_message is not None
    hooks.on_response(ResponseDetails(1, 3, 10, 2, 200, 0.5, 3, bytes_sent=10, bytes_received=20, paid=True))
    assert progress.status_message is None


async def test_hooks_are_called_for_each_photo(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg", "b.jpg")
    recorder = Recorder()
    async with FakeService() as service, client(service, hooks=[recorder]) as c:
        results = [result async for result in c.improve_archive(tmp_path / "photos", out=tmp_path / "out")]
    assert recorder.photos == results


async def test_a_connection_that_is_not_established_is_no_request() -> None:
    recorder = Recorder()
    async with FakeService() as service, client_of(service, hooks=[recorder], base_url="http://127.0.0.1:9") as c:
        with pytest.raises(TimeoutError):
            await c.improve(jpeg(), timeout=0.3)
    assert not recorder.requests
    assert not recorder.responses
    assert recorder.retries


async def test_a_hook_that_raises_is_logged_and_changes_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    async with FakeService() as service, client_of(service, hooks=[Broken(), recorder]) as c:
        assert (await c.improve(jpeg())).attempts == 1
    assert len(recorder.requests) == 1
    assert "a hook failed" in caplog.text


def test_hooks_that_lack_methods_are_refused() -> None:
    class OnlyPhotos:
        def on_photo(self, result: Result) -> None:
            """Nothing."""

    for hooks in ([OnlyPhotos()], iter([Recorder(), OnlyPhotos()])):
        with pytest.raises(OptionsError, match=r"OnlyPhotos has no on_request, on_response, on_retry$"):
            SmartyClient(token=TOKEN, hooks=hooks)  # type: ignore[arg-type] # on purpose


def test_hooks_that_would_have_to_be_awaited_are_refused() -> None:
    class Awaited(Recorder):
        async def on_photo(self, result: Result) -> None:  # type: ignore[override]
            """Nothing."""

    with pytest.raises(OptionsError, match="Awaited has an 'async def'"):
        SmartyClient(token=TOKEN, hooks=[Awaited()])  # type: ignore[list-item] # on purpose


class Cancelled(Recorder):
    def on_request(self, details: RequestDetails) -> None:  # noqa: ARG002 - as `Hooks` has it
        raise asyncio.CancelledError

    def on_photo(self, result: Result) -> None:  # noqa: ARG002 - as `Hooks` has it
        raise asyncio.CancelledError


async def test_a_hook_that_raises_a_cancellation_cancels_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "photos", "a.jpg", "b.jpg")
    async with FakeService() as service, client(service, hooks=[Cancelled()]) as c:
        results = [result async for result in c.improve_archive(tmp_path / "photos", out=tmp_path / "out")]
    assert [result.outcome for result in results] == ["restored", "restored"]
    assert "a hook failed" in caplog.text


async def test_a_task_that_a_hook_cancels_is_cancelled() -> None:
    class Cancelling(Recorder):
        def on_request(self, details: RequestDetails) -> None:  # noqa: ARG002 - as `Hooks` has it
            asking.cancel()
            raise asyncio.CancelledError

    async with FakeService() as service, client_of(service, hooks=[Cancelling()]) as c:
        asking = asyncio.create_task(c.improve(jpeg()))
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_a_hook(error: type[BaseException]) -> None:
    class Ending(Recorder):
        def on_request(self, details: RequestDetails) -> None:  # noqa: ARG002 - as `Hooks` has it
            raise error

    with pytest.raises(error):
        all_hooks([Ending()]).on_request(RequestDetails(1, 1, 1, 1, 1))


async def test_the_log_has_a_line_a_request_and_what_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with FakeService() as service, client_of(service, concurrency=4, limits=Limits(max_images=1)) as c:
        await c.improve(jpeg())
        service.script(http(429), *[http(500)] * 5)
        await c.improve(jpeg(seed=1))
        await until(lambda: "the service is back" in caplog.text)
    lines = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == LOGGER]
    debug = [text for level, text in lines if level == logging.DEBUG]
    info = [text for level, text in lines if level == logging.INFO]
    assert len(debug) == 8
    assert debug[0].startswith("request 1: 1 image, ")
    assert "status 200" in debug[0]
    assert "status 429" in debug[1]
    assert any(text.startswith("slowing down to 2 requests at once") for text in info)
    assert any(text.startswith("the service is down") for text in info)
    assert any(text.startswith("the service is back") for text in info)
    assert sum(text.startswith("retrying 1 image in ") for text in info) == 6
    last = next(record for record in reversed(caplog.records) if record.levelno == logging.DEBUG)
    assert (last.__dict__["number"], last.__dict__["status"], last.__dict__["attempts"]) == (8, 200, 7)


async def test_no_record_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with FakeService() as service, client_of(service) as c:
        service.script(http(503, f"token {TOKEN}"), envelope(400, f"no: {TOKEN}"))
        with pytest.raises(PhotoFailed):
            await c.improve(jpeg())
    assert caplog.records
    for record in caplog.records:
        assert TOKEN not in record.getMessage()
        assert TOKEN not in repr(record.__dict__)


async def test_a_refreshed_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with FakeService(valid_tokens=set()) as service:
        credentials = OAuthCredentials(client_id="me", client_secret="x", auth_url=service.auth_url)
        async with client_of(service, credentials=credentials) as c:
            await c.improve(jpeg())
            assert service.valid_tokens is not None
            service.valid_tokens.clear()
            await c.improve(jpeg(seed=1))
    assert "the access token was refreshed" in caplog.text
    assert "access-1" not in caplog.text
