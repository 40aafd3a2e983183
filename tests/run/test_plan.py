from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.archives import STATE, fill, is_there, photo, restore, sent
from support.fake_service import FakeService, items
from support.pictures import webp
from support.scanning import scan

from smarty_async import SmartyClient, plan_archive, read_status
from smarty_async.archive.entries import StoredOutput
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.archive.journal.store import JournalStore
from smarty_async.errors import ConfigurationError, DiskError, OptionsError
from smarty_async.options import Limits, ModeSpec
from smarty_async.report.summary import plan_lines, status_lines
from smarty_async.results import ErrorInfo, Failures, Plan, Status

BOTH: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2}


def everything(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))  # SQLite's own, which any reader makes
    }


async def test_a_plan_counts_what_would_be_sent_and_makes_nothing(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b/c.jpg", "d.png")
    (source / "none.jpg").write_bytes(b"no photo")
    plan = await plan_archive(source, out=out)
    size = sum(map(len, photos.values()))
    assert numbers(plan) == {"photos": 3, "requests": 3, "bytes": size, "skipped": 0, "cost": pytest.approx(0.18)}
    assert [(result.photo, result.outcome) for result in plan.rejected] == [("none.jpg", "rejected")]
    assert not is_there(out)


def numbers(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in ("photos", "requests", "bytes", "skipped", "cost")}


@pytest.mark.slow
@pytest.mark.parametrize(("images", "concurrency"), [(48, 8), (4, 2), (4, 1), (1, 3)])
async def test_a_plan_counts_the_requests(source: Path, out: Path, images: int, concurrency: int) -> None:
    fill(source, *(f"{number}.jpg" for number in range(17)))
    limits = Limits(max_images=images)
    plan = await plan_archive(source, out=out, limits=limits, concurrency=concurrency)
    async with FakeService() as service:
        await restore(service, source, out, limits=limits, concurrency=concurrency)
        assert (plan.photos, plan.bytes) == (17, sum(map(len, sent(service))))
        # How the last photos spread over the slots depends on how soon the first answers come.
        assert abs(plan.requests - len(service.requests)) < concurrency


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"concurrency": 0}, "concurrency must be at least 1, not 0"),
        ({"concurrency": -1}, "concurrency must be at least 1, not -1"),
        ({"concurrency": 2.5}, "concurrency must be int, not float"),
        ({"concurrency": None}, "concurrency must be int, not NoneType"),
        ({"limits": 48}, "limits must be Limits or None, not int"),
    ],
)
async def test_a_plan_refuses_what_a_client_does(
    source: Path, out: Path, arguments: dict[str, Any], message: str
) -> None:
    fill(source, "a.jpg")
    with pytest.raises(OptionsError, match=message):
        SmartyClient(base_url="http://127.0.0.1:1", **arguments)
    with pytest.raises(OptionsError, match=message):
        await plan_archive(source, out=out, **arguments)


