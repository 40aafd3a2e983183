"""What the photos of one run share: its options, its rooms, and who records how they end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

import msgspec

from smarty_async.archive.commit import OutputCommitter
from smarty_async.archive.duplicates import Duplicates
from smarty_async.archive.entries import FinishedPhoto, PhotoEntry
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.sources.source import PhotoFile, PhotoSource
from smarty_async.archive.threads import finish_despite_cancel
from smarty_async.group_queue import GroupQueue
from smarty_async.options import ArchiveOptions, Limits
from smarty_async.progress import Progress
from smarty_async.results import Result
from smarty_async.transport.dispatcher import Announcement, Dispatcher
from smarty_async.transport.item import ImageBudget, Stopped, Submitter
from smarty_async.transport.response import OutputEditor
from smarty_async.transport.retry import Sleep

__all__ = ["LOOKED_UP", "PhotoWindow", "Probes", "Recorder", "RunContext", "backoff"]

LOOKED_UP = 128
"""Photos that are looked up at a time: the first ones of a batch are sent before the others are looked up."""

_MOST_WAITING = 64
"""Ended photos that wait to be recorded or reported before those that end later wait, too."""

_FEW_PROBES = 64
"""Probes that are enough to keep the threads busy while more photos are looked up."""


class Probes:
    """The probes of a run that have not ended."""

    def __init__(self) -> None:
        self._open: set[asyncio.Future[Probed]] = set()
        self._few = asyncio.Event()

    async def wait_for(self, probing: asyncio.Future[Probed]) -> Probed:
        """Wait for `probing`, which `cancel` may cancel."""
        self._open.add(probing)
        try:
            return await probing
        finally:
            self._open.discard(probing)
            if len(self._open) <= _FEW_PROBES:
                self._few.set()

    async def wait_until_few(self) -> None:
        """Wait until few are left: what is probed is sent before more photos take the time of its requests."""
        await asyncio.sleep(0)  # photos that were just started begin theirs
        while len(self._open) > _FEW_PROBES:
            self._few.clear()
            await self._few.wait()

    def cancel(self) -> None:
        """Cancel all."""
        for probing in self._open:
            probing.cancel()


class Recorder:
    """Journals what became of photos and reports it. Photos that end at the same time share a call of each.

    The journal does not wait for the consumer. At the end of the block, everything is journalled, also when the run is
    left: a failure that is not journalled would be paid for again. It is reported unless the run is left: nobody takes
    the results then.

    Args:
        journal: where their results are written.
        report: is given the results of a group, once they are written; waits while the consumer is far behind.
        on_error: is called when the journal cannot be written.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        report: Callable[[list[Result]], Awaitable[None]],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._journal = journal
        self._report = report
        self._on_error = on_error
        self._recording = GroupQueue(self._record, self._fail, name="smarty_async results")
        self._reporting = GroupQueue(self._report_recorded, self._fail, name="smarty_async reports")
        self._backlog_is_short = asyncio.Event()
        self._backlog_is_short.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is None:
                await self._recording.wait()
                await self._reporting.wait()
        finally:
            await finish_despite_cancel(self._recording.wait())
            await self._reporting.cancel()

    async def add(self, ended: FinishedPhoto | Result) -> None:
        """Record and report the end of a photo soon; a result that is journalled already is only reported.

        It returns at once, unless many others wait.
        """
        self._recording.add([ended])
        if len(self._recording) + len(self._reporting) >= _MOST_WAITING:
            self._backlog_is_short.clear()
            await self._backlog_is_short.wait()

    async def _record(self, group: list[FinishedPhoto | Result]) -> None:
        await self._journal.record_results([ended for ended in group if isinstance(ended, FinishedPhoto)])
        self._reporting.add([ended.result if isinstance(ended, FinishedPhoto) else ended for ended in group])

    async def _report_recorded(self, group: list[Result]) -> None:
        self._backlog_is_short.set()
        await self._report(group)

    def _fail(self, _: FinishedPhoto | Result, error: BaseException) -> None:
        self._backlog_is_short.set()
        if isinstance(error, Exception):
            self._on_error(error)


