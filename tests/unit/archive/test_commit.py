"""Received answers committed in groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from smarty_async.archive import commit
from smarty_async.archive.commit import CommittedAnswer, OutputCommitter
from smarty_async.archive.entries import PhotoEntry, StoredOutput
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.outputs.store import OutputRefused
from smarty_async.archive.outputs.sync import GroupSync
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.archive.threads import finish_despite_cancel
from smarty_async.errors import DiskError
from smarty_async.options import ModeSpec

IMPROVE = ModeSpec("improve")
ENLARGE = ModeSpec("resolution", 2, "photo")


class Storage:
    """An output folder with a journal and a committer."""

    def __init__(self, directory: OutputDirectory, journal: Journal) -> None:
        self.directory = directory
        self.journal = journal
        self.committer = OutputCommitter(directory, journal)
        self.is_closed = False

    async def close(self) -> None:
        """Wait for what is being committed, and close the journal; twice does no harm."""
        if not self.is_closed:
            self.is_closed = True
            await self.committer.close()
            await self.journal.close()
            self.directory.release()

    async def received(self, name: str) -> ReceivedAnswer:
        """An answer to a photo, with its output in a temporary file."""
        [entry] = await self.journal.look_up([PhotoFile("/photos", name, f"/photos/{name}", 9, "7")])
        file = self.directory.open()
        await file.write([name.encode()])
        return ReceivedAnswer(entry, IMPROVE, {"improved": StoredOutput(file.name, len(name))}, None)

    def output(self, entry: PhotoEntry) -> Path:
        return self.directory.out / "improved" / entry.place


async def opened(folder: Path) -> Storage:
    directory = OutputDirectory(folder / "out")
    directory.lock()
    directory.remove_stale_temp_files()
    path = directory.state_dir / "journal.sqlite"
    return Storage(directory, await Journal.open(path, outputs=directory))


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    storage = await opened(tmp_path)
    yield storage
    await storage.close()


async def closed(storage: Storage) -> dict[str, bool]:
    """Whether the journal has each photo's answer at its place, after everything was closed."""
    await storage.close()
    store = JournalStore(storage.directory.state_dir / "journal.sqlite")
    names = sorted(name for (name,) in store.sql.execute("SELECT CAST(photo AS TEXT) FROM photos"))
    entries = store.look_up([PhotoFile("/photos", name, "", 9, "7") for name in names])
    store.close()
    return {entry.file.photo: entry.has(IMPROVE) for entry in entries}


