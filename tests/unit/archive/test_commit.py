"""Answers made to last, by the group."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smarty_async.archive import commit
from smarty_async.archive.commit import OutputCommitter
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import PhotoEntry, ReceivedAnswer, StoredOutput
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs import placing
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.errors import DiskError
from smarty_async.options import ModeSpec

IMPROVE = ModeSpec("improve")


class Desk:
    """A workplace with a journal and what keeps answers."""

    def __init__(self, directory: OutputDirectory, journal: Journal) -> None:
        self.directory = directory
        self.journal = journal
        self.committer = OutputCommitter(directory, journal)

    async def received(self, name: str) -> ReceivedAnswer:
        """An answer to a photo, its output in a temporary."""
        [entry] = await self.journal.look_up([PhotoFile("/photos", name, f"/photos/{name}", 9, "7")])
        file = self.directory.open()
        await file.write([name.encode()])
        return ReceivedAnswer(entry, IMPROVE, {"improved": StoredOutput(file.name, len(name))}, None)

    def output(self, entry: PhotoEntry) -> Path:
        return self.directory.out / "improved" / entry.place


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    directory = OutputDirectory(tmp_path / "out")
    directory.lock()
    directory.clear()
    path = directory.state_dir / "journal.sqlite"
    results = directory.out / "results.jsonl"
    return Desk(directory, await Journal.open(path, results=results, temporary=directory.temporary, out=directory.out))


async def closed(desk: Desk) -> dict[str, bool]:
    """Whether the journal has each photo's answer at its place, after everything was closed."""
    await desk.committer.close()
    await desk.journal.close()
    desk.directory.release()
    store = JournalStore(desk.directory.state_dir / "journal.sqlite")
    names = sorted(name for (name,) in store._sql.execute("SELECT CAST(photo AS TEXT) FROM photos"))
    entries = store.look_up([PhotoFile("/photos", name, "", 9, "7") for name in names])
    store.close()
    return {entry.file.photo: entry.has(IMPROVE) for entry in entries}


async def test_many_answers_share_the_sync_of_their_folder(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [await desk.received(f"{number:03}.jpg") for number in range(100)]
    synced: list[Path] = []
    monkeypatch.setattr(placing, "sync_folder", synced.append)
    await asyncio.gather(*map(desk.committer.keep, answers))
    assert all(desk.output(answer.entry).read_bytes() == answer.entry.file.photo.encode() for answer in answers)
    assert synced.count(desk.directory.out / "improved") < 10
    assert set((await closed(desk)).values()) == {True}


async def test_whoever_comes_as_the_last_group_ends_is_not_forgotten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_GROUPS", 1)
    answers = [await desk.received(f"{name}.jpg") for name in "abc"]
    async with asyncio.timeout(20):
        for answer in answers:
            await desk.committer.keep(answer)
    assert set((await closed(desk)).values()) == {True}


async def test_what_the_disk_refuses_is_the_error_of_that_answer_alone(desk: Desk) -> None:
    answers = [await desk.received(f"{name}.jpg") for name in "abcd"]
    lost, _, blocked, _ = answers
    desk.directory.temporary(lost.outputs["improved"].temporary).unlink()
    desk.output(blocked.entry).mkdir(parents=True)
    told = await asyncio.gather(*map(desk.committer.keep, answers), return_exceptions=True)
    assert [type(error) for error in told] == [DiskError, type(None), DiskError, type(None)]
    assert await closed(desk) == {"a.jpg": False, "b.jpg": True, "c.jpg": False, "d.jpg": True}
    waiting = desk.directory.temporary(blocked.outputs["improved"].temporary)
    assert waiting.read_bytes() == b"c.jpg"  # the next run brings it to its place


async def test_a_journal_that_fails_is_the_error_of_all_and_hangs_nobody(desk: Desk) -> None:
    answers = [await desk.received(f"{name}.jpg") for name in "ab"]
    desk.journal._store.record_received = lambda *_, **__: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    async with asyncio.timeout(20):
        told = await asyncio.gather(*map(desk.committer.keep, answers), return_exceptions=True)
    assert [type(error) for error in told] == [ZeroDivisionError] * 2
    assert await closed(desk) == {"a.jpg": False, "b.jpg": False}


@pytest.mark.parametrize("turns", range(4))
async def test_whoever_stops_waiting_does_not_stop_it(desk: Desk, turns: int) -> None:
    answers = [await desk.received(f"{name}.jpg") for name in "abc"]
    (desk.directory.out / "improved").mkdir()
    desk.output(answers[2].entry).mkdir()
    waits = [asyncio.create_task(desk.committer.keep(answer)) for answer in answers]
    for _ in range(turns):
        await asyncio.sleep(0)
    for wait in (waits[0], waits[2]):
        wait.cancel()
    told = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(error) for error in told] == [asyncio.CancelledError, type(None), asyncio.CancelledError]
    # One that is cancelled before its first step never asked.
    assert await closed(desk) == {"a.jpg": turns > 0, "b.jpg": True, "c.jpg": False}


async def test_closing_waits_for_what_nobody_waits_for(desk: Desk) -> None:
    answer = await desk.received("a.jpg")
    wait = asyncio.create_task(desk.committer.keep(answer))
    await asyncio.sleep(0)
    wait.cancel()
    await desk.committer.close()
    assert desk.output(answer.entry).read_bytes() == b"a.jpg"
    assert await closed(desk) == {"a.jpg": True}
