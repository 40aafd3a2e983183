"""Runs with photos or outputs in a bucket, against a real S3 server with authorization on."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.archives import IMPROVED, assert_right, client, fill, outcomes, photo, sent
from support.damaged_json import DAMAGED
from support.fake_service import FakeService, expected, items, until
from support.pictures import heavy, jpeg
from support.s3_server import S3Server, s3_server
from support.stores import StorePlace

from smarty_async import ArchiveRun, ConfigurationError, Limits, OptionsError, Result, plan_archive, read_status
from smarty_async.archive import commit, object_store
from smarty_async.archive.entries import PhotoEntry, StoredAnswer, StoredOutput
from smarty_async.archive.object_store import UnlistableKey
from smarty_async.archive.outputs.object_store import ObjectWriter
from smarty_async.archive.s3 import list_any_key
from smarty_async.archive.sources.object_store import BucketSource
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.errors import OutputInUse, StoreError
from smarty_async.results import Kind
from smarty_async.store_address import StoreAddress

pytestmark = pytest.mark.slow

NAMES = ("a.jpg", "b/c.png", "b/d.jpg", "name with spaces.jpg", "фото.jpg")


async def test_from_a_bucket_to_a_bucket(place: StorePlace) -> None:
    photos = place.fill(*NAMES)
    async with FakeService() as service:
        results = await place.restore(service)
        assert outcomes(results) == dict.fromkeys(NAMES, "restored")
        place.assert_right(photos)
        assert {line["photo"] for line in place.lines()} == set(NAMES)
        assert not (place.state / "tmp").exists()
        again = await place.restore(service)
        assert outcomes(again) == dict.fromkeys(NAMES, "skipped")
        assert len(sent(service)) == len(NAMES)
    assert place.warnings == []


async def test_from_a_bucket_to_a_folder(place: StorePlace, out: Path) -> None:
    photos = place.fill(*NAMES)
    async with FakeService() as service:
        results = await place.restore(service, out=out)
    assert outcomes(results) == dict.fromkeys(NAMES, "restored")
    assert {result.source for result in results} == {place.scans}
    assert_right(out, photos)


async def test_from_a_folder_to_a_bucket(place: StorePlace, source: Path) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        assert outcomes(await place.restore(service, source)) == dict.fromkeys(NAMES, "restored")
        place.assert_right(photos)
        assert outcomes(await place.restore(service, source)) == dict.fromkeys(NAMES, "skipped")


async def test_from_both_with_a_name_in_common(place: StorePlace, source: Path) -> None:
    photos = {**place.fill("b.jpg"), **fill(source, "a.jpg")}
    place.s3.put({"a.jpg": jpeg(20, 20, seed=5)}, prefix=place.scans.removeprefix("s3://photos/") + "/")
    async with FakeService() as service:
        results = await place.restore(service, [source, place.scans])
    assert [(result.photo, result.outcome) for result in sorted(results, key=lambda one: (one.photo, one.source))] == [
        ("a.jpg", "restored"),
        ("a.jpg", "restored"),
        ("b.jpg", "restored"),
    ]
    assert len(place.tree()) == 9
    assert place.tree()["improved/b.jpg"] == expected("improved", photos["b.jpg"])


async def test_one_object_and_a_pattern(place: StorePlace, out: Path) -> None:
    place.fill("x/a.jpg", "x/b.png", "y/c.jpg")
    async with FakeService() as service:
        [one] = await place.restore(service, f"{place.scans}/x/a.jpg", out)
        assert (one.source, one.photo) == (f"{place.scans}/x", "a.jpg")
        assert set(outcomes(await place.restore(service, f"{place.scans}/**/*.jpg", out / "2"))) == {
            "x/a.jpg",
            "y/c.jpg",
        }
        assert set(outcomes(await place.restore(service, out=out / "3", include=["*.png"]))) == {"x/b.png"}


async def test_what_is_no_photo_is_left_alone_and_a_name_without_an_extension_is_looked_into(
    place: StorePlace, out: Path
) -> None:
    place.fill("a.jpg", "no extension")
    place.s3.put(
        {"note": b"text", "a.xmp": b"<x/>", ".hidden.jpg": b"x", "empty/": b""},
        prefix=place.scans.removeprefix("s3://photos/") + "/",
    )
    async with FakeService() as service:
        assert set(outcomes(await place.restore(service, out=out))) == {"a.jpg", "no extension"}


async def test_outputs_in_the_source_and_results_of_other_runs_are_not_restored_again(place: StorePlace) -> None:
    place.fill("a.jpg")
    async with FakeService() as service:
        for out in (f"{place.scans}/restored", place.scans):
            place.state = place.state.with_name(f"state {len(out)}")
            await place.restore(service, out=out)
        results = await place.restore(service, out=place.out, state=place.state.with_name("third"))
        assert set(outcomes(results)) == {"a.jpg"}
        assert len(service.requests) == 3
        with pytest.raises(OptionsError, match="lies among the outputs"):
            await place.restore(service, f"{place.scans}/improved", place.scans)


# duplicates and changes


async def test_photos_of_the_same_content_are_sent_once_and_not_read_to_be_compared(place: StorePlace) -> None:
    data = jpeg(64, 48, seed=3)
    place.s3.put({f"{n}.jpg": data for n in range(6)}, prefix=place.scans.removeprefix("s3://photos/") + "/")
    async with FakeService() as service:
        results = await place.restore(service)
        assert Counter(outcomes(results).values()) == {"restored": 1, "duplicate": 5}
        assert len(sent(service)) == 1
    assert place.s3.requests["GET"] == 2 + 5 * 3  # of duplicates nothing is read but the outputs that are copied
    assert len(place.tree()) == 18


async def test_unfinished_photos_of_other_sources_are_not_compared(place: StorePlace, source: Path, out: Path) -> None:
    fill(source)
    for size in (2000, 2100):
        (source / f"{size}.jpg").write_bytes(heavy(size, seed=1))
        place.s3.put({f"{size}.jpg": heavy(size, seed=2)}, prefix=f"{place.scans.removeprefix('s3://photos/')}/{size}/")
    scans = [f"{place.scans}/{size}" for size in (2000, 2100)]
    async with FakeService() as service, asyncio.timeout(60):
        assert len(await place.restore(service, source, out, max_photos=1)) == 1
        assert (await plan_archive(scans, out=out, store_options=place.s3.options)).photos == 2
        assert set(outcomes(await place.restore(service, scans, out)).values()) == {"restored"}


async def test_a_photo_that_was_replaced_is_sent_again_and_one_that_was_stored_again_is_not(place: StorePlace) -> None:
    photos = place.fill("a.jpg", "b.jpg")
    async with FakeService() as service:
        await place.restore(service)
        folder = place.scans.removeprefix("s3://photos/")
        changed = jpeg(80, 60, seed=8)
        place.s3.put({"a.jpg": changed, "b.jpg": photos["b.jpg"]}, prefix=f"{folder}/")
        assert outcomes(await place.restore(service)) == {"a.jpg": "restored", "b.jpg": "skipped"}
    place.assert_right({"a.jpg": changed, "b.jpg": photos["b.jpg"]})


# modes


async def test_both_modes_and_the_restored_picture_enlarged(place: StorePlace) -> None:
    place.s3.put({"a.jpg": jpeg(32, 24, seed=1)}, prefix=place.scans.removeprefix("s3://photos/") + "/")
    async with FakeService() as service:
        service.script(items({"file_0": {"improved": None, "colorized_improved": None}}))
        both: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2}
        await place.restore(service, **both)
        again = await place.restore(service, **both)
    assert [result.outcome for result in again] == ["skipped"]
    assert set(place.tree()) == {"colorized/a.jpg", "resolved/a.jpg"}


# another machine


async def test_a_lost_state_is_rebuilt_from_the_log(place: StorePlace, tmp_path: Path) -> None:
    photos = place.fill("good.jpg", "failed.jpg", "restored.jpg")
    nothing = dict.fromkeys(IMPROVED)
    names = sorted(photos)

    async def respond(request: Any) -> Any:
        change: dict[str, Any] = {}
        for item, image in request.images.items():
            name = next(name for name in names if photos[name] == image)
            change[item] = {"good.jpg": nothing, "failed.jpg": {"status": 1, "error": "no"}, "restored.jpg": {}}[name]
        return await items(change)(request)

    async with FakeService() as service:
        service.script(*[respond] * 3)
        first = outcomes(await place.restore(service))
        assert first == {"good.jpg": "already_good", "failed.jpg": "failed", "restored.jpg": "restored"}
        paid = len(sent(service))
        status = await read_status(place.out, state=tmp_path / "other", store_options=place.s3.options)
        assert status.outcomes == {"already_good": 1, "failed": 1, "restored": 1}
        assert status.images_paid == 3
        assert not (tmp_path / "other").exists()
        plan = await plan_archive(place.scans, out=place.out, state=tmp_path / "other", store_options=place.s3.options)
        assert (plan.photos, plan.skipped, len(plan.rejected)) == (0, 2, 1)
        again = await place.restore(service, state=tmp_path / "other")
        assert outcomes(again) == {"good.jpg": "skipped", "failed.jpg": "failed", "restored.jpg": "skipped"}
        assert len(sent(service)) == paid
    assert place.warnings == [
        f"There was no journal; photos recovered from the log and the outputs in {place.out!r}: 3"
    ]


async def test_a_lost_state_is_rebuilt_from_a_log_with_damaged_lines(place: StorePlace, tmp_path: Path) -> None:
    place.fill("a.jpg")
    async with FakeService() as service:
        await place.restore(service)
        for name in place.segments():
            key = f".smarty-async/log/{name}"
            [_, *lines] = place.s3.objects(f"{place.out.removeprefix('s3://photos/')}/")[key].splitlines()
            place.put_output(key, b"\n".join((*DAMAGED, *lines, b"")))
        assert outcomes(await place.restore(service, state=tmp_path / "other")) == {"a.jpg": "skipped"}
        assert len(sent(service)) == 1


@pytest.mark.parametrize(
    "newer", [{"outcome": "archived"}, {"failures": {"resolution:most:photo": {"type": "no", "message": "no"}}}]
)
async def test_a_log_of_a_newer_version_is_said_to_be_one(
    place: StorePlace, tmp_path: Path, newer: dict[str, Any]
) -> None:
    place.fill("a.jpg")
    async with FakeService() as service:
        await place.restore(service)
        key = f".smarty-async/log/{place.segments()[-1]}"
        header, line = place.s3.objects(f"{place.out.removeprefix('s3://photos/')}/")[key].splitlines()
        place.put_output(key, header + b"\n" + json.dumps({**json.loads(line), **newer}).encode() + b"\n")
        with pytest.raises(ConfigurationError, match=r"a newer version of smarty_async .*: update it"):
            await place.restore(service, state=tmp_path / "other")


async def test_a_photo_that_several_runs_have_logged_is_recovered_once(place: StorePlace, tmp_path: Path) -> None:
    place.fill("a.jpg")
    letter = f"{place.scans.removeprefix('s3://photos/')}/letter.jpg"
    place.s3.client().put_object(Bucket="photos", Key=letter, Body=b"no picture: every run looks at it again")
    async with FakeService() as service:
        for _ in range(3):
            await place.restore(service)
        await place.restore(service, state=tmp_path / "other")
    assert [warning.rpartition(": ")[2] for warning in place.warnings] == ["2"]


async def test_a_lost_state_is_rebuilt_with_the_failures_of_modes_that_a_later_run_did_not_ask_for(
    place: StorePlace, tmp_path: Path
) -> None:
    place.fill("a.jpg")
    enlarged: dict[str, Any] = {"modes": ["resolution"], "rfactor": 2}
    async with FakeService() as service:
        service.script(items({"file_0": {"status": 1, "error": "no"}}))
        assert outcomes(await place.restore(service)) == {"a.jpg": "failed"}
        assert outcomes(await place.restore(service, **enlarged)) == {"a.jpg": "restored"}
        assert outcomes(await place.restore(service, state=tmp_path / "other")) == {"a.jpg": "failed"}
        assert outcomes(await place.restore(service, retry_failed=True)) == {"a.jpg": "restored"}
        assert len(sent(service)) == 3
        assert outcomes(await place.restore(service, state=tmp_path / "third")) == {"a.jpg": "skipped"}


async def test_outputs_that_no_log_names_are_adopted(place: StorePlace, tmp_path: Path) -> None:
    photos = place.fill(*NAMES)
    async with FakeService() as service:
        await place.restore(service)
        for name in place.segments()[1:]:  # of the run, only its beginning came into the log
            key = f"{place.out.removeprefix('s3://photos/')}/.smarty-async/log/{name}"
            place.s3.client().delete_object(Bucket="photos", Key=key)
        place.remove_output("colorized/a.jpg")
        assert len(outcomes(await place.restore(service, state=tmp_path / "other"))) == len(NAMES)
        assert sent(service)[len(NAMES) :] == [photos["a.jpg"]]  # of its answer one output is missing
    place.assert_right(photos)


async def test_a_state_that_is_behind_the_log_catches_up(place: StorePlace, tmp_path: Path) -> None:
    photos = place.fill("a.jpg", "b.jpg")
    async with FakeService() as service:
        await place.restore(service, include=["a.jpg"])
        await place.restore(service, state=tmp_path / "other")
        assert set(outcomes(await place.restore(service)).values()) == {"skipped"}
        assert len(sent(service)) == 2
    assert "was not up to date" in place.warnings[0]
    place.assert_right(photos)


# the owner


async def test_a_run_stops_when_another_machine_has_taken_over(place: StorePlace, tmp_path: Path) -> None:
    place.fill(*NAMES)
    other = place.outputs(tmp_path / "other")
    async with FakeService() as service:

        async def take_over(request: Any) -> Any:
            other.lock()
            return await items({})(request)

        service.script(take_over)
        with pytest.raises(StoreError, match="another run has taken over"):
            await place.restore(service, concurrency=1)
        other.release()
        assert len(sent(service)) == len(NAMES)
        assert set(outcomes(await place.restore(service)).values()) <= {"restored", "skipped"}
        assert len(sent(service)) == len(NAMES)


def test_of_two_that_start_at_once_one_is_refused(place: StorePlace, tmp_path: Path) -> None:
    one, other = place.outputs(), place.outputs(tmp_path / "other")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(one._log, "_numbers", lambda **_: iter(()))
        patched.setattr(other._log, "_numbers", lambda **_: iter(()))
        one.lock()
        with pytest.raises(OutputInUse, match=place.out):
            other.lock()
        other.release()
    one.release()


async def test_a_state_belongs_to_one_address(place: StorePlace) -> None:
    place.fill("a.jpg")
    async with FakeService() as service:
        await place.restore(service)
        with pytest.raises(ConfigurationError, match="choose another --state"):
            await place.restore(service, out=f"{place.out}/elsewhere")


# what no run made


async def test_an_object_that_no_run_made_is_kept(place: StorePlace) -> None:
    photos = place.fill("a.jpg", "b.jpg")
    place.put_output("improved/a.jpg", b"retouched by hand")
    async with FakeService() as service:
        results = {result.photo: result for result in await place.restore(service)}
        assert outcomes(await place.restore(service)) == {"a.jpg": "skipped", "b.jpg": "skipped"}
    tree = place.tree()
    assert tree["improved/a.jpg"] == b"retouched by hand"
    elsewhere = results["a.jpg"].outputs["improved"]
    assert elsewhere.startswith("improved/a~")
    assert tree[elsewhere] == expected("improved", photos["a.jpg"])
    assert tree["improved/b.jpg"] == expected("improved", photos["b.jpg"])


@pytest.mark.parametrize("kind", IMPROVED)
async def test_former_outputs_of_a_changed_photo_are_removed_where_one_was_retouched(
    place: StorePlace, kind: str
) -> None:
    """Also what was stored at the former place before the retouched output was found there."""
    place.fill("a.jpg")
    async with FakeService() as service:
        await place.restore(service)
        place.put_output(f"{kind}/a.jpg", b"retouched by hand")
        changed = jpeg(80, 60, seed=8)
        place.s3.put({"a.jpg": changed}, prefix=place.scans.removeprefix("s3://photos/") + "/")
        (result,) = await place.restore(service)
    assert result.outputs[kind].startswith(f"{kind}/a~")  # type: ignore[index] # a kind
    right = {path: expected(one, changed) for one, path in result.outputs.items()}
    assert place.tree() == right | {f"{kind}/a.jpg": b"retouched by hand"}


async def test_missing_outputs_are_made_again_only_on_demand(place: StorePlace) -> None:
    photos = place.fill("a.jpg", "b.jpg")
    async with FakeService() as service:
        await place.restore(service)
        place.remove_output("improved/a.jpg")
        assert set(outcomes(await place.restore(service)).values()) == {"skipped"}
        assert outcomes(await place.restore(service, redo_missing=True)) == {"a.jpg": "restored", "b.jpg": "skipped"}
        assert len(sent(service)) == 3
    place.assert_right(photos)


async def test_a_store_that_ignores_conditional_writes_is_said_to(tmp_path: Path) -> None:
    with s3_server(authorized=False, ignores_conditions=True) as s3:
        place = StorePlace(s3, "s3://photos/x", tmp_path / "state")
        photos = place.fill("a.jpg", "b.jpg")
        place.put_output("improved/a.jpg", b"retouched by hand")
        async with FakeService() as service:
            await place.restore(service)
        assert ["ignores conditional writes" in warning for warning in place.warnings] == [True]
        assert place.tree()["improved/a.jpg"] == b"retouched by hand"
        assert place.tree()["improved/b.jpg"] == expected("improved", photos["b.jpg"])


# the store fails


async def test_a_store_that_fails_ends_the_run_and_nothing_is_paid_twice(place: StorePlace) -> None:
    photos = place.fill(*NAMES)
    async with FakeService() as service:
        place.s3.failing = [("PUT", "/restored/improved/", 403)]
        try:
            with pytest.raises(StoreError, match="403"):
                await place.restore(service)
        finally:
            place.s3.failing = []
        assert set(outcomes(await place.restore(service)).values()) <= {"restored", "skipped"}
        assert len(sent(service)) == len(NAMES)
    place.assert_right(photos)


async def test_a_store_that_asks_to_slow_down_is_asked_again_for_a_while(
    place: StorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = place.fill("a.jpg")
    soon = timedelta(milliseconds=1)
    monkeypatch.setitem(object_store._RETRIES, "backoff", {"init_backoff": soon, "max_backoff": 2 * soon, "base": 2})
    place.s3.losing = [("PUT", "/restored/improved/")] * 20
    try:
        async with FakeService() as service:
            await place.restore(service)
            assert len(sent(service)) == 1
        assert not place.s3.losing
    finally:
        place.s3.losing = []
    place.assert_right(photos)


@pytest.mark.parametrize(
    ("kind", "part", "status", "code"),
    [
        ("PUT", "/restored/improved/", 400, "ExpiredToken"),
        ("GET", "/scans/", 403, "RequestTimeTooSkewed"),
        ("GET", "/scans/", 403, "InvalidAccessKeyId"),
    ],
)
async def test_no_photo_is_to_blame_for_the_keys_or_the_clock(
    place: StorePlace, kind: str, part: str, status: int, code: str
) -> None:
    photos = place.fill(*NAMES)
    async with FakeService() as service:
        place.s3.failing, place.s3.code = [(kind, part, status)], code
        try:
            with pytest.raises(StoreError, match=f"{status} {code}"):
                await place.restore(service)
        finally:
            place.s3.failing, place.s3.code = [], ""
        assert set(outcomes(await place.restore(service)).values()) <= {"restored", "skipped"}
        assert len(sent(service)) == len(NAMES)
    place.assert_right(photos)


async def test_a_photo_that_may_not_be_read_is_rejected_alone(place: StorePlace) -> None:
    place.fill("a.jpg", "b.jpg")
    async with FakeService() as service:
        place.s3.failing = [("GET", "/scans/a.jpg", 403)]
        try:
            results = {result.photo: result for result in await place.restore(service)}
        finally:
            place.s3.failing = []
    assert {name: result.outcome for name, result in results.items()} == {"a.jpg": "rejected", "b.jpg": "restored"}
    assert "403" in str(results["a.jpg"].error)


def test_nothing_is_left_over(place: StorePlace, s3: S3Server) -> None:
    outputs = place.outputs()
    outputs.lock()
    outputs.release()
    assert [key for key in s3.objects(place.out.removeprefix("s3://photos/")) if "check-" in key] == []


async def test_thousands_of_outputs_are_looked_for_with_few_requests(place: StorePlace) -> None:
    names = [f"{folder}/{number:04}.jpg" for folder in "ab" for number in range(1200)]
    gone = {"a/0000.jpg", "a/0999.jpg", "b/1199.jpg", "b/0600.jpg"}
    folder = place.out.removeprefix("s3://photos/")
    place.s3.put({f"{folder}/improved/{name}": b"x" for name in names if name not in gone})
    place.s3.put({f"{folder}/improved/a/0000.jp{number:04}": b"x" for number in range(1100)})  # before the first
    entries = [
        PhotoEntry(
            PhotoFile("/photos", name, f"/photos/{name}", 9, "7"),
            number,
            name,
            {"improve": StoredAnswer("improve", "committed", {"improved": StoredOutput("", 1)}, None)},
        )
        for number, name in enumerate(names)
    ]
    outputs = place.outputs()
    place.s3.requests.clear()
    for order in (entries, entries[::-1], sorted(entries, key=lambda entry: entry.place[-6:])):
        checked = outputs.checked(order)
        assert {entry.place for entry in checked if entry.misses_outputs(())} == gone
    assert place.s3.requests["LIST"] < 60


# the backlog


async def test_an_answer_is_received_and_finished_while_the_output_of_another_is_still_being_stored(
    place: StorePlace,
) -> None:
    photos = place.fill(*NAMES)
    released = threading.Event()
    place.s3.held = [("/restored/improved/a.jpg", released)]
    try:
        async with FakeService() as service, client(service) as open_client:
            run = open_client.improve_archive(
                place.scans, out=place.out, state=place.state, store_options=place.s3.options
            )
            results = aiter(run)
            others = {(await anext(results)).photo for _ in range(len(NAMES) - 1)}
            assert others == set(NAMES) - {"a.jpg"}
            released.set()
            assert (await anext(results)).photo == "a.jpg"
            assert [result async for result in results] == []
    finally:
        released.set()
        place.s3.held = []
    place.assert_right(photos)


async def test_nothing_more_is_asked_for_while_many_bytes_wait_to_be_stored(
    place: StorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = place.fill(*(f"{number:03}.jpg" for number in range(30)))
    monkeypatch.setattr(commit, "_MAX_BACKLOG", 1)
    monkeypatch.setattr("smarty_async.client._SMALLEST_WINDOW", 6)
    released = threading.Event()
    place.s3.held = [("/restored/improved/", released)]
    try:
        async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=1)) as open_client:
            run = open_client.improve_archive(
                place.scans, out=place.out, state=place.state, store_options=place.s3.options
            )
            reading = asyncio.create_task(_results(run))
            await until(lambda: bool(service.requests))
            for _ in range(50):
                await asyncio.sleep(0.01)
            assert len(service.requests) <= 6  # those that were alive when the first answer came
            released.set()
            assert len(await reading) == len(photos)
    finally:
        released.set()
        place.s3.held = []
    place.assert_right(photos)


@pytest.mark.parametrize("again", [False, True], ids=["first", "replaced"])
async def test_an_output_whose_answer_was_lost_is_stored(place: StorePlace, *, again: bool) -> None:
    photos = place.fill("a.jpg")
    async with FakeService() as service:
        if again:
            await place.restore(service)
            photos = {"a.jpg": photo("b.jpg")}
            place.s3.put(photos, prefix=place.scans.removeprefix("s3://photos/") + "/")
        place.s3.losing = [("PUT", "improved/a.jpg")]
        (result,) = await place.restore(service)
    assert not place.s3.losing
    assert (result.outcome, result.outputs["improved"]) == ("restored", "improved/a.jpg")
    place.assert_right(photos)


async def test_an_object_of_somebody_else_that_is_as_large_as_the_output_stays(place: StorePlace) -> None:
    photos = place.fill("a.jpg")
    theirs = b"x" * len(expected("improved", photos["a.jpg"]))
    place.put_output("improved/a.jpg", theirs)
    async with FakeService() as service:
        (result,) = await place.restore(service)
    assert result.outputs["improved"] != "improved/a.jpg"
    assert place.tree()["improved/a.jpg"] == theirs


async def test_both_modes_are_at_one_place_when_a_run_is_cancelled_on_the_way_to_another(
    place: StorePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill("a.jpg")
    place.put_output("improved/a.jpg", b"somebody's")
    begun, released, write = threading.Event(), threading.Event(), ObjectWriter.write

    def slow(writer: ObjectWriter, kind: Kind, where: str, *rest: Any) -> None:
        if "~" in where and not begun.is_set():
            begun.set()
            released.wait(30)
        write(writer, kind, where, *rest)

    monkeypatch.setattr(ObjectWriter, "write", slow)
    choices: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2}
    async with FakeService() as service:
        run = asyncio.create_task(place.restore(service, **choices))
        await until(begun.is_set)
        run.cancel()
        released.set()
        await asyncio.wait([run])
        (result,) = await place.restore(service, **choices)
        assert len(sent(service)) == 1
    assert set(result.outputs.values()) == set(place.tree()) - {"improved/a.jpg"}
    assert {"improved", "resolved"} <= result.outputs.keys()


async def _results(run: ArchiveRun) -> list[Result]:
    return [result async for result in run]


# odd keys


async def test_odd_keys_are_named_and_left_out(place: StorePlace, out: Path) -> None:
    names = ("0.jpg", "a.jpg", "x/c.jpg", "zz.jpg")
    photos = place.fill(*names)
    odd = ["a//b.jpg", "x/./c.jpg", "x/../d.jpg", "ctl\x01.jpg", "del\x7f.jpg", "folder/", "x//note.txt"]
    place.s3.put(dict.fromkeys(odd, b"x") | {"folder/": b""}, prefix=place.scans.removeprefix("s3://photos/") + "/")
    async with FakeService() as service:
        results = await place.restore(service, out=out)
    rejected = dict.fromkeys(odd[:5], "rejected")
    assert outcomes(results) == dict.fromkeys(names, "restored") | rejected
    assert {result.error.type for result in results if result.error} == {"unreadable"}
    assert_right(out, photos)


async def test_many_keys_around_an_odd_one_are_all_listed(place: StorePlace) -> None:
    names = [f"{number:04}.jpg" for number in range(1200)]
    place.s3.put(dict.fromkeys([*names, "0600//x.jpg"], b"x"), prefix=place.scans.removeprefix("s3://photos/") + "/")
    source = BucketSource(StoreAddress.parse(place.scans), options=place.s3.options)
    found = [file for batch in source.scan() for file in batch]
    assert sorted(file.photo for file in found if file.problem is None) == names
    assert [file.photo for file in found if file.problem] == ["0600//x.jpg"]


def test_an_odd_key_ends_the_listing_where_there_are_no_keys_to_sign_with() -> None:
    odd = UnlistableKey("the key 'a//b' cannot be listed")
    with pytest.raises(UnlistableKey):
        next(list_any_key(StoreAddress("s3", "photos"), {"region": "x"}, folder="", after="", odd=odd))