async def test_many_answers_share_the_fsync_of_their_folder(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [await storage.received(f"{number:03}.jpg") for number in range(100)]
    synced: list[str] = []
    sync = GroupSync.sync

    def noted(group: GroupSync, files: list[str], folders: list[str]) -> Any:
        synced.extend(folders)
        return sync(group, files, folders)

    monkeypatch.setattr(GroupSync, "sync", noted)
    await asyncio.gather(*map(storage.committer.commit, answers))
    assert all(storage.output(answer.entry).read_bytes() == answer.entry.file.photo.encode() for answer in answers)
    assert 0 < synced.count(str(storage.directory.out / "improved")) < 10
    assert set((await closed(storage)).values()) == {True}


async def test_an_answer_that_comes_as_the_last_group_ends_is_committed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_FINISHED_TOGETHER", 1)
    answers = [await storage.received(f"{name}.jpg") for name in "abc"]
    async with asyncio.timeout(20):
        for answer in answers:
            await storage.committer.commit(answer)
    assert set((await closed(storage)).values()) == {True}


async def test_an_answer_that_the_disk_refuses_fails_alone(storage: Storage) -> None:
    answers = [await storage.received(name) for name in ("a.jpg", "b.jpg", "c/c.jpg", "d.jpg")]
    lost, _, blocked, _ = answers
    storage.directory.temp_path(lost.outputs["improved"].temporary).unlink()
    (storage.directory.out / "improved").mkdir()
    storage.output(blocked.entry).parent.touch()
    results = await asyncio.gather(*map(storage.committer.commit, answers), return_exceptions=True)
    assert [type(error) for error in results] == [DiskError, CommittedAnswer, OutputRefused, CommittedAnswer]
    assert await closed(storage) == {"a.jpg": False, "b.jpg": True, "c/c.jpg": False, "d.jpg": True}
    waiting = storage.directory.temp_path(blocked.outputs["improved"].temporary)
    assert waiting.read_bytes() == b"c/c.jpg"  # the next run brings it to its place


async def test_an_error_of_the_journal_is_raised_to_every_caller(storage: Storage) -> None:
    answers = [await storage.received(f"{name}.jpg") for name in "ab"]
    storage.journal._store.record_received = lambda *_, **__: 1 // 0  # type: ignore[method-assign,assignment]
    async with asyncio.timeout(20):
        results = await asyncio.gather(*map(storage.committer.commit, answers), return_exceptions=True)
    assert [type(error) for error in results] == [ZeroDivisionError] * 2
    assert await closed(storage) == {"a.jpg": False, "b.jpg": False}


async def test_an_output_gets_another_name_where_a_file_is_that_no_run_made(storage: Storage) -> None:
    answer, other = await storage.received("a.jpg"), await storage.received("b.jpg")
    foreign = storage.output(answer.entry)
    foreign.parent.mkdir()
    foreign.write_bytes(b"retouched by hand")
    storage.output(other.entry).write_bytes(b"b.jpg")  # the same bytes: it is the output itself
    committed, natural = await asyncio.gather(*map(storage.committer.commit, (answer, other)))
    assert committed.place.startswith("a~")
    assert natural.place == "b.jpg"
    assert (foreign.parent / committed.place).read_bytes() == b"a.jpg"
    assert foreign.read_bytes() == b"retouched by hand"
    assert await closed(storage) == {"a.jpg": True, "b.jpg": True}


async def test_an_output_is_refused_when_another_of_its_photo_has_the_name(storage: Storage) -> None:
    answer = await storage.received("a.jpg")
    await storage.committer.commit(answer)
    foreign = storage.directory.out / "resolved" / "a.jpg"
    foreign.parent.mkdir()
    foreign.write_bytes(b"retouched by hand")
    file = storage.directory.open()
    await file.write([b"larger"])
    enlarged = ReceivedAnswer(answer.entry, ENLARGE, {"resolved": StoredOutput(file.name, 6)}, None)
    with pytest.raises(OutputRefused, match="no run made"):
        await storage.committer.commit(enlarged)
    assert foreign.read_bytes() == b"retouched by hand"
    assert file.path.read_bytes() == b"larger"


async def test_outputs_of_an_earlier_answer_are_replaced_or_removed(storage: Storage) -> None:
    answer = await storage.received("a.jpg")
    file = storage.directory.open()
    await file.write([b"colour"])
    first = await storage.committer.commit(
        msgspec.structs.replace(answer, outputs=answer.outputs | {"colorized": StoredOutput(file.name, 6)})
    )
    entry = msgspec.structs.replace(
        answer.entry, answers={"improve": msgspec.structs.replace(first.answer, state="stale")}
    )
    again = storage.directory.open()
    await again.write([b"better"])
    committed = await storage.committer.commit(
        ReceivedAnswer(entry, IMPROVE, {"improved": StoredOutput(again.name, 6)}, None)
    )
    assert committed.place == "a.jpg"
    assert storage.output(entry).read_bytes() == b"better"
    assert not (storage.directory.out / "colorized" / "a.jpg").exists()


@pytest.mark.parametrize("turns", range(4))
async def test_an_answer_is_committed_although_its_caller_is_cancelled(storage: Storage, turns: int) -> None:
    answers = [await storage.received(name) for name in ("a.jpg", "b.jpg", "c/c.jpg")]
    (storage.directory.out / "improved").mkdir()
    storage.output(answers[2].entry).parent.touch()
    waits = [asyncio.create_task(storage.committer.commit(answer)) for answer in answers]
    for _ in range(turns):
        await asyncio.sleep(0)
    for wait in (waits[0], waits[2]):
        wait.cancel()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(error) for error in results] == [asyncio.CancelledError, CommittedAnswer, asyncio.CancelledError]
    # One that is cancelled before its first step never asked.
    assert await closed(storage) == {"a.jpg": turns > 0, "b.jpg": True, "c/c.jpg": False}


async def test_close_waits_for_answers_whose_callers_are_cancelled(storage: Storage) -> None:
    answer = await storage.received("a.jpg")
    wait = asyncio.create_task(storage.committer.commit(answer))
    await asyncio.sleep(0)
    wait.cancel()
    await storage.committer.close()
    assert storage.output(answer.entry).read_bytes() == b"a.jpg"
    assert await closed(storage) == {"a.jpg": True}


@pytest.mark.parametrize("turns", range(2, 16, 2))
def test_answers_are_committed_while_the_event_loop_ends(tmp_path: Path, turns: int) -> None:
    """`asyncio.run` cancels all tasks, the committer's too; what comes as photos end is committed after that."""
    running: set[asyncio.Task[None]] = set()

    async def ask(storage: Storage, first: ReceivedAnswer, then: ReceivedAnswer) -> None:
        try:
            await storage.committer.commit(first)
            await asyncio.Event().wait()
        finally:
            await finish_despite_cancel(storage.committer.commit(then))

    async def run(storage: Storage, answers: list[ReceivedAnswer]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for first, then in zip(answers[::2], answers[1::2], strict=True):
                    tasks.create_task(ask(storage, first, then))
        finally:
            await storage.close()

    async def leave() -> None:
        storage = await opened(tmp_path)
        answers = [await storage.received(f"{number}.jpg") for number in range(8)]
        running.add(asyncio.create_task(run(storage, answers)))
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(leave())
    store = JournalStore(tmp_path / "out" / ".smarty-async" / "journal.sqlite")
    for entry in store.look_up([PhotoFile("/photos", f"{number}.jpg", "", 9, "7") for number in range(1, 8, 2)]):
        assert entry.has(IMPROVE)
    store.close()
