"""Which photos share a request, and what is done about every way a request can fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from support.clients import client_of, hasty, photos, retries
from support.fake_service import (
    Answer,
    FakeService,
    Request,
    drop,
    envelope,
    expected,
    hold,
    http,
    items,
    late,
    ok,
    raw,
    until,
)
from support.pictures import heavy, jpeg

from smarty_async.client import SmartyClient
from smarty_async.errors import (
    AuthorizationError,
    NotTheService,
    OptionsError,
    PhotoFailed,
    PhotoRejected,
    RequestError,
    RequestRefused,
    ServiceUnavailable,
    SmartyError,
)
from smarty_async.options import Limits, OAuthCredentials
from smarty_async.results import Restored
from smarty_async.transport.sender import ChunkSender
from smarty_async.wire.verdict import Abort, Drop, Refresh, Retry, Verdict, judge


async def improved(client: SmartyClient, images: Iterable[bytes], **options: Any) -> list[Restored | BaseException]:
    asking = [client.improve(image, **options) for image in images]
    return await asyncio.gather(*asking, return_exceptions=True)


def pictures(count: int) -> list[bytes]:
    return [jpeg(16, 12, seed=seed) for seed in range(count)]


def all_right(results: list[Restored | BaseException], images: list[bytes]) -> bool:
    return [isinstance(one, Restored) and one.improved for one in results] == [
        expected("improved", image) for image in images
    ]


async def all_queued_before(
    answer: Answer, service: FakeService, client: SmartyClient, images: list[bytes]
) -> list[Restored | BaseException]:
    """What comes of `images` when all requests are answered with `answer`, and none before all images are queued."""
    gate = asyncio.Event()
    service.default = lambda _: hold(gate, answer)
    asking = asyncio.create_task(improved(client, images))
    await until(lambda: client._dispatcher is not None and len(client._dispatcher._items) == len(images))
    gate.set()
    return await asking


class Poisoned:
    """Refuses every request that carries one of some images; answers all others."""

    def __init__(self, answer: Answer, *poison: bytes) -> None:
        self.answer = answer
        self.poison = frozenset(poison)

    def __call__(self, request: Request) -> Answer:
        if self.poison & set(request.images.values()):
            return self.answer
        return request.service.answer_rightly(request)


class TestSharedRequests:
    @pytest.mark.slow
    @pytest.mark.parametrize(("count", "concurrency", "requests"), [(10, 1, 1), (48, 1, 1), (49, 1, 2), (96, 1, 2)])
    async def test_concurrent_calls_share_as_few_requests_as_possible(
        self, count: int, concurrency: int, requests: int
    ) -> None:
        images = pictures(count)
        async with FakeService() as service, client_of(service, concurrency=concurrency) as client:
            assert all_right(await improved(client, images), images)
            assert len(service.requests) == requests

    async def test_a_small_job_is_spread_over_all_permits(self) -> None:
        images = pictures(12)
        async with FakeService() as service, client_of(service, concurrency=4) as client:
            assert all_right(await improved(client, images), images)
            assert [len(request.images) for request in service.requests] == [3] * 4

    async def test_no_request_exceeds_the_limit_on_bytes(self) -> None:
        images = [heavy(9_000 + seed, seed=seed) for seed in range(20)]
        limits = Limits(max_request_bytes=30_000)
        async with FakeService(max_request_bytes=30_000) as service:
            async with client_of(service, concurrency=1, limits=limits) as client:
                assert all_right(await improved(client, images), images)
            assert len(service.requests) == 7
            assert all((request.content_length or 0) <= 30_000 for request in service.requests)

    async def test_a_single_photo_may_exceed_the_limit_on_request_bytes(self) -> None:
        image = heavy(60_000)
        async with FakeService() as service:
            async with client_of(service, limits=Limits(max_request_bytes=100)) as client:
                assert all_right(await improved(client, [image, jpeg()]), [image, jpeg()])
            assert [len(request.images) for request in service.requests] == [1, 1]

    async def test_no_more_requests_are_open_than_the_concurrency_allows(self) -> None:
        images, gate = pictures(40), asyncio.Event()
        async with FakeService() as service:
            async with client_of(service, concurrency=3, limits=Limits(max_images=2)) as client:
                service.script(*[hold(gate, ok())] * 3)
                asking = asyncio.create_task(improved(client, images))
                await until(lambda: service.open_now == 3)
                gate.set()
                assert all_right(await asking, images)
            assert service.most_open == 3

    async def test_photos_with_different_modes_do_not_share_a_request(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            one, other = pictures(2)
            first, second = await asyncio.gather(
                client.improve(one), client.improve(other, modes=("resolution",), rfactor=2)
            )
            assert (first.improved, second.resolved) == (expected("improved", one), expected("resolved", other))
            assert sorted(request.meta["mode"] for request in service.requests) == [["improve"], ["resolution"]]

    async def test_everything_is_sent_under_a_rate_limit(self) -> None:
        images = pictures(6)
        async with FakeService() as service:
            async with client_of(service, rate=1000, limits=Limits(max_images=2)) as client:
                assert all_right(await improved(client, images), images)
            assert len(service.requests) == 6  # spread over eight slots


class TestItems:
    async def test_an_item_in_backoff_holds_no_permit_and_joins_new_items(self) -> None:
        waiting, go = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            waiting.set()
            await go.wait()

        first, second = pictures(2)
        async with FakeService() as service:
            long = retries(first_wait=60.0, longest_wait=60.0)
            async with client_of(service, concurrency=1, sleep=sleep, retries=long) as client:
                service.script(items({"file_0": {"status": 2, "error": "busy"}}))
                early = asyncio.create_task(client.improve(first))
                await waiting.wait()
                assert (await client.improve(second)).attempts == 1  # the one slot is free
                gate = asyncio.Event()
                service.script(hold(gate))
                third = asyncio.create_task(client.improve(jpeg(seed=9)))
                await until(lambda: service.open_now == 1)
                fresh = asyncio.create_task(client.improve(jpeg(seed=10)))
                go.set()
                await asyncio.sleep(0.01)
                gate.set()
                assert (await early).attempts == 2
                await asyncio.gather(third, fresh)
            assert set(service.requests[-1].images.values()) == {first, jpeg(seed=10)}

    async def test_items_retried_after_one_round_are_spread_over_the_permits(self) -> None:
        in_backoff: list[float] = []
        go = asyncio.Event()

        async def sleep(seconds: float) -> None:
            in_backoff.append(seconds)
            await go.wait()

        images = pictures(10)
        busy = {f"file_{number}": {"status": 2} for number in range(5)}
        async with FakeService() as service, client_of(service, concurrency=2, sleep=sleep) as client:
            service.script(items(busy), items(busy))
            asking = asyncio.create_task(improved(client, images))
            await until(lambda: len(in_backoff) == 10)
            go.set()
            assert all_right(await asking, images)
            assert [len(request.images) for request in service.requests] == [5, 5, 5, 5]

    async def test_no_round_is_planned_for_items_in_flight_alone(self) -> None:
        images, gate = pictures(12), asyncio.Event()
        busy = {f"file_{number}": {"status": 2} for number in range(2)}
        async with FakeService() as service:
            async with client_of(service, concurrency=2, limits=Limits(max_images=4)) as client:
                service.script(items(busy), hold(gate, ok()))
                asking = asyncio.create_task(improved(client, images))
                await until(lambda: len(service.requests) == 3)
                gate.set()
                assert all_right(await asking, images)
            assert [len(request.images) for request in service.requests] == [3, 3, 4, 4]

    @pytest.mark.parametrize(("rest", "waits"), [(0.0, True), (3600.0, False)])
    async def test_only_a_backoff_short_beside_a_request_is_waited_for(self, rest: float, *, waits: bool) -> None:
        in_backoff, go = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            in_backoff.set()
            await go.wait()

        images = pictures(2)
        bounds = retries(first_wait=rest, longest_wait=rest)
        async with FakeService() as service, client_of(service, concurrency=1, sleep=sleep, retries=bounds) as client:
            service.script(items({"file_0": {"status": 2}}))
            asking = [asyncio.create_task(client.improve(images[0]))]
            await in_backoff.wait()
            asking.append(asyncio.create_task(client.improve(images[1])))
            if waits:
                await asyncio.sleep(0.05)
            else:
                await asking[1]
            go.set()
            await asyncio.gather(*asking)
            assert [len(request.images) for request in service.requests] == ([1, 2] if waits else [1, 1, 1])

    async def test_only_the_failed_mode_is_sent_again(self) -> None:
        image = jpeg()
        async with FakeService() as service, client_of(service) as client:
            service.script(items({"file_0": {"resolution": {"status": 2}}}))
            result = await client.improve(image, modes=("improve", "resolution"), rfactor=4, rtype="art")
            assert [request.meta["mode"] for request in service.requests] == [["improve", "resolution"], ["resolution"]]
        assert (result.improved, result.resolved) == (expected("improved", image), expected("resolved", image))
        assert result.attempts == 2

    async def test_the_first_mode_is_kept_when_the_answer_breaks_off_before_the_second(self) -> None:
        image = jpeg()
        async with FakeService() as service, client_of(service) as client:
            service.script(_cut_after_first_item)
            result = await client.improve(image, modes=("improve", "resolution"), rfactor=2)
            assert [request.meta["mode"] for request in service.requests] == [["improve", "resolution"], ["resolution"]]
        assert (result.improved, result.resolved) == (expected("improved", image), expected("resolved", image))

    async def test_attempts_are_limited(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            service.default = lambda _: items({"file_0": {"status": 2, "error": "unable decode input image"}})
            with pytest.raises(PhotoFailed, match="unable decode input image") as caught:
                await client.improve(jpeg())
            assert len(service.requests) == caught.value.attempts == 4
            assert caught.value.type == "temporary"
            assert caught.value.restored is None

    async def test_a_permanent_error_is_not_retried(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            service.script(items({"file_0": {"status": 1, "error": "no face"}}))
            with pytest.raises(PhotoFailed, match="no face") as caught:
                await client.improve(jpeg())
            assert (caught.value.type, len(service.requests)) == ("permanent", 1)

    async def test_a_failure_carries_the_outputs_that_were_paid_for(self) -> None:
        image = jpeg()
        async with FakeService() as service, client_of(service) as client:
            service.script(items({"file_0": {"resolution": {"status": 1, "error": "too dark"}}}))
            with pytest.raises(PhotoFailed, match="too dark") as caught:
                await client.improve(image, modes=("improve", "resolution"), rfactor=2)
        assert caught.value.restored is not None
        assert caught.value.restored.improved == expected("improved", image)

    async def test_each_mode_may_fail_for_its_own_reason(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            service.script(items({"file_0": {"improve": {"status": 1, "error": "ugly"}, "resolution": {"status": 1}}}))
            with pytest.raises(PhotoFailed, match="improve: ugly; resolution: the service gave no reason"):
                await client.improve(jpeg(), modes=("improve", "resolution"), rfactor=2)

    @pytest.mark.parametrize(
        "change",
        [None, {"improved": "!!"}, {"improved": "AAAA"}, {"status": "ok"}, {"status": 7}],
        ids=["not answered", "broken base64", "not a JPEG", "no item", "unknown status"],
    )
    async def test_an_unusable_answer_is_retried(self, change: dict[str, Any] | None) -> None:
        images = pictures(2)
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.script(items({"file_1": change}))
            assert all_right(await improved(client, images), images)
            assert [len(request.images) for request in service.requests] == [2, 1]

    async def test_absent_and_empty_outputs_mean_already_good(self) -> None:
        none = {"improved": None, "colorized_improved": "", "colorized": None, "bw": None}
        async with FakeService() as service, client_of(service) as client:
            service.script(items({"file_0": none}))
            result = await client.improve(jpeg())
        assert (result.outcome, result.improved, result.bw) == ("already_good", None, None)

    async def test_the_older_spelling_is_understood(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            service.script(items({}, rename={"colorized": "colored"}))
            assert (await client.improve(jpeg())).colorized == expected("colorized", jpeg())

    async def test_an_answer_that_was_not_asked_for_is_logged_and_ignored(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with FakeService() as service, client_of(service) as client:
            service.script(items({"../../x": {"status": 0}}))
            assert (await client.improve(jpeg())).improved == expected("improved", jpeg())
        assert "not asked for" in caplog.text


class TestRefusedRequests:
    @pytest.mark.parametrize("status", [200, None])
    async def test_the_image_named_in_a_refusal_is_dropped_and_the_others_sent_again(self, status: int | None) -> None:
        images = pictures(5)
        text = "could not get image by name file_2: http: no such file"
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.script(envelope(400, text, status or 400))
            results = await improved(client, images)
            first, second = service.requests
        assert (len(first.images), len(second.images)) == (5, 4)
        named = images.index(first.images["file_2"])  # photos may be queued in another order than they were given in
        culprit = results.pop(named)
        assert isinstance(culprit, PhotoFailed)
        assert (culprit.type, culprit.attempts, str(culprit)) == ("permanent", 1, text)
        assert all_right(results, images[:named] + images[named + 1 :])

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "answer", [envelope(400, "empty image"), http(400, "what?"), http(422), envelope(404, "x")]
    )
    async def test_an_image_not_named_in_a_refusal_is_found_by_halving(self, answer: Answer) -> None:
        images = pictures(16)
        async with FakeService() as service, client_of(service, concurrency=2) as client:
            await client.improve(images[0])
            service.default = Poisoned(answer, images[5], images[11])
            results = await improved(client, images)
        bad = {number for number, one in enumerate(results) if isinstance(one, PhotoFailed)}
        assert bad == {5, 11}
        assert all_right(
            [results[at] for at in range(16) if at not in bad], [images[at] for at in range(16) if at not in bad]
        )

    async def test_a_photo_that_makes_every_request_fail_is_found(self) -> None:
        images = pictures(9)
        async with FakeService() as service, client_of(service, concurrency=2) as client:
            await client.improve(images[0])
            service.default = Poisoned(http(500), images[4])
            results = await improved(client, images)
        culprit = results.pop(4)
        assert isinstance(culprit, PhotoFailed)
        assert "keep failing" in str(culprit)
        assert all_right(results, images[:4] + images[5:])

    async def test_a_file_that_changed_is_left_out_and_the_others_are_sent(self, tmp_path: Any) -> None:
        images = pictures(4)
        paths = [tmp_path / f"{number}.jpg" for number in range(4)]
        for path, image in zip(paths, images, strict=True):
            path.write_bytes(image)

        async def sleep(_: float) -> None:
            paths[1].write_bytes(images[1] + b"x")

        async with FakeService() as service, client_of(service, concurrency=1, sleep=sleep) as client:
            service.script(http(503))
            results = await asyncio.gather(*map(client.improve, paths), return_exceptions=True)
        culprit = results.pop(1)
        assert isinstance(culprit, PhotoRejected)
        assert (culprit.type, culprit.photo) == ("changed", str(paths[1]).replace("\\", "/"))
        assert culprit.attempts == 1  # the second request was broken off
        assert all_right(results, [images[0], *images[2:]])


class TestTooLarge:
    async def test_a_413_halves_the_bytes_of_later_requests(self) -> None:
        images = [heavy(5_000 + seed, seed=seed) for seed in range(32)]
        async with FakeService(max_request_bytes=50_000) as service:
            async with client_of(service, concurrency=1, limits=Limits(max_images=16)) as client:
                assert all_right(await improved(client, images), images)
            sizes = [len(request.images) for request in service.requests]
            assert sizes[0] == 16
            assert max(sizes[1:]) <= 8

    async def test_several_413_at_once_halve_the_bytes_once(self) -> None:
        images = [heavy(5_000, seed=seed) for seed in range(32)]
        async with FakeService() as service:
            async with client_of(service, concurrency=4, limits=Limits(max_images=8)) as client:
                gate = asyncio.Event()
                service.script(*[hold(gate, http(413))] * 4)
                asking = asyncio.create_task(improved(client, images))
                await until(lambda: service.open_now == 4)
                gate.set()
                assert all_right(await asking, images)
            sizes = [len(request.images) for request in service.requests]
            assert 2 <= max(sizes[4:]) <= 4  # four halvings of the bound would leave each photo alone

    async def test_a_photo_too_large_for_any_request_fails_alone(self) -> None:
        images = pictures(4)
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            await client.improve(images[0])
            service.default = Poisoned(http(413, "too large"), images[2])
            results = await improved(client, images)
        culprit = results.pop(2)
        assert isinstance(culprit, PhotoFailed)
        assert all_right(results, images[:2] + images[3:])


class TestTemporaryFailures:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "answer",
        [
            http(429),
            http(503, headers={"Retry-After": "1"}),
            envelope(503, "later"),
            http(500),
            http(502, "<html>"),
            http(504),
            envelope(500, "Internal Server Error"),
            drop(),
            drop(after_bytes=10),
            raw(b'{"status": 200, "body": '),
            http(408),
        ],
    )
    async def test_a_temporary_failure_is_retried(self, answer: Answer) -> None:
        images = pictures(3)
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.script(answer, answer)
            results = await improved(client, images)
            assert all_right(results, images)
            assert [len(request.images) for request in service.requests] == [3] * 3
            assert isinstance(results[0], Restored)
            assert results[0].attempts == 3

    async def test_retry_after_is_honoured_and_capped(self) -> None:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        async with (
            FakeService() as service,
            client_of(service, sleep=sleep, retries=retries(longest_retry_after=9)) as client,
        ):
            service.script(http(503, headers={"Retry-After": "7"}), http(429, headers={"Retry-After": "999"}))
            await client.improve(jpeg())
        assert [round(wait) for wait in waits if wait > 1] == [7, 9]

    async def test_retry_after_holds_for_all_requests(self) -> None:
        images = pictures(5)
        asked = asyncio.Event()
        over = asyncio.Event()

        async def sleep(seconds: float) -> None:
            if seconds > 1:
                asked.set()
                await over.wait()
            await asyncio.sleep(0)

        async with (
            FakeService() as service,
            client_of(
                service,
                sleep=sleep,
                concurrency=1,
                limits=Limits(max_images=1),
                retries=retries(longest_retry_after=9),
            ) as client,
        ):
            service.script(http(429, headers={"Retry-After": "7"}))
            asking = asyncio.create_task(improved(client, images))
            await asked.wait()
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(service.requests) == 1
            over.set()
            assert all_right(await asking, images)
            assert len(service.requests) == 6

    async def test_throttling_halves_the_number_of_open_requests(self) -> None:
        gate = asyncio.Event()
        images = pictures(8)
        async with (
            FakeService() as service,
            client_of(service, concurrency=4, limits=Limits(max_images=1)) as client,
        ):
            service.script(*[http(429)] * 4)
            service.default = lambda _: hold(gate, ok())
            asking = asyncio.create_task(improved(client, images))
            await until(lambda: len(service.requests) == 6)
            assert service.open_now == 2
            gate.set()
            assert all_right(await asking, images)

    async def test_an_item_received_whole_is_not_sent_again(self) -> None:
        images = pictures(4)
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.script(_cut_after_first_item)
            assert all_right(await improved(client, images), images)
            assert [len(request.images) for request in service.requests] == [4, 3]

    async def test_an_answer_cut_after_its_last_item_needs_no_retry(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            service.script(_cut_after_first_item)
            assert (await client.improve(jpeg())).improved == expected("improved", jpeg())
            await client.improve(jpeg(seed=1))
            assert [len(request.images) for request in service.requests] == [1, 1]


class TestGivingUp:
    async def test_a_service_that_is_down_is_given_up_on(self) -> None:
        async with FakeService() as service, client_of(service, retries=hasty()) as client:
            await client.improve(jpeg())
            service.default = lambda _: http(503, "maintenance")
            with pytest.raises(ServiceUnavailable, match="maintenance") as caught:
                await client.improve(jpeg(seed=1))
            assert caught.value.status == 503
            assert caught.value.seconds >= 0.02
            service.default = service.answer_rightly
            await client.improve(jpeg(seed=1))  # and asked again the next time

    async def test_queued_items_fail_with_the_outage_and_are_not_sent(self) -> None:
        async with FakeService() as service:
            async with client_of(service, retries=hasty(), concurrency=1, limits=Limits(max_images=1)) as client:
                results = await all_queued_before(http(503), service, client, pictures(20))
            assert {type(one) for one in results} == {ServiceUnavailable}
            assert len({request.images["file_0"] for request in service.requests}) == 1

    async def test_an_address_where_nothing_listens_is_given_up_on_soon(self) -> None:
        async with FakeService() as service:
            patient = retries(give_up_after=900, give_up_before_first=0.02)
            async with client_of(service, base_url="http://127.0.0.1:9", retries=patient) as client:
                with pytest.raises(ServiceUnavailable, match="is the address right"):
                    await client.improve(jpeg())

    @pytest.mark.parametrize("answer", [http(404, "<h1>Not Found</h1>"), http(400, "what?"), http(405)])
    async def test_an_address_that_is_not_the_service_is_reported_at_once(self, answer: Answer) -> None:
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.default = lambda _: answer
            results = await improved(client, pictures(6))
            assert {type(one) for one in results} == {NotTheService}
            assert not any(isinstance(one, PhotoFailed) for one in results)

    async def test_a_redirect_is_not_the_service(self) -> None:
        async with FakeService() as service, client_of(service) as client:
            service.default = lambda _: http(302, headers={"Location": "http://127.0.0.1:9/"})
            with pytest.raises(NotTheService, match="redirect"):
                await client.improve(jpeg())

    @pytest.mark.parametrize("text", ["rfactor must be 2 or 4", "could not parse meta", "unknown provider"])
    async def test_refused_options_stop_all_items_with_these_options_at_once(self, text: str) -> None:
        async with FakeService() as service:
            async with client_of(service, concurrency=2, limits=Limits(max_images=2)) as client:
                service.default = lambda _: envelope(400, text)
                results = await improved(client, pictures(30))
            assert {type(one) for one in results} == {RequestRefused}
            assert len(service.requests) < 8  # those that were open, and photos that were being probed then

    @pytest.mark.parametrize(("number", "text"), [(5, "wrong rtype"), (0, "color mode CMYK is not supported")])
    async def test_options_that_were_answered_are_not_blamed_for_a_photo(self, number: int, text: str) -> None:
        photos = pictures(7)
        async with FakeService() as service:
            service.default = lambda request: envelope(400, text) if photos[number] in request.images.values() else ok()
            async with client_of(service, concurrency=1, limits=Limits(max_images=4)) as client:
                results = await improved(client, photos)
        assert [at for at, one in enumerate(results) if not isinstance(one, Restored)] == [number]
        assert isinstance(results[number], PhotoFailed)

    async def test_items_with_other_options_are_not_stopped(self) -> None:
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.default = lambda request: (
                envelope(400, "rfactor must be 2 or 4") if "rfactor" in request.meta else ok()
            )
            refused, fine = await asyncio.gather(
                client.improve(jpeg(), modes=("resolution",), rfactor=2), client.improve(jpeg()), return_exceptions=True
            )
        assert isinstance(refused, RequestRefused)
        assert isinstance(fine, Restored)

    @pytest.mark.slow
    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_wrong_token_stops_everything(self, status: int) -> None:
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            results = await all_queued_before(envelope(status, "authorization failed"), service, client, pictures(100))
            assert {type(one) for one in results} == {AuthorizationError}
            assert len(service.requests) == 1


class TestBlame:
    @pytest.mark.parametrize("refusal", [envelope(400, "empty image"), http(413)])
    async def test_a_photo_is_not_refused_for_another_one_whose_caller_has_gone(self, refusal: Answer) -> None:
        gate = asyncio.Event()
        async with FakeService() as service, client_of(service, concurrency=1) as client:
            service.script(hold(gate, refusal))
            bad, good = (asyncio.create_task(client.improve(jpeg(seed=seed))) for seed in (1, 2))
            await until(lambda: bool(service.requests))
            assert len(service.requests[0].images) == 2
            bad.cancel()
            await asyncio.sleep(0)
            gate.set()
            assert (await good).attempts == 2
            assert [len(request.images) for request in service.requests] == [2, 1]

    async def test_failures_from_before_a_long_idle_time_count_no_more(self) -> None:
        now = [0.0]
        bounds = retries(give_up_after=100, give_up_single_after=100, longest_wait=60)
        async with FakeService() as service, client_of(service, retries=bounds) as client:
            client._open_dispatcher()._sender._breaker._clock = lambda: now[0]
            await client.improve(jpeg())
            gate = asyncio.Event()
            service.script(http(503), hold(gate))
            left = asyncio.create_task(client.improve(jpeg(seed=1)))
            await until(lambda: len(service.requests) == 3)
            left.cancel()
            await until(lambda: not client._open_dispatcher()._senders)
            now[0] += 3600
            service.script(http(503))
            assert (await client.improve(jpeg(seed=2))).attempts == 2

    async def test_the_time_for_further_attempts_begins_with_the_first_answer(self) -> None:
        slow = items({"file_0": {"status": 2, "error": "busy"}})
        async with (
            FakeService() as service,
            client_of(service, retries=retries(max_seconds=0.5), concurrency=1, limits=Limits(max_images=1)) as client,
        ):
            service.script(late(0.7), slow)
            first, second = (asyncio.create_task(client.improve(jpeg(seed=seed))) for seed in (1, 2))
            assert (await first).attempts == 1
            assert (await second).attempts == 2


class TestJudges:
    async def test_the_judge_can_be_replaced(self) -> None:
        def patient(error: RequestError, names: Collection[str], /) -> Verdict:
            return Retry() if error.status == 404 else judge(error, names)

        async with FakeService() as service, client_of(service, judge=patient) as client:
            service.script(http(404))
            assert (await client.improve(jpeg())).attempts == 2

    async def test_the_verdict_of_another_judge_is_applied(self) -> None:
        async with (
            FakeService() as service,
            client_of(service, judge=lambda *_: Drop("file_0"), concurrency=1) as client,
        ):
            service.script(http(500))
            results = await improved(client, pictures(2))
        assert {type(result) for result in results} == {PhotoFailed, Restored}

    @pytest.mark.parametrize(
        ("failing", "message"),
        [
            (lambda *_: None, "judge must return a verdict .*, but .*lambda> returned None$"),
            (lambda *_: Drop("file_99"), r"judge may drop images of the request, but .*lambda> returned Drop"),
            (
                lambda *_: Abort(cast("Any", "no")),
                r"judge must give a ConfigurationError .*lambda> returned Abort",
            ),
            (
                lambda *_: Refresh(cast("Any", OSError())),
                r"judge must give a ConfigurationError .*lambda> returned Refresh",
            ),
            (
                lambda *_: dict[str, Verdict]()["verdict"],
                "judge must return a verdict, but .*lambda> raised KeyError: 'verdict'$",
            ),
        ],
    )
    async def test_a_judge_without_a_verdict_ends_the_run_and_is_named(
        self, tmp_path: Path, failing: Any, message: str
    ) -> None:
        async with FakeService() as service, client_of(service, judge=failing, concurrency=1) as client:
            service.script(http(500), http(500))
            with pytest.raises(OptionsError, match=message):
                await client.improve(jpeg())
            run = client.improve_archive(photos(tmp_path / "in", 60), out=tmp_path / "out")
            with pytest.raises(OptionsError, match=message):
                [_ async for _ in run]
            assert run.progress.outcomes == {}
            assert len(service.requests) == 2

    async def test_an_unexpected_error_fails_the_items_of_its_chunk_as_a_bug(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: Any) -> None:
            raise LookupError("no such verdict")

        monkeypatch.setattr(ChunkSender, "_apply", broken)
        async with FakeService() as service, client_of(service) as client:
            service.script(http(500))
            results = await improved(client, pictures(3))
        failed = [one for one in results if isinstance(one, PhotoFailed)]
        assert failed
        assert {one.type for one in failed} == {"internal"}
        assert all("LookupError: no such verdict" in str(one) for one in failed)


class TestClosing:
    async def test_closing_fails_the_items_that_wait(self) -> None:
        gate = asyncio.Event()
        async with FakeService() as service:
            async with client_of(service, concurrency=1, limits=Limits(max_images=1)) as client:
                service.default = lambda _: hold(gate)
                asking = asyncio.create_task(improved(client, pictures(3)))
                await until(lambda: service.open_now == 1)
            results = await asking
            assert {type(one) for one in results} == {SmartyError}
            assert all("closed" in str(one) for one in results)
            await until(lambda: not service.open_now)

    async def test_submitting_after_closing_fails(self) -> None:
        started, go = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            started.set()
            await go.wait()

        async with FakeService() as service:
            async with client_of(service, sleep=sleep) as client:
                service.script(items({"file_0": {"status": 2}}))
                asking = asyncio.create_task(client.improve(jpeg()))
                await started.wait()
            go.set()
            with pytest.raises(SmartyError, match="closed"):
                await asking

    async def test_a_photo_cancelled_before_its_request_starts_is_not_sent(self) -> None:
        """It leaves while its request waits for a token."""
        gate = asyncio.Event()
        one, other = pictures(2)
        async with FakeService() as service:
            credentials = OAuthCredentials(client_id="me", client_secret="x", auth_url=service.auth_url)
            async with client_of(service, credentials=credentials, concurrency=1) as client:
                service.script_grants(hold(gate, http(200, '{"access_token": "a"}')))
                leaving, staying = (asyncio.create_task(client.improve(image)) for image in (one, other))
                await until(lambda: bool(service.grants))
                leaving.cancel()
                await asyncio.sleep(0)
                gate.set()
                assert (await staying).improved == expected("improved", other)
            assert Counter(image for request in service.requests for image in request.images.values()) == {other: 1}


async def _cut_after_first_item(request: Request) -> Any:
    whole = await ok()(request)
    body = bytes(whole.body)  # type: ignore[attr-defined]
    return await raw(body[: body.index(b"}") + 1], chunk=1 << 20)(request)
