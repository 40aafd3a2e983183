"""Photos that earlier runs have finished are taken out of a scan without an entry for each."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.journals import begin_another_run

from smarty_async.archive.entries import FinishedPhoto, StoredOutput
from smarty_async.archive.journal import finished
from smarty_async.archive.journal.finished import FinishedBatch
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import ModeSpec
from smarty_async.results import ErrorInfo, Kind, Outcome

IMPROVE, TWICE = ModeSpec("improve"), ModeSpec("resolution", 2, "photo")
NAMES = [f"folder/{number}.jpg" for number in range(6)]


def photo_files(names: Iterable[str] = NAMES, **more: Any) -> list[PhotoFile]:
    return [PhotoFile("/photos", name, f"/photos/{name}", 9, "7", **more) for name in names]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JournalStore]:
    journal = JournalStore(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def finish(
    store: JournalStore,
    files: Sequence[PhotoFile],
    *specs: ModeSpec,
    outcome: Outcome = "restored",
    bw: bool | None = True,
) -> None:
    """Finish `files` as a run does, with one output for each of `specs`."""
    kinds: dict[str, Kind] = {"improve": "improved", "resolution": "resolved"}
    for entry in store.look_up(files):
        answers = [ReceivedAnswer(entry, spec, {kinds[spec.mode]: StoredOutput("7", 5)}, bw) for spec in specs]
        store.record_received(answers)
        store.record_committed([(entry.id, spec) for spec in specs])
        store.record_results([FinishedPhoto(entry, entry.result(outcome, attempts=1), {})])
    begin_another_run(store)


def taken(
    store: JournalStore, files: Sequence[PhotoFile], *specs: ModeSpec, missing: Iterable[str] = (), results: bool = True
) -> FinishedBatch:
    gone = set(missing)

    def no_output(outputs: Iterable[tuple[str, Collection[Kind]]]) -> list[str]:
        return [place for place, kinds in outputs if any(f"{kind}/{place}" in gone for kind in kinds)]

    return store.take_finished(files, specs or (IMPROVE,), missing=no_output, with_results=results)


@pytest.mark.parametrize("specs", [(IMPROVE,), (IMPROVE, TWICE)])
def test_a_finished_photo_has_the_result_that_its_entry_gives_it(
    store: JournalStore, specs: tuple[ModeSpec, ...]
) -> None:
    finish(store, photo_files(), *specs)
    batch = taken(store, photo_files(), *specs)
    assert (batch.rest, batch.count) == ([], len(NAMES))
    begin_another_run(store)
    entries = store.look_up(photo_files(), specs)
    assert batch.results == [entry.end(specs, retry_failed=False) for entry in entries]
    assert batch.results[0].bw is True


def test_they_may_be_counted_alone(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE)
    batch = taken(store, photo_files(), results=False)
    assert (batch.rest, batch.count, batch.results) == ([], len(NAMES), [])


@pytest.mark.parametrize("kinds", [("improved",), ("improved", "colorized")])
def test_counting_looks_for_every_output_of_a_batch(store: JournalStore, kinds: tuple[Kind, ...]) -> None:
    entries = store.look_up(photo_files())
    for number, entry in enumerate(entries):  # every second photo has one output, the others have `kinds`
        outputs = {kind: StoredOutput("7", 5) for kind in kinds[: number % 2 + 1]}
        store.record_received([ReceivedAnswer(entry, IMPROVE, outputs, bw=False)])
        store.record_committed([(entry.id, IMPROVE)])
        store.record_results([FinishedPhoto(entry, entry.result("restored", attempts=1), {})])
    begin_another_run(store)
    asked: list[tuple[str, tuple[Kind, ...]]] = []

    def none_missing(outputs: Iterable[tuple[str, Collection[Kind]]]) -> list[str]:
        asked.extend((place, tuple(of_place)) for place, of_place in outputs)
        return []

    assert store.take_finished(photo_files(), (IMPROVE,), missing=none_missing, with_results=False).count == len(NAMES)
    assert asked == [(name, kinds[: number % 2 + 1]) for number, name in enumerate(NAMES)]
    assert store.look_up(photo_files()) == []


@pytest.mark.parametrize("results", [True, False])
def test_a_photo_of_which_an_output_that_is_asked_for_was_not_kept_is_left(
    store: JournalStore, *, results: bool
) -> None:
    for number, entry in enumerate(store.look_up(photo_files())):
        dropped: tuple[Kind, ...] = ("colorized",) if number == 2 else ()
        store.record_received([ReceivedAnswer(entry, IMPROVE, {}, bw=False, dropped=dropped)])
        store.record_committed([(entry.id, IMPROVE)])
        store.record_results([FinishedPhoto(entry, entry.result("restored", attempts=1), {})])
    expected: dict[tuple[Kind, ...], list[str]] = {
        ("improved", "resolved"): [],
        ("improved", "colorized"): [NAMES[2]],
        (): [NAMES[2]],
    }
    for kinds, rest in expected.items():
        begin_another_run(store)
        batch = store.take_finished(photo_files(), (IMPROVE,), missing=lambda _: (), with_results=results, kinds=kinds)
        assert [file.photo for file in batch.rest] == rest
        assert batch.count == len(NAMES) - len(rest)


@pytest.mark.parametrize(
    "change",
    [{"size": 10}, {"version": "8"}, {"page": 2}, {"problem": ErrorInfo("unreadable", "no")}, {"source": "/others"}],
)
def test_counting_leaves_what_has_changed(store: JournalStore, change: dict[str, Any]) -> None:
    finish(store, photo_files(), IMPROVE, TWICE)
    files = photo_files()
    files[2] = msgspec.structs.replace(files[2], **change)
    batch = taken(store, files, IMPROVE, TWICE, missing=[f"resolved/{NAMES[1]}"], results=False)
    assert (batch.rest, batch.count) == ([files[1], files[2]], len(NAMES) - 2)


def test_counting_leaves_the_pages_of_a_file_apart(store: JournalStore) -> None:
    pages = [msgspec.structs.replace(photo_files()[1], page=page) for page in (1, 2)]
    finish(store, [photo_files()[0], pages[1], photo_files()[2]], IMPROVE)
    batch = taken(store, photo_files()[:3], results=False)
    assert (batch.rest, batch.count) == ([pages[0]], 2)


def test_counting_knows_a_photo_at_another_place(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE)
    store.sql.execute("UPDATE photos SET place = 'elsewhere.jpg' WHERE id = 3")
    batch = taken(store, photo_files(), missing=["improved/elsewhere.jpg"], results=False)
    assert (batch.rest, batch.count) == ([photo_files()[2]], len(NAMES) - 1)


RESULTS = pytest.mark.parametrize("results", [True, False])


@RESULTS
def test_a_photo_at_another_place_is_finished_when_its_outputs_are_there(store: JournalStore, *, results: bool) -> None:
    finish(store, photo_files(), IMPROVE)
    store.sql.execute("UPDATE photos SET place = 'elsewhere.jpg' WHERE id = 3")
    batch = taken(store, photo_files(), missing=[f"improved/{NAMES[2]}"], results=results)
    assert (batch.rest, batch.count) == ([], len(NAMES))
    if results:
        assert [batch.results[number].outputs["improved"] for number in (1, 2)] == [
            f"improved/{NAMES[1]}",
            "improved/elsewhere.jpg",
        ]


@RESULTS
def test_any_name_that_a_disk_takes_is_compared(store: JournalStore, *, results: bool) -> None:
    names = ["a,b.jpg", "a\nb.jpg", 'a"b.jpg', "a//b.jpg", "a'b.jpg", "фото.jpg", os.fsdecode(b"\xff.jpg"), "a"]
    finish(store, photo_files(names), IMPROVE)
    batch = taken(store, photo_files(names), results=results)
    assert (batch.rest, batch.count) == ([], len(names))
    assert taken(store, photo_files([*names[:3], "a", "b.jpg", *names[4:]])).rest == photo_files(["b.jpg"])


@RESULTS
def test_photos_of_several_runs_are_found_in_one_batch(store: JournalStore, *, results: bool) -> None:
    folders = [[f"{folder}/{number:02}.jpg" for number in range(50)] for folder in "abc"]
    for run in (2, 0, 1):
        finish(store, photo_files(folders[run]), IMPROVE)
    new = [f"new/{number}.jpg" for number in range(50)]
    names = [*folders[0], *folders[1], *folders[2]]
    batch = taken(store, photo_files([*new[:2], *names[:100], *new[2:48], *names[100:], *new[48:]]), results=results)
    assert batch.count == len(names) - len([file for file in batch.rest if file.photo not in new])
    assert batch.count >= len(names) - 4 * finished._SMALL_PART  # at the ends of the new ones
    assert [file.photo for file in batch.rest if file.photo in new] == new
    if results:
        left = {file.photo for file in batch.rest}
        assert [result.photo for result in batch.results] == [name for name in names if name not in left]


@RESULTS
def test_photos_of_several_sources_are_found_in_one_batch(store: JournalStore, *, results: bool) -> None:
    others = [msgspec.structs.replace(file, source="/others") for file in photo_files(NAMES[:3])]
    finish(store, photo_files(), IMPROVE)
    finish(store, others, IMPROVE)
    batch = taken(store, [*others, *photo_files()], results=results)
    assert (batch.rest, batch.count) == ([], len(NAMES) + 3)
    assert [result.source for result in batch.results] == (["/others"] * 3 + ["/photos"] * len(NAMES)) * results


@RESULTS
def test_a_photo_that_is_gone_leaves_the_others_finished(store: JournalStore, *, results: bool) -> None:
    finish(store, photo_files(), IMPROVE)
    there = photo_files([*NAMES[:2], *NAMES[3:]])
    batch = taken(store, there, results=results)
    assert (batch.rest, batch.count) == ([], len(there))
    assert [entry.file for entry in store.look_up(photo_files())] == [photo_files()[2]]


def test_each_result_has_its_own_figures(store: JournalStore) -> None:
    for number, bw in enumerate([True, False, None]):
        finish(store, [photo_files()[number]], IMPROVE, bw=bw)
    store.sql.execute("UPDATE photos SET attempts = id + 4")
    results = taken(store, photo_files()[:3]).results
    assert [(result.bw, result.attempts) for result in results] == [(True, 5), (False, 6), (None, 7)]


def test_the_order_of_the_photos_between_the_first_and_the_last_does_not_matter(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE)
    shuffled = [NAMES[0], *NAMES[4:0:-1], NAMES[5]]
    assert [result.photo for result in taken(store, photo_files(shuffled)).results] == shuffled


def test_new_photos_are_left(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE)
    new = photo_files(["folder/new.jpg"])
    known = photo_files()
    batch = taken(store, [*known[:3], *new, *known[3:]])
    assert (batch.rest, batch.count) == (new, len(NAMES))
    assert taken(store, photo_files(["folder/newer.jpg"])).rest == photo_files(["folder/newer.jpg"])
    assert taken(store, []).rest == []


@pytest.mark.parametrize(
    "change",
    [{"size": 10}, {"version": "8"}, {"page": 2}, {"problem": ErrorInfo("unreadable", "no")}, {"source": "/others"}],
)
def test_what_has_changed_is_left(store: JournalStore, change: dict[str, Any]) -> None:
    finish(store, photo_files(), IMPROVE)
    files = photo_files()
    files[2] = msgspec.structs.replace(files[2], **change)
    batch = taken(store, files)
    assert (batch.rest, batch.count) == ([files[2]], len(NAMES) - 1)


def test_what_misses_an_output_is_left(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE, TWICE)
    files = photo_files()
    batch = taken(store, files, IMPROVE, TWICE, missing=[f"resolved/{NAMES[1]}"])
    assert batch.rest == [files[1]]


def test_what_has_no_answer_to_one_of_the_modes_is_left(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE)
    files = photo_files()
    assert taken(store, files, IMPROVE, TWICE).rest == files
    assert taken(store, files, TWICE).rest == files


def test_what_has_more_answers_than_are_wanted_is_left(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE, TWICE)
    files = photo_files()
    assert taken(store, files, IMPROVE).rest == files  # its result names all outputs: its entry gives it


@pytest.mark.parametrize("outcome", ["failed", "rejected"])
def test_what_came_to_no_good_end_is_left(store: JournalStore, outcome: Outcome) -> None:
    finish(store, photo_files(), IMPROVE, outcome=outcome)
    files = photo_files()
    assert taken(store, files).rest == files


def test_an_answer_that_is_not_at_its_place_is_left(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE)
    store.sql.execute("UPDATE answers SET state = 'received' WHERE photo = 3")
    assert taken(store, photo_files()).rest == [photo_files()[2]]


def test_what_has_no_place_is_left(store: JournalStore) -> None:
    finish(store, photo_files(), IMPROVE)
    store.sql.execute("UPDATE photos SET place = NULL WHERE id = 3")
    assert taken(store, photo_files()).rest == [photo_files()[2]]


@RESULTS
def test_a_photo_that_is_named_twice_is_counted_once(store: JournalStore, *, results: bool) -> None:
    finish(store, photo_files(), IMPROVE)
    files = photo_files()
    assert taken(store, [*files, *files], results=results).count == len(NAMES)
    assert taken(store, files, results=results) == FinishedBatch([])
    assert store.look_up(files) == []
