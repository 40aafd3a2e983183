from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarty_async.archive import database
from smarty_async.archive.claims import Claims
from smarty_async.archive.entry import Claim, Kept
from smarty_async.archive.ledger import Ledger
from smarty_async.archive.walk import Found
from smarty_async.errors import ConfigurationError, DiskError
from smarty_async.options import Task
from smarty_async.results import ErrorInfo, Result

IMPROVE = Task("improve")
TWICE, FOUR_TIMES = Task("resolution", 2, "photo"), Task("resolution", 4, "photo")
NO = ErrorInfo("permanent", "no")
UNREADABLE = ErrorInfo("unreadable", "cannot be read: Permission denied")


def found(photo: str = "a.jpg", source: str = "/photos", *, size: int = 9, mtime_ns: int = 7, **more: Any) -> Found:
    return Found(source, photo, f"{source}/{photo}", size, mtime_ns, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    yield ledger
    ledger.close()


def again(ledger: Ledger, photo: Found) -> Claim:
    """The claim of a later run."""
    ledger._claims = Claims(ledger._sql)
    return ledger.claim([photo])[0]


def make(ledger: Ledger, claim: Claim, task: Task, *kinds: Any) -> None:
    """`claim` comes to a good end."""
    ledger.keep(claim.id, task, {kind: Kept("7", 5) for kind in kinds}, bw=True)
    ledger.placed(claim.id, task)
    ledger.record(claim.id, claim.result("restored", attempts=claim.attempts + 1), {})


def fail(ledger: Ledger, claim: Claim, *tasks: Task) -> None:
    ledger.record(claim.id, claim.result("failed", error=NO, attempts=1), dict.fromkeys(tasks, NO))


# places


def test_a_photo_keeps_its_entry_and_its_place(ledger: Ledger) -> None:
    first = ledger.claim([found("b/a.png")])[0]
    assert (first.place, first.outcome, first.attempts) == ("b/a.png.jpg", None, 0)
    assert again(ledger, found("b/a.png")) == first


def test_a_second_source_goes_under_its_own_name(ledger: Ledger) -> None:
    claims = ledger.claim([found(source="/one"), found(source="/two")])
    assert [claim.place for claim in claims] == ["a.jpg", "two/a.jpg"]
    assert again(ledger, found(source="/two")).place == "two/a.jpg"


def test_what_still_collides_is_refused_by_both_names(ledger: Ledger) -> None:
    claims = ledger.claim([found(source="/one"), found(source="/x/two"), found(source="/y/two"), found("b.jpg")])
    assert [claim.place for claim in claims] == ["a.jpg", "two/a.jpg", "", "b.jpg"]
    problem = claims[2].problem
    assert problem is not None
    assert problem.type == "collision"
    assert "'a.jpg'" in problem.message
    assert "'/one/a.jpg'" in problem.message
    ledger.record(claims[2].id, claims[2].result("rejected", error=problem), {})
    assert [result.source for result in ledger.results()] == ["/y/two"]
    assert again(ledger, found(source="/y/two")).problem == problem


def test_the_root_of_the_disk_is_a_source_that_has_no_name(ledger: Ledger) -> None:
    claims = ledger.claim([found(source="/one"), found(source=Path(Path.cwd().anchor).as_posix())])
    assert claims[1].place == "root/a.jpg"


@pytest.mark.parametrize("names", [("x.jpg", "x.jpg/y.jpg"), ("x.jpg/y.jpg", "x.jpg"), ("x", "x.jpg/z/y.jpg")])
def test_an_output_does_not_lie_where_a_folder_must(ledger: Ledger, names: tuple[str, str]) -> None:
    claims = ledger.claim([found(names[0], "/one"), found(names[1], "/two")])
    assert claims[1].place == f"two/{names[1]}"


def test_names_that_only_begin_alike_do_not_collide(ledger: Ledger) -> None:
    names = ["a.jpg", "a.jpg0.jpg", "a.jpg-/b.jpg", "A.jpg"]
    assert [claim.place for claim in ledger.claim(found(name) for name in names)] == names


def test_what_cannot_be_read_takes_no_place(ledger: Ledger) -> None:
    lost, photo = ledger.claim([found("sub", problem=UNREADABLE), found("sub.jpg")])
    assert (lost.place, lost.problem, photo.place) == ("", UNREADABLE, "sub.jpg")
    assert again(ledger, found("sub", source="/other")).place == "other/sub.jpg"


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_bytes_that_are_no_text_come_back_as_they_were(ledger: Ledger) -> None:
    name = os.fsdecode(b"\xff\xfe \n.jpg")
    claim = ledger.claim([found(name)])[0]
    assert os.fsencode(claim.place) == b"\xff\xfe \n.jpg"
    make(ledger, claim, IMPROVE, "improved")
    assert next(ledger.results()).outputs == {"improved": "improved/\\xff\\xfe \n.jpg"}
    assert again(ledger, found(name)).place == name


# changes


def test_a_photo_that_is_named_twice_is_claimed_once(ledger: Ledger) -> None:
    for _ in ("new", "known"):
        assert len(ledger.claim([found(), found()])) == 1
        assert ledger.claim([found()]) == []
        ledger._claims = Claims(ledger._sql)


# how entries are met


@given(st.lists(st.lists(st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 12)), max_size=8)), max_size=4))
def test_every_photo_has_one_entry_in_whatever_order_it_is_found(runs: list[list[list[tuple[str, int]]]]) -> None:
    with closing(Ledger(Path(), opener=lambda _: database.empty())) as ledger:
        numbers: dict[tuple[str, int], int] = {}
        for batches in runs:
            ledger._claims = Claims(ledger._sql)
            claimed: list[tuple[str, int]] = []
            for batch in batches:
                claims = ledger.claim([found(f"{name}.jpg", f"/{source}") for source, name in batch])
                new = [photo for photo in dict.fromkeys(batch) if photo not in claimed]
                assert [(one.found.source, one.found.photo) for one in claims] == [
                    (f"/{s}", f"{n}.jpg") for s, n in new
                ]
                for photo, one in zip(new, claims, strict=True):
                    assert numbers.setdefault(photo, one.id) == one.id
                claimed += new
        assert len(set(numbers.values())) == len(numbers)


