"""What a run would do, and what earlier runs have done; nothing is sent or changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from typing import Any, Unpack

import msgspec

from smarty_async.archive.duplicates import AnswerSearch, digest_of, unhashed_of
from smarty_async.archive.entries import PhotoEntry
from smarty_async.archive.journal import schema
from smarty_async.archive.journal.records import FailedPhoto, WantedAnswer
from smarty_async.archive.journal.recovery import JournalRebuilder
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.object_store import OutputBucket
from smarty_async.archive.outputs.opening import open_outputs
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.archive.paths import JOURNAL, display_path
from smarty_async.archive.sources.opening import open_source
from smarty_async.archive.sources.source import PhotoFile, PhotoSource
from smarty_async.argument_checks import check_concurrency, check_type
from smarty_async.chained import restored_kind
from smarty_async.errors import ConfigurationError, PhotoRejected
from smarty_async.failures import FailureGroups
from smarty_async.options import (
    ArchiveKeywords,
    ArchiveOptions,
    Limits,
    ModeSpec,
    PathLike,
    rounds,
)
from smarty_async.progress import Progress
from smarty_async.results import PRICE, ErrorInfo, Outcome, Plan, Result, Status
from smarty_async.run_context import LOOKED_UP
from smarty_async.thread_limit import thread_limit
from smarty_async.transport.batcher import Batcher, Outlook
from smarty_async.transport.item import ImageBudget

__all__ = ["plan_archive", "read_failed", "read_status"]


class _PlannedItem(msgspec.Struct, frozen=True):
    size: int
    group: tuple[ModeSpec, ...]
    done: bool = False


async def plan_archive(
    source: PathLike | Sequence[PathLike] = (),
    *,
    out: PathLike,
    limits: Limits | None = None,
    concurrency: int = 8,
    **keywords: Unpack[ArchiveKeywords],
) -> Plan:
    """What `SmartyClient.improve_archive` would do with the same arguments. Nothing is sent, made or changed.

    Args:
        source: a folder, a photo, a glob or an address of a store, or several of them.
        out: the output folder, or its address in a store.
        limits: what one request may carry.
        concurrency: requests open at once, at most.
        **keywords: as `SmartyClient.improve_archive` takes them.

    Raises:
        OptionsError: the arguments do not go together, or a source does not exist.
    """
    check_type("limits", limits, Limits, None)
    check_concurrency(concurrency)
    options = ArchiveOptions.of(source, out=out, **keywords)
    with thread_limit():
        return await asyncio.to_thread(_plan, options, limits or Limits(), concurrency)


def _plan(options: ArchiveOptions, limits: Limits, concurrency: int) -> Plan:
    source = open_source(options)
    source.check()
    outputs = open_outputs(options)
    outputs.check_access()
    # What the run would write goes into a copy of the journal: photos that share an output place collide there, too.
    with closing(_copy_of_journal(outputs, partial(_prepare, outputs, options.specs))) as store, store.translated():
        counting = _Counting(options, limits, source, outputs, store, concurrency=concurrency, paid=store.images_paid())
        counting.seen.warnings += source.warnings()
        for files in source.scan():
            for start in range(0, len(files), LOOKED_UP):
                found = store.look_up(counting.photos_of(files[start : start + LOOKED_UP]), options.specs)
                known = [page for entry in found for page in entry.file.other_pages(entry.pages)]
                found += store.look_up(known, options.specs)
                # All before any: photos that have exchanged their names are no copies of each other.
                for entry in [counting.verified(entry) for entry in found]:
                    pages = counting.look(entry)
                    for page in store.look_up(entry.file.other_pages(pages), options.specs):
                        counting.look(counting.verified(page))
    return counting.plan()


class _Counting:
    """Counts photos, and the requests that the batcher would put them in.

    Args:
        options: what the run would do.
        limits: what one request may carry.
        source: where photos come from.
        outputs: where outputs are.
        store: the journal.
        concurrency: requests open at once, at most.
        paid: images paid for in earlier runs.
    """

    def __init__(
        self,
        options: ArchiveOptions,
        limits: Limits,
        source: PhotoSource,
        outputs: OutputStore,
        store: JournalStore,
        *,
        concurrency: int,
        paid: int,
    ) -> None:
        self._specs = options.specs
        self._kinds = options.outputs
        self._redo_missing = options.redo_missing
        self._outputs = outputs
        self._store = store
        self._limits = limits
        self._source = source
        self._fit = options.fit
        self._permits = concurrency
        self._photos_left = ImageBudget(options.max_photos)
        self._images_left = ImageBudget(options.images_left(paid))
        self._retry_failed = options.retry_failed
        self._batcher: Batcher[_PlannedItem] = Batcher(limits)
        self._pixels = 0
        self._left = 0
        self.seen = Progress()
        self._photos = self._images = self._bytes = self._requests = self._skipped = self._duplicates = 0
        self._rejected: list[Result] = []
        self._search = AnswerSearch()
        self._answered = set[tuple[bytes, ModeSpec]]()
        """The answers that the run will have got or copied by then, by digest and spec."""
        self._sent_unhashed: dict[int, tuple[ModeSpec, ...]] = {}
        """What photos are sent for whose digest is not known, by entry."""

    def photos_of(self, files: Iterable[PhotoFile]) -> list[PhotoFile]:
        """Those that are photos; the others are counted."""
        photos: list[PhotoFile] = []
        for file in files:
            if file.left_alone:
                self.seen.leave_alone(display_path(file.photo))
            else:
                photos.append(file)
        return photos

    def verified(self, entry: PhotoEntry) -> PhotoEntry:
        """The entry as `Journal.look_up` has it, and without answers to a former content."""
        entry = self._checked(entry)
        if entry.version_changed:
            digest = digest_of(unhashed_of(entry), digest=self._source.digest)
            entry = self._checked(self._store.verify(entry, digest, self._specs))
        return entry

    def look(self, entry: PhotoEntry) -> int:
        """Count one photo, after `verified`; the pages of its file, as far as they are known."""
        entry = self._identified(entry)
        missing = tuple(entry.without_answer(self._specs))
        if not missing:
            self._skip(entry)
            return entry.pages
        if failed := entry.end(self._specs, retry_failed=self._retry_failed):
            self._rejected.append(failed)
            return entry.pages
        try:
            return self._look_into(entry, missing)
        except PhotoRejected as error:
            self._rejected.append(entry.result("rejected", error=ErrorInfo(error.type, str(error))))
            return entry.pages

    def _look_into(self, entry: PhotoEntry, missing: tuple[ModeSpec, ...]) -> int:
        """Count a photo that lacks answers to `missing`; the pages of its file.

        Raises:
            PhotoRejected: it would not be sent.
        """
        if entry.problem:
            raise PhotoRejected(entry.problem.message, type=entry.problem.type)
        probed = self._source.prober(entry.file)(limits=self._limits, fit=self._fit)
        digest = self._digest_of(entry)
        if entry.may_be_duplicate and digest:
            copied = [spec for spec in missing if self._has_copy(entry, spec, digest)]
            self._answered.update((digest, spec) for spec in copied)
            missing = tuple([spec for spec in missing if spec not in copied])
            if not missing:
                self._duplicates += 1
                return probed.pages
        groups = rounds(missing)
        if groups[0][0].chained and (restored := entry.answers.get("improve")):
            restored_kind(restored, entry.place)
        paid = self._images_left.take(len(groups)) if self._photos_left.take(1) else 0
        self._left += paid < len(groups)
        if not paid:
            return probed.pages
        self._note_sent(entry.id, tuple(chain.from_iterable(groups[:paid])), digest)
        if probed.warning:
            self.seen.warn_of_size(display_path(entry.file.photo), probed.warning)
        self._photos += 1
        self._bytes += probed.size
        self._pixels += probed.width * probed.height
        self._images += paid
        for group in groups[:paid]:
            self._batcher.add(_PlannedItem(probed.size, group))
        self._form_chunks(more=True)
        return probed.pages

    def _skip(self, entry: PhotoEntry) -> None:
        self._skipped += 1
        self.seen.note_not_kept(entry.lacks(self._specs, self._kinds))

    def _checked(self, entry: PhotoEntry) -> PhotoEntry:
        """The entry, with what is not there of its outputs."""
        checked = self._outputs.checked([entry])
        [one] = self._store.ask_again(checked, self._specs, self._kinds) if self._redo_missing else checked
        return one

    def _identified(self, entry: PhotoEntry) -> PhotoEntry:
        """The entry as `Duplicates.identify` finds it."""
        digest, store = self._source.digest, self._store
        if entry.may_be_duplicate:
            while unhashed := store.unhashed(entry.file.size):
                digests = {photo.id: digest_of(photo, digest=digest) for photo in unhashed}
                store.note_digests(digests)
                for photo in digests.keys() & self._sent_unhashed.keys():
                    self._note_sent(photo, self._sent_unhashed.pop(photo), digests[photo])
            if not entry.answers:
                entry = self._checked(store.follow_moved(entry, self._specs))
                for answer in entry.answers.values():  # it was that of another entry, which may have been passed
                    self._search.go_back(self._digest_of(entry) or b"", answer.spec, entry.id)
        return entry

    def _digest_of(self, entry: PhotoEntry) -> bytes | None:
        """The digest of its content, as far as it is known; empty when it cannot be read."""
        content = self._store.contents_of([entry.id]).get(entry.id)
        return None if content is None else content.digest

    def _note_sent(self, photo: int, specs: tuple[ModeSpec, ...], digest: bytes | None) -> None:
        if digest is None:
            self._sent_unhashed[photo] = specs
        elif digest:
            self._answered.update((digest, spec) for spec in specs)

    def _has_copy(self, entry: PhotoEntry, spec: ModeSpec, digest: bytes) -> bool:
        """Whether the run would copy another photo's outputs, because those exist by that time."""
        if (digest, spec) in self._answered:
            return True
        wanted = WantedAnswer(digest, spec, entry.needs(spec, self._kinds))
        if self._search.copied(wanted, entry.id):
            return True
        while answers := self._store.answers_to(wanted, entry.id, after=(start := self._search.start(wanted))):
            gone = self._outputs.missing([other.copied(wanted.kinds) for other in answers])
            found = self._search.first_there(wanted, answers, start=start, gone=gone)
            if found and self._outputs.foreign_kinds(*found.answer.copied(wanted.kinds), found.answer.answer.outputs):
                self._search.skip(found)  # a person has changed them since
            elif found:
                self._search.note_copied(found)
                return True
        return False

    def _form_chunks(self, *, more: bool) -> None:
        outlook = Outlook(more, None if more else 0)
        while self._batcher.take(permits=self._permits, outlook=lambda _: outlook):
            self._requests += 1

    def plan(self) -> Plan:
        self._form_chunks(more=False)
        return Plan(
            photos=self._photos,
            requests=self._requests,
            bytes=self._bytes,
            pixels=self._pixels,
            oversized=self.seen.oversized,
            left_alone=self.seen.left_alone,
            left_alone_names=self.seen.left_alone_names,
            warnings=self.seen.warnings,
            not_kept=self.seen.not_kept,
            duplicates=self._duplicates,
            skipped=self._skipped,
            left=self._left,
            rejected=self._rejected,
            cost=self._images * PRICE,
        )


