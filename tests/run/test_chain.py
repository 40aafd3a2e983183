"""`chain`: the restored picture is what is enlarged."""

from __future__ import annotations

import base64
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.archives import client, fill, outcomes, restore
from support.fake_service import KINDS, FakeService, Request, answer_body, envelope, items, response_of
from support.pictures import jpeg

from smarty_async import Limits, PhotoFailed, plan_archive
from smarty_async.report.wording import advice
from smarty_async.results import PRICE

BOTH: dict[str, Any] = {"modes": ("improve", "resolution"), "rfactor": 2, "rtype": "photo", "chain": True}


def picture(kind: str, image: bytes) -> bytes:
    """A picture of its own for each kind and image: a chained enlargement needs one that can be decoded."""
    return jpeg(seed=zlib.crc32(kind.encode() + image))


async def pictures(request: Request) -> web.StreamResponse:
    """Every image answered with real pictures."""
    overrides = {
        name: {kind: base64.b64encode(picture(kind, image)).decode() for mode in KINDS for kind in KINDS[mode]}
        for name, image in request.images.items()
    }
    return await response_of(envelope(200, answer_body(request, overrides, {})), request)


async def pictures_without_colour(request: Request) -> web.StreamResponse:
    """Every image answered with an improved picture alone."""
    none = {"colorized": None, "colorized_improved": None}
    improved = {name: base64.b64encode(picture("improved", image)).decode() for name, image in request.images.items()}
    overrides = {name: {**none, "improved": data} for name, data in improved.items()}
    return await response_of(envelope(200, answer_body(request, overrides, {})), request)


def service_of_pictures() -> FakeService:
    service = FakeService()
    service.default = lambda _: pictures
    return service


def sent_by_mode(service: FakeService) -> dict[str, list[bytes]]:
    """The images that the service was sent, by the mode they were sent for."""
    sent: dict[str, list[bytes]] = {}
    for request in service.requests:
        [mode] = request.meta["mode"]
        sent.setdefault(mode, []).extend(request.images.values())
    return sent


