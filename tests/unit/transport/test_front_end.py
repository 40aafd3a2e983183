"""Answers that are not the service's, and answers of the service that cannot be used: no photo is to blame."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.archives import assert_right, client, fill, outcomes
from support.clients import client_of, hasty, no_wait, retries
from support.fake_service import FakeService, Request, Respond, envelope, expected, hold, http, items, ok, raw, until
from support.pictures import heavy, jpeg

from smarty_async.errors import NotTheService, PhotoFailed, ServiceUnavailable
from smarty_async.options import Limits, OAuthCredentials, Retries
from smarty_async.results import Restored
from smarty_async.transport.response import MemorySink, SinkFile

PAGE = "<html><h1>Deploying</h1></html>"
FRONT_END_STATUSES = (401, 403, 404, 405, 410, 422, 499)
GIF = "R0lGODlhAQABAAAAACw="


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


class TestFrontEnd:
    @pytest.mark.slow
    @pytest.mark.parametrize("status", FRONT_END_STATUSES)
    async def test_a_page_after_a_good_answer_is_an_outage_and_fails_no_photo(
        self, source: Path, out: Path, status: int
    ) -> None:
        photos = fill(source, *(f"{number}.jpg" for number in range(24)))
        async with FakeService() as service:
            credentials = OAuthCredentials(client_id="me", client_secret="x", auth_url=service.auth_url)
            limits = Limits(max_images=6)
            async with client_of(service, credentials=credentials, concurrency=2, limits=limits) as c:
                await c.improve(jpeg(seed=99))
                service.script(*[http(status, PAGE)] * 12)
                results = [result async for result in c.improve_archive(source, out=out)]
            assert outcomes(results) == dict.fromkeys(photos, "restored")
            assert len(service.grants) == 1, "the token is not to blame either"
        assert_right(out, photos)

    @pytest.mark.parametrize("status", FRONT_END_STATUSES)
    async def test_a_page_while_other_first_requests_are_open_is_an_outage(self, status: int) -> None:
        page_was_read = asyncio.Event()

        async def sleep(seconds: float) -> None:
            page_was_read.set()
            await no_wait(seconds)

        async with FakeService() as service, client_of(service, limits=Limits(max_images=1), sleep=sleep) as c:
            service.script(hold(page_was_read), http(status, PAGE))
            results = await asyncio.gather(c.improve(jpeg()), c.improve(jpeg(seed=1)))
            assert [one.outcome for one in results] == ["restored", "restored"]

    async def test_a_redirect_after_a_good_answer_is_an_outage(self) -> None:
        async with FakeService() as service, client_of(service) as c:
            await c.improve(jpeg())
            service.script(http(302, headers={"Location": "/maintenance"}))
            assert (await c.improve(jpeg(seed=1))).attempts == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("status", FRONT_END_STATUSES)
    async def test_a_page_before_any_good_answer_is_not_the_service_and_fails_no_photo(
        self, source: Path, out: Path, status: int
    ) -> None:
        fill(source, *(f"{number}.jpg" for number in range(6)))
        async with FakeService() as service, client(service, limits=Limits(max_images=2)) as c:
            service.default = lambda _: http(status, PAGE)
            run = c.improve_archive(source, out=out)
            with pytest.raises(NotTheService, match=f"is not the service \\({status}"):
                assert [result async for result in run] == []
            assert not run.progress.outcomes

    async def test_a_413_for_a_size_that_was_answered_before_is_an_outage(self) -> None:
        async with FakeService() as service, client_of(service) as c:
            await asyncio.gather(*(c.improve(jpeg(seed=seed)) for seed in (1, 2)))
            service.script(*[http(413, PAGE)] * 3)
            assert (await c.improve(jpeg(seed=3))).attempts == 4

    async def test_a_413_for_a_larger_size_is_about_the_photo(self) -> None:
        async with FakeService() as service, client_of(service) as c:
            await c.improve(jpeg(seed=1))
            service.script(http(413, PAGE))
            with pytest.raises(PhotoFailed, match="413"):
                await c.improve(heavy(50_000, seed=2))

    async def test_a_413_before_any_good_answer_fails_the_photo_alone(self, source: Path, out: Path) -> None:
        fill(source, *(f"{number}.jpg" for number in range(6)))
        (source / "large.jpg").write_bytes(heavy(50_000, seed=7))
        first_is_open, page_was_sent = asyncio.Event(), asyncio.Event()

        async def limited(request: Request) -> web.StreamResponse:
            if sum(map(len, request.images.values())) > 40_000:
                await first_is_open.wait()
                page_was_sent.set()
                return await http(413, PAGE)(request)
            first_is_open.set()
            await page_was_sent.wait()
            return await ok()(request)

        async with FakeService() as service:
            service.default = lambda _: limited
            async with client(service, limits=Limits(max_images=6, max_request_bytes=40_000)) as c:
                results = [result async for result in c.improve_archive(source, out=out)]
            assert [result.photo for result in results if result.outcome == "failed"] == ["large.jpg"]
            assert [result.outcome for result in results].count("restored") == 6
            async with client(service) as c:  # nothing is left that could be answered well
                again = [result async for result in c.improve_archive(source, out=out, retry_failed=True)]
        assert outcomes(again)["large.jpg"] == "failed"

    async def test_a_page_that_stays_is_given_up_on(self) -> None:
        async with FakeService() as service, client_of(service, retries=hasty()) as c:
            await c.improve(jpeg())
            service.default = lambda _: http(404, PAGE)
            with pytest.raises(ServiceUnavailable, match="404 Not Found") as caught:
                await c.improve(jpeg(seed=1))
            assert caught.value.status == 404

    async def test_a_refusal_in_the_services_envelope_still_counts(self) -> None:
        async with FakeService() as service, client_of(service) as c:
            await c.improve(jpeg())
            service.script(envelope(404, "no such mode"))
            with pytest.raises(Exception, match="no such mode"):
                await c.improve(jpeg(seed=1))
            assert len(service.requests) == 2


class TestUnusableOutputs:
    @pytest.mark.slow
    @pytest.mark.parametrize("concurrency", [1, 8])
    async def test_the_run_stops_when_the_first_outputs_are_all_unusable_for_one_reason(
        self, source: Path, out: Path, concurrency: int
    ) -> None:
        photos = fill(source, *(f"{number}.jpg" for number in range(24)))
        async with FakeService() as service, client(service, concurrency=concurrency) as c:
            service.default = lambda _: unusable
            run = c.improve_archive(source, out=out)
            with pytest.raises(ServiceUnavailable, match="cannot be used: it is not a JPEG"):
                assert [result async for result in run] == []
            assert run.progress.images <= len(photos), "nothing is asked twice"
            assert not run.progress.outcomes
            service.default = service.answer_rightly
            again = [result async for result in c.improve_archive(source, out=out)]
        assert outcomes(again) == dict.fromkeys(photos, "restored")

    async def test_what_is_still_queued_is_not_sent(self, source: Path, out: Path) -> None:
        fill(source, *(f"{number}.jpg" for number in range(40)))
        async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=4)) as c:
            service.default = lambda _: unusable
            with pytest.raises(ServiceUnavailable):
                assert [result async for result in c.improve_archive(source, out=out)] == []
            assert len(service.requests) == 1

    async def test_calls_for_single_photos_stop_too(self) -> None:
        async with FakeService() as service, client_of(service) as c:
            service.default = lambda _: unusable
            asking = (c.improve(jpeg(16, 12, seed=seed)) for seed in range(10))
            results = await asyncio.gather(*asking, return_exceptions=True)
            assert {type(one) for one in results} == {ServiceUnavailable}
            assert sum(len(request.images) for request in service.requests) <= 10, "none is asked for twice"
            service.default = service.answer_rightly
            assert (await c.improve(jpeg(16, 12))).outcome == "restored"

    async def test_one_usable_output_is_enough_to_go_on(self) -> None:
        images = [jpeg(16, 12, seed=seed) for seed in range(6)]
        bad: dict[str, Any] = {f"file_{number}": {"improved": GIF} for number in range(5)}
        async with FakeService() as service, client_of(service, concurrency=1) as c:
            service.script(items(bad))
            results = await asyncio.gather(*map(c.improve, images))
            assert [one.improved for one in results] == [expected("improved", image) for image in images]
            assert [len(request.images) for request in service.requests] == [6, 5]

    async def test_one_usable_output_frees_the_permits_of_the_answers_that_have_come(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow_disk, service_is_busy = asyncio.Event(), asyncio.Event()
        writes = iter([slow_disk.wait])

        async def write(self: MemorySink, batches: Sequence[tuple[SinkFile, list[bytes]]]) -> None:
            for wait in writes:
                await wait()
            await write_at_once(self, batches)

        write_at_once = MemorySink.write
        monkeypatch.setattr(MemorySink, "write", write)
        limits = Limits(max_images=1)
        async with FakeService() as service, client_of(service, concurrency=2, limits=limits) as c:
            service.script(ok(), ok(), hold(service_is_busy))
            asking = asyncio.gather(*(c.improve(jpeg(16, 12, seed=seed)) for seed in range(4)))
            try:
                await until(lambda: len(service.requests) == 4)
            finally:
                slow_disk.set()
                service_is_busy.set()
            assert {one.outcome for one in await asking} == {"restored"}

    async def test_later_unusable_outputs_are_only_retried(self) -> None:
        async with FakeService() as service, client_of(service, concurrency=1) as c:
            await c.improve(jpeg())
            service.script(unusable)
            results = await asyncio.gather(*(c.improve(jpeg(16, 12, seed=seed)) for seed in range(4)))
            assert all(isinstance(one, Restored) and one.attempts == 2 for one in results)


class TestUnreadableAnswers:
    @pytest.mark.parametrize("concurrency", [1, 8])
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(http(200, PAGE), id="page"),
            pytest.param(http(200), id="empty"),
            *(
                pytest.param(answer, id=name, marks=pytest.mark.slow)
                for name, answer in {
                    "no content": http(204),
                    "no envelope": http(200, '{"improve": []}'),
                    "compressed": http(200, "{}", {"Content-Encoding": "gzip"}),
                    "utf-16": raw("{}".encode("utf-16")),
                    "gzip": raw(b"\x1f\x8b\x08" + bytes(100)),
                }.items()
            ),
        ],
    )
    async def test_the_run_stops_when_the_first_answers_cannot_be_read(
        self, source: Path, out: Path, answer: Respond, concurrency: int
    ) -> None:
        photos = fill(source, *(f"{number}.jpg" for number in range(24)))
        async with FakeService() as service, client(service, concurrency=concurrency) as c:
            service.default = lambda _: answer
            run = c.improve_archive(source, out=out)
            with pytest.raises(ServiceUnavailable, match="the service's answers cannot be used"):
                assert [result async for result in run] == []
            assert run.progress.images <= len(photos) + 2, "one photo finds out, twice"
            assert not run.progress.outcomes
            service.default = service.answer_rightly
            again = [result async for result in c.improve_archive(source, out=out)]
        assert outcomes(again) == dict.fromkeys(photos, "restored")

    async def test_one_or_two_are_an_accident(self) -> None:
        async with FakeService() as service, client_of(service, concurrency=1) as c:
            service.script(http(200, PAGE), http(200, PAGE))
            results = await asyncio.gather(*(c.improve(jpeg(16, 12, seed=seed)) for seed in range(3)))
            assert {one.outcome for one in results} == {"restored"}
            assert [len(request.images) for request in service.requests[:2]] == [3, 1]

    async def test_after_a_good_answer_they_are_an_outage(self) -> None:
        async with FakeService() as service, client_of(service, concurrency=1) as c:
            await c.improve(jpeg())
            service.script(*[http(200, PAGE)] * 6)
            assert (await c.improve(jpeg(seed=1))).attempts == 7

    @pytest.mark.parametrize("concurrency", [1, 8])
    @pytest.mark.parametrize(
        "output",
        [5, *(pytest.param(value, marks=pytest.mark.slow) for value in (True, [GIF], {"data": GIF}))],
        ids=["number", "bool", "list", "object"],
    )
    async def test_the_run_stops_when_the_first_answers_hold_no_valid_item(
        self, source: Path, out: Path, output: object, concurrency: int
    ) -> None:
        async def malformed(request: Request) -> web.StreamResponse:
            return await items({name: {"improved": output} for name in request.names})(request)

        photos = fill(source, *(f"{number}.jpg" for number in range(24)))
        async with FakeService() as service, client(service, concurrency=concurrency) as c:
            service.default = lambda _: malformed
            run = c.improve_archive(source, out=out)
            with pytest.raises(ServiceUnavailable, match="answer for none of the photos"):
                assert [result async for result in run] == []
            assert run.progress.images <= len(photos), "nothing is asked twice"


class TestOtherGoodStatuses:
    @pytest.mark.parametrize("status", [201, 203])
    async def test_an_answer_under_it_is_used(self, status: int) -> None:
        async def under_status(request: Request) -> web.StreamResponse:
            response = await items({})(request)
            response.set_status(status)
            return response

        async with FakeService() as service, client_of(service) as c:
            service.default = lambda _: under_status
            assert (await c.improve(jpeg())).outcome == "restored"


class TestRetryAfterAtTheStart:
    @pytest.mark.parametrize(("asked", "waited"), [(41, 41), (500, 120)])
    @pytest.mark.parametrize("status", [429, 503])
    async def test_it_is_respected(self, status: int, asked: int, waited: int) -> None:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        async with FakeService() as service, client_of(service, sleep=sleep, retries=Retries()) as c:
            service.script(http(status, headers={"Retry-After": str(asked)}))
            assert (await c.improve(jpeg())).attempts == 2
        assert [round(wait) for wait in waits if wait > 20] == [waited]  # the others are backoffs

    async def test_an_address_that_speaks_http_is_given_the_longer_time(self) -> None:
        async with FakeService() as service:
            bounds = retries(give_up_after=900, give_up_before_first=0.001)
            async with client_of(service, retries=bounds) as c:
                service.script(*[http(503)] * 30)
                assert (await c.improve(jpeg())).attempts == 31

    async def test_an_address_that_never_speaks_http_is_not(self) -> None:
        async with FakeService() as service:
            bounds = retries(give_up_after=900, give_up_before_first=0.001)
            async with client_of(service, retries=bounds, base_url="http://127.0.0.1:9") as c:
                with pytest.raises(ServiceUnavailable, match="is the address right"):
                    await c.improve(jpeg())


async def unusable(request: Request) -> web.StreamResponse:
    return await items({name: {"improved": GIF, "colorized": None} for name in request.names})(request)
