"""Answers that workers finished for a run which was killed are taken over by the next."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.archives import tree
from support.clients import client_of, photos
from support.fake_service import FakeService, expected, items, ok, until
from support.pictures import jpeg
from support.s3_server import S3Server

from smarty_async import DiskError, Limits, Result
from smarty_async.archive.commit import CommittedAnswer, OutputCommitter
from smarty_async.archive.journal.records import ReceivedAnswer
from smarty_async.cluster.chunk_log import ChunkLog, LogFile
from smarty_async.cluster.log_reports import final_report, left_answers
from smarty_async.cluster.messages import ChunkEnd, ChunkReport
from smarty_async.cluster.storage import FolderStorage
from smarty_async.progress import Progress

pytestmark = pytest.mark.slow

PHOTOS = 12


async def run(service: FakeService, source: Path | str, out: Path | str, **choices: Any) -> tuple[list[Result], str]:
    """A whole run: its results, and what it warns of."""
    async with client_of(service, limits=Limits(max_images=4)) as client:
        run = client.improve_archive(source, out=out, **choices)
        return [result async for result in run], "; ".join(run.progress.warnings)


async def broken_off(
    service: FakeService, source: Path | str, out: Path | str, *, save: Callable[[], object], **choices: Any
) -> None:
    """A run of which `save` copies what it leaves when it is killed: all is answered, and nothing is journalled."""
    waiting: list[None] = []
    ended = asyncio.Event()

    async def commit(*_: object) -> None:
        waiting.append(None)
        await ended.wait()
        raise DiskError("the run was killed")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(OutputCommitter, "commit", commit)
        running = asyncio.create_task(run(service, source, out, **choices))
        await until(lambda: len(waiting) == PHOTOS)
        await asyncio.to_thread(save)
        ended.set()
        await asyncio.wait([running])
        assert isinstance(running.exception(), DiskError)


def images(service: FakeService) -> int:
    return sum(len(request.images) for request in service.requests)


@pytest.mark.parametrize("with_workers", [True, False])
async def test_what_workers_finished_is_taken_over(
    service: FakeService, source: Path, tmp_path: Path, dask: Any, *, with_workers: bool
) -> None:
    photos(source, PHOTOS)
    service.default = lambda _: items({"file_1": {"improved": None, "colorized": None, "colorized_improved": None}})
    out, killed = tmp_path / "out", tmp_path / "killed"
    await broken_off(service, source, out, save=lambda: shutil.copytree(out, killed), cluster=dask)
    service.default = lambda _: ok()
    workers: dict[str, Any] = {"cluster": dask} if with_workers else {}
    results, warned = await run(service, source, killed, **workers)
    assert images(service) == PHOTOS
    good = len(service.requests)
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS - good, "already_good": good}
    assert {result.attempts for result in results} == {1}
    assert f"answers taken over: {PHOTOS}" in warned
    assert len([path for path in tree(killed) if path.endswith(".jpg")]) == 3 * (PHOTOS - good)
    assert not list((killed / ".smarty-async").glob("tmp/*"))
    again, warned = await run(service, source, killed, **workers)
    assert Counter(result.outcome for result in again) == {"skipped": PHOTOS}
    assert not warned


@pytest.mark.parametrize("with_workers", [True, False])
async def test_what_workers_stored_in_a_bucket_is_taken_over(
    service: FakeService, s3: S3Server, tmp_path: Path, dask: Any, *, with_workers: bool
) -> None:
    s3.put({f"scans/{number:03}.jpg": jpeg(16, 12, seed=number) for number in range(PHOTOS)})
    state, killed = tmp_path / "state", tmp_path / "killed"
    out = f"out-{with_workers}"  # the bucket is there for all tests
    s3.put({f"{out}/improved/003.jpg": b"somebody's"})
    logs = f"{out}/.smarty-async/chunks/"
    saved: dict[str, bytes] = {}

    def save() -> None:
        shutil.copytree(state, killed)
        saved.update(s3.objects(logs))

    given: dict[str, Any] = {"out": f"s3://photos/{out}", "store_options": s3.options, "strip_metadata": True}
    await broken_off(service, "s3://photos/scans", state=state, save=save, cluster=dask, **given)
    s3.put(saved, prefix=logs)
    workers: dict[str, Any] = {"cluster": dask} if with_workers else {}
    results, warned = await run(service, "s3://photos/scans", state=killed, **given, **workers)
    assert images(service) == PHOTOS
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    assert f"answers taken over: {PHOTOS}" in warned
    [elsewhere] = [result.outputs["improved"] for result in results if result.photo == "003.jpg"]
    assert (s3.objects(f"{out}/")[elsewhere], s3.objects(f"{out}/")["improved/003.jpg"]) == (
        expected("improved", jpeg(16, 12, seed=3)),
        b"somebody's",
    )
    assert not s3.objects(logs)


async def test_a_mode_follows_the_other_to_another_place_when_their_run_ends_between_the_two(
    service: FakeService, s3: S3Server, tmp_path: Path, dask: Any
) -> None:
    s3.put({"one/a.jpg": jpeg(16, 12, seed=1)})
    s3.put({"between/improved/a.jpg": b"somebody's"})
    choices: dict[str, Any] = {
        "state": tmp_path / "state",
        "store_options": s3.options,
        "modes": ("improve", "resolution"),
        "rfactor": 2,
        "strip_metadata": True,
        "cluster": dask,
    }
    commit = OutputCommitter.commit

    async def commit_one(committer: OutputCommitter, received: ReceivedAnswer) -> CommittedAnswer:
        if received.spec.mode == "resolution":
            raise DiskError("the run was killed")
        return await commit(committer, received)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(OutputCommitter, "commit", commit_one)
        with pytest.raises(DiskError, match="was killed"):
            await run(service, "s3://photos/one", "s3://photos/between", **choices)
    [result], warned = await run(service, "s3://photos/one", "s3://photos/between", **choices)
    assert images(service) == 1
    assert "answers taken over: 1" in warned
    assert {"improved", "resolved"} <= result.outputs.keys()
    objects = s3.objects("between/")
    assert {kind: objects[path] for kind, path in result.outputs.items()} == {
        kind: expected(kind, jpeg(16, 12, seed=1)) for kind in result.outputs
    }
    assert objects["improved/a.jpg"] == b"somebody's"
    assert not s3.objects("between/.smarty-async/chunks/")


async def test_a_photo_that_has_changed_since_is_sent_again(
    service: FakeService, source: Path, tmp_path: Path, dask: Any
) -> None:
    photos(source, PHOTOS)
    out, killed = tmp_path / "out", tmp_path / "killed"
    await broken_off(service, source, out, save=lambda: shutil.copytree(out, killed), cluster=dask)
    (source / "a003.jpg").write_bytes(jpeg(20, 12, seed=99))
    results, _ = await run(service, source, killed, cluster=dask)
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    assert images(service) == PHOTOS + 1


async def test_a_request_that_a_worker_still_has_open_is_waited_for(tmp_path: Path) -> None:
    storage, progress = FolderStorage(str(tmp_path)), Progress()
    log = storage.log("00")
    await log.begin()
    waiting = asyncio.create_task(left_answers(storage, folder=str(tmp_path), progress=progress))
    await until(lambda: progress.status_message is not None)
    await log.append()
    await log.append(ChunkEnd(seconds=1, sent=True))
    assert await waiting == []
    assert not storage.left_logs()
    assert progress.status_message == "workers may still have 1 request of an earlier run open: waiting for them"


async def test_a_worker_that_shows_no_life_is_not_waited_for(tmp_path: Path) -> None:
    log = FolderStorage(str(tmp_path)).log("00")
    await log.begin()
    assert await final_report(log, beat_seconds=0) == ChunkReport([])


async def test_a_log_that_cannot_be_read_for_a_while_is_not_silent() -> None:
    ended = ChunkReport(end=ChunkEnd(seconds=1.0, sent=True))
    answers = iter([(0.0, ChunkReport()), (1.2, ChunkReport()), (0.0, ended)])

    class SlowLog(ChunkLog):
        async def read(self) -> tuple[ChunkReport, int]:
            seconds, report = next(answers)
            await asyncio.sleep(seconds)  # as when the store is down, for the worker, too
            return report, 10

    log = SlowLog(LogFile("no file"))
    assert await final_report(log, beat_seconds=0.2) is ended


async def test_a_run_that_is_stopped_leaves_open_requests_to_the_next(
    service: FakeService, source: Path, out: Path, dask: Any
) -> None:
    photos(source, PHOTOS)
    left = out / ".smarty-async" / "tmp" / "chunk-00"
    left.parent.mkdir(parents=True)
    left.touch()
    async with client_of(service) as client:
        run = client.improve_archive(source, out=out, cluster=dask)
        running = asyncio.create_task(anext(aiter(run), None))
        await until(lambda: run.progress.status_message is not None)
        run.drain()
        assert await running is None
    assert left.exists()
    assert not service.requests
