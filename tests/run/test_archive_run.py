from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.archives import (
    IMPROVED,
    STATE,
    assert_right,
    client,
    fill,
    is_there,
    line_of,
    lines,
    outcomes,
    output_of,
    photo,
    restore,
    sent,
    temporaries,
    tree,
)
from support.fake_service import (
    Answer,
    FakeService,
    Request,
    answer_body,
    envelope,
    expected,
    hold,
    http,
    items,
    ok,
    response_of,
    until,
)
from support.pictures import jpeg, png, webp

from smarty_async import run as archive_run
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs import folder as output_folder
from smarty_async.archive.outputs import results_file
from smarty_async.archive.outputs.store import OutputMove
from smarty_async.archive.outputs.sync import GroupSync
from smarty_async.errors import ConfigurationError, DiskError, OutputInUse, SmartyError
from smarty_async.options import Limits
from smarty_async.plan import read_status
from smarty_async.results import ErrorInfo, Result

EVERY = (*IMPROVED, "resolved")
BOTH: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2, "rtype": "photo"}
NAMES = ("a.jpg", "b/c.JPEG", "b/d.png", "b/e/f.jpg", "g")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 5_000_000_000))


def modify(path: Path) -> None:
    """Give a photo another content of the same size, and another modification time."""
    path.write_bytes(with_another_note(path.read_bytes()))
    touch(path)


def with_another_note(photo: bytes) -> bytes:
    """A photo of `heavy` with one byte of its notes changed."""
    return photo[:30] + bytes([photo[30] ^ 1]) + photo[31:]


def always(**change: Any) -> Callable[[Request], Answer]:
    """Every image answered with `change`."""
    return lambda request: items(dict.fromkeys(request.names, change))


# where outputs go


