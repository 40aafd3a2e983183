from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from support.archives import STATE, lines
from support.permissions import without_privileges

from smarty_async.archive.entries import FinishedPhoto, PhotoEntry, StoredOutput
from smarty_async.archive.journal import schema
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.outputs.store import OutputRefused
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.errors import ConfigurationError, DiskError, DiskFull
from smarty_async.options import ModeSpec
from smarty_async.results import ErrorInfo

IMPROVE = ModeSpec("improve")
TMP = Path(STATE, "tmp")


class Place:
    """An output folder without a run."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.tmp = out / TMP
        self.tmp.mkdir(parents=True)
        self.path = out / STATE / "journal.sqlite"

    async def journal(self) -> Journal:
        return await Journal.open(self.path, outputs=OutputDirectory(self.out))

    def put(self, path: str, data: bytes) -> Path:
        whole = self.out / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(data)
        return whole


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "out")


def photo_file(name: str) -> PhotoFile:
    return PhotoFile("/photos", name, f"/photos/{name}", 9, "7")


def answer(entry: PhotoEntry) -> ReceivedAnswer:
    return ReceivedAnswer(entry, IMPROVE, {}, None)


async def record(journal: Journal, entry: PhotoEntry, outcome: Any = "already_good") -> None:
    error = ErrorInfo("permanent", "no") if outcome == "failed" else None
    await journal.record_results([FinishedPhoto(entry, entry.result(outcome, error=error), {})])


async def finish(journal: Journal, *names: str) -> None:
    for entry in await journal.look_up([photo_file(name) for name in names]):
        await record(journal, entry)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The transactions so far, one entry each."""
    seen: list[int] = []
    whole: Callable[[JournalStore], AbstractContextManager[None]] = JournalStore.transaction

    @contextmanager
    def counted(self: JournalStore) -> Generator[None, None, None]:
        with whole(self):
            yield
        seen.append(1)

    monkeypatch.setattr(JournalStore, "transaction", counted)
    return seen


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Generator[threading.Event, None, None]:
    """Holds the next look for interrupted work, in the journal's thread, until it is set."""
    event = threading.Event()
    whole = JournalStore.recover
    monkeypatch.setattr(JournalStore, "recover", lambda self, finish: event.wait(20) and whole(self, finish))
    yield event
    event.set()


async def test_calls_made_at_the_same_time_share_one_transaction(place: Place, commits: list[int]) -> None:
    journal = await place.journal()
    entries = await journal.look_up([photo_file(f"{number}.jpg") for number in range(100)])
    commits.clear()
    await asyncio.gather(*(record(journal, entry) for entry in entries))
    assert len(commits) == 1
    await journal.close()
    assert len(lines(place.out)) == 100


async def test_results_are_appended_during_the_run(place: Place) -> None:
    journal = await place.journal()
    await finish(journal, "a.jpg")
    assert [line["photo"] for line in lines(place.out)] == ["a.jpg"]
    await journal.close()


async def test_closing_rewrites_the_results_file(place: Place) -> None:
    journal = await place.journal()
    await finish(journal, "a.jpg", "b.jpg")
    await journal.close()
    # As a kill leaves it: a line lost, one torn, one twice.
    whole = (place.out / "results.jsonl").read_bytes()
    (place.out / "results.jsonl").write_bytes(whole.splitlines(keepends=True)[1] * 2 + whole[:30])
    await (await place.journal()).close()
    assert (place.out / "results.jsonl").read_bytes() == whole


async def test_a_photo_that_is_processed_again_has_one_line_at_the_end(place: Place) -> None:
    for outcome in ("failed", "already_good"):
        journal = await place.journal()
        await record(journal, (await journal.look_up([photo_file("a.jpg")]))[0], outcome)
        await journal.close()
    assert [line["outcome"] for line in lines(place.out)] == ["already_good"]


