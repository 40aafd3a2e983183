"""What is remembered between runs, written in groups by one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from smarty_async.archive.crew import threaded, uncut
from smarty_async.archive.database import DamagedJournal, set_aside
from smarty_async.archive.entry import Answer, Claim, Content, Received, Unread
from smarty_async.archive.ledger import Finish, Ledger
from smarty_async.archive.missing import Standing
from smarty_async.archive.placing import remove
from smarty_async.archive.rebuild import rebuild
from smarty_async.archive.recovery import finish
from smarty_async.archive.results_file import ResultsFile
from smarty_async.archive.walk import Found
from smarty_async.options import Task
from smarty_async.results import ErrorInfo, Result

__all__ = ["Journal"]

T = TypeVar("T")


class Journal:
    """The ledger behind a queue: what many photos note at the same time becomes one transaction, one fsync.

    Attributes:
        remark: what a person should know about how it was opened; empty when it was as it should be.
    """

    def __init__(
        self,
        ledger: Ledger,
        path: Path,
        results: ResultsFile,
        thread: ThreadPoolExecutor,
        *,
        out: Path,
        tasks: tuple[Task, ...],
        remark: str,
    ) -> None:
        self.remark = remark
        self._ledger = ledger
        self._path = path
        self._results = results
        self._thread = thread
        self._out = out
        self._standing = Standing(out)
        self._tasks = tasks
        self._queue: list[tuple[Callable[[], object], asyncio.Future[object]]] = []
        self._lines: list[Result] = []
        self._writing: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    @classmethod
    async def open(
        cls, path: Path, *, results: Path, temporary: Callable[[str], Path], out: Path, tasks: Iterable[Task] = ()
    ) -> Journal:
        """Open or make the database at `path`, and finish what an interrupted run had received.

        When it is lost or damaged, it is made anew from `results` and the outputs that stand; the `tasks` of today
        help to tell what was asked then.

        Raises:
            DiskError: it cannot be read or written.
            ConfigurationError: a newer version of this program wrote it.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="smarty_async journal")
        to_finish = partial(finish, temporary=temporary, out=out)
        make_anew = partial(rebuild, results=results, out=out, tasks=tasks)
        opening = asyncio.get_running_loop().run_in_executor(thread, _opened, path, to_finish, make_anew)
        try:
            ledger, remark = await uncut(opening)
        except BaseException:
            if opening.exception() is None:  # cancelled: it was opened for nobody
                opening.result()[0].close()
            thread.shutdown(wait=False)
            raise
        return cls(ledger, path, ResultsFile(results), thread, out=out, tasks=tuple(tasks), remark=remark)

    async def close(self) -> None:
        """Write what waits, bring ``results.jsonl`` up to date, and close."""
        await uncut(self._close())

    async def claim(self, batch: Iterable[Found], *, redo_missing: bool = False) -> list[Claim]:
        """Find or make the entry of every photo in `batch`; if `redo_missing`, forget outputs that are not there."""
        claims = await self._note(partial(self._ledger.claim, batch, self._tasks))
        if not any(claim.known for claim in claims):
            return claims
        return await _checked(self._standing, claims, redo=redo_missing)

    async def unread(self, size: int) -> list[Unread]:
        """The photos of `size` bytes that have no digest, some of them if there are many."""
        return await self._note(partial(self._ledger.unread, size))

    async def note_digests(self, digests: Mapping[int, bytes], *, asking: Iterable[int]) -> dict[int, Content]:
        """The contents of photos by entry, empty for those that cannot be read; then what those `asking` hold."""
        return await self._note(partial(self._note_digests, digests, asking))

    async def answers_to(self, task: Task, claim: Claim) -> list[Answer]:
        """What other photos with the digest of this one have got for `task`."""
        return await self._note(partial(self._ledger.answers_to, task, claim.id))

    async def keep(self, answers: Sequence[Received]) -> None:
        """The `answers` are on the disk, in temporaries: from here on they are not asked for again."""
        await self._note(partial(self._keep, answers))

    def placed(self, answers: Sequence[Received]) -> None:
        """The outputs of `answers` stand at their places.

        Nobody waits for this note; when it fails, all later ones do.
        """
        self._enqueue(partial(self._placed, answers)).add_done_callback(self._noted)

    async def record(self, claim: Claim, result: Result, failures: Mapping[Task, ErrorInfo]) -> None:
        """What became of a photo; its line goes to ``results.jsonl``."""
        await self._note(partial(self._record, claim.id, result, failures))

    async def _note(self, call: Callable[[], T]) -> T:
        """Let `call` be part of the next transaction, and wait until that is on the disk."""
        if self._broken is not None:
            raise self._broken
        return await self._enqueue(call)

    def _enqueue(self, call: Callable[[], T]) -> asyncio.Future[T]:
        noted: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append((call, noted))  # type: ignore[arg-type] # a future of anything
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="smarty_async journal")
        return noted

    def _noted(self, noted: asyncio.Future[None]) -> None:
        self._broken = noted.exception() or self._broken  # asked of each: one that nobody asks is complained about

    async def _write(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue, []
                await self._write_group(batch)
        finally:
            self._writing = None

    async def _write_group(self, batch: list[tuple[Callable[[], object], asyncio.Future[object]]]) -> None:
        calls = [call for call, _ in batch]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, calls)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must not wait for ever
            for _, noted in batch:
                if not noted.done():
                    noted.set_exception(error)
        else:
            for (_, noted), answer in zip(batch, answers, strict=True):
                if not noted.done():
                    noted.set_result(answer)

    async def _close(self) -> None:
        try:
            if self._writing is not None:
                await asyncio.wait([self._writing])
            await asyncio.get_running_loop().run_in_executor(self._thread, self._finish)
        finally:
            self._thread.shutdown(wait=False)

    # in the thread

    def _commit(self, calls: list[Callable[[], object]]) -> list[object]:
        self._lines = []
        with self._ledger.transaction():
            answers = [call() for call in calls]
        if self._lines:
            self._results.append(self._lines)
        return answers

    def _note_digests(self, digests: Mapping[int, bytes], asking: Iterable[int]) -> dict[int, Content]:
        self._ledger.note_digests(digests)
        return self._ledger.contents_of(asking)

    def _keep(self, answers: Sequence[Received]) -> None:
        for answer in answers:
            self._ledger.keep(answer.claim.id, answer.task, answer.outputs, answer.bw)

    def _placed(self, answers: Sequence[Received]) -> None:
        for answer in answers:
            self._ledger.placed(answer.claim.id, answer.task)

    def _record(self, photo: int, result: Result, failures: Mapping[Task, ErrorInfo]) -> None:
        self._ledger.record(photo, result, failures)
        if result.error is None:
            # Before the commit: when it does not come to that, they are found stale again. As long as there is nothing
            # better, they stay: a photo may have changed because it was damaged.
            remove(self._out / path for path in self._ledger.forget_stale(photo))
        self._lines.append(result)

    def _finish(self) -> None:
        try:
            if not self._ledger.damaged:
                # Always: an earlier run may have been interrupted between its last note and this.
                with self._ledger.translated():
                    self._results.rewrite(self._ledger.results())
        finally:
            self._ledger.close()
            if self._ledger.damaged:
                set_aside(self._path)


_checked = threaded(Standing.checked)


def _opened(path: Path, to_finish: Finish, make_anew: Callable[[Ledger], int]) -> tuple[Ledger, str]:
    """The ledger, and what a person should know about it."""
    try:
        ledger, known = _made_ready(path, to_finish, make_anew)
        return ledger, f"There was no journal; {_known_again(known)}" if known else ""
    except DamagedJournal:
        aside = set_aside(path)
        ledger, known = _made_ready(path, to_finish, make_anew)
        return ledger, f"The journal was damaged, and is kept as {str(aside)!r}; {_known_again(known)}"


def _made_ready(path: Path, to_finish: Finish, make_anew: Callable[[Ledger], int]) -> tuple[Ledger, int]:
    """The ledger, and how many photos of `results.jsonl` it took in."""
    ledger = Ledger(path)
    try:
        with ledger.transaction():
            ledger.finish_kept(to_finish)
            return ledger, make_anew(ledger) if ledger.is_empty else 0
    except BaseException:
        ledger.close()
        raise


def _known_again(photos: int) -> str:
    return f"photos known again from results.jsonl and the outputs that stand: {photos:,}"