async def backoff(seconds: float, *, sleep: Sleep, stopping: asyncio.Event) -> None:
    """Wait `seconds` before a photo is sent again; ends early when the run is stopping."""
    waits = [asyncio.ensure_future(sleep(seconds)), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


class RunContext(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What the photos of one run share.

    Attributes:
        options: what the run is to do.
        limits: what one request may carry.
        source: where photos come from.
        outputs: where they go.
        journal: what is known of every photo.
        committer: makes answers durable.
        duplicates: finds photos with the same content.
        dispatcher: sends items to the service.
        progress: the run's counters.
        photos_left: how many photos may still be sent.
        submitter: submits the run's items to the dispatcher.
        tasks: runs the photos.
        recorder: takes the photos that have come to their end.
        probes: those that have not ended.
        stopping: set when nothing new is sent.
        prober: looks into photos elsewhere; None to do it here.
        editor: makes what edits a photo's outputs elsewhere; None to do it here.
    """

    options: ArchiveOptions
    limits: Limits
    source: PhotoSource
    outputs: OutputStore
    journal: Journal
    committer: OutputCommitter
    duplicates: Duplicates
    dispatcher: Dispatcher
    progress: Progress
    photos_left: ImageBudget
    submitter: Submitter
    tasks: asyncio.TaskGroup
    recorder: Recorder
    probes: Probes
    stopping: asyncio.Event
    prober: Callable[[PhotoFile], Awaitable[Probed]] | None = None
    editor: Callable[[PhotoEntry, MetadataCopier | None], OutputEditor] | None = None

    def take_photo(self) -> None:
        """Count one photo that is about to be sent.

        Raises:
            Stopped: the limit on photos is reached.
        """
        if not self.photos_left.take(1):
            raise Stopped

    def announce(self) -> Announcement:
        """Announce one submission, which follows when the block ends; see `Dispatcher.announce`."""
        return self.dispatcher.announce(self.submitter)

    async def probe(self, file: PhotoFile) -> Probed:
        """Look into `file`; raises what `PhotoSource.probe` does.

        Raises:
            Stopped: the run stops: photos that are not probed yet are left for another run.
        """
        if self.stopping.is_set():
            raise Stopped
        if self.prober is not None:
            probing = asyncio.ensure_future(self.prober(file))
        else:
            probing = asyncio.ensure_future(self.source.probe(file, limits=self.limits, fit=self.options.fit))
        try:
            return await self.probes.wait_for(probing)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.stopping.is_set() and probing.cancelled() and not (task and task.cancelling()):
                raise Stopped from None
            raise

    def editor_of(self, entry: PhotoEntry, metadata: MetadataCopier | None) -> OutputEditor | None:
        """What edits the outputs of a photo, by what gives them its metadata."""
        return metadata if self.editor is None else self.editor(entry, metadata)

    def count_probed(self, file: PhotoFile, pixels: int) -> None:
        """Count a photo whose dimensions have become known as work to do."""
        work = self.progress.work
        work.bytes_probed += file.size
        work.pixels_probed += pixels

    def count_ended(self, file: PhotoFile, pixels: int, *, sent: bool) -> None:
        """Count a photo that came to its end as work done.

        Args:
            file: the photo.
            pixels: of the picture that was sent; 0 when it was not probed.
            sent: whether it was; if not, it was no work.
        """
        work = self.progress.work
        if sent:
            work.bytes_done += file.size
            work.pixels_done += pixels
            return
        work.bytes -= file.size
        if pixels:
            work.bytes_probed -= file.size
            work.pixels_probed -= pixels


class PhotoWindow:
    """Runs a bounded number of photos at a time; the others wait, in their order, until some of them have ended."""

    def __init__(self, size: int, run: Callable[[PhotoEntry, RunContext], Awaitable[None]]) -> None:
        self._size = size
        self._run = run
        self._running = 0
        self._waiting: deque[PhotoEntry] = deque()
        self._all_started = asyncio.Event()

    def __len__(self) -> int:
        """Photos that wait."""
        return len(self._waiting)

    def start(self, entries: Sequence[PhotoEntry], context: RunContext) -> bool:
        """Have `entries` run, after those that wait; whether all of them run at once."""
        self._waiting.extend(entries)
        free = min(len(entries), self._size - self._running)
        for _ in range(free):
            self._running += 1
            context.tasks.create_task(self._run_waiting(context))
        return free == len(entries)

    async def all_started(self) -> None:
        """Wait until no photo waits."""
        self._all_started.clear()
        if self._waiting:
            await self._all_started.wait()

    async def _run_waiting(self, context: RunContext) -> None:
        """Run one photo after another, while there are some that wait."""
        try:
            while self._waiting:
                await self._run(self._next(), context)
        finally:
            self._running -= 1

    def _next(self) -> PhotoEntry:
        entry = self._waiting.popleft()
        if not self._waiting:
            self._all_started.set()
        return entry
