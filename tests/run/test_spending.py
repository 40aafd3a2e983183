"""Spend limits: of one run, and of all runs into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.archives import client, fill, restore, sent
from support.fake_service import FakeService

from smarty_async import SmartyClient, plan_archive
from smarty_async.errors import OptionsError
from smarty_async.options import Timeouts


async def test_the_total_over_all_runs_is_never_passed(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    fill(source, *(f"{number}.jpg" for number in range(8)))
    async with FakeService() as service, client(service) as open_client:
        for expected in (3, 5, 5):
            run = open_client.improve_archive(source, out=out, max_cost=0.18, max_cost_total=0.3)
            async for _ in run:
                pass
            assert run.progress.limit_reached
            assert len(sent(service)) == expected


async def test_a_limit_that_leaves_no_photo_is_not_reached(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service, client(service) as open_client:
        run = open_client.improve_archive(source, out=out, max_photos=2, max_cost=0.12)
        assert [result.outcome async for result in run] == ["restored", "restored"]
        assert not run.progress.limit_reached


async def test_a_plan_knows_what_earlier_runs_have_spent(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    fill(source, *(f"{number}.jpg" for number in range(8)))
    async with FakeService() as service, client(service) as open_client:
        async for _ in open_client.improve_archive(source, out=out, max_photos=3):
            pass
    assert (await plan_archive(source, out=out, max_cost_total=0.3)).photos == 2


async def test_a_chained_enlargement_is_planned_as_a_request_of_its_own(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg")
    plan = await plan_archive(
        tmp_path / "photos", out=tmp_path / "out", modes=("improve", "resolution"), rfactor=2, chain=True
    )
    assert (plan.photos, round(plan.cost, 2)) == (1, 0.12)


async def test_a_limit_between_the_two_requests_of_a_chain_is_planned_as_it_is_spent(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg", "b.jpg")
    options: dict[str, Any] = {"modes": ("improve", "resolution"), "rfactor": 2, "chain": True, "max_cost": 0.06}
    plan = await plan_archive(tmp_path / "photos", out=tmp_path / "out", **options)
    async with FakeService() as service:
        await restore(service, tmp_path / "photos", tmp_path / "out", **options)
        images = len(sent(service))
    assert (images, round(plan.cost, 2)) == (1, 0.06)
    assert (plan.photos, plan.requests, plan.left) == (1, 1, 2)


async def test_infinity_is_no_limit(tmp_path: Path) -> None:
    source, out, inf = tmp_path / "photos", tmp_path / "out", float("inf")
    fill(source, "a.jpg")
    options = {"rate": inf, "timeouts": Timeouts(connect=inf, silence=inf)}
    async with FakeService() as service, client(service, **options) as open_client:
        run = open_client.improve_archive(source, out=out, max_cost=inf, max_cost_total=1e308)
        assert [result.outcome async for result in run] == ["restored"]


def test_a_rate_that_never_sends_is_refused() -> None:
    with pytest.raises(OptionsError, match="rate"):
        SmartyClient(token="x", rate=1e-320)
