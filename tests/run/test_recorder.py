"""What became of photos, journalled and reported in groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.archives import lines
from support.fake_service import until

from smarty_async.archive.entries import FinishedPhoto
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.errors import StoreError
from smarty_async.results import Result
from smarty_async.run_context import Recorder


@pytest.fixture
async def journal(out: Path) -> AsyncIterator[Journal]:
    directory = OutputDirectory(out)
    directory.lock()
    journal = await Journal.open(directory.state_dir / "journal.sqlite", outputs=directory)
    yield journal
    await journal.close()
    directory.release()


async def ended(journal: Journal, count: int) -> list[FinishedPhoto]:
    """Photos that have come to their end."""
    files = [PhotoFile("/photos", f"{number:03}.jpg", "", 9, "7") for number in range(count)]
    return [FinishedPhoto(entry, entry.result("already_good"), {}) for entry in await journal.look_up(files)]


def no_error(error: Exception) -> None:
    raise error


async def test_photos_that_wait_when_the_run_is_left_are_journalled(journal: Journal, out: Path) -> None:
    async def report(_: list[Result]) -> None:
        await asyncio.Event().wait()

    async def leave() -> None:
        async with Recorder(journal, report=report, on_error=no_error) as recorder:
            for photo in photos:
                await recorder.add(photo)
                await asyncio.sleep(0)  # the first is being written while the others come
            raise LookupError

    photos = await ended(journal, 5)
    with pytest.raises(LookupError):
        await leave()
    await journal.images_paid()  # what was queued before it is written
    assert len(lines(out)) == 5


async def test_few_photos_wait_for_a_consumer_that_is_far_behind(journal: Journal, out: Path) -> None:
    taken, behind = list[Result](), asyncio.Event()

    async def report(results: list[Result]) -> None:
        await behind.wait()
        taken.extend(results)

    photos = await ended(journal, 300)
    async with Recorder(journal, report=report, on_error=no_error) as recorder, asyncio.TaskGroup() as tasks:
        adding = tasks.create_task(_add(recorder, photos))
        written = out / "results.jsonl"
        await until(lambda: written.exists() and written.read_bytes().count(b"\n") >= 64)  # a line may be half written
        assert not adding.done()
        behind.set()
    assert [result.photo for result in taken] == [photo.result.photo for photo in photos]


async def test_photos_that_the_journal_refuses_make_room_for_others(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreError("refused")

    async def report(results: list[Result]) -> None:
        raise AssertionError(results)

    photos, errors = await ended(journal, 200), list[Exception]()
    monkeypatch.setattr(OutputDirectory, "record", refuse)
    async with Recorder(journal, report=report, on_error=errors.append) as recorder:
        await _add(recorder, photos)
    assert {str(error) for error in errors} == {"refused"}


async def _add(recorder: Recorder, photos: list[FinishedPhoto]) -> None:
    for photo in photos:
        await recorder.add(photo)