async def test_a_plan_knows_what_earlier_runs_did_and_changes_nothing_of_it(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg", "c.jpg")
    async with FakeService() as service:
        bad = photo("b.jpg")
        service.default = lambda request: items(
            {name: {"status": 1, "error": "no"} for name, image in request.images.items() if image == bad}
        )
        await restore(service, source, out)
        (source / "c.jpg").write_bytes(photo("c.jpg") + b"changed")
        fill(source, "d.jpg")
        before = everything(out)
        plan = await plan_archive(source, out=out)
        assert (plan.photos, plan.skipped) == (2, 1)
        assert [(reported.photo, reported.outcome, reported.error) for reported in plan.rejected] == [
            ("b.jpg", "failed", ErrorInfo("permanent", "no"))
        ]
        assert (await plan_archive(source, out=out, retry_failed=True)).photos == 3
        both = await plan_archive(source, out=out, **BOTH)
        assert (both.photos, both.skipped, both.rejected) == (4, 0, [])
        assert everything(out) == before


async def test_photos_that_need_different_modes_do_not_share_a_request(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        fill(source, "c.jpg", "d.jpg")
        plan = await plan_archive(source, out=out, concurrency=1, **BOTH)
        assert (plan.photos, plan.requests) == (4, 2)


async def test_a_plan_reports_what_collides(tmp_path: Path, out: Path) -> None:
    sources = [tmp_path / name for name in ("one", "x/two", "y/two")]
    for folder in sources:
        fill(folder, "a.jpg")
    plan = await plan_archive([*sources, sources[0]], out=out)
    assert (plan.photos, plan.duplicates) == (1, 1)
    assert [(reported.source, reported.error and reported.error.type) for reported in plan.rejected] == [
        (str(sources[2]), "collision")
    ]


async def test_copies_of_outputs_that_a_person_has_changed_are_not_planned(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        for path in (out / "improved" / "a.jpg", out / "colorized" / "b.jpg"):
            path.write_bytes(bytes(path.stat().st_size))
        (source / "moved").mkdir()
        for name in ("a.jpg", "b.jpg"):
            (source / name).rename(source / "moved" / name)
        plan = await plan_archive(source, out=out)
        service.requests.clear()
        await restore(service, source, out)
        assert (plan.photos, plan.duplicates) == (len(sent(service)), 0) == (2, 0)


async def test_a_file_in_the_place_of_an_output_is_planned_for(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "resolved").mkdir()
        (out / "resolved" / "a.jpg").write_bytes(b"mine")
        (out / "improved" / "folder").write_bytes(b"mine")
        fill(source, "folder/c.jpg")
        plan = await plan_archive(source, out=out, **BOTH)
        results = await restore(service, source, out, **BOTH)
    assert plan.photos == 1
    assert {one.photo: one.error for one in plan.rejected} == {one.photo: one.error for one in results if one.error}
    assert {one.photo: one.error and one.error.type for one in plan.rejected} == {
        "a.jpg": "output_exists",
        "folder/c.jpg": "output_refused",
    }


async def test_what_an_interrupted_run_received_is_not_planned_for(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    (out / STATE).mkdir(parents=True)
    store = JournalStore(out / STATE / "journal.sqlite")
    entry = next(entry for entry in store.look_up(scan([source], out=out)) if entry.place == "a.jpg")
    store.record_received([ReceivedAnswer(entry, ModeSpec("improve"), {"improved": StoredOutput("3", 5)}, bw=None)])
    store.close()
    plan = await plan_archive(source, out=out)
    assert (plan.photos, plan.skipped) == (1, 1)


@pytest.mark.parametrize(
    ("bounds", "photos"),
    [({"max_photos": 3}, 3), ({"max_cost": 0.3}, 5), ({"max_photos": 3, "max_cost": 0.12}, 2), ({"max_photos": 0}, 0)],
)
async def test_a_plan_keeps_to_the_bounds(source: Path, out: Path, bounds: dict[str, Any], photos: int) -> None:
    fill(source, *(f"{number}.jpg" for number in range(8)))
    (source / "none.jpg").touch()
    plan = await plan_archive(source, out=out, **bounds)
    assert (plan.photos, plan.left, len(plan.rejected)) == (photos, 8 - photos, 1)
    assert f"  leave   {8 - photos} photos for another run: the spend limit is reached" in plan_lines(plan, free=False)
    assert plan.cost == pytest.approx(photos * 0.06)


async def test_a_plan_of_conversions_and_patterns(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg", "big.jpg")
    (source / "c.webp").write_bytes(webp())
    (source / "big.jpg").write_bytes(photo("big.jpg") + bytes(2000))
    limits = Limits(max_image_bytes=3000)
    plan = await plan_archive(source, out=out, exclude=["b.*"], limits=limits, fit=True)
    assert (plan.photos, plan.rejected) == (3, [])
    plan = await plan_archive(out=out, listed=[str(source / "big.jpg")], limits=limits)
    assert [reported.error and reported.error.type for reported in plan.rejected] == ["too_large"]


async def test_without_a_source_there_is_no_plan_and_with_a_broken_journal_no_status(source: Path, out: Path) -> None:
    with pytest.raises(OptionsError, match="there is no"):
        await plan_archive(source, out=out)
    fill(source, "a.jpg")
    (out / STATE).mkdir(parents=True)
    (out / STATE / "journal.sqlite").write_bytes(b"garbage" * 1000)
    assert (await plan_archive(source, out=out)).photos == 1
    with pytest.raises(DiskError, match="not a database"):
        await read_status(out)


async def test_status_reports_what_the_journal_knows(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    (source / "none.jpg").write_bytes(b"no photo")
    async with FakeService() as service:
        bad = photo("b.jpg")
        service.default = lambda request: items(
            {name: {"status": 1, "error": "no"} for name, image in request.images.items() if image == bad}
        )
        await restore(service, source, out)
        status = await read_status(out)
    by_outcome = {reported.outcome: reported for reported in status.failures}
    assert by_outcome["failed"] == Failures(
        outcome="failed", type="permanent", message="no", count=1, example="b.jpg", names=["b.jpg"]
    )
    assert (by_outcome["rejected"].type, by_outcome["rejected"].example) == ("not_an_image", "none.jpg")
    assert (status.outcomes, status.unfinished) == ({"restored": 1, "failed": 1, "rejected": 1}, 0)
    assert status.images == 2
    assert status.cost == pytest.approx(0.12)


async def test_status_names_every_photo_that_was_not_restored(source: Path, out: Path) -> None:
    fill(source)
    names = {f"{number}.jpg" for number in range(30)}
    for name in names:
        (source / name).write_bytes(b"no photo")
    async with FakeService() as service:
        await restore(service, source, out)
    status = await read_status(out)
    [group] = status.failures
    assert (group.count, set(group.names)) == (30, names)
    assert names <= {line.strip() for line in status_lines(status, out=str(out))}


async def test_status_of_what_no_run_has_touched(out: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        await read_status(out)


async def test_status_of_a_run_that_was_interrupted_at_its_beginning(out: Path) -> None:
    (out / STATE).mkdir(parents=True)
    (out / STATE / "journal.sqlite").touch()
    nothing = Status(outcomes={}, unfinished=0, failures=[], images=0, images_paid=0, cost=0.0)
    assert await read_status(out) == nothing
    JournalStore(out / STATE / "journal.sqlite").close()
    assert await read_status(out) == nothing


async def test_status_counts_what_is_still_to_be_done(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out, max_photos=1)
    status = await read_status(out)
    assert (status.outcomes, status.unfinished) == ({"restored": 1}, 1)
    shutil.rmtree(source)
    assert await read_status(out) == status
