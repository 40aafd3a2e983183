"""What is remembered between runs, written in groups by one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from smarty_async.archive.journal.records import Answer, Content, PhotoEntry, ReceivedAnswer, UnhashedPhoto
from smarty_async.archive.journal.schema import DamagedJournal, set_aside
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.results_file import ResultsFile
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.archive.threads import finish_despite_cancel
from smarty_async.options import ModeSpec
from smarty_async.results import ErrorInfo, Result

__all__ = ["Journal"]

T = TypeVar("T")


class Journal:
    """The ledger behind a queue: what many photos note at the same time becomes one transaction, one fsync.

    Attributes:
        warning: what a person should know about how it was opened; empty when it was as it should be.
    """

    def __init__(
        self,
        store: JournalStore,
        path: Path,
        results: ResultsFile,
        thread: ThreadPoolExecutor,
        *,
        outputs: OutputStore,
        specs: tuple[ModeSpec, ...],
        warning: str,
    ) -> None:
        self.warning = warning
        self._store = store
        self._path = path
        self._results = results
        self._thread = thread
        self._outputs = outputs
        self._specs = specs
        self._queue: list[tuple[Callable[[], object], asyncio.Future[object]]] = []
        self._lines: list[Result] = []
        self._writing: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    @classmethod
    async def open(cls, path: Path, *, results: Path, outputs: OutputStore, specs: Iterable[ModeSpec] = ()) -> Journal:
        """Open or make the database at `path`, and finish what an interrupted run had received.

        When it is lost or damaged, it is made anew from `results` and the outputs that stand; the `specs` of today
        help to tell what was asked then.

        Raises:
            DiskError: it cannot be read or written.
            ConfigurationError: a newer version of this program wrote it.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="smarty_async journal")
        opening = asyncio.get_running_loop().run_in_executor(thread, _opened, path, outputs, tuple(specs))
        try:
            store, warning = await finish_despite_cancel(opening)
        except BaseException:
            if opening.exception() is None:  # cancelled: it was opened for nobody
                opening.result()[0].close()
            thread.shutdown(wait=False)
            raise
        return cls(store, path, ResultsFile(results), thread, outputs=outputs, specs=tuple(specs), warning=warning)

    async def close(self) -> None:
        """Write what waits, bring ``results.jsonl`` up to date, and close."""
        await finish_despite_cancel(self._close())

    async def look_up(self, batch: Iterable[PhotoFile], *, redo_missing: bool = False) -> list[PhotoEntry]:
        """Find or make the entry of every photo in `batch`; if `redo_missing`, forget outputs that are not there."""
        entries = await self._note(partial(self._store.look_up, batch, self._specs))
        if not any(entry.known for entry in entries):
            return entries
        return await self._outputs.check(entries, redo=redo_missing)

    async def unhashed(self, size: int) -> list[UnhashedPhoto]:
        """The photos of `size` bytes that have no digest, some of them if there are many."""
        return await self._note(partial(self._store.unhashed, size))

    async def note_digests(self, digests: Mapping[int, bytes], *, asking: Iterable[int]) -> dict[int, Content]:
        """The contents of photos by entry, empty for those that cannot be read; then what those `asking` hold."""
        return await self._note(partial(self._note_digests, digests, asking))

    async def answers_to(self, spec: ModeSpec, entry: PhotoEntry) -> list[Answer]:
        """What other photos with the digest of this one have got for `spec`."""
        return await self._note(partial(self._store.answers_to, spec, entry.id))

    async def keep(self, answers: Sequence[ReceivedAnswer]) -> None:
        """The `answers` are on the disk, in temporaries: from here on they are not asked for again."""
        await self._note(partial(self._keep, answers))

    async def give_distinct_places(self, answers: Sequence[ReceivedAnswer]) -> list[str | None]:
        """Another place for the photo of each answer, because a file that no run made is at the one it has."""
        return await self._note(partial(self._give_distinct_places, answers))

    def placed(self, answers: Sequence[ReceivedAnswer]) -> None:
        """The outputs of `answers` stand at their places.

        Nobody waits for this note; when it fails, all later ones do.
        """
        self._enqueue(partial(self._placed, answers)).add_done_callback(self._noted)

    async def record(self, entry: PhotoEntry, result: Result, failures: Mapping[ModeSpec, ErrorInfo]) -> None:
        """What became of a photo; its line goes to ``results.jsonl``."""
        await self._note(partial(self._record, entry.id, result, failures))

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
        with self._store.transaction():
            answers = [call() for call in calls]
        if self._lines:
            self._results.append(self._lines)
        return answers

    def _note_digests(self, digests: Mapping[int, bytes], asking: Iterable[int]) -> dict[int, Content]:
        self._store.note_digests(digests)
        return self._store.contents_of(asking)

    def _keep(self, answers: Sequence[ReceivedAnswer]) -> None:
        for answer in answers:
            self._store.keep(answer.entry.id, answer.spec, answer.outputs, answer.bw)

    def _give_distinct_places(self, answers: Sequence[ReceivedAnswer]) -> list[str | None]:
        return [self._store.give_distinct_place(answer.entry.id, answer.spec.mode) for answer in answers]

    def _placed(self, answers: Sequence[ReceivedAnswer]) -> None:
        for answer in answers:
            self._store.placed(answer.entry.id, answer.spec)

    def _record(self, photo: int, result: Result, failures: Mapping[ModeSpec, ErrorInfo]) -> None:
        self._store.record(photo, result, failures)
        if result.error is None:
            # Before the commit: when it does not come to that, they are found stale again. As long as there is nothing
            # better, they stay: a photo may have changed because it was damaged.
            for place, outputs in self._store.forget_stale(photo):
                self._outputs.remove(place, outputs)
        self._lines.append(result)

    def _finish(self) -> None:
        try:
            if not self._store.damaged:
                # Always: an earlier run may have been interrupted between its last note and this.
                with self._store.translated():
                    self._results.rewrite(self._store.results())
        finally:
            self._store.close()
            if self._store.damaged:
                set_aside(self._path)


def _opened(path: Path, outputs: OutputStore, specs: tuple[ModeSpec, ...]) -> tuple[JournalStore, str]:
    """The journal's store, and what a person should know about it."""
    try:
        store, known = _made_ready(path, outputs, specs)
        return store, f"There was no journal; {_known_again(known)}" if known else ""
    except DamagedJournal:
        aside = set_aside(path)
        store, known = _made_ready(path, outputs, specs)
        return store, f"The journal was damaged, and is kept as {str(aside)!r}; {_known_again(known)}"


def _made_ready(path: Path, outputs: OutputStore, specs: tuple[ModeSpec, ...]) -> tuple[JournalStore, int]:
    """The journal's store, and how many photos of `results.jsonl` it took in."""
    store = JournalStore(path, outputs=outputs)
    try:
        with store.transaction():
            store.finish_kept(outputs.recover)
            return store, outputs.rebuild(store, specs) if store.is_empty else 0
    except BaseException:
        store.close()
        raise


def _known_again(photos: int) -> str:
    return f"photos known again from results.jsonl and the outputs that stand: {photos:,}"