@pytest.mark.parametrize("order", [1, -1])
def test_all_answers_of_each_photo_are_known_in_whatever_order_it_is_found(ledger: Ledger, order: int) -> None:
    photos = [found(f"{number}.jpg") for number in range(600)]
    for claim in ledger.claim(photos):
        for task in (IMPROVE, TWICE) if claim.id % 3 else ():
            make(ledger, claim, task, "improved")
    ledger._claims = Claims(ledger._sql)
    claims = ledger.claim(photos[::order], [IMPROVE, TWICE])
    assert [claim.found for claim in claims] == photos[::order]
    assert all(claim.has(IMPROVE) == claim.has(TWICE) == bool(claim.id % 3) for claim in claims)


def test_photos_found_in_the_order_of_their_entries_are_not_asked_for_by_name(ledger: Ledger) -> None:
    photos = [found(f"{number}.jpg") for number in range(600)]
    for claim in ledger.claim(photos):
        make(ledger, claim, IMPROVE)
    ledger._claims = Claims(ledger._sql)
    asked: list[str] = []
    ledger._sql.set_trace_callback(asked.append)
    del photos[500], photos[:10]  # gone since
    for start in range(0, len(photos), 100):
        assert len(ledger.claim(photos[start : start + 100], [IMPROVE])) == len(photos[start : start + 100])
    assert len([query for query in asked if "named" in query]) == 6, "the first and the last of each hundred"


@pytest.mark.parametrize("change", [{"size": 10}, {"mtime_ns": 8}])
def test_a_changed_photo_begins_anew(ledger: Ledger, change: dict[str, int]) -> None:
    make(ledger, ledger.claim([found()])[0], IMPROVE, "improved")
    assert again(ledger, found()).has(IMPROVE)
    changed = again(ledger, found(**change))
    assert not changed.has(IMPROVE)
    assert (changed.outcome, changed.attempts, changed.place) == (None, 1, "a.jpg")
    assert changed.result("failed").outputs == {}


