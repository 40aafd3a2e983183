"""One run over an archive: photos found, a bounded window of them alive, results as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import cast

from smarty_async.archive.crew import uncut
from smarty_async.archive.entry import Claim
from smarty_async.archive.journal import Journal
from smarty_async.archive.keeper import Keeper
from smarty_async.archive.names import RESULTS
from smarty_async.archive.scan import Found, check_sources, scan
from smarty_async.archive.twins import Twins
from smarty_async.archive.writer import Workplace
from smarty_async.errors import ConfigurationError, PhotoRejected, ServiceUnavailable, SmartyError
from smarty_async.job import Job
from smarty_async.journey import Asked, Journey, ask
from smarty_async.options import Task, images_for
from smarty_async.results import Progress, Result
from smarty_async.transport.courier import Courier
from smarty_async.transport.item import Item, Lane, Purse, Reply, Stopped
from smarty_async.transport.retrying import Sleep, item_retrying

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

    def __init__(self, job: Job, courier: Courier, *, sleep: Sleep) -> None:
        self.progress = Progress()
        self._job = job
        self._courier = courier
        self._sleep = sleep
        self._workplace = Workplace(job.out)
        self._window = asyncio.Semaphore(job.window)
        self._results: asyncio.Queue[list[Result] | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_UNTAKEN)
        self._stopping = asyncio.Event()
        self._spent = False
        self._ended_by: SmartyError | None = None
        self._items: set[Item] = set()
        self._photos_left = Purse(job.max_photos)
        self._purse = Purse(images_for(job.max_cost))
        self._lanes: dict[tuple[Task, ...], Lane] = {}
        self._feeding: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """Send nothing new and wait for the open answers; then the iteration ends."""
        self._stopping.set()
        self._purse.close()
        self._courier.withdraw(self._items)

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
            await uncut(asyncio.to_thread(check_sources, self._job.sources, out=self._job.out))
            try:
                await uncut(asyncio.to_thread(self._workplace.claim))
                await self._restore()
            finally:
                await uncut(asyncio.to_thread(self._workplace.release))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._results.put_nowait(None)

    async def _restore(self) -> None:
        workplace = self._workplace
        journal = await Journal.open(
            workplace.own / JOURNAL,
            results=workplace.out / RESULTS,
            temporary=workplace.temporary,
            out=workplace.out,
            tasks=self._job.tasks,
        )
        keeper = Keeper(workplace, journal)
        self.progress.remarks += [journal.remark] if journal.remark else []
        try:
            await uncut(asyncio.to_thread(workplace.clear))
            with _scanning(self._job) as next_batch:
                async with asyncio.TaskGroup() as photos:
                    await self._walk(next_batch, journal, keeper, photos)
            if self._ended_by is not None:
                raise self._ended_by
        finally:
            await keeper.close()
            await journal.close()

    async def _walk(
        self,
        next_batch: Callable[[], Awaitable[list[Found]]],
        journal: Journal,
        keeper: Keeper,
        photos: asyncio.TaskGroup,
    ) -> None:
        twins = Twins(journal)
        with self._courier.expecting(None):
            while not (self._stopping.is_set() or self._spent):
                with self._courier.expecting():
                    batch = await next_batch()
                    if not batch:
                        break
                    claims = await journal.claim(batch, redo_missing=self._job.redo_missing)
                    self.progress.found += len(claims)
                    self.progress.missing += sum(claim.misses_outputs for claim in claims)
                ends = [claim.end(self._job.tasks, retry_failed=self._job.retry_failed) for claim in claims]
                await self._tell([end for end in ends if end])
                for claim in (claim for claim, end in zip(claims, ends, strict=True) if not end):
                    await self._window.acquire()
                    photos.create_task(self._live(self._journey(claim, journal, keeper), twins))
        self.progress.scanning = False

    def _journey(self, claim: Claim, journal: Journal, keeper: Keeper) -> Journey:
        return Journey(
            claim,
            self._job.tasks,
            workplace=self._workplace,
            journal=journal,
            keeper=keeper,
            limits=self._job.limits,
            fit=self._job.fit,
        )

    # one photo

    async def _live(self, journey: Journey, twins: Twins) -> None:
        try:
            with twins.alive(journey.claim):
                result = await self._end_of(journey, twins)
            await self._tell([result])
        except Stopped:
            pass  # it stays to be done
        except (ConfigurationError, ServiceUnavailable) as error:
            # Nothing more is sent. The requests that are open may yet be answered: they are paid for.
            self._ended_by = self._ended_by or error
            self.drain()
        finally:
            await journey.tidy()
            self._window.release()

    async def _end_of(self, journey: Journey, twins: Twins) -> Result:
        try:
            if journey.claim.alike:
                await self._take_over(journey, twins)
            if not journey.missing:
                return await journey.record(Asked())
            with self._courier.expecting():
                body = await journey.look()
            if not self._photos_left.take(1):
                self._spent = True
                raise Stopped
            return await journey.record(
                await ask(
                    journey.missing,
                    make_item=lambda tasks: Item(body, self._lane(tasks)),
                    submit=self._submit,
                    keep=journey.keep,
                    policy=partial(
                        item_retrying, self._job.retries, sleep=partial(self._courier.rest, sleep=self._pause)
                    ),
                )
            )
        except PhotoRejected as error:
            return await journey.reject(error)

    async def _take_over(self, journey: Journey, twins: Twins) -> None:
        """What photos with the same content have got, or are about to get, is not asked for again."""
        while journey.missing:
            with self._courier.expecting():
                if not await twins.compare(journey.claim):
                    return
                ended = twins.earlier(journey.claim)  # before the look at what it has got: it may end meanwhile
                for task in journey.missing:
                    await journey.take_over(task)
            if ended is None:
                return
            await ended.wait()

    async def _submit(self, item: Item) -> Reply:
        if self._stopping.is_set():
            raise Stopped
        self._items.add(item)
        try:
            return await self._courier.submit(item)
        finally:
            self._items.discard(item)
            self._spent = self._spent or self._purse.empty

    def _lane(self, tasks: tuple[Task, ...]) -> Lane:
        if tasks not in self._lanes:
            self._lanes[tasks] = Lane(tasks, self._workplace, self.progress, self._purse)
        return self._lanes[tasks]

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
def _scanning(job: Job) -> Generator[Callable[[], Awaitable[list[Found]]]]:
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
