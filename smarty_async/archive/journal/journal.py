"""The journal as a run uses it: asynchronous, with updates grouped into transactions of one thread.

``results.jsonl``, one line a photo, follows the journal and can be rewritten from it at any time.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from smarty_async.archive.entries import FinishedPhoto, PhotoEntry
from smarty_async.archive.journal.finished import FinishedBatch
from smarty_async.archive.journal.records import Content, DuplicateAnswer, ReceivedAnswer, UnhashedPhoto, WantedAnswer
from smarty_async.archive.journal.recovery import JournalRebuilder, LeftAnswer, adopt_left
from smarty_async.archive.journal.schema import DamagedJournal, set_aside
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.archive.threads import BRIEF_SECONDS, BriefWait, finish_despite_cancel, threaded
from smarty_async.errors import DiskError, DiskFull
from smarty_async.group_queue import GroupQueue
from smarty_async.options import ModeSpec
from smarty_async.results import Kind
from smarty_async.thread_limit import thread_limit

__all__ = ["Journal"]


T = TypeVar("T")

_Call = tuple[Callable[[], object], asyncio.Future[object]]
"""What is done in a transaction, and what gets its result when that is on the disk."""


class _Opened(msgspec.Struct, frozen=True):
    """A journal that is ready for a run."""

    store: JournalStore
    has_finished: bool
    temporaries: set[str]
    warnings: list[str]


class Journal:
    """What is remembered between runs. Calls made at the same time share one transaction and one fsync.

    Attributes:
        warnings: what a person should know about how it was opened.
        temporaries: names of temporary files with outputs that could not be moved to their places yet.
    """

    def __init__(
        self,
        opened: _Opened,
        path: Path,
        thread: ThreadPoolExecutor,
        *,
        outputs: OutputStore,
        specs: tuple[ModeSpec, ...],
        kinds: Collection[Kind],
    ) -> None:
        self.warnings = opened.warnings
        self.temporaries = opened.temporaries
        self._store = opened.store
        self._has_finished = opened.has_finished  # photos, before this run
        self._path = path
        self._thread = thread
        self._outputs = outputs
        self._specs = specs
        self._kinds = kinds
        self._calls: GroupQueue[_Call] = GroupQueue(self._write, _fail, name="smarty_async journal")
        self._finished: list[FinishedPhoto] = []
        self._error: BaseException | None = None
        self._not_noted: DiskError | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        outputs: OutputStore,
        specs: Iterable[ModeSpec] = (),
        kinds: Collection[Kind] = (),
        left: Sequence[LeftAnswer] = (),
    ) -> Journal:
        """Open or create the database at `path`, and commit what an interrupted run had received.

        A lost or damaged database is rebuilt from `outputs`, see `OutputStore.rebuild`.

        Args:
            path: of the database.
            outputs: where outputs are stored.
            specs: what the run asks of every photo.
            kinds: the kinds of output that it asks for; all when empty.
            left: answers that workers finished for an earlier run, which ended before it took them.

        Raises:
            DiskError: it cannot be read or written, or the system starts no more threads.
            ConfigurationError: a newer version of this program wrote it.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="smarty_async journal")
        with thread_limit():
            opening = asyncio.get_running_loop().run_in_executor(
                thread, partial(_opened, path, outputs, tuple(specs), left)
            )
        try:
            opened = await finish_despite_cancel(opening)
        except BaseException:
            if opening.exception() is None:  # cancelled: it is not used
                opening.result().store.close()
            thread.shutdown(wait=False)
            raise
        return cls(opened, path, thread, outputs=outputs, specs=tuple(specs), kinds=kinds)

    async def close(self) -> None:
        """Write what is queued, bring the list of results up to date, and close."""
        await finish_despite_cancel(self._close())

    # entries and contents

    async def look_up(self, files: Iterable[PhotoFile], *, redo_missing: bool = False) -> list[PhotoEntry]:
        """Find or create the entry of every one of `files`, see `JournalStore.look_up`.

        Answers whose outputs no longer exist are marked as ``missing``; if `redo_missing`, those that lack an output
        that is asked for are marked as ``incomplete``.
        """
        entries = await self._call(partial(self._store.look_up, files, self._specs))
        return await self._checked(entries, redo_missing=redo_missing)

    async def take_finished(self, files: Sequence[PhotoFile], *, with_results: bool) -> FinishedBatch:
        """Take those out of `files` that need no work, as far as that is quickly known; look the `rest` up.

        Args:
            files: a batch of a scan, in its order.
            with_results: whether the results of the others are wanted, and not their number alone.
        """
        if self._outputs.is_remote or not self._has_finished:  # what is remote has to be asked for
            return FinishedBatch(list(files))
        finished = partial(self._store.take_finished, files, self._specs, missing=self._outputs.missing)
        return await self._call(partial(finished, with_results=with_results, kinds=self._kinds))

    async def note_pages(self, entry: PhotoEntry, pages: int) -> None:
        """Note that the file of `entry` holds `pages` pictures."""
        if pages != entry.pages:
            await self._call(partial(self._store.note_pages, entry.id, pages))

    async def unhashed(self, size: int) -> list[UnhashedPhoto]:
        """Photos of `size` bytes whose digest is not known, see `JournalStore.unhashed`."""
        return await self._call(partial(self._store.unhashed, size))

    async def note_digests(self, digests: Mapping[int, bytes], *, asking: Iterable[int]) -> dict[int, Content]:
        """Note `digests` by entry, empty for photos that cannot be read, and return the contents of `asking`."""
        return await self._call(partial(self._note_digests, digests, asking))

    async def verify(self, entry: PhotoEntry, digest: bytes, *, redo_missing: bool = False) -> PhotoEntry:
        """Compare a photo whose version has changed with the journal, see `JournalStore.verify`."""
        verified = await self._call(partial(self._store.verify, entry, digest, self._specs))
        return (await self._checked([verified], redo_missing=redo_missing))[0]

    async def follow_moved(self, entry: PhotoEntry, *, redo_missing: bool = False) -> PhotoEntry:
        """Give a photo whose source was renamed or moved its former entry, see `JournalStore.follow_moved`."""
        moved = await self._call(partial(self._store.follow_moved, entry, self._specs))
        return entry if moved is entry else (await self._checked([moved], redo_missing=redo_missing))[0]

    async def answers_to(self, wanted: WantedAnswer, entry: PhotoEntry, *, after: int) -> list[DuplicateAnswer]:
        """Some committed answers of photos with the same content, see `JournalStore.answers_to`."""
        return await self._call(partial(self._store.answers_to, wanted, entry.id, after=after))

    async def most_pages(self, *photos: int) -> int:
        """The most pictures that the file of one of `photos`, named by their entries, is known to hold."""
        return await self._call(partial(self._store.most_pages, photos))

    # answers and results

    async def record_received(self, answers: Sequence[ReceivedAnswer]) -> None:
        """The outputs of `answers` are durable in temporary files: a later run commits them."""
        await self._call(partial(self._store.record_received, answers))

    async def give_distinct_places(self, answers: Sequence[ReceivedAnswer]) -> list[str | None]:
        """Another place for the photo of each answer, because a file that no run made is at the one it has."""
        return await self._call(partial(self._give_distinct_places, answers))

    def record_committed(self, answers: Sequence[ReceivedAnswer]) -> None:
        """The outputs of `answers` are at their places.

        It returns at once; when writing fails, all later calls raise the error.
        """
        committed = [(answer.entry.id, answer.spec) for answer in answers]
        self._call_later(lambda: self._store.record_committed(committed))

    async def record_results(self, photos: Sequence[FinishedPhoto]) -> None:
        """What became of `photos`, for the storage to note as well.

        Raises:
            DiskError: the journal cannot be written, or it can and the storage could not note results, now or earlier.
        """
        await self._call(partial(self._finished.extend, photos))
        if self._not_noted is not None:
            raise self._not_noted

    # requests

    async def check_disk_space(self, size: int) -> None:
        """Make sure that the disk of the journal has space for `size` bytes of outputs.

        Raises:
            DiskFull: it has not.
        """
        folder, needed = self._path.parent, size + _SPARE_BYTES
        free = await threaded(_free_bytes)(folder)
        if free is not None and free < needed:
            raise DiskFull(
                f"the disk of {str(folder)!r} is nearly full: {free / 1_000_000:,.0f} MB are free, and the answers to "
                f"the next request may need {needed / 1_000_000:,.0f} MB",
                path=folder,
                errno=errno.ENOSPC,
            )

    async def started(self, *, images: int, size: int) -> int:
        """A request of `images` images and `size` bytes is about to be sent; its number, once that is durable."""
        return await self._call(partial(self._store.start_request, images=images, size=size))

    def finished(self, number: int, *, state: Literal["answered", "refused"]) -> None:
        """The request `number` was answered, or refused before any work. It returns at once."""
        self._call_later(partial(self._store.finish_request, number, state))

    async def images_paid(self) -> int:
        """Images that were probably paid for, in all runs; see `Counts.images_paid`."""
        return await self._call(self._store.images_paid)

    async def finished_bytes(self, spec: ModeSpec) -> int:
        """Bytes of the photos whose answer to `spec` is at its place."""
        return await self._call(partial(self._store.finished_bytes, spec))

    # groups

    async def _checked(self, entries: list[PhotoEntry], *, redo_missing: bool) -> list[PhotoEntry]:
        if not any(entry.answers for entry in entries):
            return entries
        checked = await self._outputs.check(entries)
        if not redo_missing:
            return checked
        return await self._call(partial(self._store.ask_again, checked, self._specs, self._kinds))

    def _call(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Make `call` part of the next transaction; the future is done when that is on the disk."""
        written: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._error is not None:
            written.set_exception(self._error)
            return written
        self._calls.add([(call, written)])  # type: ignore[list-item] # a future of anything
        return written

    def _call_later(self, call: Callable[[], object]) -> None:
        """Make `call` part of the next transaction, without waiting for it."""
        self._call(call).add_done_callback(self._keep_error)

    def _keep_error(self, written: asyncio.Future[object]) -> None:
        if not written.cancelled():
            self._error = written.exception() or self._error  # asked of each: asyncio complains about others

    async def _write(self, group: list[_Call]) -> None:
        """Make the calls of `group` in one transaction."""
        calls, wait = [call for call, _ in group], BriefWait()
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._transact, calls, wait)
        wait.wait(BRIEF_SECONDS)
        for (_, written), answer in zip(group, await writing, strict=True):
            if not written.done():
                written.set_result(answer)

    async def _close(self) -> None:
        try:
            await self._calls.wait()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._finish)
        finally:
            self._thread.shutdown(wait=False)

    # in the thread

    def _transact(self, calls: list[Callable[[], object]], wait: BriefWait) -> list[object]:
        self._finished.clear()
        with self._store.transaction():
            try:
                answers = [call() for call in calls]
                if self._finished:
                    # Before the transaction ends: if it is rolled back, the next run finds them stale again.
                    for place, outputs in self._store.record_results(self._finished):
                        self._outputs.remove(place, outputs)
            finally:
                wait.end()  # what follows waits for the disk
        if self._finished:
            self._note_results()
        return answers

    def _note_results(self) -> None:
        """Have the storage note the results that were journalled; others in the transaction do not depend on it."""
        try:
            with self._store.translated():
                self._outputs.record(self._finished, all_results=self._store.results)
        except DiskError as error:
            self._not_noted = error

    def _note_digests(self, digests: Mapping[int, bytes], asking: Iterable[int]) -> dict[int, Content]:
        self._store.note_digests(digests)
        return self._store.contents_of(asking)

    def _give_distinct_places(self, answers: Sequence[ReceivedAnswer]) -> list[str | None]:
        return [self._store.give_distinct_place(answer.entry.id, answer.spec.mode) for answer in answers]

    def _finish(self) -> None:
        try:
            if not self._store.damaged:
                # Always: an earlier run may have been killed between its last transaction and this.
                with self._store.translated():
                    self._outputs.write_results(self._store.results())
        finally:
            self._store.close()
            if self._store.damaged:
                set_aside(self._path)


def _fail(call: _Call, error: BaseException) -> None:
    _, written = call
    if isinstance(error, asyncio.CancelledError):
        written.cancel()
    elif not written.done():
        written.set_exception(error)


_SPARE_BYTES: Final = 8_000_000
"""Room that is left for the journal: SQLite writes up to 4 MB beside the database before it takes them over."""


def _free_bytes(folder: Path) -> int | None:
    """Bytes that are free on the disk of `folder`; None where it does not say, as on some networks. Blocks."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None


def _opened(path: Path, outputs: OutputStore, specs: tuple[ModeSpec, ...], left: Sequence[LeftAnswer]) -> _Opened:
    try:
        return _recovered(path, outputs, specs, left)
    except DamagedJournal:
        aside = set_aside(path)
        return _recovered(path, outputs, specs, left, found=f"The journal was damaged, and is kept as {str(aside)!r}")


def _recovered(
    path: Path, outputs: OutputStore, specs: tuple[ModeSpec, ...], left: Sequence[LeftAnswer], *, found: str = ""
) -> _Opened:
    """The journal, rebuilt and recovered as far as it has to be; the arguments are those of `Journal.open`.

    `found` is the state of the journal, for people; empty to say it only when photos are recovered.
    """
    store = JournalStore(path, outputs=outputs)
    try:
        with store.transaction():
            state = found or ("There was no journal" if store.is_empty else "The journal was not up to date")
            count = outputs.rebuild(JournalRebuilder(store, specs))
            adopted = adopt_left(store, left)
            temporaries, error = store.recover(outputs.recover)
        if error is not None:
            raise error
        has_finished = store.has_finished
    except BaseException:
        store.close()
        raise
    message = f"{state}; photos recovered from {outputs.source_of_truth}: {count:,}"
    warnings = [message] if count or found else []
    if adopted:
        warnings.append(f"Workers have finished requests of an earlier run; answers taken over: {adopted:,}")
    if refused := store.unplaced():
        warnings.append(
            f"Outputs of {len(refused):,} photos, received by an earlier run, cannot be moved to their places "
            f"({refused[0]}). They are kept, and the next run tries again"
        )
    return _Opened(store, has_finished, temporaries, warnings)