def test_outputs_of_a_changed_photo_are_stale_until_they_are_forgotten(ledger: Ledger) -> None:
    claim = ledger.claim([found("b/a.jpg")])[0]
    make(ledger, claim, IMPROVE, "improved", "colorized")
    make(ledger, claim, TWICE, "resolved")
    changed = again(ledger, found("b/a.jpg", size=10))
    make(ledger, changed, IMPROVE, "improved")
    assert ledger.forget_stale(claim.id) == ["resolved/b/a.jpg"]
    assert ledger.forget_stale(claim.id) == []
    assert next(ledger.results()).outputs == {"improved": "improved/b/a.jpg"}


def test_failures_of_a_changed_photo_are_forgotten(ledger: Ledger) -> None:
    fail(ledger, ledger.claim([found()])[0], IMPROVE)
    assert again(ledger, found(size=10)).failures == {}


def test_a_photo_that_cannot_be_read_today_is_not_taken_for_changed(ledger: Ledger) -> None:
    make(ledger, ledger.claim([found()])[0], IMPROVE, "improved")
    lost = again(ledger, found(size=0, mtime_ns=0, problem=UNREADABLE))
    assert lost.has(IMPROVE)
    assert again(ledger, found()).has(IMPROVE)


def test_a_time_beyond_every_calendar_is_a_time_like_any_other(ledger: Ledger) -> None:
    far = found(mtime_ns=2**64 + 1)
    make(ledger, ledger.claim([far])[0], IMPROVE, "improved")
    assert again(ledger, far).has(IMPROVE)
    assert not again(ledger, found(mtime_ns=2**64)).has(IMPROVE)


# what is told of a photo that was seen before


def test_a_finished_photo_is_skipped(ledger: Ledger) -> None:
    make(ledger, ledger.claim([found()])[0], IMPROVE, "improved")
    told = again(ledger, found()).end([IMPROVE], retry_failed=False)
    assert told == Result(
        photo="a.jpg",
        source="/photos",
        outcome="skipped",
        outputs={"improved": "improved/a.jpg"},
        bw=True,
        attempts=1,
    )


def test_a_new_mode_and_another_factor_are_to_be_done(ledger: Ledger) -> None:
    make(ledger, ledger.claim([found()])[0], TWICE, "resolved")
    claim = again(ledger, found())
    assert claim.end([TWICE, IMPROVE], retry_failed=False) is None
    assert claim.end([FOUR_TIMES], retry_failed=False) is None


def test_a_failed_photo_is_told_as_failed_until_it_is_to_be_retried(ledger: Ledger) -> None:
    fail(ledger, ledger.claim([found()])[0], IMPROVE)
    claim = again(ledger, found())
    told = claim.end([IMPROVE], retry_failed=False)
    assert told is not None
    assert (told.outcome, told.error, told.attempts) == ("failed", NO, 1)
    assert claim.end([IMPROVE], retry_failed=True) is None
    assert claim.end([IMPROVE, TWICE], retry_failed=False) is None


def test_a_rejected_photo_is_looked_at_anew(ledger: Ledger) -> None:
    claim = ledger.claim([found()])[0]
    ledger.record(claim.id, claim.result("rejected", error=ErrorInfo("too_large", "…")), {})
    assert again(ledger, found()).end([IMPROVE], retry_failed=False) is None


def test_a_failure_does_not_make_an_answer_to_another_factor_forgotten(ledger: Ledger) -> None:
    claim = ledger.claim([found()])[0]
    make(ledger, claim, TWICE, "resolved")
    fail(ledger, claim, FOUR_TIMES)
    claim = again(ledger, found())
    assert claim.has(TWICE)
    assert claim.failures == {str(FOUR_TIMES): NO}


