"""One run over an archive: photos found, a bounded window of them alive, results as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import cast

from smarty_async.archive.commit import OutputCommitter
from smarty_async.archive.duplicates import Duplicates
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import PhotoEntry
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.paths import RESULTS
from smarty_async.archive.sources.folder import PhotoFile, check_sources, scan
from smarty_async.archive.threads import finish_despite_cancel
from smarty_async.archive_options import Job
from smarty_async.errors import ConfigurationError, PhotoRejected, ServiceUnavailable, SmartyError
from smarty_async.options import ModeSpec, images_for
from smarty_async.photo import PhotoRun, RequestOutcome, ask
from smarty_async.results import Progress, Result
from smarty_async.transport.dispatcher import Dispatcher
from smarty_async.transport.request import BatchGroup, ImageBudget, Item, Reply, Stopped
from smarty_async.transport.retry import Sleep, item_retrying

__all__ = ["JOURNAL", "ArchiveRun"]

JOURNAL = "journal.sqlite"
"""The journal's file name, in ``DIR/.smarty-async/``."""

_BATCH = 256
"""Photos looked up in the journal at a time."""
_UNTAKEN = 64
"""Lots of results, of such a batch or of one photo, that wait until somebody takes them."""


class ArchiveRun:
    """An archive being restored: iterate over it for the results, once.

    Leaving the iteration early, or cancelling the task that iterates, closes requests and removes temporaries; the
    next run goes on from there. `drain` is the gentle way: what is paid for is waited for.

    Attributes:
        progress: how far it is; changes as it goes.
    """

    def __init__(self, job: Job, dispatcher: Dispatcher, *, sleep: Sleep) -> None:
        self.progress = Progress()
        self._job = job
        self._dispatcher = dispatcher
        self._sleep = sleep
        self._directory = OutputDirectory(job.out)
        self._window = asyncio.Semaphore(job.window)
        self._results: asyncio.Queue[list[Result] | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_UNTAKEN)
        self._stopping = asyncio.Event()
        self._spent = False
        self._ended_by: SmartyError | None = None
        self._items: set[Item] = set()
        self._photos_left = ImageBudget(job.max_photos)
        self._budget = ImageBudget(images_for(job.max_cost))
        self._groups: dict[tuple[ModeSpec, ...], BatchGroup] = {}
        self._feeding: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """Send nothing new and wait for the open answers; then the iteration ends."""
        self._stopping.set()
        self._budget.close()
        self._dispatcher.cancel_queued(self._items)

    async def __aiter__(self) -> AsyncIterator[Result]:
        """What became of each photo, as it is known.

        Raises:
            OptionsError: a source is not there.
            ConfigurationError: nothing can be sent as things are.
            ServiceUnavailable: the service was given up on.
            DiskError: the disk refused.
        """
        if self._feeding is not None:
            raise SmartyError("a run can be iterated over once: make another")
        self._feeding = asyncio.create_task(self._feed(), name="smarty_async run")
        try:
            while (results := await self._results.get()) is not None:
                self._room.release()
                for result in results:
                    yield result
            await asyncio.wait([self._feeding])
            if self._feeding.cancelled():
                raise SmartyError("the client was closed before the run came to its end")
            self._feeding.result()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Stop at once: cancel what is under way, keep what was received whole."""
        if self._feeding is not None and not self._feeding.done():
            if not self._feeding.cancelling():  # a second cancellation would cut its tidying short
                self._feeding.cancel()
            await asyncio.wait([self._feeding])

    @property
    def active(self) -> bool:
        """Whether it has not come to its end."""
        return self._feeding is None or not self._feeding.done()

    # from the scan to the window

    async def _feed(self) -> None:
        try:
            await finish_despite_cancel(asyncio.to_thread(check_sources, self._job.sources, out=self._job.out))
            try:
                await finish_despite_cancel(asyncio.to_thread(self._directory.lock))
                await self._restore()
            finally:
                await finish_despite_cancel(asyncio.to_thread(self._directory.release))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._results.put_nowait(None)

    async def _restore(self) -> None:
        directory = self._directory
        journal = await Journal.open(
            directory.state_dir / JOURNAL,
            results=directory.out / RESULTS,
            temporary=directory.temporary,
            out=directory.out,
            specs=self._job.specs,
        )
        committer = OutputCommitter(directory, journal)
        self.progress.warnings += [journal.warning] if journal.warning else []
        try:
            await finish_despite_cancel(asyncio.to_thread(directory.clear))
            with _scanning(self._job) as next_batch:
                async with asyncio.TaskGroup() as photos:
                    await self._walk(next_batch, journal, committer, photos)
            if self._ended_by is not None:
                raise self._ended_by
        finally:
            await committer.close()
            await journal.close()

    async def _walk(
        self,
        next_batch: Callable[[], Awaitable[list[PhotoFile]]],
        journal: Journal,
        committer: OutputCommitter,
        photos: asyncio.TaskGroup,
    ) -> None:
        duplicates = Duplicates(journal)
        with self._dispatcher.announce(None, source=self):
            while not (self._stopping.is_set() or self._spent):
                with self._dispatcher.announce(source=self):
                    batch = await next_batch()
                    if not batch:
                        break
                    entries = await journal.look_up(batch, redo_missing=self._job.redo_missing)
                    self.progress.found += len(entries)
                    self.progress.missing += sum(entry.misses_outputs for entry in entries)
                ends = [entry.end(self._job.specs, retry_failed=self._job.retry_failed) for entry in entries]
                await self._tell([end for end in ends if end])
                for entry in (entry for entry, end in zip(entries, ends, strict=True) if not end):
                    await self._window.acquire()
                    photos.create_task(self._live(self._photo_run(entry, journal, committer), duplicates))
        self.progress.scanning = False

    def _photo_run(self, entry: PhotoEntry, journal: Journal, committer: OutputCommitter) -> PhotoRun:
        return PhotoRun(
            entry,
            self._job.specs,
            directory=self._directory,
            journal=journal,
            committer=committer,
            limits=self._job.limits,
            fit=self._job.fit,
        )

    # one photo

    async def _live(self, photo_run: PhotoRun, duplicates: Duplicates) -> None:
        try:
            with duplicates.alive(photo_run.entry):
                result = await self._end_of(photo_run, duplicates)
            await self._tell([result])
        except Stopped:
            pass  # it stays to be done
        except (ConfigurationError, ServiceUnavailable) as error:
            # Nothing more is sent. The requests that are open may yet be answered: they are paid for.
            self._ended_by = self._ended_by or error
            self.drain()
        finally:
            await photo_run.tidy()
            self._window.release()

    async def _end_of(self, photo_run: PhotoRun, duplicates: Duplicates) -> Result:
        try:
            if photo_run.entry.may_be_duplicate:
                await self._take_over(photo_run, duplicates)
            if not photo_run.missing:
                return await photo_run.record(RequestOutcome())
            with self._dispatcher.announce(source=self):
                body = await photo_run.look()
            if not self._photos_left.take(1):
                self._spent = True
                raise Stopped
            return await photo_run.record(
                await ask(
                    photo_run.missing,
                    make_item=lambda specs: Item(body, self._group(specs)),
                    submit=self._submit,
                    keep=photo_run.keep,
                    policy=partial(
                        item_retrying,
                        self._job.retries,
                        sleep=partial(self._dispatcher.backoff, sleep=self._pause, source=self),
                    ),
                )
            )
        except PhotoRejected as error:
            return await photo_run.reject(error)

    async def _take_over(self, photo_run: PhotoRun, duplicates: Duplicates) -> None:
        """What photos with the same content have got, or are about to get, is not asked for again."""
        while photo_run.missing:
            with self._dispatcher.announce(source=self):
                if not await duplicates.compare(photo_run.entry):
                    return
                ended = duplicates.earlier(photo_run.entry)  # before the look at what it has got: it may end meanwhile
                for spec in photo_run.missing:
                    await photo_run.take_over(spec)
            if ended is None:
                return
            await ended.wait()

    async def _submit(self, item: Item) -> Reply:
        if self._stopping.is_set():
            raise Stopped
        self._items.add(item)
        try:
            return await self._dispatcher.submit(item)
        finally:
            self._items.discard(item)
            self._spent = self._spent or self._budget.empty

    def _group(self, specs: tuple[ModeSpec, ...]) -> BatchGroup:
        if specs not in self._groups:
            self._groups[specs] = BatchGroup(specs, self._directory, self.progress, self._budget, source=self)
        return self._groups[specs]

    async def _pause(self, seconds: float) -> None:
        """A photo's backoff; it ends early when the run is stopping."""
        self.progress.retries += 1
        waits = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._stopping.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _tell(self, results: list[Result]) -> None:
        if not results:
            return
        await self._room.acquire()
        outcomes = self.progress.outcomes
        for result in results:
            outcomes[result.outcome] = outcomes.get(result.outcome, 0) + 1
        self._results.put_nowait(results)


@contextmanager
def _scanning(job: Job) -> Generator[Callable[[], Awaitable[list[PhotoFile]]]]:
    """A function that gives the next photos of the scan, none at its end. The scan has a thread of its own."""
    found = scan(job.sources, out=job.out, include=job.include, exclude=job.exclude, listed=job.listed)
    thread = ThreadPoolExecutor(1, thread_name_prefix="smarty_async scan")
    loop = asyncio.get_running_loop()
    try:
        yield lambda: loop.run_in_executor(thread, lambda: list(islice(found, _BATCH)))
    finally:
        thread.submit(found.close)
        thread.shutdown(wait=False)


def _first(error: BaseException) -> BaseException:
    """The error that ended a run; the others of its group followed from it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
