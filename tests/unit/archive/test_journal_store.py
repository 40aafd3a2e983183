from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from support.journals import begin_another_run

from smarty_async.archive.entries import FinishedPhoto, PhotoEntry, StoredOutput
from smarty_async.archive.journal import schema
from smarty_async.archive.journal.records import Counts, FailedPhoto, ReceivedAnswer, WantedAnswer, content_digest
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.store import OutputMove
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.errors import ConfigurationError, DiskError
from smarty_async.options import ModeSpec
from smarty_async.results import KINDS, ErrorInfo, Kind, Result

IMPROVE = ModeSpec("improve")
TWICE, FOUR_TIMES = ModeSpec("resolution", 2, "photo"), ModeSpec("resolution", 4, "photo")
NO = ErrorInfo("permanent", "no")
NOTHING = Counts(outcomes={}, images=0, images_paid=0)
UNREADABLE = ErrorInfo("unreadable", "cannot be read: Permission denied")


def photo_file(
    photo: str = "a.jpg", source: str = "/photos", *, size: int = 9, version: str = "7", **more: Any
) -> PhotoFile:
    return PhotoFile(source, photo, f"{source}/{photo}", size, version, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[JournalStore]:
    store = JournalStore(path)
    yield store
    store.close()


def again(store: JournalStore, photo: PhotoFile) -> PhotoEntry:
    """The entry as a later run looks it up."""
    begin_another_run(store)
    return store.look_up([photo])[0]


def make(
    store: JournalStore, entry: PhotoEntry, task: ModeSpec, *kinds: Any
) -> list[tuple[str, dict[Kind, StoredOutput]]]:
    """Finish `entry`; the outputs of earlier contents, see `JournalStore.record_results`."""
    store.record_received([ReceivedAnswer(entry, task, {kind: StoredOutput("7", 5) for kind in kinds}, bw=True)])
    store.record_committed([(entry.id, task)])
    return store.record_results([FinishedPhoto(entry, entry.result("restored", attempts=entry.attempts + 1), {})])


def fail(store: JournalStore, entry: PhotoEntry, *tasks: ModeSpec) -> None:
    store.record_results([FinishedPhoto(entry, entry.result("failed", error=NO, attempts=1), dict.fromkeys(tasks, NO))])


# places


def test_a_photo_keeps_its_entry_and_its_place(store: JournalStore) -> None:
    first = store.look_up([photo_file("b/a.png")])[0]
    assert (first.place, first.outcome, first.attempts) == ("b/a.png.jpg", None, 0)
    assert again(store, photo_file("b/a.png")) == first


def test_a_second_source_goes_under_its_own_name(store: JournalStore) -> None:
    entries = store.look_up([photo_file(source="/one"), photo_file(source="/two")])
    assert [entry.place for entry in entries] == ["a.jpg", "two/a.jpg"]
    assert again(store, photo_file(source="/two")).place == "two/a.jpg"


def test_a_third_source_with_the_same_path_is_refused_by_both_names(store: JournalStore) -> None:
    entries = store.look_up(
        [photo_file(source="/one"), photo_file(source="/x/two"), photo_file(source="/y/two"), photo_file("b.jpg")]
    )
    assert [entry.place for entry in entries] == ["a.jpg", "two/a.jpg", "", "b.jpg"]
    problem = entries[2].problem
    assert problem is not None
    assert problem.type == "collision"
    assert "'a.jpg'" in problem.message
    assert "'/one/a.jpg'" in problem.message
    store.record_results([FinishedPhoto(entries[2], entries[2].result("rejected", error=problem), {})])
    assert [result.source for result in store.results()] == ["/y/two"]
    assert again(store, photo_file(source="/y/two")).problem == problem


def test_the_root_of_the_disk_is_a_source_without_a_name(store: JournalStore) -> None:
    entries = store.look_up([photo_file(source="/one"), photo_file(source=Path(Path.cwd().anchor).as_posix())])
    assert entries[1].place == "root/a.jpg"


@pytest.mark.parametrize("names", [("x.jpg", "x.jpg/y.jpg"), ("x.jpg/y.jpg", "x.jpg"), ("x", "x.jpg/z/y.jpg")])
def test_an_output_does_not_take_the_name_of_a_folder(store: JournalStore, names: tuple[str, str]) -> None:
    entries = store.look_up([photo_file(names[0], "/one"), photo_file(names[1], "/two")])
    assert entries[1].place == f"two/{names[1]}"


def test_names_that_only_begin_alike_do_not_collide(store: JournalStore) -> None:
    names = ["a.jpg", "a.jpg0.jpg", "a.jpg-/b.jpg", "A.jpg"]
    assert [entry.place for entry in store.look_up(photo_file(name) for name in names)] == names


def test_an_unreadable_photo_gets_no_place(store: JournalStore) -> None:
    lost, photo = store.look_up([photo_file("sub", problem=UNREADABLE), photo_file("sub.jpg")])
    assert (lost.place, lost.problem, photo.place) == ("", UNREADABLE, "sub.jpg")
    assert again(store, photo_file("sub", source="/other")).place == "other/sub.jpg"


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_names_that_are_no_utf8_are_restored_exactly(store: JournalStore) -> None:
    name = os.fsdecode(b"\xff\xfe \n.jpg")
    entry = store.look_up([photo_file(name)])[0]
    assert os.fsencode(entry.place) == b"\xff\xfe \n.jpg"
    make(store, entry, IMPROVE, "improved")
    assert next(store.results()).outputs == {"improved": "improved/\\xff\\xfe \n.jpg"}
    assert again(store, photo_file(name)).place == name


# changes


def test_a_photo_that_is_named_twice_is_looked_up_once(store: JournalStore) -> None:
    for _ in ("new", "known"):
        assert len(store.look_up([photo_file(), photo_file()])) == 1
        assert store.look_up([photo_file()]) == []
        begin_another_run(store)


# how entries are met


@pytest.mark.slow
@given(st.lists(st.lists(st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 12)), max_size=8)), max_size=4))
def test_every_photo_has_one_entry_in_any_order_of_lookups(runs: list[list[list[tuple[str, int]]]]) -> None:
    with closing(JournalStore(Path(), opener=lambda _: schema.empty())) as store:
        numbers: dict[tuple[str, int], int] = {}
        for batches in runs:
            begin_another_run(store)
            seen: list[tuple[str, int]] = []
            for batch in batches:
                entries = store.look_up([photo_file(f"{name}.jpg", f"/{source}") for source, name in batch])
                new = [photo for photo in dict.fromkeys(batch) if photo not in seen]
                assert [(one.file.source, one.file.photo) for one in entries] == [(f"/{s}", f"{n}.jpg") for s, n in new]
                for photo, one in zip(new, entries, strict=True):
                    assert numbers.setdefault(photo, one.id) == one.id
                seen += new
        assert len(set(numbers.values())) == len(numbers)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_all_answers_are_found_in_any_order_of_lookups(store: JournalStore, order: int) -> None:
    photos = [photo_file(f"{number}.jpg") for number in range(600)]
    for entry in store.look_up(photos):
        for task in (IMPROVE, TWICE) if entry.id % 3 else ():
            make(store, entry, task, "improved")
    begin_another_run(store)
    entries = store.look_up(photos[::order], [IMPROVE, TWICE])
    assert [entry.file for entry in entries] == photos[::order]
    assert all(entry.has(IMPROVE) == entry.has(TWICE) == bool(entry.id % 3) for entry in entries)


