"""Whom a failing service is blamed on: in an outage nobody, whatever it answered as it went down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from support.archives import assert_right, client, fill, outcomes
from support.fake_service import FakeService, Request, Respond, answer_body, drop, http, ok, raw

from smarty_async.errors import ServiceUnavailable
from smarty_async.options import Limits, Retries
from smarty_async.transport.retry import CircuitBreaker

PATIENT = Retries(max_attempts=3, first_wait=0, longest_wait=0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def broken_off() -> Respond:
    """The first item, and then the connection is lost."""

    async def respond(request: Request) -> web.StreamResponse:
        whole = json.dumps({"status": 200, "body": answer_body(request, {}, {})}).encode()
        return await raw(whole[: whole.index(b"}") + 1], chunk=1 << 20)(request)

    return respond


@pytest.mark.slow
@pytest.mark.parametrize("last", [[broken_off()] * 4, [broken_off(), ok()] * 2, [ok(), broken_off()] * 2])
@pytest.mark.parametrize("outage", [http(502, "<html>"), drop(), http(404, "<html>")])
async def test_no_photo_fails_when_answers_were_half_delivered_as_the_service_died(
    source: Path, out: Path, last: list[Respond], outage: Respond
) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(24)))
    async with (
        FakeService() as service,
        client(service, concurrency=4, limits=Limits(max_images=3), retries=PATIENT) as c,
    ):
        service.script(*last, *[outage] * 50)
        results = [result async for result in c.improve_archive(source, out=out)]
    assert outcomes(results) == dict.fromkeys(photos, "restored")
    assert_right(out, photos)


async def test_no_photo_fails_when_the_outage_does_not_end(source: Path, out: Path) -> None:
    fill(source, *(f"{number}.jpg" for number in range(24)))
    short = Retries(max_attempts=3, first_wait=0.001, longest_wait=0.002, give_up_after=0.3)
    async with (
        FakeService() as service,
        client(service, concurrency=4, limits=Limits(max_images=3), retries=short) as c,
    ):
        # A photo that fails before others are answered may be to blame; these fail after the last good answer.
        service.script(*[ok()] * 4, *[broken_off()] * 4)
        service.default = lambda _: http(502)
        run = c.improve_archive(source, out=out)
        results = []
        with pytest.raises(ServiceUnavailable):  # noqa: PT012 - results come before it
            async for result in run:
                results.append(result)  # noqa: PERF401
    assert set(outcomes(results).values()) <= {"restored"}


def breaker(seconds: list[float] | None = None) -> CircuitBreaker:
    now = seconds or [0.0]
    return CircuitBreaker(Retries(give_up_after=900, give_up_before_first=20), lambda: now[0])


class TestCircuitBreaker:
    def test_a_photo_is_blamed_once_a_later_request_was_answered(self) -> None:
        service = breaker()
        suspected = service.suspect()
        assert not service.can_blame(suspected)
        service.record_success(started=service.tick())
        assert service.can_blame(suspected)

    def test_an_answer_to_an_earlier_request_blames_nobody(self) -> None:
        service = breaker()
        started = service.tick()
        suspected = service.suspect()
        service.record_success(started=started)
        assert not service.can_blame(suspected)

    def test_a_broken_off_answer_blames_nobody(self) -> None:
        service = breaker()
        suspected = service.suspect()
        service.record_success(started=None)
        assert not service.can_blame(suspected)

    def test_nobody_is_blamed_while_other_photos_begin_to_fail(self) -> None:
        service = breaker()
        suspected = service.suspect()
        service.record_success(started=service.tick())
        later = service.suspect()
        assert not service.can_blame(suspected)
        service.record_success(started=service.tick())
        assert service.can_blame(suspected)
        assert service.can_blame(later)

    def test_it_opens_at_half_its_budget_and_one_answer_closes_it(self) -> None:
        service = breaker()
        for _ in range(4):
            service.record_failure(spoke_http=True)
        assert not service.is_open
        service.record_failure(spoke_http=True)
        assert service.is_open
        service.record_success(started=None)
        assert not service.is_open
        for _ in range(4):
            service.record_failure(spoke_http=True)
        assert not service.is_open

    @pytest.mark.parametrize(("spoke_http", "seconds"), [(False, 20), (True, 900)])
    def test_it_expires_sooner_where_nothing_ever_spoke_http(self, *, spoke_http: bool, seconds: float) -> None:
        now = [0.0]
        service = breaker(now)
        assert service.time_left(900) == 20
        service.record_failure(spoke_http=spoke_http)
        now[0] = seconds - 1
        assert (service.failing_for, service.time_left(900)) == (seconds - 1, 1)
        now[0] = seconds
        assert service.time_left(900) == 0
        assert service.time_left(30) == 0
        service.record_success(started=None)
        assert (service.failing_for, service.time_left(900)) == (0, 900)

    @given(st.lists(st.booleans(), max_size=200))
    def test_it_is_never_open_right_after_an_answer(self, events: list[bool]) -> None:
        service = breaker()
        for good in events:
            if good:
                service.record_success(started=service.tick())
                assert not service.is_open
            else:
                service.record_failure(spoke_http=True)