def test_what_was_kept_after_a_failure_is_no_failure_though_nobody_lived_to_tell(ledger: Ledger) -> None:
    claim = ledger.claim([found()])[0]
    fail(ledger, claim, IMPROVE)
    ledger.keep(claim.id, IMPROVE, {"improved": Kept("7", 5)}, bw=None)
    ledger.placed(claim.id, IMPROVE)
    claim = again(ledger, found())
    assert (claim.has(IMPROVE), claim.failures, claim.outcome) == (True, {}, None)
    assert claim.end([IMPROVE], retry_failed=False) is None
    assert list(ledger.results()) == []
    assert list(ledger.failures()) == []


def test_what_is_only_kept_does_not_stand(ledger: Ledger) -> None:
    claim = ledger.claim([found()])[0]
    ledger.keep(claim.id, IMPROVE, {"improved": Kept("7", 5)}, bw=False)
    claim = again(ledger, found())
    assert not claim.has(IMPROVE)
    assert claim.result("failed").outputs == {}


def test_kept_answers_are_finished_or_forgotten(ledger: Ledger) -> None:
    for claim in ledger.claim([found("a.jpg"), found("b.jpg"), found("c.jpg")]):
        ledger.keep(claim.id, IMPROVE, {"improved": Kept(claim.place, 5)}, bw=None)
    ledger.placed(3, IMPROVE)
    asked: list[Any] = []
    ledger.finish_kept(lambda *kept: asked.append(kept) or kept[0] == "a.jpg")
    assert asked == [(name, "improve", {"improved": Kept(name, 5)}) for name in ("a.jpg", "b.jpg")]
    assert [again(ledger, found(name)).has(IMPROVE) for name in ("a.jpg", "b.jpg", "c.jpg")] == [True, False, True]


# the whole


def test_counts_and_failures(ledger: Ledger) -> None:
    claims = ledger.claim(found(f"{name}.jpg") for name in "abcd")
    make(ledger, claims[0], IMPROVE, "improved")
    fail(ledger, claims[1], IMPROVE)
    fail(ledger, claims[2], IMPROVE)
    assert ledger.counts() == ({"restored": 1, "failed": 2, None: 1}, 3)
    assert list(ledger.failures()) == [("failed", "permanent", "no", 2, "b.jpg")]
    assert [(result.outcome, result.error) for result in ledger.results()] == [
        ("restored", None),
        ("failed", NO),
        ("failed", NO),
    ]


# the file


def test_a_transaction_is_all_or_nothing(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.transaction():  # noqa: PT012 - it comes in the middle
        ledger.claim([found()])
        raise ZeroDivisionError
    assert ledger.counts() == ({}, 0)
    with ledger.transaction():
        assert ledger.claim([found()])[0].id == 1


def test_a_full_disk_is_told_as_such_and_the_journal_goes_on(ledger: Ledger) -> None:
    pages = ledger._sql.execute("PRAGMA page_count").fetchone()[0]
    ledger._sql.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskError, match="full"), ledger.transaction():
        ledger.claim(found(f"{number}{'x' * 200}") for number in range(1000))
    ledger._sql.execute(f"PRAGMA max_page_count = {pages + 1000}")
    with ledger.transaction():
        assert len(ledger.claim([found()])) == 1


def test_sqlite_rolling_back_by_itself_does_not_hide_the_error(ledger: Ledger) -> None:
    with pytest.raises(DiskError, match="the first"), ledger.transaction():  # noqa: PT012 - it comes in the middle
        ledger._sql.execute("ROLLBACK")
        raise sqlite3.OperationalError("the first")


def test_a_commit_that_fails_leaves_nothing_open(ledger: Ledger) -> None:
    ledger._sql.execute("PRAGMA foreign_keys = ON")
    ledger._sql.execute("PRAGMA defer_foreign_keys = ON")
    with pytest.raises(DiskError, match="FOREIGN KEY"), ledger.transaction():  # noqa: PT012 - it comes in the middle
        ledger._sql.execute("PRAGMA defer_foreign_keys = ON")
        ledger.keep(99, IMPROVE, {}, bw=None)
    assert not ledger._sql.in_transaction