async def test_an_error_in_a_group_is_raised_by_every_call_of_it(place: Place) -> None:
    journal = await place.journal()
    entry, other = await journal.look_up([photo_file("a.jpg"), photo_file("b.jpg")])
    journal._store.record_received = lambda *_, **__: 1 // 0  # type: ignore[method-assign,assignment]
    journal.record_committed([answer(other)])
    notes = [journal.record_received([answer(entry)]), record(journal, other)]
    async with asyncio.timeout(20):
        reported = await asyncio.gather(*notes, return_exceptions=True)
    assert [type(error) for error in reported] == [ZeroDivisionError] * 2
    assert not (place.out / "results.jsonl").exists(), "a line of what was not noted"
    await record(journal, other)
    await journal.close()
    assert [line["photo"] for line in lines(place.out)] == ["b.jpg"]


async def test_after_an_error_of_a_call_without_a_waiter_every_call_fails(place: Place) -> None:
    journal = await place.journal()
    entry, other = await journal.look_up([photo_file("a.jpg"), photo_file("b.jpg")])
    await journal.record_received([answer(entry)])
    whole, journal._store.record_committed = journal._store.record_committed, lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
    journal.record_committed([answer(entry)])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await record(journal, other)
        journal._store.record_committed = whole  # type: ignore[method-assign]
    await journal.close()
    assert lines(place.out) == []