@pytest.mark.slow
def test_photos_in_the_order_of_their_entries_are_read_by_id(store: JournalStore) -> None:
    photos = [photo_file(f"{number}.jpg") for number in range(600)]
    for entry in store.look_up(photos):
        make(store, entry, IMPROVE)
    begin_another_run(store)
    asked: list[str] = []
    store.sql.set_trace_callback(asked.append)
    del photos[500], photos[:10]  # gone since
    for start in range(0, len(photos), 100):
        assert len(store.look_up(photos[start : start + 100], [IMPROVE])) == len(photos[start : start + 100])
    assert len([query for query in asked if "WITH keys" in query]) == 6, "the first and the last of each hundred"


@pytest.mark.parametrize("change", [{"size": 10}, {"version": "8"}])
def test_a_changed_photo_is_reset(store: JournalStore, change: dict[str, Any]) -> None:
    make(store, store.look_up([photo_file()])[0], IMPROVE, "improved")
    assert again(store, photo_file()).has(IMPROVE)
    changed = again(store, photo_file(**change))
    assert not changed.has(IMPROVE)
    assert (changed.outcome, changed.attempts, changed.place) == (None, 1, "a.jpg")
    assert changed.result("failed").outputs == {}


def test_outputs_of_a_changed_photo_are_stale_until_they_are_forgotten(store: JournalStore) -> None:
    entry = store.look_up([photo_file("b/a.jpg")])[0]
    make(store, entry, IMPROVE, "improved", "colorized")
    make(store, entry, TWICE, "resolved")
    changed = again(store, photo_file("b/a.jpg", size=10))
    forgotten = make(store, changed, IMPROVE, "improved")
    assert forgotten == [("b/a.jpg", {"resolved": StoredOutput("7", 5)})]
    assert make(store, changed, IMPROVE, "improved") == []
    assert next(store.results()).outputs == {"improved": "improved/b/a.jpg"}


