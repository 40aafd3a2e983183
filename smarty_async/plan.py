"""What a run would do, and what earlier runs have done: told without sending or changing anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from smarty_async.archive.duplicates import digest
from smarty_async.archive.journal import schema
from smarty_async.archive.journal.rebuild import rebuild
from smarty_async.archive.journal.records import PhotoEntry
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.checker import OutputChecker
from smarty_async.archive.paths import RESULTS, STATE
from smarty_async.archive.photos.probe import probe
from smarty_async.archive.sources.folder import check_sources, scan
from smarty_async.errors import ConfigurationError, PhotoRejected
from smarty_async.inputs import Source, sources_of
from smarty_async.options import PRICE, Limits, Mode, ModeSpec, check_modes, images_for
from smarty_async.results import ErrorInfo, Failures, Outcome, Plan, Result, Status
from smarty_async.run import JOURNAL
from smarty_async.transport.batcher import Batcher, Outlook

__all__ = ["plan_archive", "read_status"]


class _Batchable(msgspec.Struct, frozen=True):
    size: int
    group: tuple[ModeSpec, ...]
    done: bool = False


async def plan_archive(
    source: Source | Sequence[Source] = (),
    *,
    out: Source,
    modes: Iterable[Mode] = ("improve",),
    rfactor: int | None = None,
    rtype: str | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    listed: Iterable[str | bytes] = (),
    fit: bool = False,
    retry_failed: bool = False,
    redo_missing: bool = False,
    max_photos: int | None = None,
    max_cost: float | None = None,
    limits: Limits | None = None,
    concurrency: int = 8,
) -> Plan:
    """What `SmartyClient.improve_archive` would do with the same choices. Nothing is sent, made or changed.

    Raises:
        OptionsError: the choices do not go together, or a source is not there.
    """
    specs, limits = check_modes(modes, rfactor, rtype), limits or Limits()
    most = min(
        (bound for bound in (max_photos, images_for(max_cost)) if bound is not None),
        default=None,
    )

    def plan() -> Plan:
        sources, folder = sources_of(source), Path(out).absolute()
        check_sources(sources, out=folder)
        photos = scan(sources, out=folder, include=tuple(include), exclude=tuple(exclude), listed=listed)
        counting = _Counting(specs, limits, concurrency=concurrency, most=most, retry_failed=retry_failed)
        # The run's own notes, made in a copy: two photos of one output show themselves as they will then.
        with closing(_copy_of_journal(folder)) as store, store.translated():
            store.finish_kept(_is_finished)
            if store.is_empty:
                rebuild(store, folder / RESULTS, out=folder, specs=specs)
            standing = OutputChecker(folder)
            for found in photos:
                for entry in standing.checked(store.look_up([found], specs), redo=redo_missing):
                    counting.look(entry, store, fit=fit)
        return counting.plan()

    return await asyncio.to_thread(plan)


class _Counting:
    """Counts what would ride in which request, as the batcher would have it."""

    def __init__(
        self, specs: tuple[ModeSpec, ...], limits: Limits, *, concurrency: int, most: int | None, retry_failed: bool
    ) -> None:
        self._specs = specs
        self._limits = limits
        self._slots = concurrency
        self._most = most
        self._retry_failed = retry_failed
        self._batcher: Batcher[_Batchable] = Batcher(limits)
        self._photos = self._bytes = self._requests = self._skipped = self._duplicates = 0
        self._rejected: list[Result] = []

    def look(self, entry: PhotoEntry, store: JournalStore, *, fit: bool) -> None:
        """Count one photo."""
        missing = tuple(spec for spec in self._specs if not entry.has(spec))
        if not missing:
            self._skipped += 1
            return
        if failed := entry.end(self._specs, retry_failed=self._retry_failed):
            self._rejected.append(failed)
            return
        try:
            if entry.problem:
                raise PhotoRejected(entry.problem.message, type=entry.problem.type)
            size = probe(entry.found.path, limits=self._limits, fit=fit).size
        except PhotoRejected as error:
            self._rejected.append(entry.result("rejected", error=ErrorInfo(error.type, str(error))))
            return
        if entry.may_be_duplicate and _has_twin(entry, missing, store):
            self._duplicates += 1
            return
        if self._photos == self._most:
            return
        self._photos += 1
        self._bytes += size
        self._batcher.add(_Batchable(size, missing))
        self._ride(more=True)

    def _ride(self, *, more: bool) -> None:
        outlook = Outlook(more, None if more else 0)
        while self._batcher.take(permits=self._slots, outlook=lambda _: outlook):
            self._requests += 1

    def plan(self) -> Plan:
        self._ride(more=False)
        return Plan(
            photos=self._photos,
            requests=self._requests,
            bytes=self._bytes,
            duplicates=self._duplicates,
            skipped=self._skipped,
            rejected=self._rejected,
            cost=self._photos * PRICE,
        )


def _has_twin(entry: PhotoEntry, missing: Iterable[ModeSpec], store: JournalStore) -> bool:
    """Whether what another photo has got by then, or will have, is taken over."""
    while unhashed := store.unhashed(entry.found.size):
        store.note_digests({photo.id: digest(photo) for photo in unhashed})
    return store.has_claimed_twin(entry.id) or all(store.answers_to(spec, entry.id) for spec in missing)


def _is_finished(*_: object) -> bool:
    """What an interrupted run had received will be brought to its place, and not be asked for."""
    return True


def _copy_of_journal(out: Path) -> JournalStore:
    """The journal as a run would have it; a damaged one would be made anew."""
    journal = _journal_of(out)
    try:
        return JournalStore(journal, opener=schema.copied)
    except schema.DamagedJournal:
        return JournalStore(journal, opener=lambda _: schema.empty())


def _journal_of(out: Path) -> Path:
    return out / STATE / JOURNAL


async def read_status(out: Source) -> Status:
    """What the journal of the output folder `out` knows; a run that is under way does not mind.

    Raises:
        ConfigurationError: no run has written there.
        DiskError: the journal cannot be read.
    """

    def read() -> Status:
        journal = _journal_of(Path(out).absolute())
        if not journal.exists():
            raise ConfigurationError(f"{str(out)!r} holds no journal: no photos were restored into it")
        with closing(JournalStore(journal, opener=schema.opened_to_read)) as store, store.translated():
            counts, images = store.counts()
            failures = [
                Failures(outcome=outcome, type=kind, message=message, count=count, example=example)
                for outcome, kind, message, count, example in store.failures()
            ]
        unfinished = counts.pop(None, 0)
        outcomes: dict[Outcome, int] = {outcome: count for outcome, count in counts.items() if outcome is not None}
        return Status(outcomes=outcomes, unfinished=unfinished, failures=failures, images=images, cost=images * PRICE)

    return await asyncio.to_thread(read)
