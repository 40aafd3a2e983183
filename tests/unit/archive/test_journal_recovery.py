from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.archives import IMPROVED, STATE, assert_right, client, fill, line_of, lines, outcomes, photo, restore, sent
from support.damaged_json import DAMAGED
from support.fake_service import FakeService, Request, expected, items
from support.pictures import heavy, jpeg

from smarty_async.archive.journal.store import JournalStore
from smarty_async.errors import DiskError
from smarty_async.options import Limits
from smarty_async.plan import plan_archive
from smarty_async.results import Result

pytestmark = pytest.mark.slow

NAMES = ("a.jpg", "b/c.png", "b/d e.jpg", "é.jpg")
ENLARGE: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2}


def journal_of(out: Path) -> Path:
    return out / STATE / "journal.sqlite"


def garble(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


async def results_and_warnings(
    service: FakeService, source: Any, out: Path, **choices: Any
) -> tuple[list[Result], list[str]]:
    """The results of a run, and its warnings."""
    async with client(service) as open_client:
        run = open_client.improve_archive(source, out=out, **choices)
        return [result async for result in run], run.progress.warnings


def set_aside(out: Path) -> list[str]:
    return sorted(path.name for path in (out / STATE).glob("*.damaged-*"))


@pytest.mark.parametrize("damage", [garble, cut, scribble])
async def test_a_damaged_journal_is_rebuilt_and_nothing_is_sent_again(
    source: Path, out: Path, damage: Callable[[Path], None]
) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        await restore(service, source, out)
        before = lines(out)
        damage(journal_of(out))
        damaged = journal_of(out).read_bytes()
        plan = await plan_archive(source, out=out)
        assert (plan.photos, plan.skipped) == (0, 4)
        results, [warning] = await results_and_warnings(service, source, out)
        assert len(sent(service)) == 4
    assert Counter(result.outcome for result in results) == {"skipped": 4}
    assert "was damaged" in warning
    assert warning.endswith("recovered from results.jsonl and the outputs on the disk: 4")
    assert str(out / STATE / "journal.sqlite.damaged-1") in warning
    assert (out / STATE / "journal.sqlite.damaged-1").read_bytes() == damaged
    assert sorted(lines(out), key=str) == sorted(before, key=str)
    for path in (out / STATE).glob("*.damaged-*"):
        path.unlink()
    assert_right(out, photos)


@pytest.mark.parametrize("lose", [Path.unlink, empty])
async def test_a_lost_journal_is_rebuilt(source: Path, out: Path, lose: Callable[[Path], None]) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        await restore(service, source, out)
        lose(journal_of(out))
        plan = await plan_archive(source, out=out)
        assert (plan.photos, plan.skipped) == (0, 4)
        results, [warning] = await results_and_warnings(service, source, out)
        assert len(sent(service)) == 4
        assert (await results_and_warnings(service, source, out))[1] == []
    assert Counter(result.outcome for result in results) == {"skipped": 4}
    assert warning.startswith("There was no journal")
    assert_right(out, photos)


async def test_only_photos_with_all_their_outputs_are_recovered(source: Path, out: Path) -> None:
    fill(source, "whole.jpg", "gone.jpg", "half.jpg", "newer.jpg", "never.jpg", "failed.jpg", "changed.jpg")
    failing = photo("failed.jpg")
    async with FakeService() as service:
        service.default = lambda request: items(
            {name: {"status": 1, "error": "no"} for name, image in request.images.items() if image == failing}
        )
        await restore(service, source, out, exclude=["never.jpg"])
        journal_of(out).unlink()
        (source / "gone.jpg").unlink()
        (out / "improved" / "half.jpg").unlink()
        later = (out / "improved" / "newer.jpg").stat().st_mtime_ns + 3_000_000_000  # FAT keeps two seconds
        os.utime(source / "newer.jpg", ns=(later, later))
        results_file = out / "results.jsonl"
        kept = [line for line in results_file.read_bytes().splitlines(keepends=True) if b'"changed.jpg"' not in line]
        stolen = json.dumps(line_of(out, "changed.jpg") | {"outputs": {"improved": "improved/../whole.jpg"}}).encode()
        results_file.write_bytes(b"".join([b"{garbage\n", b"\xff\n", *kept, stolen + b"\n", kept[0], b'{"photo": 1}']))
        service.requests.clear()
        results = await restore(service, source, out)
        again = {photo(name) for name in ("half.jpg", "newer.jpg", "never.jpg", "failed.jpg", "changed.jpg")}
        assert set(sent(service)) == again
    assert outcomes(results)["whole.jpg"] == "skipped"
    assert Counter(line["outcome"] for line in lines(out)) == {"restored": 5, "failed": 1}


async def test_the_factor_of_an_enlargement_is_the_ratio_of_the_pictures_sizes(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    (source / "a.jpg").write_bytes(jpeg(64, 48, seed=1))
    (source / "b.jpg").write_bytes(heavy(3000, seed=2))
    larger = base64.b64encode(jpeg(128, 96)).decode()

    def enlarged(request: Request) -> Any:
        return items({name: {"resolution": {"resolved": larger}} for name in request.names})

    async with FakeService() as service:
        service.default = enlarged
        await restore(service, source, out, **ENLARGE)
        (out / "resolved" / "b.jpg").write_bytes(jpeg(70, 50))
        shutil.copystat(source / "b.jpg", out / "resolved" / "b.jpg")  # else a person may have changed it
        journal_of(out).unlink()
        service.requests.clear()
        plan = await plan_archive(source, out=out, **ENLARGE)
        assert (plan.photos, plan.skipped) == (1, 1), "70 is neither twice nor four times the size"
        (out / "resolved" / "b.jpg").unlink()
        results = await restore(service, source, out, **ENLARGE)
        assert [request.meta["mode"] for request in service.requests] == [["resolution"]]
        journal_of(out).unlink()
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"skipped": 2}
        assert Counter(outcomes(await restore(service, source, out, **ENLARGE)).values()) == {"skipped": 2}
        assert len(service.requests) == 1
        await restore(service, source, out, modes=["resolution"], rfactor=4)
        assert len(sent(service)) == 3
    assert outcomes(results) == {"a.jpg": "skipped", "b.jpg": "restored"}


async def test_an_enlargement_of_the_restored_picture_is_recovered(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    (source / "a.jpg").write_bytes(jpeg(64, 48, seed=1))
    restored, larger = (base64.b64encode(jpeg(*size)).decode() for size in ((64, 48), (128, 96)))
    async with FakeService() as service:
        service.script(
            items({"file_0": {"improved": restored, "colorized": None, "colorized_improved": None}}),
            items({"file_0": {"resolved": larger}}),
        )
        assert outcomes(await restore(service, source, out, chain=True, **ENLARGE)) == {"a.jpg": "restored"}
        journal_of(out).unlink()
        assert outcomes(await restore(service, source, out, chain=True, **ENLARGE)) == {"a.jpg": "skipped"}
        assert len(service.requests) == 2


@pytest.mark.parametrize("spoilt", ["photo", "output"])
async def test_an_enlargement_that_cannot_be_measured_is_not_recovered(source: Path, out: Path, spoilt: str) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out, **ENLARGE)
        if spoilt == "photo":  # an output of this service is no picture at all, so that one is spoilt anyway
            (out / "resolved" / "a.jpg").write_bytes(jpeg(128, 96))
            look = (source / "a.jpg").stat()
            (source / "a.jpg").write_bytes(b"no picture")
            os.utime(source / "a.jpg", ns=(look.st_atime_ns, look.st_mtime_ns))
        journal_of(out).unlink()
        results, [warning] = await results_and_warnings(service, source, out)
        assert outcomes(results) == {"a.jpg": "skipped"}
        assert warning.endswith(": 1")
        plan = await plan_archive(source, out=out, modes=["resolution"], rfactor=2)
        assert plan.skipped == 0


@pytest.mark.parametrize("modes", [["resolution"], ["improve", "resolution"]])
async def test_an_output_that_was_changed_and_cannot_be_measured_is_not_replaced(
    source: Path, out: Path, modes: list[str]
) -> None:
    fill(source, "a.jpg")
    os.utime(source / "a.jpg", (0, 0))
    async with FakeService() as service:
        await restore(service, source, out, modes=modes, rfactor=2)
        (out / "resolved/a.jpg").write_bytes(b"cropped by hand")
        journal_of(out).unlink()
        (result,) = await restore(service, source, out, modes=modes, rfactor=2)
    assert (out / "resolved/a.jpg").read_bytes() == b"cropped by hand"
    if modes == ["resolution"]:  # its place is another
        assert (result.outcome, set(result.outputs)) == ("restored", {"resolved"})
    else:
        assert result.error
        assert result.error.type == "output_refused"


async def test_an_already_good_photo_is_recovered(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    (source / "copy.jpg").write_bytes(photo("a.jpg"))
    async with FakeService() as service:
        service.script(items({"file_0": dict.fromkeys((*IMPROVED, "bw"), None)}))
        await restore(service, source, out)
        journal_of(out).unlink()
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"skipped": 2}
        assert len(sent(service)) == 1


async def test_a_second_source_keeps_its_place_after_a_rebuild(tmp_path: Path, out: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(photo(name))
    async with FakeService() as service:
        sources = [tmp_path / "one", tmp_path / "two"]
        await restore(service, sources, out)
        journal_of(out).unlink()
        results = await restore(service, sources[::-1], out)
        assert len(sent(service)) == 2
    assert {result.outputs["improved"] for result in results} == {"improved/a.jpg", "improved/two/a.jpg"}


async def test_damage_found_during_a_run_ends_it_and_the_next_run_continues(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(20)))
    whole = JournalStore.record_results
    noted: list[int] = []

    def record(self: JournalStore, *details: Any) -> Any:
        noted.append(1)
        if len(noted) == 3:
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX
            raise error
        return whole(self, *details)

    async with FakeService() as service:
        with monkeypatch.context() as patched:
            patched.setattr(JournalStore, "record_results", record)
            with pytest.raises(DiskError, match=r"is damaged .*: the next run rebuilds it"):
                # Six photos alive, so that there are four transactions with results, or more.
                await restore(service, source, out, limits=Limits(max_images=2), concurrency=1)
        assert set_aside(out) == ["journal.sqlite.damaged-1"]
        finished = len((out / "results.jsonl").read_bytes().splitlines())
        service.requests.clear()
        results = await restore(service, source, out)
        assert len(sent(service)) == 20 - finished
    assert Counter(result.outcome for result in results)["skipped"] == finished
    # Outputs that no line of results.jsonl tells of may be anybody's: they stay, and the new ones get other names.
    for line in lines(out):
        assert set(line["outputs"]) == set(IMPROVED)
        for kind, path in line["outputs"].items():
            assert (out / path).read_bytes() == expected(kind, photos[line["photo"]])


@pytest.mark.parametrize("value", DAMAGED, ids=len)
@pytest.mark.parametrize("choices", [{}, ENLARGE], ids=["finished", "looked up"])
async def test_a_damaged_value_is_a_damaged_journal(
    source: Path, out: Path, value: bytes, choices: dict[str, Any]
) -> None:
    fill(source, *NAMES)
    async with FakeService() as service:
        await restore(service, source, out)
        with closing(sqlite3.connect(journal_of(out))) as sql, sql:
            sql.execute("UPDATE answers SET outputs = CAST(? AS TEXT) WHERE photo = 2", (value,))
        with pytest.raises(DiskError, match=r"is damaged .*: the next run rebuilds it"):
            await restore(service, source, out, **choices)
        results, [warning] = await results_and_warnings(service, source, out)
        assert len(sent(service)) == 4
    assert Counter(result.outcome for result in results) == {"skipped": 4}
    assert warning.endswith("recovered from results.jsonl and the outputs on the disk: 4")


async def test_an_unreadable_results_file_ends_the_run(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    (out / "results.jsonl").mkdir(parents=True)
    async with FakeService() as service:
        with pytest.raises(DiskError, match=r"results\.jsonl"):
            await restore(service, source, out)
        assert not service.requests


# missing outputs


async def test_missing_outputs_are_reported_and_made_again_only_with_redo_missing(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "improved" / "a.jpg").unlink()
        (out / "colorized" / "é.jpg").unlink()
        async with client(service) as open_client:
            run = open_client.improve_archive(source, out=out)
            results = {result.photo: result async for result in run}
        assert run.progress.missing == 2
        assert {result.outcome for result in results.values()} == {"skipped"}
        assert set(results["a.jpg"].outputs) == set(IMPROVED) - {"improved"}
        assert set(results["é.jpg"].outputs) == set(IMPROVED) - {"colorized"}
        assert set(results["b/c.png"].outputs) == set(IMPROVED)
        assert len(sent(service)) == 4
        plan = await plan_archive(source, out=out, redo_missing=True)
        assert (plan.photos, plan.skipped) == (2, 2)
        again = outcomes(await restore(service, source, out, redo_missing=True))
        assert sorted(sent(service)[4:], key=hash) == sorted((photos["a.jpg"], photos["é.jpg"]), key=hash)
    assert Counter(again.values()) == {"restored": 2, "skipped": 2}
    assert_right(out, photos)


async def test_only_the_mode_whose_outputs_are_missing_is_asked_again(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out, **ENLARGE)
        (out / "resolved" / "a.jpg").unlink()
        await restore(service, source, out, redo_missing=True)
        assert len(service.requests) == 1, "an enlargement was not asked for"
        await restore(service, source, out, redo_missing=True, **ENLARGE)
        assert [request.meta["mode"] for request in service.requests[1:]] == [["resolution"]]


async def test_a_missing_output_whose_retry_fails_stays_missing(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "improved" / "a.jpg").unlink()
        service.script(items({"file_0": {"status": 1, "error": "no"}}))
        [failed] = await restore(service, source, out, redo_missing=True)
        assert failed.outcome == "failed"
        assert set(failed.outputs) == set(IMPROVED) - {"improved"}, "those that are there"
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "skipped"}
        assert outcomes(await restore(service, source, out, redo_missing=True, retry_failed=True)) == {
            "a.jpg": "restored"
        }