def _prepare(outputs: OutputStore, specs: Sequence[ModeSpec], store: JournalStore) -> None:
    """Bring a copy of the journal to the state in which a run would begin with it."""
    outputs.rebuild(JournalRebuilder(store, specs))
    store.recover(_is_placed)


def _is_placed(*_: object) -> bool:
    """A run moves what an interrupted one had received to its place, and does not send it again."""
    return True


def _copy_of_journal(outputs: OutputStore, prepare: Callable[[JournalStore], object]) -> JournalStore:
    """A copy of the journal after `prepare`; a damaged one is replaced, as a run would replace it."""
    try:
        return _prepared(JournalStore(outputs.state_dir / JOURNAL, opener=schema.copied, outputs=outputs), prepare)
    except schema.DamagedJournal:
        empty = JournalStore(outputs.state_dir / JOURNAL, opener=lambda _: schema.empty(), outputs=outputs)
        return _prepared(empty, prepare)


def _prepared(store: JournalStore, prepare: Callable[[JournalStore], object]) -> JournalStore:
    try:
        with store.translated():
            prepare(store)
    except BaseException:
        store.close()
        raise
    return store


async def read_status(
    out: PathLike, *, state: PathLike | None = None, store_options: Mapping[str, Any] | None = None
) -> Status:
    """What the journal of the output folder `out` knows; a run that is under way does not mind.

    Args:
        out: the output folder, or its address in a store. On another machine than that of the runs, the store's log is
            read.
        state: the folder of the runs' state, where one was given to them.
        store_options: as `SmartyClient.improve_archive` takes them.

    Raises:
        ConfigurationError: no run has written there, or the store cannot be used.
        DiskError: the journal cannot be read.
    """

    def read() -> Status:
        with _opened_to_read(out, state=state, store_options=store_options) as store:
            counts = store.counts()
            groups = FailureGroups(most_names=None)
            for failed in _failed_photos(store):
                groups.add(failed.photo, failed.outcome, failed.error, page=failed.page, source=failed.source)
        outcomes: dict[Outcome, int] = {outcome: count for outcome, count in counts.outcomes.items() if outcome}
        return Status(
            outcomes=outcomes,
            unfinished=counts.outcomes.get(None, 0),
            failures=groups.sorted(),
            images=counts.images,
            images_paid=counts.images_paid,
            cost=counts.images_paid * PRICE,
        )

    return await asyncio.to_thread(read)


