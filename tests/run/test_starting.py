"""How a run begins: what is known of the photos ahead when the first requests are made."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from support.archives import assert_right, client, fill, outcomes
from support.fake_service import FakeService, until

from smarty_async import run as archive_run
from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.sources.folder import FolderSource
from smarty_async.archive.sources.scan import Scan
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import Limits
from smarty_async.run_context import Probes

FILE = PhotoFile("/photos", "a.jpg", "/photos/a.jpg", 9, "7")


async def test_photos_that_are_not_looked_up_yet_have_their_share_in_the_rounds(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None is looked up before the end of the scan is known: what is made of that is what is tested.
    ended, look_ahead = asyncio.Event(), Scan.look_ahead
    look_up = archive_run.ArchiveRun._look_up

    async def look_up_at_end(*args: object) -> object:
        await ended.wait()
        return await look_up(*args)  # type: ignore[arg-type]

    def look(self: Scan, *, at_end: object) -> None:
        def both() -> None:
            at_end()  # type: ignore[operator]
            ended.set()

        look_ahead(self, at_end=both)

    monkeypatch.setattr(archive_run, "LOOKED_UP", 3)
    monkeypatch.setattr(archive_run.ArchiveRun, "_look_up", look_up_at_end)
    monkeypatch.setattr(Scan, "look_ahead", look)
    photos = fill(source, *(f"{number}.jpg" for number in range(10)))
    async with FakeService() as service, client(service, concurrency=2, limits=Limits(max_images=4)) as c:
        assert outcomes([result async for result in c.improve_archive(source, out=out)]) == dict.fromkeys(
            photos, "restored"
        )
        assert sorted(len(request.images) for request in service.requests) == [2, 2, 3, 3]
    assert_right(out, photos)


async def test_the_end_of_a_scan_is_known_before_the_next_batch_is_asked_for() -> None:
    going_on = Event()

    def batches() -> Generator[list[PhotoFile]]:
        yield [FILE]
        going_on.wait(20)

    with ThreadPoolExecutor(1) as thread:
        scan, ends = Scan(batches(), thread), []
        assert await scan.next_batch() == [FILE]
        for _ in range(2):
            scan.look_ahead(at_end=lambda: ends.append(1))
        going_on.set()
        await until(lambda: bool(ends))
        assert await scan.next_batch() is None
        assert ends == [1]


async def test_a_batch_that_is_read_ahead_is_no_end() -> None:
    with ThreadPoolExecutor(1) as thread:
        scan, ends = Scan((batch for batch in [[FILE], []]), thread), []
        assert await scan.next_batch() == [FILE]
        scan.look_ahead(at_end=lambda: ends.append(1))
        assert await scan.next_batch() == []
        assert not ends


async def test_an_error_of_a_scan_that_is_read_ahead_is_that_of_its_batch(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scan(self: FolderSource) -> Generator[list[PhotoFile]]:
        yield [file for file in self.files() if file is not None]
        raise RuntimeError("it broke")

    fill(source, "a.jpg")
    monkeypatch.setattr(FolderSource, "scan", scan)
    async with FakeService() as service, client(service) as c:
        with pytest.raises(RuntimeError, match="it broke"):
            _ = [result async for result in c.improve_archive(source, out=out)]


async def test_few_probes_are_waited_for() -> None:
    probes, loop = Probes(), asyncio.get_running_loop()
    futures: list[asyncio.Future[Probed]] = [loop.create_future() for _ in range(100)]
    waits = [asyncio.create_task(probes.wait_for(future)) for future in futures]
    few = asyncio.create_task(probes.wait_until_few())
    await asyncio.sleep(0)
    for future in futures[:30]:
        future.cancel()
    await asyncio.wait(waits[:30])
    assert not few.done()
    probes.cancel()
    await asyncio.wait([few, *waits])
    assert all(wait.cancelled() for wait in waits)
    await few