async def test_errors_of_calls_without_a_waiter_are_not_logged_by_asyncio(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    journal = await place.journal()
    entries = await journal.look_up([photo_file("a.jpg"), photo_file("b.jpg")])
    journal._store.record_committed = lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
    for entry in entries:
        journal.record_committed([answer(entry)])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await record(journal, entries[0])
    await journal.close()
    del journal
    gc.collect()
    assert not caplog.records


async def test_a_cancelled_call_is_written_nevertheless(place: Place) -> None:
    journal = await place.journal()
    entries = await journal.look_up([photo_file("a.jpg"), photo_file("b.jpg")])
    notes = [asyncio.create_task(record(journal, entry)) for entry in entries]
    await asyncio.sleep(0)
    notes[0].cancel()
    await asyncio.wait(notes)
    await journal.close()
    assert len(lines(place.out)) == 2


async def test_a_cancelled_call_does_not_hide_the_error_from_the_others(place: Place) -> None:
    journal = await place.journal()
    entries = await journal.look_up([photo_file("a.jpg"), photo_file("b.jpg")])
    journal._store.record_results = lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
    notes = [asyncio.create_task(record(journal, entry)) for entry in entries]
    await asyncio.sleep(0)
    notes[0].cancel()
    await asyncio.wait(notes)
    assert isinstance(notes[1].exception(), ZeroDivisionError)
    await journal.close()


async def test_closing_waits_for_updates_that_are_not_awaited(place: Place) -> None:
    journal = await place.journal()
    entry = (await journal.look_up([photo_file("a.jpg")]))[0]
    await journal.record_received([answer(entry)])
    journal.record_committed([answer(entry)])
    await journal.close()
    store = JournalStore(place.path)
    assert store.look_up([photo_file("a.jpg")])[0].has(IMPROVE)
    store.close()


async def test_a_cancelled_close_closes_nevertheless(place: Place) -> None:
    journal = await place.journal()
    entry = (await journal.look_up([photo_file("a.jpg")]))[0]
    noting = asyncio.create_task(record(journal, entry))
    await asyncio.sleep(0)
    closing = asyncio.create_task(journal.close())
    for _ in range(2):
        await asyncio.sleep(0)
        closing.cancel()
    await asyncio.wait([closing, noting])
    assert closing.cancelled()
    assert len(lines(place.out)) == 1
    with pytest.raises(Exception, match="closed"):
        journal._store.counts()


async def test_a_cancelled_open_leaves_nothing_open(place: Place, held: threading.Event) -> None:
    opening = asyncio.create_task(place.journal())
    while not place.path.exists():  # noqa: ASYNC110 - a file tells no event
        await asyncio.sleep(0.001)
    opening.cancel()
    await asyncio.sleep(0)
    opening.cancel()
    held.set()
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert not place.path.with_name("journal.sqlite-wal").exists(), "it is still open"


async def test_a_cancelled_open_that_fails_raises_its_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(JournalStore, "recover", lambda *_: (held.wait(20), 1 // 0))
    opening = asyncio.create_task(place.journal())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.sleep(0)
    held.set()
    await asyncio.wait([opening])
    assert isinstance(opening.exception(), ZeroDivisionError)


async def test_a_journal_of_a_newer_version_is_refused(place: Place) -> None:
    JournalStore(place.path).close()
    sql = sqlite3.connect(place.path)
    sql.execute("PRAGMA user_version = 99")
    sql.close()
    with pytest.raises(ConfigurationError, match="newer"):
        await place.journal()


async def test_an_unwritable_results_file_is_an_error_and_the_journal_is_closed(place: Place) -> None:
    journal = await place.journal()
    entry = (await journal.look_up([photo_file("a.jpg")]))[0]
    (place.out / "results.jsonl").mkdir()
    with pytest.raises(DiskError, match=r"results\.jsonl"):
        await record(journal, entry)
    with pytest.raises(DiskError, match=r"results\.jsonl"):
        await journal.close()
    (place.out / "results.jsonl").rmdir()
    await (await place.journal()).close()
    assert [line["photo"] for line in lines(place.out)] == ["a.jpg"]


async def test_an_sqlite_error_at_the_end_is_a_disk_error(place: Place) -> None:
    journal = await place.journal()
    await asyncio.get_running_loop().run_in_executor(journal._thread, journal._store.sql.execute, "DROP TABLE photos")
    with pytest.raises(DiskError, match="no such table"):
        await journal.close()


# requests


async def test_a_request_is_durable_before_it_is_sent_and_counts_as_paid_until_it_is_refused(place: Place) -> None:
    journal = await place.journal()
    first = await journal.started(images=48, size=1000)
    with closing(sqlite3.connect(place.path)) as reader:
        assert reader.execute("SELECT images, bytes, state FROM requests").fetchall() == [(48, 1000, "open")]
    second = await journal.started(images=7, size=10)
    assert await journal.images_paid() == 55
    journal.finished(first, state="answered")
    journal.finished(second, state="refused")
    assert await journal.images_paid() == 48
    await journal.close()
    store = JournalStore(place.path)
    assert (store.counts().images, store.counts().images_paid) == (55, 48)
    store.close()


async def test_outputs_that_have_no_room_on_the_disk(place: Place) -> None:
    journal = await place.journal()
    await journal.check_disk_space(1)
    with pytest.raises(DiskFull, match=r"nearly full: [\d,]+ MB are free"):
        await journal.check_disk_space(1 << 60)
    await journal.close()


async def test_requests_that_start_at_the_same_time_share_one_transaction(place: Place, commits: list[int]) -> None:
    journal = await place.journal()
    commits.clear()
    numbers = await asyncio.gather(*(journal.started(images=1, size=1) for _ in range(50)))
    assert len(set(numbers)) == 50
    assert len(commits) == 1
    await journal.close()


async def test_pages_are_noted_once(place: Place, commits: list[int]) -> None:
    journal = await place.journal()
    [entry] = await journal.look_up([photo_file("scan.tif")])
    await journal.note_pages(entry, 3)
    store = JournalStore(place.path)
    [again] = store.look_up([photo_file("scan.tif")])
    store.close()
    assert again.pages == 3
    commits.clear()
    await journal.note_pages(again, 3)
    assert commits == []
    await journal.close()


async def test_without_another_thread_opening_is_a_clear_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        with pytest.raises(DiskError, match="no more threads"):
            await place.journal()
    await (await place.journal()).close()


# what an interrupted run left


def interrupted(place: Place, outputs: dict[Any, StoredOutput], *, path: str = "sub/a.jpg") -> None:
    """The state of a run that was killed after it had received an answer and before it had committed it."""
    store = JournalStore(place.path)
    entry = store.look_up([photo_file(path)])[0]
    store.record_received([ReceivedAnswer(entry, IMPROVE, outputs, bw=True)])
    store.close()


def refuse_renames_across_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the folder of improved outputs be on another disk than the others."""
    replace = os.replace

    def replace_on_one_disk(old: str, new: str) -> None:
        if ("improved" in Path(new).parts) != ("improved" in Path(old).parts):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(old, new)

    monkeypatch.setattr(os, "replace", replace_on_one_disk)


async def outputs_of(place: Place) -> dict[str, bytes]:
    """The outputs on the disk and in the journal after the next run has begun."""
    journal = await place.journal()
    entry = (await journal.look_up([photo_file("sub/a.jpg")]))[0]
    await journal.close()
    known = {f"{kind}/{entry.place}" for answer in entry.answers.values() for kind in answer.outputs}
    assert all(answer.state == "committed" for answer in entry.answers.values())
    files = {path for path in place.out.rglob("*.jpg") if STATE not in path.parts}
    assert known == {path.relative_to(place.out).as_posix() for path in files}
    return {path.relative_to(place.out).parts[0]: path.read_bytes() for path in files}


async def test_killed_before_the_first_move(place: Place) -> None:
    place.put(f"{TMP}/3", b"first")
    place.put(f"{TMP}/4", b"other!")
    interrupted(place, {"improved": StoredOutput("3", 5), "colorized": StoredOutput("4", 6)})
    assert await outputs_of(place) == {"improved": b"first", "colorized": b"other!"}


async def test_killed_between_two_moves(place: Place) -> None:
    place.put("improved/sub/a.jpg", b"first")
    place.put(f"{TMP}/4", b"other!")
    interrupted(place, {"improved": StoredOutput("3", 5), "colorized": StoredOutput("4", 6)})
    assert await outputs_of(place) == {"improved": b"first", "colorized": b"other!"}


async def test_killed_after_the_last_move(place: Place) -> None:
    place.put("improved/sub/a.jpg", b"first")
    interrupted(place, {"improved": StoredOutput("3", 5)})
    assert await outputs_of(place) == {"improved": b"first"}


async def test_killed_before_an_output_of_an_earlier_content_was_replaced(place: Place) -> None:
    place.put("improved/sub/a.jpg", b"of the former photo")
    place.put(f"{TMP}/3", b"first")
    interrupted(place, {"improved": StoredOutput("3", 5, replaces=len(b"of the former photo"))})
    assert await outputs_of(place) == {"improved": b"first"}


@pytest.mark.parametrize("on_another_disk", [False, True])
@pytest.mark.parametrize("replaces", [None, 19], ids=["new", "in place of an earlier one"])
async def test_killed_between_two_moves_and_the_second_name_is_taken_since(
    place: Place, monkeypatch: pytest.MonkeyPatch, replaces: int | None, *, on_another_disk: bool
) -> None:
    moved = place.put("improved/sub/a.jpg", b"first")
    theirs = place.put("colorized/sub/a.jpg", b"retouched by hand")
    place.put(f"{TMP}/4", b"other!")
    interrupted(place, {"improved": StoredOutput("3", 5), "colorized": StoredOutput("4", 6, replaces=replaces)})
    if on_another_disk:
        refuse_renames_across_disks(monkeypatch)
    journal = await place.journal()
    [entry] = await journal.look_up([photo_file("sub/a.jpg")])
    await journal.close()
    assert entry.has(IMPROVE), "it would be sent and paid for again"
    assert (place.out / "improved" / entry.place).read_bytes() == b"first"
    assert (place.out / "colorized" / entry.place).read_bytes() == b"other!"
    assert theirs.read_bytes() == b"retouched by hand"
    assert not moved.exists()


async def test_killed_between_two_moves_and_there_is_no_other_place(place: Place) -> None:
    """What was received waits whole, until the name is free."""
    place.put("improved/sub/a.jpg", b"first")
    theirs = place.put("colorized/sub/a.jpg", b"somebody's")
    place.put(f"{TMP}/4", b"other!")
    interrupted(place, {"improved": StoredOutput("3", 5), "colorized": StoredOutput("4", 6)})
    store = JournalStore(place.path)
    [entry] = store.look_up([photo_file("sub/a.jpg")])
    enlarged = ReceivedAnswer(entry, ModeSpec("resolution", 2, "photo"), {}, None)
    store.record_received([enlarged])
    store.record_committed([(entry.id, enlarged.spec)])
    store.close()
    for _ in range(2):
        journal = await place.journal()
        assert journal.temporaries == {"3", "4"}
        await journal.close()
    theirs.unlink()
    assert await outputs_of(place) == {"improved": b"first", "colorized": b"other!"}


@pytest.mark.parametrize("is_folder", [False, True])
async def test_a_recovered_output_replaces_no_file_that_no_run_made(place: Place, *, is_folder: bool) -> None:
    foreign = place.put("improved/sub/a.jpg/x" if is_folder else "improved/sub/a.jpg", b"retouched by hand")
    place.put(f"{TMP}/3", b"first")
    interrupted(place, {"improved": StoredOutput("3", 5)})
    journal = await place.journal()
    [entry] = await journal.look_up([photo_file("sub/a.jpg")])
    await journal.close()
    assert entry.has(IMPROVE)
    assert entry.place.startswith("sub/a~")
    assert (place.out / "improved" / entry.place).read_bytes() == b"first"
    assert foreign.read_bytes() == b"retouched by hand"


async def test_an_answer_without_outputs_is_an_answer(place: Place) -> None:
    interrupted(place, {})
    assert await outputs_of(place) == {}
    store = JournalStore(place.path)
    assert store.look_up([photo_file("sub/a.jpg")])[0].has(IMPROVE)
    store.close()


@pytest.mark.parametrize("there", [None, b"of another size"])
async def test_a_received_answer_whose_output_is_lost_is_forgotten(place: Place, there: bytes | None) -> None:
    if there is not None:
        place.put("improved/sub/a.jpg", there)
    interrupted(place, {"improved": StoredOutput("3", 5)})
    await (await place.journal()).close()
    store = JournalStore(place.path)
    assert store.look_up([photo_file("sub/a.jpg")])[0].answers == {}
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has its own errors for this")
async def test_outputs_refused_at_their_place_are_kept_and_placed_by_a_later_run(place: Place) -> None:
    place.put(f"{TMP}/3", b"first")
    blocked = place.put("improved/sub", b"a file")
    reason = "File exists"
    interrupted(place, {"improved": StoredOutput("3", 5)})
    for _ in range(2):
        journal = await place.journal()
        [warning] = journal.warnings
        assert re.search(f"Outputs of 1 photos.*{reason}", warning)
        entry, other = await journal.look_up([photo_file("sub/a.jpg"), photo_file("b.jpg")])
        for retry_failed in (False, True):
            result = entry.end([IMPROVE], retry_failed=retry_failed)
            assert result is not None, "it would be sent and paid for again"
            assert result.outcome == "failed"
            assert result.error is not None
            assert result.error.type == "output_refused"
            assert re.search(reason, result.error.message)
        assert other.problem is None
        failure = ErrorInfo("output_refused", "no")
        await journal.record_results([FinishedPhoto(entry, entry.result("failed", error=failure), {IMPROVE: failure})])
        await journal.close()
    blocked.unlink()
    journal = await place.journal()
    assert journal.warnings == []
    [entry] = await journal.look_up([photo_file("sub/a.jpg")])
    assert (entry.has(IMPROVE), entry.outcome, entry.failures, entry.problem) == (True, None, {}, None)
    await journal.close()
    assert (place.out / "improved/sub/a.jpg").read_bytes() == b"first"


@pytest.mark.skipif(os.name == "nt", reason="Windows has its own limits")
async def test_a_path_that_is_too_long_blocks_no_later_run(place: Place) -> None:
    deep = "/".join(["d" * 250] * 17)  # longer than a path may be, wherever the test runs
    place.put(f"{TMP}/3", b"first")
    interrupted(place, {"improved": StoredOutput("3", 5)}, path=f"{deep}/a.jpg")
    journal = await place.journal()
    assert "File name too long" in journal.warnings[0]
    await journal.close()
    assert (place.tmp / "3").exists()
    (place.tmp / "3").unlink()
    journal = await place.journal()
    assert "File name too long" in journal.warnings[0]
    await journal.close()


async def test_outputs_that_may_not_be_written_end_the_run_as_they_do_when_they_are_received(place: Place) -> None:
    place.put(f"{TMP}/3", b"first")
    interrupted(place, {"improved": StoredOutput("3", 5)})
    folder = place.out / "improved"
    folder.mkdir(mode=0o555)
    with without_privileges(), pytest.raises(DiskError, match=r"cannot write '.*a\.jpg': Permission denied") as denied:
        await place.journal()
    assert not isinstance(denied.value, OutputRefused)
    assert denied.value.errno == errno.EACCES
    folder.chmod(0o755)
    assert await outputs_of(place) == {"improved": b"first"}


async def test_a_disk_that_ends_the_recovery_loses_no_output_that_was_committed_elsewhere(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("improved/sub/a.jpg", b"retouched by hand")
    for name, path in (("3", "sub/a.jpg"), ("4", "sub/b.jpg")):
        place.put(f"{TMP}/{name}", b"first")
        interrupted(place, {"improved": StoredOutput(name, 5)}, path=path)
    replace = os.replace

    def full(old: str, new: str) -> None:
        if new.endswith("b.jpg"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(DiskError, match="No space left"):
            await place.journal()
    journal = await place.journal()
    entries = await journal.look_up([photo_file("sub/a.jpg"), photo_file("sub/b.jpg")])
    await journal.close()
    assert [(entry.has(IMPROVE), (place.out / "improved" / entry.place).read_bytes()) for entry in entries] == [
        (True, b"first"),
        (True, b"first"),
    ]


async def test_an_output_folder_on_another_disk_blocks_no_later_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put(f"{TMP}/3", b"first")
    interrupted(place, {"improved": StoredOutput("3", 5)})
    refuse_renames_across_disks(monkeypatch)
    assert await outputs_of(place) == {"improved": b"first"}


async def test_outputs_of_an_earlier_content_are_removed_when_the_new_one_succeeds(place: Place) -> None:
    journal = await place.journal()
    entry = (await journal.look_up([photo_file("a.jpg")]))[0]
    old = place.put("resolved/a.jpg", b"old")
    enlarged = [ReceivedAnswer(entry, ModeSpec("resolution", 2, "photo"), {"resolved": StoredOutput("3", 3)}, None)]
    await journal.record_received(enlarged)
    journal.record_committed(enlarged)
    await record(journal, entry)
    await journal.close()
    changed = PhotoFile("/photos", "a.jpg", "/photos/a.jpg", 10, "7")
    for outcome, stays in (("failed", True), ("already_good", False)):
        journal = await place.journal()
        await record(journal, (await journal.look_up([changed]))[0], outcome)
        assert old.exists() == stays, outcome
        await journal.close()
    assert json.loads((place.out / "results.jsonl").read_text())["outputs"] == {}


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (PurePosixPath("/out/a b/100%?#/journal"), "file:///out/a%20b/100%25%3F%23/journal"),
        (PureWindowsPath("C:/out/journal"), "file:///C:/out/journal"),
        (PureWindowsPath("//server/share/out/journal"), "file:////server/share/out/journal"),
    ],
)
def test_sqlite_is_given_no_host_that_it_would_refuse(path: PurePath, address: str) -> None:
    assert schema.address_of(path) == address


async def test_results_that_cannot_be_noted_concern_nothing_else_in_the_transaction(place: Place) -> None:
    journal = await place.journal()
    [entry] = await journal.look_up([photo_file("a.jpg")])
    (place.out / "results.jsonl").mkdir()
    recorded, number = await asyncio.gather(
        record(journal, entry), journal.started(images=3, size=9), return_exceptions=True
    )
    assert isinstance(recorded, DiskError)
    assert number == 1
    assert await journal.images_paid() == 3
    with pytest.raises(DiskError, match=r"results\.jsonl"):
        await record(journal, entry)
    (place.out / "results.jsonl").rmdir()
    await journal.close()
    assert [line["photo"] for line in lines(place.out)] == ["a.jpg"]
