"""One run over an archive: scan → window of photos → results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from smarty_async.archive.commit import OutputCommitter
from smarty_async.archive.duplicates import Duplicates
from smarty_async.archive.entries import FinishedPhoto, PhotoEntry
from smarty_async.archive.journal.finished import FinishedBatch
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.outputs.opening import open_outputs
from smarty_async.archive.paths import JOURNAL, display_path
from smarty_async.archive.sources.opening import open_source
from smarty_async.archive.sources.scan import Scan, scanning
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.archive.sources.survey import Survey
from smarty_async.archive.threads import finish_despite_cancel, first_error, start_threads
from smarty_async.cluster.log_reports import wait_for_left_answers
from smarty_async.cluster.storage import storage_of
from smarty_async.errors import ConfigurationError, DiskError, OptionsError, ServiceUnavailable, SmartyError, StoreError
from smarty_async.hooks import Hooks, ProgressHooks, all_hooks
from smarty_async.options import ArchiveOptions, Limits
from smarty_async.photo import PhotoRun
from smarty_async.progress import InFlight, Progress
from smarty_async.results import SENT_OUTCOMES, Result
from smarty_async.run_context import LOOKED_UP, PhotoWindow, Probes, Recorder, RunContext, backoff
from smarty_async.thread_limit import thread_limit
from smarty_async.transport.dispatcher import Dispatcher
from smarty_async.transport.item import ImageBudget, Stopped, Submitter
from smarty_async.transport.retry import Sleep

if TYPE_CHECKING:
    from smarty_async.cluster.connection import ClusterConnection

__all__ = ["ArchiveRun"]

_UNREAD_RESULTS = 16
"""Groups of results (of one lookup, or of photos that end together) that wait for the consumer before photos do."""


class ArchiveRun:
    """A run over an archive: iterate over it once, for the results.

    Leaving the iteration early, or cancelling the task that iterates, closes the open requests and removes temporary
    files; the next run goes on from there. `drain` is the gentle way: open requests are paid for and waited for.

    Args:
        options: what the run is to do.
        dispatcher: sends items to the service.
        hooks: called with what happens to its requests and photos.
        limits: what one request may carry.
        window: photos alive at a time.
        sleep: waits, in seconds.
        others: the other runs of the client: those over the same output folder that are being closed are waited for.
        cluster: whose workers send the requests; None to send them from here.

    Attributes:
        progress: how far the run has come; changes while it runs.
        counts_finished: whether photos that earlier runs have finished are only counted, in `progress`, instead of
            each having its result; to be set before the iteration.
    """

    def __init__(
        self,
        options: ArchiveOptions,
        dispatcher: Dispatcher,
        *,
        hooks: Sequence[Hooks],
        limits: Limits,
        window: int,
        sleep: Sleep,
        others: Iterable[ArchiveRun] = (),
        cluster: ClusterConnection | None = None,
    ) -> None:
        self.progress = Progress()
        self.counts_finished = False
        self._options = options
        self._dispatcher = dispatcher
        self._has_hooks = bool(hooks)
        self._hooks = all_hooks([ProgressHooks(self.progress), *hooks])
        self._limits = limits
        self._others = others
        self._cluster = cluster
        self._source = open_source(options)
        self._outputs = open_outputs(options)
        self._window = PhotoWindow(window, self._run_photo)
        self._to_look_up: Sequence[PhotoFile] = ()  # of the last batch
        self._list_goes_on = True
        self._results: asyncio.Queue[list[Result] | None] = asyncio.Queue()
        self._unread = asyncio.Semaphore(_UNREAD_RESULTS)
        self._probes = Probes()
        self._stopping = asyncio.Event()
        self._submitter = Submitter(
            self._outputs,
            self._hooks,
            sleep=partial(backoff, sleep=sleep, stopping=self._stopping),
            sender=cluster,
            ends_with_error=True,
            later=lambda: len(self._to_look_up) + len(self._window),
        )
        self._error: Exception | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._closing = False

    def drain(self) -> None:
        """Send nothing new and wait for the open requests; then the iteration ends."""
        self._stopping.set()
        self._source.stop()
        self._dispatcher.stop(self._submitter)
        self._probes.cancel()

    async def __aiter__(self) -> AsyncGenerator[Result]:
        """The result of each photo, as it becomes known.

        Raises:
            OptionsError: a source does not exist, or the judge gave no verdict.
            ConfigurationError: nothing can be sent as things are.
            ServiceUnavailable: the service was given up on.
            DiskError: the disk refused.
            SmartyError: it was iterated over or closed before, or the client was opened in another event loop.
        """
        if self._feeding is not None:
            raise SmartyError("a run can be iterated over once: make another")
        if self._closing:
            raise SmartyError("the run, or its client, was closed before it began: make another")
        self._dispatcher.check_loop()
        self._feeding = asyncio.create_task(self._feed(), name="smarty_async run")
        try:
            while (results := await self._results.get()) is not None:
                self._unread.release()
                for result in results:
                    yield result
            await asyncio.wait([self._feeding])
            if self._feeding.cancelled():
                raise SmartyError("the run, or its client, was closed before it came to its end")
            self._feeding.result()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Stop at once: cancel what is under way, keep the answers that were received whole."""
        self._closing = True
        if self._feeding is None or self._feeding.done():
            return
        try:
            if not self._feeding.cancelling():
                # Before its photos are cancelled: they take what the open requests have brought.
                self.drain()
                await finish_despite_cancel(self._dispatcher.abort(self._submitter))
        finally:
            if not self._feeding.cancelling():  # a second cancellation would interrupt its cleaning up
                self._feeding.cancel()
            await finish_despite_cancel(asyncio.wait([self._feeding]))

    @property
    def in_flight(self) -> list[InFlight]:
        """The photos that have been sent and are not answered."""
        return self._dispatcher.in_flight(self._submitter)

    @property
    def active(self) -> bool:
        """Whether it has not come to its end."""
        return not self._closing if self._feeding is None else not self._feeding.done()

    async def _feed(self) -> None:
        """The whole run, as a task."""
        try:
            with thread_limit():
                await self._lock_and_restore()
        finally:
            self._results.put_nowait(None)

    async def _lock_and_restore(self) -> None:
        """Lock the output folder, restore, unlock."""
        try:
            await finish_despite_cancel(asyncio.to_thread(self._source.check))
            with scanning(self._source) as scan:
                # A run that finds no photo creates nothing, unless an earlier one has: it may have left answers.
                if not (self._outputs.state_dir.exists() or await self._finds_photos(scan)):
                    return
                await self._wait_for_closing_runs()
                try:
                    await finish_despite_cancel(asyncio.to_thread(self._outputs.lock))
                    await self._restore(scan)
                finally:
                    await finish_despite_cancel(asyncio.to_thread(self._outputs.release))
        except BaseExceptionGroup as group:
            raise first_error(group) from None

    async def _wait_for_closing_runs(self) -> None:
        """Wait for the ends of runs that have the folder: after a ``break``, Python closes a run a moment later."""
        for run in [other for other in self._others if other is not self]:
            if feeding := run._closing_in(self._outputs.state_dir):  # noqa: SLF001 - it is a run, too
                await asyncio.wait([feeding])

    def _closing_in(self, state_dir: Path) -> asyncio.Task[None] | None:
        """The task that is about to end, and to leave `state_dir` to another run; None when there is none."""
        return self._feeding if self._closing and self._outputs.state_dir == state_dir else None

    async def _finds_photos(self, scan: Scan) -> bool:
        """Whether `scan` finds a photo, or has to wait for one; what it finds before is left alone."""
        while (batch := await scan.next_batch()) is not None:
            photos = self._photos_of(batch)
            if photos or not batch:
                scan.put_back(photos)
                return True
        self.progress.scanning = self._stopping.is_set()
        return False

    async def _restore(self, scan: Scan) -> None:
        """Restore what the scan finds, while the journal is open."""
        outputs = self._outputs
        await start_threads()  # that there are none is known before anything is sent
        left = await wait_for_left_answers(outputs, progress=self.progress, stopping=self._stopping)
        if left is None:
            return
        path, options = outputs.state_dir / JOURNAL, self._options
        journal = await Journal.open(path, outputs=outputs, specs=options.specs, kinds=options.outputs, left=left)
        committer = OutputCommitter(outputs, journal)
        try:
            if left and self._cluster is None:  # with workers, they are removed once these have begun
                await asyncio.to_thread(storage_of(outputs).clear_logs)
            await self._prepare(journal)
            recorder = Recorder(journal, report=self._report, on_error=self._give_up)
            async with self._cluster_opened(), recorder, asyncio.TaskGroup() as tasks:
                try:
                    await self._start_photos(scan, self._context(journal, committer, recorder, tasks))
                except BaseException:
                    # Before the photos are cancelled: what workers have reported is theirs.
                    await self._abort()
                    raise
            if self._error is not None:
                raise self._error
        except BaseException:
            outputs.stop_committing()
            # A request that goes on would write to temporary files that are removed now.
            await self._abort()
            raise
        finally:
            try:
                await finish_despite_cancel(committer.close())
            finally:
                await journal.close()

    async def _abort(self) -> None:
        await finish_despite_cancel(self._dispatcher.abort(self._submitter))

    async def _prepare(self, journal: Journal) -> None:
        """What is to be known before anything is sent: warnings, and what may be spent."""
        self.progress.warnings += [*self._outputs.warnings(), *journal.warnings]
        self.progress.warnings += await finish_despite_cancel(asyncio.to_thread(self._source.warnings))
        self._submitter.request_log = journal
        self._submitter.budget.limit(self._options.images_left(await journal.images_paid()))
        await finish_despite_cancel(asyncio.to_thread(self._outputs.remove_stale_temp_files, journal.temporaries))

    def _context(
        self, journal: Journal, committer: OutputCommitter, recorder: Recorder, tasks: asyncio.TaskGroup
    ) -> RunContext:
        return RunContext(
            options=self._options,
            limits=self._limits,
            source=self._source,
            prober=self._cluster.probe if self._cluster is not None else None,
            editor=self._cluster.editor if self._cluster is not None else None,
            outputs=self._outputs,
            journal=journal,
            committer=committer,
            duplicates=Duplicates(
                journal, self._outputs, redo_missing=self._options.redo_missing, digest=self._source.digest
            ),
            dispatcher=self._dispatcher,
            progress=self.progress,
            photos_left=ImageBudget(self._options.max_photos),
            submitter=self._submitter,
            tasks=tasks,
            recorder=recorder,
            probes=self._probes,
            stopping=self._stopping,
        )

    @asynccontextmanager
    async def _cluster_opened(self) -> AsyncGenerator[None]:
        """Use the workers of the cluster during the block, if there is one."""
        if self._cluster is None:
            yield
            return
        try:
            async with self._cluster.opened(
                self._outputs,
                source=self._source,
                options=self._options,
                limits=self._limits,
                progress=self.progress,
                set_capacity=self._dispatcher.set_capacity,
                stopping=self._stopping,
            ):
                yield
        finally:
            self._dispatcher.set_capacity(None)

    async def _start_photos(self, scan: Scan, context: RunContext) -> None:
        """Start the photos of `scan` in the window; those that earlier runs have finished are reported."""
        with ExitStack() as unknown, self._surveying(context) as survey:
            unknown.enter_context(self._dispatcher.announce_unknown(self._submitter))
            while not (self._stopping.is_set() or self.progress.limit_reached):
                # While a list has no more entries, nothing is held back for those that may come.
                with context.announce() if self._list_goes_on else nullcontext():
                    found = await self._next_photos(scan, context)
                    if found is None:
                        break
                    files, finished = found
                    if self._to_look_up:
                        scan.look_ahead(at_end=unknown.close)
                    entries = await self._look_up_next(context)
                await self._count_finished(finished)
                unfinished = await self._report_finished(entries, context)
                self._to_look_up = self._to_look_up[LOOKED_UP:]
                survey.scanned(files, later=self._to_look_up, unfinished=[entry.file for entry in unfinished])
                if not self._window.start(unfinished, context):
                    survey.start()
                    await self._window.all_started()
            self._leave_to_later_run(survey)

    async def _next_photos(self, scan: Scan, context: RunContext) -> tuple[Sequence[PhotoFile], FinishedBatch] | None:
        """The next photos of `scan`, and those of them that earlier runs have finished; None at its end.

        The others are to be looked up; while there are any, they are the next photos.
        """
        if self._to_look_up:
            return self._to_look_up, FinishedBatch([])
        batch = await scan.next_batch()
        if batch is None:
            self.progress.scanning = self._stopping.is_set()  # a stopped scan may have photos left
            return None
        self._list_goes_on = bool(batch)
        photos = self._photos_of(batch)
        finished = await context.journal.take_finished(photos, with_results=not self._counts_finished)
        self._to_look_up = finished.rest
        return photos, finished

    def _leave_to_later_run(self, survey: Survey) -> None:
        """Count the photos that were found and are not looked up because the run stops."""
        rest, self._to_look_up = self._to_look_up, ()
        self.progress.found += len(rest)
        survey.scanned(rest, later=(), unfinished=rest)

    @contextmanager
    def _surveying(self, context: RunContext) -> Generator[Survey]:
        """Count the photos ahead during the block, once the window is full; a list that comes once cannot be."""

        async def finished() -> int:
            return min([await context.journal.finished_bytes(spec) for spec in self._options.specs])

        once = iter(self._options.listed) is self._options.listed
        source = None if once else open_source(self._options)
        survey = Survey(source, progress=self.progress, finished=finished)
        try:
            yield survey
        finally:
            survey.stop()

    def _photos_of(self, batch: Sequence[PhotoFile]) -> list[PhotoFile]:
        """The files of `batch` that may be photos; the others are counted and left alone."""
        for file in batch:
            if file.left_alone:
                self.progress.leave_alone(display_path(file.photo))
        return [file for file in batch if not file.left_alone]

    async def _look_up_next(self, context: RunContext) -> list[PhotoEntry]:
        """The journal's entries of the first photos that are to be looked up."""
        if not self._to_look_up:
            return []
        if context.prober is None:
            await context.probes.wait_until_few()
        return await self._look_up(self._to_look_up[:LOOKED_UP], context)

    async def _look_up(self, files: Sequence[PhotoFile], context: RunContext) -> list[PhotoEntry]:
        """The journal's entries of `files`, and of the other pages of those that are known to hold several."""
        redo_missing = self._options.redo_missing
        entries = await context.journal.look_up(files, redo_missing=redo_missing)
        pages = [page for entry in entries if entry.pages > 1 for page in entry.file.other_pages(entry.pages)]
        if pages:
            entries += await context.journal.look_up(pages, redo_missing=redo_missing)
        self.progress.found += len(entries)
        self.progress.missing += len([entry for entry in entries if entry.misses_outputs(self._options.outputs)])
        return entries

    @property
    def _counts_finished(self) -> bool:
        return self.counts_finished and not self._has_hooks  # hooks are called with each result

    async def _count_finished(self, finished: FinishedBatch) -> None:
        self.progress.found += finished.count
        if finished.count and not finished.results:
            outcomes = self.progress.outcomes
            outcomes["skipped"] = outcomes.get("skipped", 0) + finished.count
        await self._report(finished.results)

    async def _report_finished(self, entries: Sequence[PhotoEntry], context: RunContext) -> list[PhotoEntry]:
        """Report the photos that earlier runs have finished; the others."""
        options = self._options
        ends = [entry.end(options.specs, retry_failed=options.retry_failed) for entry in entries]
        for entry, result in zip(entries, ends, strict=True):
            self._count_not_kept(entry, result)
        ended = [_to_record(entry, end) for entry, end in zip(entries, ends, strict=True) if end]
        await self._report([end for end in ended if isinstance(end, Result)])
        for end in ended:
            if isinstance(end, FinishedPhoto):
                await context.recorder.add(end)
        unfinished = [entry for entry, end in zip(entries, ends, strict=True) if not end]
        self.progress.work.bytes += sum([entry.file.size for entry in unfinished])
        return unfinished

    def _count_not_kept(self, entry: PhotoEntry, end: Result | None) -> None:
        """Count the outputs of a finished photo that are asked for, and that an earlier run did not keep."""
        if end is not None and end.outcome == "skipped":
            self.progress.note_not_kept(entry.lacks(self._options.specs, self._options.outputs))

    async def _run_photo(self, entry: PhotoEntry, context: RunContext) -> None:
        """Run one photo, and have the other pages of its file run, if it turns out to hold several."""
        photo = PhotoRun(entry, context)
        file = entry.file
        try:
            ended = await photo.run()
        except Stopped:  # another run goes on with it
            self.progress.limit_reached = self.progress.limit_reached or not self._stopping.is_set()
        except (ConfigurationError, OptionsError, ServiceUnavailable, DiskError) as error:
            self._give_up(error)
        else:
            result = ended.result if isinstance(ended, FinishedPhoto) else ended
            self._count_not_kept(photo.entry, result)
            context.count_ended(file, photo.pixels, sent=result.outcome in SENT_OUTCOMES)
            await context.recorder.add(_to_record(photo.entry, ended) if isinstance(ended, Result) else ended)
        if photo.pages > 1 and (others := file.other_pages(photo.pages)):
            pages = await self._look_up(others, context)
            self._window.start(await self._report_finished(pages, context), context)

    def _give_up(self, error: Exception) -> None:
        """Send nothing more. The open requests may yet be answered: they are paid for."""
        self._error = self._error or error
        if isinstance(error, StoreError):
            self._outputs.stop_committing()  # this disk keeps what is received, for the next run to store
        self.drain()

    async def _report(self, results: list[Result]) -> None:
        """Count `results` and hand them to the consumer; waits while it is far behind."""
        if not results:
            return
        await self._unread.acquire()
        for result in results:
            self._hooks.on_photo(result)
        self._results.put_nowait(results)


def _to_record(entry: PhotoEntry, end: Result) -> FinishedPhoto | Result:
    """The end of a photo that earlier runs have finished, to be journalled where the journal has another outcome.

    A run that asked for something else may have succeeded after the one that failed.
    """
    if end.outcome != "failed" or entry.outcome == "failed":
        return end
    return FinishedPhoto(entry, end, {})