@pytest.mark.parametrize("opener", [database.opened, database.opened_to_read, database.copied])
def test_a_newer_version_is_left_alone(path: Path, opener: Any) -> None:
    Ledger(path).close()
    sql = sqlite3.connect(path)
    sql.execute("PRAGMA user_version = 99")
    sql.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="newer version"):
        Ledger(path, opener=opener)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opener", [database.opened, database.opened_to_read, database.copied])
def test_garbage_is_no_journal(path: Path, opener: Any) -> None:
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(DiskError, match=r"the journal '.*' is damaged \(file is not a database\)"):
        Ledger(path, opener=opener)
    assert path.read_bytes() == b"garbage" * 1000


@pytest.mark.parametrize("opener", [database.opened, database.opened_to_read, database.copied])
def test_a_folder_is_no_journal(path: Path, opener: Any) -> None:
    path.mkdir()
    with pytest.raises(DiskError, match="cannot be used"):
        Ledger(path, opener=opener)


def test_a_journal_that_was_never_finished_is_an_empty_one(path: Path) -> None:
    path.touch()
    for opener in (database.opened_to_read, database.copied):
        ledger = Ledger(path, opener=opener)
        assert ledger.counts() == ({}, 0)
        ledger.close()
    assert path.stat().st_size == 0


def test_a_journal_whose_tables_cannot_be_made_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_STEPS", ("CREATE TABLE photos (",))
    with pytest.raises(DiskError):
        Ledger(path)
    monkeypatch.undo()
    Ledger(path).close()


def test_a_damaged_journal_that_cannot_be_set_aside_is_our_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"garbage")

    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(DiskError, match=r"cannot rename .*journal\.sqlite'?: Operation not permitted"):
        database.set_aside(path)
    assert path.read_bytes() == b"garbage"


def test_what_is_set_aside_replaces_nothing(path: Path) -> None:
    for number in (1, 2):
        path.write_bytes(b"%d" % number)
        path.with_name(f"{path.name}-wal").write_bytes(b"wal %d" % number)
        assert database.set_aside(path) == path.with_name(f"{path.name}.damaged-{number}")
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


@pytest.mark.parametrize("opener", [database.opened, database.opened_to_read, database.copied])
def test_an_older_journal_is_understood(path: Path, opener: Any) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(_VERSION_1)
    with closing(Ledger(path, opener=opener)) as old:
        assert [(line.photo, line.outputs) for line in old.results()] == [("a.jpg", {"improved": "improved/a.jpg"})]
        if opener is database.opened_to_read:
            return
        claim, other = old.claim([found(), found("b.jpg")], [IMPROVE])
        assert (claim.outcome, claim.attempts, claim.has(IMPROVE), claim.alike) == ("restored", 3, True, False)
        assert other.alike
        assert {photo.path for photo in old.unread(9)} == {"/photos/a.jpg", "/photos/b.jpg"}
        old.note_digests({claim.id: b"x", other.id: b"x"})
        assert [answer.place for answer in old.answers_to(IMPROVE, other.id)] == ["a.jpg"]


def test_only_a_run_makes_a_journal(path: Path) -> None:
    with pytest.raises(DiskError):
        Ledger(path, opener=database.opened_to_read)
    copy = Ledger(path, opener=database.copied)
    copy.claim([found()])
    copy.close()
    assert not path.exists()


def test_notes_in_a_copy_stay_there(path: Path, ledger: Ledger) -> None:
    make(ledger, ledger.claim([found()])[0], IMPROVE, "improved")
    copy = Ledger(path, opener=database.copied)
    assert copy.claim([found()])[0].has(IMPROVE)
    copy.claim([found("b.jpg")])
    copy.close()
    assert ledger.counts() == ({"restored": 1}, 1)


def test_reading_and_writing_do_not_wait_for_each_other(path: Path, ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.claim([found()])
        reader = Ledger(path, opener=database.opened_to_read)
        assert reader.counts() == ({}, 0)
        reader.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a?b#c %41 \n"
    folder.mkdir()
    Ledger(folder / "journal.sqlite").close()
    assert (folder / "journal.sqlite").exists()