def read_failed(
    out: PathLike, *, state: PathLike | None = None, store_options: Mapping[str, Any] | None = None
) -> Iterator[FailedPhoto]:
    """Every failed and rejected photo of the output folder `out`, with its reason; blocking, a page at a time.

    The arguments and errors are those of `read_status`.
    """
    with _opened_to_read(out, state=state, store_options=store_options) as store:
        yield from _failed_photos(store)


def _failed_photos(store: JournalStore) -> Iterator[FailedPhoto]:
    after = 0
    while page := store.failures(after=after):
        yield from page
        after = page[-1].id


@contextmanager
def _opened_to_read(
    out: PathLike, *, state: PathLike | None, store_options: Mapping[str, Any] | None
) -> Generator[JournalStore]:
    outputs = open_outputs(ArchiveOptions.of((), out=out, state=state, store_options=store_options or {}))
    journal = outputs.state_dir / JOURNAL
    if isinstance(outputs, OutputBucket):
        outputs.check_access()
        with (
            closing(_copy_of_journal(outputs, lambda store: outputs.rebuild(JournalRebuilder(store, ())))) as store,
            store.translated(),
        ):
            if store.is_empty:
                raise ConfigurationError(f"{str(out)!r} holds no log: no photos were restored into it")
            yield store
        return
    if not journal.exists():
        raise schema.no_journal(out)
    with closing(JournalStore(journal, opener=schema.opened_to_read)) as store, store.translated():
        yield store
