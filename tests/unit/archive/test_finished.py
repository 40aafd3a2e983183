"""Photos that earlier runs have finished are taken out of a scan without an entry for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from smarty_async.archive.journal.finished import FinishedBatch
from smarty_async.archive.journal.lookup import EntryLookup
from smarty_async.archive.journal.records import FinishedPhoto, ReceivedAnswer, StoredOutput
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
    store: JournalStore, files: Sequence[PhotoFile], *specs: ModeSpec, outcome: Outcome = "restored", bw: bool = True
) -> None:
    """Finish `files` as a run does, with one output for each of `specs`."""
    kinds: dict[str, Kind] = {"improve": "improved", "resolution": "resolved"}
    for entry in store.look_up(files):
        answers = [ReceivedAnswer(entry, spec, {kinds[spec.mode]: StoredOutput("7", 5)}, bw) for spec in specs]
        store.record_received(answers)
        store.record_committed([(entry.id, spec) for spec in specs])
        store.record_results([FinishedPhoto(entry, entry.result(outcome, attempts=1), {})])
    store._lookup = EntryLookup(store.sql)  # another run


def taken(
    store: JournalStore, files: Sequence[PhotoFile], *specs: ModeSpec, missing: Iterable[str] = (), results: bool = True
) -> FinishedBatch:
    gone = set(missing)

    def no_output(kind: Kind, places: Collection[str]) -> list[str]:
        return [place for place in places if f"{kind}/{place}" in gone]

    return store.take_finished(files, specs or (IMPROVE,), missing=no_output, with_results=results)


@pytest.mark.parametrize("specs", [(IMPROVE,), (IMPROVE, TWICE)])
def test_a_finished_photo_has_the_result_that_its_entry_gives_it(
    store: JournalStore, specs: tuple[ModeSpec, ...]
) -> None:
    finish(store, photo_files(), *specs)
    batch = taken(store, photo_files(), *specs)
    assert (batch.rest, batch.count) == ([], len(NAMES))
    store._lookup = EntryLookup(store.sql)
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
    store._lookup = EntryLookup(store.sql)
    asked: dict[Kind, list[str]] = {}

    def none_missing(kind: Kind, places: Collection[str]) -> list[str]:
        asked[kind] = list(places)
        return []

    assert store.take_finished(photo_files(), (IMPROVE,), missing=none_missing, with_results=False).count == len(NAMES)
    assert asked == {kind: NAMES if kind == "improved" else NAMES[1::2] for kind in kinds}
    assert store.look_up(photo_files()) == []


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


@pytest.mark.parametrize("results", [True, False])
def test_a_photo_that_is_named_twice_is_counted_once(store: JournalStore, *, results: bool) -> None:
    finish(store, photo_files(), IMPROVE)
    files = photo_files()
    assert taken(store, [*files, *files], results=results).count == len(NAMES)
    assert taken(store, files, results=results) == FinishedBatch([])
    assert store.look_up(files) == []
