"""What the logs of chunks report: of chunks whose worker is gone, and of those that an earlier run left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from time import monotonic
from typing import Final

from smarty_async.archive.entries import is_kept
from smarty_async.archive.journal.recovery import LeftAnswer
from smarty_async.archive.outputs.object_store import OutputBucket
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.cluster.chunk_log import ChunkLog
from smarty_async.cluster.messages import ChunkReport
from smarty_async.cluster.storage import ChunkStorage, storage_of
from smarty_async.options import ModeSpec
from smarty_async.progress import Progress
from smarty_async.wire.messages import item_name, judge_item

__all__ = ["final_report", "left_answers", "wait_for_left_answers"]

_SILENT_BEATS: Final = 5
"""For how many beats a chunk's log may not grow before its worker is taken to be dead."""
_POLL_SECONDS: Final = 0.25


async def final_report(log: ChunkLog, *, beat_seconds: float) -> ChunkReport:
    """What a log says once its request has ended; waits while a worker still sends it.

    Args:
        log: the log.
        beat_seconds: how often a worker shows in it that it lives.

    Raises:
        DiskError: it cannot be read.
    """
    size, grew_at = -1, monotonic()
    while True:
        asked_at = monotonic()
        report, now_size = await log.read()
        # A storage that did not answer has not answered the worker, either.
        if now_size != size or monotonic() - asked_at > max(beat_seconds, _POLL_SECONDS):
            size, grew_at = now_size, monotonic()
        if report.end is not None or monotonic() - grew_at > _SILENT_BEATS * beat_seconds:
            return report
        await asyncio.sleep(_POLL_SECONDS)


async def wait_for_left_answers(
    outputs: OutputStore, *, progress: Progress, stopping: asyncio.Event
) -> list[LeftAnswer] | None:
    """What workers have answered for an earlier run that was killed; waits for the requests they still have open.

    Call it when the outputs are locked, and before their temporary files are removed. The run that calls it need not
    have workers.

    Args:
        outputs: where outputs go.
        progress: where it is said that it waits.
        stopping: set when the run is to end.

    Returns:
        The answers; None when the run is to end before all requests have.
    """
    if isinstance(outputs, OutputBucket) and not outputs.is_exclusive:
        return []  # no worker writes there
    folder = str(outputs.temp_path(""))
    waiting = asyncio.create_task(left_answers(storage_of(outputs), folder=folder, progress=progress))
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else None
    finally:
        progress.status_message = None
        waiting.cancel()
        stop.cancel()


async def left_answers(storage: ChunkStorage, *, folder: str, progress: Progress) -> list[LeftAnswer]:
    """The answers in the logs that an earlier run left; waits while workers still send its requests.

    Args:
        storage: where the logs are.
        folder: where temporary files of this run are.
        progress: where it is said that it waits.

    Raises:
        DiskError: the storage refuses.
    """
    logs = await asyncio.to_thread(storage.left_logs)
    if not logs:
        return []
    requests = "1 request" if len(logs) == 1 else f"{len(logs):,} requests"
    progress.status_message = f"workers may still have {requests} of an earlier run open: waiting for them"
    reports = await asyncio.gather(*(final_report(log, beat_seconds=storage.beat_seconds) for log in logs))
    for log, report in zip(logs, reports, strict=True):
        if not report.items:  # nothing is left to take over
            await log.remove()
    return [answer for report in reports async for answer in _answers_in(report, storage, folder)]


async def _answers_in(report: ChunkReport, storage: ChunkStorage, folder: str) -> AsyncIterator[LeftAnswer]:
    begin = report.begin
    if begin is None:
        return
    specs = {spec.mode: spec for spec in map(ModeSpec.parse, begin.specs)}
    photos = {item_name(number): photo for number, photo in enumerate(begin.photos)}
    unplaced = report.unplaced
    for item in report.items:
        answered = item.answered
        if judge_item(answered)[0] != "done" or answered.mode not in specs or answered.name not in photos:
            continue
        photo = photos[answered.name]
        if answered.name in unplaced:
            item = await storage.fetch(item, folder, place=os.fsdecode(photo.place))  # noqa: PLW2901
        yield LeftAnswer(
            source=photo.source,
            photo=photo.photo,
            place=photo.place if item.stored else None,
            size=photo.size,
            version=photo.version,
            spec=specs[answered.mode],
            outputs={kind: output for kind, output in item.outputs.items() if is_kept(kind, begin.kinds)},
            bw=answered.bw,
        )