def test_former_outputs_of_a_mode_without_a_new_answer_stay_where_they_are(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    make(store, entry, IMPROVE, "improved")
    make(store, entry, TWICE, "resolved")
    changed = again(store, photo_file(size=10))
    elsewhere = store.give_distinct_place(changed.id, "improve")
    assert elsewhere is not None
    changed = again(store, photo_file(size=10))
    assert (changed.place, changed.answers) == (elsewhere, {})
    store.record_received([ReceivedAnswer(changed, IMPROVE, {"improved": StoredOutput("8", 6)}, bw=None)])
    store.record_committed([(changed.id, IMPROVE)])
    failed = FinishedPhoto(changed, changed.result("failed", error=NO), {TWICE: NO})
    assert store.record_results([failed]) == [("a.jpg", {"improved": StoredOutput("7", 5)})]
    assert make(store, changed, TWICE, "resolved") == [("a.jpg", {"resolved": StoredOutput("7", 5)})]
    assert make(store, changed, TWICE, "resolved") == []


def test_photos_without_former_outputs_cost_one_query_a_run(store: JournalStore) -> None:
    asked: list[str] = []
    store.sql.set_trace_callback(asked.append)
    for entry in store.look_up([photo_file(f"{name}.jpg") for name in "abc"]):
        make(store, entry, IMPROVE, "improved")
    for name in "abc":  # changed, and the outputs replaced
        make(store, again(store, photo_file(f"{name}.jpg", size=10)), IMPROVE, "improved")
    assert [query for query in asked if "former_outputs" in query] == ["SELECT DISTINCT photo FROM former_outputs"]


def test_failures_of_a_changed_photo_are_forgotten(store: JournalStore) -> None:
    fail(store, store.look_up([photo_file()])[0], IMPROVE)
    assert again(store, photo_file(size=10)).failures == {}


def test_an_unreadable_photo_is_not_taken_for_changed(store: JournalStore) -> None:
    make(store, store.look_up([photo_file()])[0], IMPROVE, "improved")
    lost = again(store, photo_file(size=0, version="0", problem=UNREADABLE))
    assert lost.has(IMPROVE)
    assert again(store, photo_file()).has(IMPROVE)


def test_a_modification_time_may_exceed_64_bits(store: JournalStore) -> None:
    far = photo_file(version=str(2**64 + 1))
    make(store, store.look_up([far])[0], IMPROVE, "improved")
    assert again(store, far).has(IMPROVE)
    assert not again(store, photo_file(version=str(2**64))).has(IMPROVE)


# what is reported of a photo that was seen before


def test_a_finished_photo_is_skipped(store: JournalStore) -> None:
    make(store, store.look_up([photo_file()])[0], IMPROVE, "improved")
    reported = again(store, photo_file()).end([IMPROVE], retry_failed=False)
    assert reported == Result(
        photo="a.jpg",
        source="/photos",
        outcome="skipped",
        outputs={"improved": "improved/a.jpg"},
        bw=True,
        attempts=1,
    )


def test_a_new_mode_and_another_factor_are_to_be_done(store: JournalStore) -> None:
    make(store, store.look_up([photo_file()])[0], TWICE, "resolved")
    entry = again(store, photo_file())
    assert entry.end([TWICE, IMPROVE], retry_failed=False) is None
    assert entry.end([FOUR_TIMES], retry_failed=False) is None


def test_a_failed_photo_stays_failed_without_retry_failed(store: JournalStore) -> None:
    fail(store, store.look_up([photo_file()])[0], IMPROVE)
    entry = again(store, photo_file())
    reported = entry.end([IMPROVE], retry_failed=False)
    assert reported is not None
    assert (reported.outcome, reported.error, reported.attempts) == ("failed", NO, 1)
    assert entry.end([IMPROVE], retry_failed=True) is None
    assert entry.end([IMPROVE, TWICE], retry_failed=False) is None


def test_a_rejected_photo_is_probed_again(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    store.record_results([FinishedPhoto(entry, entry.result("rejected", error=ErrorInfo("too_large", "…")), {})])
    assert again(store, photo_file()).end([IMPROVE], retry_failed=False) is None


def test_a_failure_keeps_the_answer_to_another_factor(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    make(store, entry, TWICE, "resolved")
    fail(store, entry, FOUR_TIMES)
    entry = again(store, photo_file())
    assert entry.has(TWICE)
    assert entry.failures == {str(FOUR_TIMES): NO}


def test_an_answer_received_after_a_failure_replaces_it_before_the_result_is_recorded(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    fail(store, entry, IMPROVE)
    store.record_received([ReceivedAnswer(entry, IMPROVE, {"improved": StoredOutput("7", 5)}, bw=None)])
    store.record_committed([(entry.id, IMPROVE)])
    entry = again(store, photo_file())
    assert (entry.has(IMPROVE), entry.failures, entry.outcome) == (True, {}, None)
    assert entry.end([IMPROVE], retry_failed=False) is None
    assert list(store.results()) == []
    assert list(store.failures()) == []


def test_a_received_answer_is_not_committed(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    store.record_received([ReceivedAnswer(entry, IMPROVE, {"improved": StoredOutput("7", 5)}, bw=False)])
    entry = again(store, photo_file())
    assert not entry.has(IMPROVE)
    assert entry.result("failed").outputs == {}


def test_received_answers_are_committed_or_forgotten(store: JournalStore) -> None:
    for entry in store.look_up([photo_file("a.jpg"), photo_file("b.jpg"), photo_file("c.jpg")]):
        store.record_received([ReceivedAnswer(entry, IMPROVE, {"improved": StoredOutput(entry.place, 5)}, bw=None)])
    store.record_committed([(3, IMPROVE)])
    recovered: list[tuple[str, Any]] = []

    def commit_received(move: OutputMove) -> bool:
        recovered.append((move.place, move.outputs))
        return move.place == "a.jpg"

    store.recover(commit_received)
    assert recovered == [(name, {"improved": StoredOutput(name, 5)}) for name in ("a.jpg", "b.jpg")]
    assert [again(store, photo_file(name)).has(IMPROVE) for name in ("a.jpg", "b.jpg", "c.jpg")] == [True, False, True]


# the whole


def test_counts_and_failures(store: JournalStore) -> None:
    entries = store.look_up(photo_file(f"{name}.jpg") for name in "abcd")
    make(store, entries[0], IMPROVE, "improved")
    fail(store, entries[1], IMPROVE)
    fail(store, entries[2], IMPROVE)
    assert store.counts().outcomes == {"restored": 1, "failed": 2, None: 1}
    assert [(result.outcome, result.error) for result in store.results()] == [
        ("restored", None),
        ("failed", NO),
        ("failed", NO),
    ]


def test_failures_are_listed_one_page_at_a_time(store: JournalStore) -> None:
    for entry in store.look_up(photo_file(f"{number}.jpg") for number in range(7)):
        if entry.id % 2:
            fail(store, entry, IMPROVE)
        else:
            make(store, entry, IMPROVE)
    first = store.failures(limit=3)
    assert first[0] == FailedPhoto(1, "0.jpg", "/photos", 1, "failed", NO)
    assert [failed.photo for failed in first] == ["0.jpg", "2.jpg", "4.jpg"]
    assert [failed.photo for failed in store.failures(after=first[-1].id, limit=3)] == ["6.jpg"]
    assert store.failures(after=7) == []


def test_images_of_refused_requests_are_sent_and_not_paid_for(store: JournalStore) -> None:
    numbers = [store.start_request(images=images, size=1000) for images in (48, 10, 7)]
    assert store.counts() == Counts(outcomes={}, images=65, images_paid=65)
    store.finish_request(numbers[0], "answered")
    store.finish_request(numbers[1], "refused")
    assert store.counts() == Counts(outcomes={}, images=65, images_paid=55)
    assert store.images_paid() == 55


def test_it_knows_whether_a_run_has_finished_a_photo(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    assert not store.has_finished
    store.record_results([FinishedPhoto(entry, entry.result("already_good"), {})])
    assert store.has_finished


def test_warnings_of_a_result_are_stored(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    result = structs.replace(entry.result("restored"), warnings=("its EXIF is malformed", "é"))
    store.record_results([FinishedPhoto(entry, result, {})])
    assert list(store.results()) == [result]


# pages


def test_each_page_of_a_file_has_its_entry_and_a_later_run_knows_them(store: JournalStore) -> None:
    file = photo_file("scan.tif")
    first = store.look_up([file], [IMPROVE])[0]
    assert (first.pages, first.file.other_pages(first.pages)) == (1, [])
    store.note_pages(first.id, 3)
    pages = [structs.replace(file, page=page) for page in (2, 3)]
    others = store.look_up(pages, [IMPROVE])
    assert [(entry.file.page, entry.place) for entry in others] == [
        (2, "scan.tif.page-2.jpg"),
        (3, "scan.tif.page-3.jpg"),
    ]
    for entry in (first, *others):
        make(store, entry, IMPROVE, "improved")
    assert [(result.photo, result.page, result.outputs["improved"]) for result in store.results()] == [
        ("scan.tif", 1, "improved/scan.tif.jpg"),
        ("scan.tif", 2, "improved/scan.tif.page-2.jpg"),
        ("scan.tif", 3, "improved/scan.tif.page-3.jpg"),
    ]
    later = again(store, file)
    assert later.file.other_pages(later.pages) == pages
    assert pages[0].other_pages(3) == []
    assert [entry.has(IMPROVE) for entry in store.look_up(pages)] == [True, True]
    assert later.end([IMPROVE], retry_failed=False) is not None


def test_a_failed_page_is_listed_with_its_number(store: JournalStore) -> None:
    fail(store, store.look_up([photo_file("scan.tif", page=12)])[0], IMPROVE)
    assert [(failed.photo, failed.page) for failed in store.failures()] == [("scan.tif", 12)]


def test_pages_of_one_file_are_no_duplicates_of_each_other(store: JournalStore) -> None:
    pages = [photo_file("scan.tif", page=page) for page in (1, 2, 3)]
    assert [entry.may_be_duplicate for entry in store.look_up(pages, [IMPROVE])] == [False] * 3
    assert [photo.page for photo in store.unhashed(9)] == [1, 2, 3]
    store.note_digests({number: content_digest(b"digest", page=number) for number in (1, 2, 3)})
    assert not any(content.shared for content in store.contents_of([1, 2, 3]).values())
    copies = store.look_up([photo_file("scan.tif-copy", page=page) for page in (1, 2, 3)], [IMPROVE])
    assert [entry.may_be_duplicate for entry in copies] == [True] * 3


def test_a_file_with_other_content_forgets_its_pages(store: JournalStore) -> None:
    store.note_pages(store.look_up([photo_file()])[0].id, 5)
    assert again(store, photo_file()).pages == 5
    assert again(store, photo_file(size=10)).pages == 1


# contents


def test_a_content_is_compared_when_only_the_version_has_changed(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    make(store, entry, IMPROVE, "improved")
    store.note_digests({entry.id: b"content"})
    changed = again(store, photo_file(version="8"))
    assert (changed.version_changed, changed.has(IMPROVE), changed.answers["improve"].state) == (
        True,
        False,
        "unverified",
    )
    assert changed.end([IMPROVE], retry_failed=False) is None
    assert changed.result("failed").outputs == {}
    verified = store.verify(changed, b"content")
    assert (verified.version_changed, verified.has(IMPROVE), verified.outcome) == (False, True, "restored")
    assert not again(store, photo_file(version="8")).version_changed


def test_another_content_makes_the_answers_stale(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    make(store, entry, IMPROVE, "improved")
    store.note_digests({entry.id: b"content"})
    verified = store.verify(again(store, photo_file(version="8")), b"another")
    assert (verified.version_changed, verified.has(IMPROVE), verified.outcome) == (False, False, None)
    assert store.contents_of([entry.id])[entry.id].digest == b"another"
    assert again(store, photo_file(version="8")).answers["improve"].state == "stale"


def test_a_content_that_was_not_compared_is_compared_by_the_next_run(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    make(store, entry, IMPROVE, "improved")
    store.note_digests({entry.id: b"content"})
    for _ in range(2):
        assert again(store, photo_file(version="8")).version_changed
    assert again(store, photo_file()).has(IMPROVE), "back at the former time"


def test_the_digest_is_stored_with_the_answer(store: JournalStore) -> None:
    entry = store.look_up([photo_file()])[0]
    store.record_received([ReceivedAnswer(entry, IMPROVE, {}, bw=None, digest=b"content")])
    assert store.contents_of([entry.id])[entry.id].digest == b"content"


def test_a_former_entry_is_followed_only_when_its_file_is_gone_and_was_not_looked_up(
    store: JournalStore, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "a.jpg").touch()
    former = store.look_up([photo_file(source=str(old))])[0]
    make(store, former, IMPROVE, "improved")
    store.note_digests({former.id: b"content"})
    here = again(store, photo_file(source=str(new)))
    assert here.place == "new/a.jpg"
    store.note_digests({here.id: b"content"})
    assert store.follow_moved(here) is here, "the file of the former entry exists"
    (old / "a.jpg").unlink()
    moved = store.follow_moved(here)
    assert (moved.id, moved.place, moved.outcome, moved.has(IMPROVE)) == (here.id, "a.jpg", "restored", True)
    assert [result.source for result in store.results()] == [str(new)]
    store.look_up([photo_file(source=str(new))])
    third = store.look_up([photo_file(source=str(tmp_path / "third"))])[0]
    store.note_digests({third.id: b"content"})
    assert store.follow_moved(third) is third, "the former entry was looked up in this run"


def test_a_moved_photo_without_a_free_place_gets_that_of_its_former_entry(store: JournalStore) -> None:
    sources = ("/one", "/x/two", "/y/two")
    first, second = store.look_up([photo_file(source="/one"), photo_file(source="/x/two")])
    for entry, digest in ((first, b"1"), (second, b"2")):
        make(store, entry, IMPROVE, "improved")
        store.note_digests({entry.id: digest})
    begin_another_run(store)
    moved = store.look_up([photo_file(source=sources[2])], [IMPROVE])[0]
    assert moved.problem is not None
    assert moved.may_be_duplicate
    store.note_digests({moved.id: b"2"})
    followed = store.follow_moved(moved)
    assert (followed.problem, followed.place, followed.has(IMPROVE)) == (None, "two/a.jpg", True)


# the file


def test_a_transaction_is_all_or_nothing(store: JournalStore) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012 - it comes in the middle
        store.look_up([photo_file()])
        raise ZeroDivisionError
    assert store.counts() == NOTHING
    with store.transaction():
        assert store.look_up([photo_file()])[0].id == 1


def test_a_full_disk_is_a_disk_error_and_the_journal_stays_usable(store: JournalStore) -> None:
    pages = store.sql.execute("PRAGMA page_count").fetchone()[0]
    store.sql.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskError, match="full"), store.transaction():
        store.look_up(photo_file(f"{number}{'x' * 200}") for number in range(1000))
    store.sql.execute(f"PRAGMA max_page_count = {pages + 1000}")
    with store.transaction():
        assert len(store.look_up([photo_file()])) == 1


def test_sqlite_rolling_back_by_itself_does_not_hide_the_error(store: JournalStore) -> None:
    with pytest.raises(DiskError, match="the first"), store.transaction():  # noqa: PT012 - it comes in the middle
        store.sql.execute("ROLLBACK")
        raise sqlite3.OperationalError("the first")


def test_a_commit_that_fails_leaves_nothing_open(store: JournalStore) -> None:
    store.sql.execute("PRAGMA foreign_keys = ON")
    store.sql.execute("PRAGMA defer_foreign_keys = ON")
    with pytest.raises(DiskError, match="FOREIGN KEY"), store.transaction():  # noqa: PT012 - it comes in the middle
        store.sql.execute("PRAGMA defer_foreign_keys = ON")
        store.record_received([ReceivedAnswer(PhotoEntry(photo_file(), 99, ""), IMPROVE, {}, bw=None)])
    assert not store.sql.in_transaction


@pytest.mark.parametrize("opener", [schema.opened, schema.opened_to_read, schema.copied])
def test_a_journal_of_a_newer_version_is_not_touched(path: Path, opener: Any) -> None:
    JournalStore(path).close()
    sql = sqlite3.connect(path)
    sql.execute("PRAGMA user_version = 99")
    sql.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="newer version"):
        JournalStore(path, opener=opener)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opener", [schema.opened, schema.opened_to_read, schema.copied])
def test_garbage_is_no_journal(path: Path, opener: Any) -> None:
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(DiskError, match=r"the journal '.*' is damaged \(file is not a database\)"):
        JournalStore(path, opener=opener)
    assert path.read_bytes() == b"garbage" * 1000


@pytest.mark.parametrize("opener", [schema.opened, schema.opened_to_read, schema.copied])
def test_a_folder_is_no_journal(path: Path, opener: Any) -> None:
    path.mkdir()
    with pytest.raises(DiskError, match="cannot be used"):
        JournalStore(path, opener=opener)


@pytest.mark.parametrize("opener", [schema.opened_to_read, schema.copied])
def test_a_journal_on_a_read_only_disk_can_be_read(path: Path, opener: Any) -> None:
    JournalStore(path).close()
    log = path.with_name("journal.sqlite-wal")
    log.symlink_to(path.parent / "nowhere" / "log")  # so it cannot be created
    with closing(opener(path)) as sql:
        assert sql.execute("SELECT count(*) FROM photos").fetchone() == (0,)
    log.unlink()
    (log / "what a killed run left").mkdir(parents=True)  # something of a size that cannot be opened
    with pytest.raises(DiskError, match="after a run that was killed"):
        opener(path)


def test_an_empty_file_is_an_empty_journal(path: Path) -> None:
    path.touch()
    for opener in (schema.opened_to_read, schema.copied):
        store = JournalStore(path, opener=opener)
        assert store.counts() == NOTHING
        store.close()
    assert path.stat().st_size == 0


def test_a_journal_whose_tables_cannot_be_created_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_STEPS", ("CREATE TABLE photos (",))
    with pytest.raises(DiskError):
        JournalStore(path)
    monkeypatch.undo()
    JournalStore(path).close()


def test_a_damaged_journal_that_cannot_be_renamed_is_a_disk_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"garbage")

    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(DiskError, match=r"cannot rename .*journal\.sqlite'?: Operation not permitted"):
        schema.set_aside(path)
    assert path.read_bytes() == b"garbage"


def test_setting_aside_replaces_nothing(path: Path) -> None:
    for number in (1, 2):
        path.write_bytes(b"%d" % number)
        path.with_name(f"{path.name}-wal").write_bytes(b"wal %d" % number)
        assert schema.set_aside(path) == path.with_name(f"{path.name}.damaged-{number}")
    assert sorted((one.name, one.read_bytes()) for one in path.parent.iterdir()) == [
        ("journal.sqlite.damaged-1", b"1"),
        ("journal.sqlite.damaged-1-wal", b"wal 1"),
        ("journal.sqlite.damaged-2", b"2"),
        ("journal.sqlite.damaged-2-wal", b"wal 2"),
    ]


_VERSION_1 = """
CREATE TABLE photos (
    id INTEGER PRIMARY KEY, source BLOB NOT NULL, photo BLOB NOT NULL, place BLOB UNIQUE, size INTEGER NOT NULL,
    mtime_ns TEXT NOT NULL, outcome TEXT, bw INTEGER, attempts INTEGER NOT NULL DEFAULT 0, error_type TEXT, error TEXT,
    UNIQUE (source, photo)
);
CREATE TABLE answers (
    photo INTEGER NOT NULL REFERENCES photos (id), mode TEXT NOT NULL, task TEXT NOT NULL, state TEXT NOT NULL,
    outputs TEXT NOT NULL, bw INTEGER, PRIMARY KEY (photo, mode)
) WITHOUT ROWID;
CREATE INDEX kept ON answers (state) WHERE state = 'kept';
CREATE TABLE failures (
    photo INTEGER NOT NULL REFERENCES photos (id), task TEXT NOT NULL, type TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (photo, task)
) WITHOUT ROWID;
INSERT INTO photos (source, photo, place, size, mtime_ns, outcome, attempts)
    VALUES (x'2f70686f746f73', x'612e6a7067', x'612e6a7067', 9, '7', 'restored', 3);
INSERT INTO answers VALUES (1, 'improve', 'improve', 'placed', '{"improved":{"temporary":"7","size":5}}', 1);
PRAGMA user_version = 1;
"""


_VERSION_2 = (
    _VERSION_1
    + """
ALTER TABLE photos ADD COLUMN digest BLOB;
CREATE INDEX sizes ON photos (size);
CREATE INDEX digests ON photos (digest) WHERE digest > x'';
INSERT INTO photos (source, photo, place, size, mtime_ns, outcome, attempts, error_type, error, digest)
    VALUES (x'2f70686f746f73', x'622e6a7067', x'622e6a7067', 10, '8', 'failed', 2, 'permanent', 'no', x'0102');
INSERT INTO answers VALUES (2, 'resolution', 'resolution rfactor=2 rtype=photo', 'kept',
    '{"resolved":{"temporary":"9","size":6}}', NULL);
INSERT INTO failures VALUES (2, 'improve', 'permanent', 'no');
PRAGMA user_version = 2;
"""
)


@pytest.mark.parametrize("opener", [schema.opened, schema.opened_to_read, schema.copied])
def test_a_journal_of_version_1_is_migrated(path: Path, opener: Any) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(_VERSION_1)
    with closing(JournalStore(path, opener=opener)) as old:
        assert [(line.photo, line.outputs) for line in old.results()] == [("a.jpg", {"improved": "improved/a.jpg"})]
        assert old.counts() == Counts(outcomes={"restored": 1}, images=3, images_paid=3)
        entry, other = old.look_up([photo_file(), photo_file("b.jpg")], [IMPROVE])
        assert (entry.outcome, entry.attempts, entry.has(IMPROVE), entry.may_be_duplicate) == (
            "restored",
            3,
            True,
            False,
        )
        assert other.may_be_duplicate
        assert {photo.path for photo in old.unhashed(9)} == {"/photos/a.jpg", "/photos/b.jpg"}
        old.note_digests({entry.id: b"x", other.id: b"x"})
        assert [answer.place for answer in old.answers_to(WantedAnswer(b"x", IMPROVE, frozenset(KINDS)), other.id)] == [
            "a.jpg"
        ]
    with closing(sqlite3.connect(path)) as sql:
        version = sql.execute("PRAGMA user_version").fetchone()[0]
    assert version == (schema.VERSION if opener is schema.opened else 1)


@pytest.mark.parametrize("opener", [schema.opened, schema.opened_to_read, schema.copied])
def test_a_journal_of_version_2_is_migrated(path: Path, opener: Any) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(_VERSION_2)
    with closing(JournalStore(path, opener=opener)) as old:
        assert old.counts() == Counts(outcomes={"restored": 1, "failed": 1}, images=5, images_paid=5)
        assert [failed.photo for failed in old.failures()] == ["b.jpg"]
        first, second = old.look_up([photo_file(), photo_file("b.jpg", size=10, version="8")], [IMPROVE])
        assert first.has(IMPROVE)
        assert (second.pages, second.failures) == (1, {"improve": NO})
        assert {mode: answer.state for mode, answer in second.answers.items()} == {"resolution": "received"}
        recovered: list[str] = []
        old.recover(lambda move: not recovered.append(move.place))  # type: ignore[func-returns-value]
        assert recovered == ["b.jpg"]
        assert again(old, photo_file("b.jpg", size=10, version="8")).answers["resolution"].state == "committed"


def test_kinds_that_older_versions_noted_as_not_kept_are_known(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(_VERSION_1)
        colorized = {"temporary": "7", "size": 5, "dropped": ["improved", "colorized_improved"]}
        sql.execute("UPDATE answers SET outputs = ?", [msgspec.json.encode({"colorized": colorized}).decode()])
        sql.commit()
    with closing(JournalStore(path)) as old:
        [entry] = old.look_up([photo_file()], [IMPROVE])
    assert set(entry.answers["improve"].dropped) == {"improved", "colorized_improved"}
    assert set(entry.answers["improve"].outputs) == {"colorized"}


def test_only_a_run_creates_a_journal(path: Path) -> None:
    with pytest.raises(DiskError):
        JournalStore(path, opener=schema.opened_to_read)
    copy = JournalStore(path, opener=schema.copied)
    copy.look_up([photo_file()])
    copy.close()
    assert not path.exists()


def test_changes_to_a_copy_stay_there(path: Path, store: JournalStore) -> None:
    make(store, store.look_up([photo_file()])[0], IMPROVE, "improved")
    copy = JournalStore(path, opener=schema.copied)
    assert copy.look_up([photo_file()])[0].has(IMPROVE)
    copy.look_up([photo_file("b.jpg")])
    copy.close()
    assert store.counts().outcomes == {"restored": 1}


def test_reading_and_writing_do_not_wait_for_each_other(path: Path, store: JournalStore) -> None:
    with store.transaction():
        store.look_up([photo_file()])
        reader = JournalStore(path, opener=schema.opened_to_read)
        assert reader.counts() == NOTHING
        reader.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a?b#c %41 \n"
    folder.mkdir()
    JournalStore(folder / "journal.sqlite").close()
    assert (folder / "journal.sqlite").exists()


def test_results_that_nobody_reads_do_not_keep_the_journal_open(path: Path) -> None:
    store = JournalStore(path)
    for entry in store.look_up([photo_file("a.jpg"), photo_file("b.jpg")]):
        make(store, entry, IMPROVE, "improved")
    unread = store.results()
    store.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    del unread