async def test_every_output_is_its_own_photos_under_its_own_path(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        reported = await restore(service, source, out)
    assert outcomes(reported) == dict.fromkeys(NAMES, "restored")
    assert_right(out, photos)


@pytest.mark.slow
async def test_many_photos_in_many_requests_never_get_mixed_up(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number % 7}/{number}.jpg" for number in range(200)))
    async with FakeService() as service:
        await restore(service, source, out, limits=Limits(max_images=7), **BOTH)
        assert len(sent(service)) == 200
    assert_right(out, photos, kinds=EVERY)
    assert len(lines(out)) == 200


async def test_a_second_source_with_the_same_path_goes_under_its_own_name(tmp_path: Path, out: Path) -> None:
    one, two = (fill(tmp_path / name, "x/a.jpg")["x/a.jpg"] for name in ("one", "two"))
    (tmp_path / "two" / "x" / "a.jpg").write_bytes(two := two + b"2")
    async with FakeService() as service:
        reported = await restore(service, [tmp_path / "one", tmp_path / "two"], out)
    assert [result.outputs["improved"] for result in sorted(reported, key=lambda result: result.source)] == [
        "improved/x/a.jpg",
        "improved/two/x/a.jpg",
    ]
    assert (out / "improved/x/a.jpg").read_bytes() == expected("improved", one)
    assert (out / "improved/two/x/a.jpg").read_bytes() == expected("improved", two)


async def test_what_still_collides_is_rejected_by_both_names_and_harms_nobody(tmp_path: Path, out: Path) -> None:
    sources = [tmp_path / name for name in ("one", "x/two", "y/two")]
    for folder in sources:
        fill(folder, "a.jpg", f"{folder.parent.name}.jpg")
    async with FakeService() as service:
        reported = await restore(service, sources, out)
        again = await restore(service, sources, out)
        assert len(sent(service)) == 4  # two of them are one photo
    for results in (reported, again):
        refused = [result for result in results if result.outcome == "rejected"]
        assert [(result.photo, result.source) for result in refused] == [("a.jpg", str(sources[2]))]
        error = refused[0].error
        assert error is not None
        assert error.type == "collision"
        assert "'a.jpg'" in error.message
        assert f"'{sources[0]}/a.jpg'" in error.message
    assert len(lines(out)) == 6


async def test_a_png_beside_what_its_output_would_be_called(source: Path, out: Path) -> None:
    photos = fill(source, "a.png", "a.png.jpg")
    async with FakeService() as service:
        reported = await restore(service, source, out)
    assert {result.outcome for result in reported} == {"restored"}
    assert {result.outputs["improved"] for result in reported} == {"improved/a.png.jpg", "improved/photos/a.png.jpg"}
    for result in reported:
        assert (out / result.outputs["improved"]).read_bytes() == expected("improved", photos[result.photo])


async def test_a_photo_beside_a_folder_that_is_called_as_its_output(source: Path, out: Path) -> None:
    photos = fill(source, "a.png", "a.png.jpg/b.jpg", "c.jpg")
    async with FakeService() as service:
        reported = await restore(service, source, out)
    assert outcomes(reported) == dict.fromkeys(photos, "restored")
    for result in reported:
        assert (out / result.outputs["improved"]).read_bytes() == expected("improved", photos[result.photo])


@pytest.mark.parametrize("inside", ["out", "."])
async def test_outputs_inside_the_source_are_not_restored_again(source: Path, inside: str) -> None:
    photos = fill(source, "a.jpg", "sub/b.jpg")
    out = source / inside
    async with FakeService() as service:
        await restore(service, source, out)
        reported = await restore(service, source, out)
        assert len(sent(service)) == 2
    assert outcomes(reported) == dict.fromkeys(photos, "skipped")
    assert {result.photo for result in reported} == set(photos)


async def test_a_photo_that_is_named_twice_is_done_once(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service, client(service) as open_client:
        run = open_client.improve_archive([source, source, source / "a.jpg"], out=out, listed=[])
        assert outcomes([result async for result in run]) == dict.fromkeys(photos, "restored")
        assert run.progress.found == run.progress.done == 2
        assert len(sent(service)) == 2


# what is reported


async def test_results_have_one_line_a_photo_with_exactly_the_fields(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        reported = await restore(service, source, out)
        assert lines(out) == [
            {
                "photo": "a.jpg",
                "source": str(source),
                "outcome": "restored",
                "outputs": {kind: f"{kind}/a.jpg" for kind in IMPROVED},
                "bw": False,
                "attempts": 1,
                "error": None,
                "page": 1,
                "warnings": [],
            }
        ]
        assert reported == [
            Result(
                photo="a.jpg",
                source=str(source),
                outcome="restored",
                outputs={kind: f"{kind}/a.jpg" for kind in IMPROVED},  # type: ignore[misc]
                bw=False,
                attempts=1,
            )
        ]
        before = (out / "results.jsonl").read_bytes()
        await restore(service, source, out)
        assert (out / "results.jsonl").read_bytes() == before


async def test_every_outcome_has_its_line(source: Path, out: Path) -> None:
    fill(source, "good.jpg", "bad.jpg", "fine.jpg")
    (source / "none.jpg").write_bytes(b"no photo")
    answers: dict[bytes, dict[str, Any]] = {
        photo("good.jpg"): {"improved": None, "colorized_improved": "", "colorized": None},
        photo("bad.jpg"): {"status": 1, "error": "no"},
    }
    async with FakeService() as service:
        service.default = lambda request: items(
            {name: answers.get(image, {}) for name, image in request.images.items()}
        )
        await restore(service, source, out)
    reported = {line["photo"]: (line["outcome"], line["outputs"], line["attempts"]) for line in lines(out)}
    assert reported == {
        "good.jpg": ("already_good", {}, 1),
        "bad.jpg": ("failed", {}, 1),
        "fine.jpg": ("restored", {kind: f"{kind}/fine.jpg" for kind in IMPROVED}, 1),
        "none.jpg": ("rejected", {}, 0),
    }
    assert line_of(out, "bad.jpg")["error"] == {"type": "permanent", "message": "no"}
    assert line_of(out, "none.jpg")["error"]["type"] == "not_an_image"
    assert tree(out) == {f"{kind}/fine.jpg" for kind in IMPROVED}


# later runs


async def test_a_second_run_sends_nothing(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        await restore(service, source, out)
        before, requests = lines(out), len(service.requests)
        reported = await restore(service, source, out)
        assert len(service.requests) == requests
    assert outcomes(reported) == dict.fromkeys(photos, "skipped")
    assert all(set(result.outputs) == set(IMPROVED) for result in reported)
    assert lines(out) == before
    assert_right(out, photos)


async def test_a_second_run_does_what_is_new(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        photos |= fill(source, "b.jpg")
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "skipped", "b.jpg": "restored"}
    assert_right(out, photos)
    assert len(lines(out)) == 2


@pytest.mark.parametrize("counts", [True, False])
async def test_the_rest_of_a_batch_is_looked_up_in_parts(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *, counts: bool
) -> None:
    monkeypatch.setattr(archive_run, "LOOKED_UP", 3)
    photos = fill(source, *(f"old/{number}.jpg" for number in range(5)))
    async with FakeService() as service:
        await restore(service, source, out)
        photos |= fill(source, *(f"{folder}/{number}.jpg" for folder in ("a", "z") for number in range(5)))
        async with client(service) as open_client:
            run = open_client.improve_archive(source, out=out)
            run.counts_finished = counts
            reported = outcomes([result async for result in run])
    expected_of_all = {name: "skipped" if name.startswith("old") else "restored" for name in photos}
    # Those that lie between new ones in a small batch are looked up, and reported, too.
    assert reported.items() <= expected_of_all.items() if counts else reported == expected_of_all
    assert run.progress.outcomes == {"skipped": 5, "restored": 10}
    assert run.progress.found == 15
    assert not run.progress.scanning
    assert_right(out, photos)


@pytest.mark.parametrize("size_too", [True, False])
async def test_a_changed_photo_is_restored_again(source: Path, out: Path, *, size_too: bool) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out, **BOTH)
        photos["a.jpg"] = photos["a.jpg"] + b"x" if size_too else with_another_note(photos["a.jpg"])
        (source / "a.jpg").write_bytes(photos["a.jpg"])
        touch(source / "a.jpg")
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "restored", "b.jpg": "skipped"}
        assert line_of(out, "a.jpg")["attempts"] == 2
        assert tree(out) == {f"{kind}/{name}" for kind in EVERY for name in photos} - {"resolved/a.jpg"}
        assert set(line_of(out, "a.jpg")["outputs"]) == set(IMPROVED)
        await restore(service, source, out, **BOTH)
        assert len(sent(service)) == 4
    assert_right(out, photos, kinds=EVERY)


async def test_outputs_a_changed_photo_no_longer_has_go_away(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        modify(source / "a.jpg")
        service.default = always(colorized=None, colorized_improved="")
        await restore(service, source, out)
        assert tree(out) == {"improved/a.jpg"}
        modify(source / "a.jpg")
        service.default = always(improved=None, colorized=None, colorized_improved=None)
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "already_good"}
        assert tree(out) == set()


async def test_a_photo_that_broke_keeps_the_outputs_it_had(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (source / "a.jpg").write_bytes(b"")
        reported = await restore(service, source, out)
    assert [(result.outcome, result.outputs) for result in reported] == [("rejected", {})]
    assert tree(out) == {f"{kind}/a.jpg" for kind in IMPROVED}


async def test_a_new_mode_asks_for_that_mode_alone(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        reported = await restore(service, source, out, **BOTH)
        assert {tuple(request.meta["mode"]) for request in service.requests[-2:]} == {("resolution",)}
        assert len(sent(service)) == 4
    assert outcomes(reported) == dict.fromkeys(photos, "restored")
    assert all(set(result.outputs) == set(EVERY) for result in reported)
    assert_right(out, photos, kinds=EVERY)
    assert line_of(out, "a.jpg")["attempts"] == 2


async def test_another_factor_is_asked_for_separately(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        for factor, rtype in ((2, "photo"), (4, "photo"), (4, "art"), (4, "art")):
            await restore(service, source, out, modes=["resolution"], rfactor=factor, rtype=rtype)
        asked = [(request.meta["rfactor"], request.meta["rtype"]) for request in service.requests]
    assert asked == [(2, "photo"), (4, "photo"), (4, "art")]
    assert tree(out) == {"resolved/a.jpg"}


async def test_failed_photos_are_reported_and_sent_again_only_on_demand(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        bad = photo("a.jpg")
        service.default = lambda request: items(
            {name: {"status": 1, "error": "no"} for name, image in request.images.items() if image == bad}
        )
        await restore(service, source, out)
        reported = await restore(service, source, out)
        assert outcomes(reported) == {"a.jpg": "failed", "b.jpg": "skipped"}
        assert next(result.error for result in reported if result.photo == "a.jpg") == ErrorInfo("permanent", "no")
        assert len(sent(service)) == 2
        assert line_of(out, "a.jpg")["outcome"] == "failed"
        service.default = service.answer_rightly
        assert outcomes(await restore(service, source, out, retry_failed=True)) == {
            "a.jpg": "restored",
            "b.jpg": "skipped",
        }
        assert len(sent(service)) == 3
    assert line_of(out, "a.jpg") == {
        "photo": "a.jpg",
        "source": str(source),
        "outcome": "restored",
        "outputs": {kind: f"{kind}/a.jpg" for kind in IMPROVED},
        "bw": False,
        "attempts": 2,
        "error": None,
        "page": 1,
        "warnings": [],
    }
    assert_right(out, photos)


async def test_of_two_modes_only_the_failed_one_is_retried(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    async with FakeService() as service:
        service.default = always(resolution={"status": 1, "error": "no"})
        reported = await restore(service, source, out, **BOTH)
        assert [(result.outcome, set(result.outputs)) for result in reported] == [("failed", set(IMPROVED))]
        assert tree(out) == {f"{kind}/a.jpg" for kind in IMPROVED}
        service.default = service.answer_rightly
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "skipped"}
        assert outcomes(await restore(service, source, out, **BOTH)) == {"a.jpg": "failed"}
        await restore(service, source, out, **BOTH, retry_failed=True)
        assert [request.meta["mode"] for request in service.requests] == [["improve", "resolution"], ["resolution"]]
    assert_right(out, photos, kinds=EVERY)


async def test_a_failure_that_a_run_reports_again_is_the_outcome_also_after_another_mode(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, "a.jpg")
    recorded: list[int] = []
    record_results = JournalStore.record_results

    def counted(store: JournalStore, photos: Any) -> Any:
        recorded.append(len(photos))
        return record_results(store, photos)

    async with FakeService() as service:
        service.script(items({"file_0": {"status": 1, "error": "no"}}))
        await restore(service, source, out)
        assert outcomes(await restore(service, source, out, modes=["resolution"], rfactor=2)) == {"a.jpg": "restored"}
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "failed"}
        assert line_of(out, "a.jpg")["outcome"] == "failed"
        assert line_of(out, "a.jpg")["outputs"] == {"resolved": "resolved/a.jpg"}
        status = await read_status(out)
        assert (dict(status.outcomes), len(sent(service))) == ({"failed": 1}, 2)
        monkeypatch.setattr(JournalStore, "record_results", counted)
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "failed"}
        assert not recorded, "what the journal has is not written again"


async def test_rejected_photos_are_probed_again(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        assert outcomes(await restore(service, source, out, limits=Limits(max_image_bytes=1000))) == {
            "a.jpg": "rejected"
        }
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "restored"}


async def test_a_photo_that_comes_back_is_not_paid_for_again(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (source / "a.jpg").rename(source / "away")
        (source / "a.jpg").symlink_to("nowhere")
        assert outcomes(await restore(service, source, out, exclude=["away"])) == {"a.jpg": "skipped"}
        (source / "a.jpg").unlink()
        (source / "away").rename(source / "a.jpg")
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "skipped"}
        assert len(sent(service)) == 1
    assert_right(out, photos)


# one run at a time


async def test_a_second_run_is_refused_while_the_first_lives(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg", "c.jpg")
    go = asyncio.Event()
    async with FakeService() as service, client(service, concurrency=1, limits=Limits(max_images=1)) as open_client:
        service.script(items({}), hold(go))
        first = aiter(open_client.improve_archive(source, out=out))
        reported = [await anext(first)]
        await until(lambda: service.open_now == 1)
        with pytest.raises(OutputInUse, match="another run"):
            await restore(service, source, out)
        go.set()
        reported += [result async for result in first]
        assert outcomes(reported) == dict.fromkeys(photos, "restored")
        assert outcomes(await restore(service, source, out)) == dict.fromkeys(photos, "skipped")
        assert len(sent(service)) == 3
    assert_right(out, photos)


async def test_leaving_early_leaves_nothing_and_the_next_run_goes_on(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(20)))
    async with FakeService() as service:
        async with client(service, concurrency=2, limits=Limits(max_images=2)) as open_client:
            async for _ in open_client.improve_archive(source, out=out):
                break
        assert not (out / STATE / "tmp").exists()
        assert not temporaries(out)
        done = {line["photo"] for line in lines(out)}
        assert 0 < len(done) < 20
        reported = outcomes(await restore(service, source, out))
        assert {name for name, outcome in reported.items() if outcome == "skipped"} >= done
        assert len(sent(service)) <= 20 + 2 * 2
    assert_right(out, photos)
    assert len(lines(out)) == 20


async def test_an_output_that_was_received_and_could_not_be_committed_is_not_paid_for_again(
    source: Path, out: Path
) -> None:
    photos = fill(source, "a.jpg", "sub/b.jpg")

    def blocking(request: Request) -> Answer:
        (out / "improved").mkdir(parents=True, exist_ok=True)
        (out / "improved" / "sub").touch()
        return service.answer_rightly(request)

    async with FakeService() as service:
        service.default = blocking
        for retry_failed in (False, False, True):
            ended = outcomes(await restore(service, source, out, retry_failed=retry_failed))
            assert ended["sub/b.jpg"] == "failed"
            assert line_of(out, "sub/b.jpg")["error"]["type"] == "output_refused"
        (out / "improved" / "sub").unlink()
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "skipped", "sub/b.jpg": "restored"}
        assert len(sent(service)) == 2
    assert_right(out, photos)
    assert line_of(out, "sub/b.jpg")["outcome"] == "restored"


async def test_a_photo_whose_output_has_no_folder_is_not_sent(source: Path, out: Path) -> None:
    photos = fill(source, "sub/a.jpg")
    (out / "improved").mkdir(parents=True)
    (out / "improved" / "sub").touch()
    async with FakeService() as service:
        assert outcomes(await restore(service, source, out)) == {"sub/a.jpg": "rejected"}
        assert "is a file where its outputs need a folder" in line_of(out, "sub/a.jpg")["error"]["message"]
        (out / "improved" / "sub").unlink()
        assert outcomes(await restore(service, source, out)) == {"sub/a.jpg": "restored"}
        assert len(sent(service)) == 1
    assert_right(out, photos)


async def test_a_newer_journal_takes_nothing_away(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / STATE / "tmp").mkdir()
        (out / STATE / "tmp" / "paid").write_bytes(b"for")
        sql = sqlite3.connect(out / STATE / "journal.sqlite")
        sql.execute("PRAGMA user_version = 99")
        sql.close()
        with pytest.raises(ConfigurationError, match="newer version"):
            await restore(service, source, out)
    assert (out / STATE / "tmp" / "paid").read_bytes() == b"for"


async def test_a_run_is_iterated_over_once(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service, client(service) as open_client:
        run = open_client.improve_archive(source, out=out)
        assert len([result async for result in run]) == 1
        with pytest.raises(SmartyError, match="once"):
            await anext(aiter(run))


# the order in which things become durable


async def test_an_answer_is_durable_before_it_is_noted_and_noted_before_it_has_its_name(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    transaction: Callable[[JournalStore], AbstractContextManager[None]] = JournalStore.transaction
    replace = os.replace

    @contextmanager
    def committing(self: JournalStore) -> Generator[None, None, None]:
        before = len(steps)
        with transaction(self):
            yield
        if any(step.startswith("record") for step in steps[before:]):
            steps.append("commit")

    def replaced(old: str, new: str) -> None:
        steps.append(f"rename {Path(new).relative_to(out).parts[0]}")
        replace(old, new)

    def synced(_: GroupSync, files: list[str], folders: list[str]) -> tuple[list[None], list[None]]:
        steps.extend(["sync"] if files else [])
        steps.extend(f"sync folder {Path(folder).name}" for folder in folders)
        return [None] * len(files), [None] * len(folders)

    def noting(name: str, call: Any) -> Any:
        def noted(*args: Any, **more: Any) -> Any:
            steps.append(name)
            return call(*args, **more)

        return noted

    monkeypatch.setattr(JournalStore, "transaction", committing)
    monkeypatch.setattr(os, "replace", replaced)
    for name in ("record_received", "record_committed", "record_results"):
        monkeypatch.setattr(JournalStore, name, noting(name, getattr(JournalStore, name)))
    monkeypatch.setattr(GroupSync, "sync", synced)
    for module in (output_folder, results_file):
        monkeypatch.setattr(module, "sync_folder", lambda path: steps.append(f"sync folder {path.name}"))
    fill(source, "a.jpg")
    async with FakeService() as service:
        service.default = always(colorized=None)
        await restore(service, source, out)
    kinds = ("improved", "colorized_improved")
    moves = [step for kind in kinds for step in ("sync folder out", f"rename {kind}")]
    moves += [f"sync folder {kind}" for kind in kinds]
    start = steps.index("sync")
    end = steps.index("record_committed")
    assert steps[-2:] == ["rename results.jsonl", "sync folder out"]
    del steps[-2:]
    # Requests are committed too, at times of their own.
    assert [step for step in steps[start:end] if step != "commit"] == [
        *("sync", "record_received"),
        *moves,
    ]
    assert "commit" in steps[steps.index("record_received") : steps.index("rename improved")]
    assert steps[end:] in (
        ["record_committed", "commit", "record_results", "commit"],
        ["record_committed", "record_results", "commit"],
    )


# what it costs


async def test_max_photos_is_never_passed(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(30)))
    async with FakeService() as service:
        for run in (1, 2, 3):
            await restore(service, source, out, max_photos=10, limits=Limits(max_images=4))
            assert len(sent(service)) == 10 * run
        assert len(set(sent(service))) == 30
        assert outcomes(await restore(service, source, out, max_photos=0)) == dict.fromkeys(photos, "skipped")
    assert_right(out, photos)


async def test_max_photos_of_none_sends_none(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        assert await restore(service, source, out, max_photos=0) == []
        assert await restore(service, source, out, max_cost=0) == []
        assert sent(service) == []


@pytest.mark.slow
@pytest.mark.parametrize("bound", [1, 5, 20, 33, 50])
async def test_money_that_ends_while_the_service_is_down_ends_the_run(source: Path, out: Path, bound: int) -> None:
    fill(source, *(f"{number}.jpg" for number in range(12)))
    async with FakeService() as service:
        service.default = lambda _: http(503)
        async with asyncio.timeout(20):
            reported = await restore(
                service, source, out, limits=Limits(max_images=4), concurrency=2, max_cost=0.06 * bound
            )
        assert len(sent(service)) == bound
    assert not reported


@pytest.mark.slow
async def test_max_cost_is_never_passed_also_by_photos_that_are_sent_again(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(20)))
    tries: dict[bytes, int] = {}

    def often(request: Request) -> Answer:
        """Every image is answered the third time."""
        for image in request.images.values():
            tries[image] = tries.get(image, 0) + 1
        return items({name: {"status": 2} for name, image in request.images.items() if tries[image] < 3})

    async with FakeService() as service:
        service.default = often
        for run in range(1, 20):
            reported = await restore(service, source, out, max_cost=0.06 * 11 + 1e-6, limits=Limits(max_images=3))
            assert len(sent(service)) <= 11 * run
            if len(reported) == 20 and len(tree(out)) == 60:
                break
    assert_right(out, photos)


async def test_a_bad_bound_is_refused(source: Path, out: Path) -> None:
    async with FakeService() as service:
        for bound in ({"max_photos": -1}, {"max_cost": -0.1}, {"max_cost": float("nan")}):
            with pytest.raises(SmartyError, match="must not be negative"):
                await restore(service, source, out, **bound)
    assert not is_there(out)


# what it holds


@pytest.mark.slow
async def test_photos_alive_are_as_many_as_the_window_holds(source: Path, out: Path) -> None:
    data = jpeg(8, 6)
    fill(source)
    for number in range(600):
        (source / f"{number}.jpg").write_bytes(data + number.to_bytes(2, "big"))
    most = 0

    def alive() -> int:
        coroutines = (task.get_coro() for task in asyncio.all_tasks())
        return sum(getattr(coroutine, "__qualname__", "").endswith("._run_waiting") for coroutine in coroutines)

    async with FakeService() as service:

        def watched(request: Request) -> Answer:
            nonlocal most
            most = max(most, alive())
            return always(improved=None, colorized=None, colorized_improved=None)(request)

        service.default = watched
        async with client(service, concurrency=2, limits=Limits(max_images=16)) as open_client:
            run = open_client.improve_archive(source, out=out)
            count = 0
            async for _ in run:
                count += 1
                most = max(most, alive())
        assert len(sent(service)) == 600
    assert count == 600
    assert 32 <= most <= 2 * 16 * 3
    assert len(lines(out)) == 600


async def test_a_reader_who_takes_no_results_stops_the_run_and_not_the_machine(source: Path, out: Path) -> None:
    fill(source, *(f"{number}.jpg" for number in range(3)))
    gate = asyncio.Event()
    one_by_one = {"concurrency": 1, "limits": Limits(max_images=1)}
    async with FakeService() as service, client(service, **one_by_one) as open_client:
        service.script(ok(), ok(), hold(gate))
        run = open_client.improve_archive(source, out=out)
        run._unread = asyncio.Semaphore(1)
        reported = aiter(run)
        first = await anext(reported)
        await until(run._unread.locked)
        gate.set()
        await until(lambda: len(lines(out)) == 3)
        assert run.progress.done == 2
        assert len([first, *[result async for result in reported]]) == 3


# other forms


async def test_what_the_service_does_not_take_is_converted(source: Path, out: Path) -> None:
    fill(source)
    (source / "a.webp").write_bytes(webp())
    (source / "b.png").write_bytes(png())
    async with FakeService() as service:
        reported = await restore(service, source, out)
        assert {image[:4] for image in sent(service)} == {b"\x89PNG"}
        assert outcomes(reported) == {"a.webp": "restored", "b.png": "restored"}
        assert outcomes(await restore(service, source, out)) == {"a.webp": "skipped", "b.png": "skipped"}
    assert tree(out) == {f"{kind}/{output_of(name)}" for kind in IMPROVED for name in ("a.webp", "b.png")}
    assert not temporaries(out)


@pytest.mark.skipif(os.name == "nt", reason="Windows has its own errors for this")
async def test_a_mode_whose_outputs_are_refused_takes_nothing_from_the_other_one(source: Path, out: Path) -> None:
    fill(source, "sub/a.jpg")
    blocking = out / "improved/sub"

    async def block(request: Request) -> web.StreamResponse:
        blocking.parent.mkdir(parents=True, exist_ok=True)
        blocking.write_text("a file where a folder should be")
        return await response_of(envelope(200, answer_body(request, {}, {})), request)

    async with FakeService() as service:
        service.script(block)
        [result] = await restore(service, source, out, **BOTH)
        assert (result.outcome, list(result.outputs)) == ("failed", ["resolved"])
        assert result.error
        assert result.error.message.count("File exists") == 1, "one mode failed"
        blocking.unlink()
        [again] = await restore(service, source, out, **BOTH)
        assert (again.outcome, set(again.outputs)) == ("restored", set(EVERY))
        assert len(sent(service)) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has its own errors for this")
async def test_a_copy_whose_outputs_are_refused_fails_alone(source: Path, out: Path) -> None:
    copied = fill(source, "a/p.jpg")["a/p.jpg"]
    (source / "b").mkdir()
    (source / "b/p.jpg").write_bytes(copied)
    fill(source, *(f"c/{number}.jpg" for number in range(6)))

    async def block(request: Request) -> web.StreamResponse:
        (out / "improved").mkdir(exist_ok=True)
        (out / "improved/b").write_text("a file where a folder should be")
        return await response_of(envelope(200, answer_body(request, {}, {})), request)

    async with FakeService() as service:
        service.default = lambda _: block
        listed = [str(source / name) for name in ("a/p.jpg", "b/p.jpg", *(f"c/{number}.jpg" for number in range(6)))]
        reported = await restore(service, [], out, listed=listed, limits=Limits(max_images=2), concurrency=4)
        assert service.abandoned == 0
        assert len(sent(service)) == 7
    assert [(result.photo, result.attempts) for result in reported if result.outcome == "failed"] == [("b/p.jpg", 0)]


async def test_a_disk_that_refuses_ends_the_run_when_the_open_requests_are_answered(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = fill(source, *(f"{number}.jpg" for number in range(8)))["0.jpg"]
    move = output_folder.OutputDirectory.move

    async def moving(outputs: Any, moves: Sequence[OutputMove]) -> list[DiskError | None]:
        ended = iter(await move(outputs, [one for one in moves if one.place != "0.jpg"]))
        return [DiskError("cannot write '0.jpg'") if one.place == "0.jpg" else next(ended) for one in moves]

    monkeypatch.setattr(output_folder.OutputDirectory, "move", moving)
    answered = asyncio.Event()

    async def respond(request: Request) -> web.StreamResponse:
        if refused not in request.images.values():
            return await hold(answered, ok())(request)
        asyncio.get_running_loop().call_later(0.2, answered.set)
        return await ok()(request)

    async with FakeService() as service:
        service.default = lambda _: respond
        with pytest.raises(DiskError, match=r"cannot write '0\.jpg'"):
            await restore(service, source, out, limits=Limits(max_images=2), concurrency=4)
        assert service.abandoned == 0
        monkeypatch.undo()
        service.default = service.answer_rightly
        await restore(service, source, out, limits=Limits(max_images=2))
        assert len(sent(service)) == 8
    assert len(lines(out)) == 8