async def test_the_restored_picture_is_enlarged(tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", "a.jpg")
    async with service_of_pictures() as service:
        [result] = await restore(service, tmp_path / "photos", tmp_path / "out", **BOTH)
        sent = sent_by_mode(service)
    assert result.outcome == "restored"
    assert set(result.outputs) == {"improved", "colorized_improved", "colorized", "resolved"}
    assert sent["improve"] == [photos["a.jpg"]]
    assert sent["resolution"] == [(tmp_path / "out" / result.outputs["colorized_improved"]).read_bytes()]


async def test_each_request_is_paid_for_once_over_two_runs(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg", "b.jpg")
    async with service_of_pictures() as service:
        await restore(service, tmp_path / "photos", tmp_path / "out")
        assert outcomes(await restore(service, tmp_path / "photos", tmp_path / "out", **BOTH)) == {
            "a.jpg": "restored",
            "b.jpg": "restored",
        }
        assert outcomes(await restore(service, tmp_path / "photos", tmp_path / "out", **BOTH)) == {
            "a.jpg": "skipped",
            "b.jpg": "skipped",
        }
        sent = sent_by_mode(service)
    assert {mode: len(images) for mode, images in sent.items()} == {"improve": 2, "resolution": 2}


async def test_a_photo_that_is_not_restored_is_not_enlarged(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg")
    async with FakeService() as service:
        service.script(items({"file_0": {"status": 1, "error": "no"}}))
        [result] = await restore(service, tmp_path / "photos", tmp_path / "out", **BOTH)
        assert set(sent_by_mode(service)) == {"improve"}
    assert result.outcome == "failed"
    assert result.error
    assert "not enlarged: it was not restored" in result.error.message


async def test_a_photo_that_is_restored_after_all_is_enlarged(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg")
    source, out = tmp_path / "photos", tmp_path / "out"
    async with service_of_pictures() as service:
        service.script(items({"file_0": {"status": 1, "error": "no"}}))
        for _ in range(2):
            [failed] = await restore(service, source, out, **BOTH)
            assert failed.outcome == "failed"
        assert len(service.requests) == 1
        [restored] = await restore(service, source, out, retry_failed=True)
        assert restored.outcome == "restored"
        [enlarged] = await restore(service, source, out, **BOTH)
        assert "resolved" in enlarged.outputs


async def test_in_memory(tmp_path: Path) -> None:
    photo = fill(tmp_path, "a.jpg")["a.jpg"]
    async with service_of_pictures() as service, client(service) as open_client:
        restored = await open_client.improve(
            photo, modes=("improve", "resolution"), rfactor=2, rtype="photo", chain=True
        )
        sent = sent_by_mode(service)
    assert restored.resolved
    assert sent["resolution"] == [restored.colorized_improved]


def service_of_large_pictures() -> FakeService:
    """Restored pictures have more pixels than photos, so that these alone are within `SMALL`."""

    async def large(request: Request) -> web.StreamResponse:
        large_one = base64.b64encode(jpeg(640, 480)).decode()
        overrides = {name: dict.fromkeys(KINDS["improve"], large_one) for name in request.images}
        return await response_of(envelope(200, answer_body(request, overrides, {})), request)

    service = FakeService()
    service.default = lambda _: large
    return service


SMALL = Limits(max_pixels=100_000)


async def test_a_restored_picture_that_is_too_large_is_not_enlarged_and_its_photo_not_paid_again(
    tmp_path: Path,
) -> None:
    fill(tmp_path / "photos", "a.jpg")
    async with service_of_large_pictures() as service:
        [result] = await restore(service, tmp_path / "photos", tmp_path / "out", limits=SMALL, **BOTH)
        assert (result.outcome, result.attempts) == ("failed", 1)
        assert result.error
        assert result.error.message.startswith("not enlarged: the restored picture cannot be sent: ")
        assert "improved" in result.outputs
        [again] = await restore(service, tmp_path / "photos", tmp_path / "out", limits=SMALL, **BOTH)
        assert (again.outcome, again.attempts) == ("rejected", 1)
        assert {mode: len(images) for mode, images in sent_by_mode(service).items()} == {"improve": 1}
        [fitted] = await restore(service, tmp_path / "photos", tmp_path / "out", limits=SMALL, fit=True, **BOTH)
        assert (fitted.outcome, len(service.requests)) == ("restored", 2)


async def test_in_memory_a_restored_picture_that_is_too_large_is_given_with_the_error(tmp_path: Path) -> None:
    photo = fill(tmp_path, "a.jpg")["a.jpg"]
    async with service_of_large_pictures() as service, client(service, limits=SMALL) as open_client:
        with pytest.raises(PhotoFailed, match="not enlarged: the restored picture cannot be sent") as failed:
            await open_client.improve(photo, **BOTH)
    assert (failed.value.attempts, failed.value.type) == (1, "too_large")
    assert failed.value.restored
    assert failed.value.restored.improved


async def test_a_photo_without_anything_to_restore_is_probed_and_counted_once(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg")
    async with FakeService() as service:
        service.script(items({"file_0": {"improved": None, "colorized_improved": None, "colorized": None}}))
        async with client(service) as open_client:
            run = open_client.improve_archive(tmp_path / "photos", out=tmp_path / "out", **BOTH)
            assert [result.outcome async for result in run] == ["restored"]
        assert {mode: len(images) for mode, images in sent_by_mode(service).items()} == {"improve": 1, "resolution": 1}
    assert run.progress.work.bytes_probed == (tmp_path / "photos/a.jpg").stat().st_size


async def test_a_restored_picture_that_an_earlier_run_did_not_keep_is_not_enlarged_until_it_is_made_again(
    tmp_path: Path,
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    fill(photos, "a.jpg")
    shutil.copyfile(photos / "a.jpg", photos / "copy.jpg")
    async with service_of_pictures() as service:
        await restore(service, photos, out, outputs=("colorized",))
        rejected = await restore(service, photos, out, **BOTH)
        assert outcomes(rejected) == {"a.jpg": "rejected", "copy.jpg": "rejected"}
        planned = await plan_archive(photos, out=out, **BOTH)
        assert (planned.photos, planned.cost) == (0, 0)
        assert [one.error for one in planned.rejected] == [one.error for one in rejected]
        for result in rejected:
            assert result.error
            assert result.error.type == "not_kept"
            assert "(outputs, --outputs): run again with redo_missing (--redo-missing)" in result.error.message
        assert "resolution" not in sent_by_mode(service)
        plan = await plan_archive(photos, out=out, redo_missing=True, **BOTH)
        assert (plan.photos, plan.duplicates) == (1, 1)
        assert plan.cost == pytest.approx(2 * PRICE)
        again = await restore(service, photos, out, redo_missing=True, **BOTH)
        sent = sent_by_mode(service)
    assert sorted(result.outcome for result in again) == ["duplicate", "restored"]
    assert len(sent["improve"]) == 2
    assert sent["resolution"] == [(out / "colorized_improved" / "a.jpg").read_bytes()]


async def test_a_restored_picture_that_was_deleted_is_not_enlarged_until_it_is_made_again(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    fill(photos, "a.jpg")
    async with service_of_pictures() as service:
        await restore(service, photos, out)
        (out / "colorized_improved" / "a.jpg").unlink()
        plan = await plan_archive(photos, out=out, **BOTH)
        [rejected] = await restore(service, photos, out, **BOTH)
        assert (plan.photos, plan.cost, [one.error for one in plan.rejected]) == (0, 0, [rejected.error])
        assert rejected.error
        assert "'colorized_improved/a.jpg' is no longer there: run again with redo_missing" in rejected.error.message
        assert advice(rejected.error.type) is None
        assert "resolution" not in sent_by_mode(service)
        [again] = await restore(service, photos, out, redo_missing=True, **BOTH)
    assert set(again.outputs) == {*KINDS["improve"], "resolved"}


async def test_a_restored_picture_that_was_not_kept_is_not_taken_for_one_that_was_not_made(tmp_path: Path) -> None:
    """Of the first run, nothing at all was kept."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    fill(photos, "a.jpg")
    async with service_of_pictures() as service:
        service.script(pictures_without_colour)
        await restore(service, photos, out, outputs=("colorized",))
        [rejected] = await restore(service, photos, out, **BOTH)
        assert rejected.error
        assert rejected.error.type == "not_kept"
        [again] = await restore(service, photos, out, redo_missing=True, **BOTH)
    assert set(again.outputs) == {*KINDS["improve"], "resolved"}


async def test_a_photo_of_which_only_the_colour_was_restored_is_enlarged_itself_by_a_later_run(tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", "a.jpg")
    async with service_of_pictures() as service:
        colour = base64.b64encode(jpeg()).decode()
        service.script(items({"file_0": {"improved": None, "colorized_improved": None, "colorized": colour}}))
        await restore(service, tmp_path / "photos", tmp_path / "out")
        [result] = await restore(service, tmp_path / "photos", tmp_path / "out", **BOTH)
        assert sent_by_mode(service)["resolution"] == [photos["a.jpg"]]
    assert set(result.outputs) == {"colorized", "resolved"}


async def test_a_plan_counts_the_requests_of_both_rounds(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.jpg")
    plan = await plan_archive(tmp_path / "photos", out=tmp_path / "out", **BOTH)
    assert (plan.photos, plan.requests) == (1, 2)
