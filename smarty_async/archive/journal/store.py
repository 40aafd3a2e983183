"""The journal's queries and updates. Blocking; `Journal` runs them in its thread."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from smarty_async.archive.entries import FinishedPhoto, PhotoEntry, StoredOutput
from smarty_async.archive.journal import schema
from smarty_async.archive.journal.finished import FinishedBatch, MissingOutputs, take_finished
from smarty_async.archive.journal.lookup import EntryLookup
from smarty_async.archive.journal.places import NO_OUTPUTS, Places
from smarty_async.archive.journal.received import PlaceReceived, recover_received
from smarty_async.archive.journal.records import (
    ANSWER_COLUMNS,
    RESULT_COLUMNS,
    Content,
    Counts,
    DuplicateAnswer,
    FailedPhoto,
    ReceivedAnswer,
    RequestState,
    UnhashedPhoto,
    WantedAnswer,
    answers_of,
    bits_of,
    content_digest,
    outputs_of,
    photo_of_key,
    result_columns,
    result_of,
)
from smarty_async.archive.outputs.store import OutputPlaces
from smarty_async.archive.paths import display_path, is_gone, photo_path
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.errors import DiskError
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import ErrorInfo, Kind, Result
from smarty_async.store_address import is_store_address

__all__ = ["MAX_UNHASHED", "JournalStore"]

MAX_UNHASHED: Final = 64
"""Photos that `JournalStore.unhashed` returns at a time."""

_MOST_PARAMETERS: Final = 500
"""Parameters of a query; some builds of SQLite take 999."""

_FORMER: Final = """
WITH RECURSIVE sources (source) AS (
    SELECT min(source) FROM photos
    UNION ALL
    SELECT (SELECT min(source) FROM photos WHERE source > sources.source) FROM sources WHERE source IS NOT NULL
)
SELECT other.id, other.source FROM photos AS one CROSS JOIN sources CROSS JOIN photos AS other
WHERE one.id = ? AND other.source = sources.source AND other.photo = one.photo AND other.id <> one.id
AND other.digest = one.digest AND other.digest > x'' AND other.place IS NOT NULL
"""
"""Photos of other sources with the path and digest of one. There are few sources, and may be very many such photos."""


_encoded = msgspec.json.Encoder().encode


class JournalStore:
    """An open journal.

    Args:
        path: of the database.
        opener: how to open it: `schema.opened`, `schema.opened_to_read` or `schema.copied`.
        outputs: which places outputs can have.

    Attributes:
        sql: its database, for what else is entered into it within a `transaction`.
        damaged: whether a query found the database damaged; nothing in it is to be relied on then.

    Raises:
        DiskError: it cannot be used.
        ConfigurationError: a newer version of this program wrote it.
    """

    def __init__(
        self,
        path: Path,
        *,
        opener: Callable[[Path], sqlite3.Connection] = schema.opened,
        outputs: OutputPlaces = NO_OUTPUTS,
    ) -> None:
        self._path = path
        self.damaged = False
        self.sql = opener(path)
        self._unplaced: dict[int, ErrorInfo] = {}
        self._places = Places(self.sql, outputs)
        self._former = self._places.former
        self._lookup = EntryLookup(self.sql, self._unplaced, self._places)

    def close(self) -> None:
        """Close it."""
        self.sql.close()

    @contextmanager
    def translated(self) -> Generator[None]:
        """Translate SQLite's errors in the block, and note whether the journal is damaged.

        Raises:
            DiskError: what SQLite raised.
        """
        try:
            yield
        except sqlite3.Error as error:
            translated = schema.disk_error(error, self._path)
            self.damaged = self.damaged or isinstance(translated, schema.DamagedJournal)
            raise translated from None

    @contextmanager
    def transaction(self) -> Generator[None]:
        """A transaction: all or nothing, durable at its end."""
        with self.translated():
            self._lookup.seen.begin()
            self.sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.sql.execute("COMMIT")
            except BaseException:
                self._lookup.undo()
                if self.sql.in_transaction:  # on a full disk SQLite may have rolled back by itself
                    self.sql.execute("ROLLBACK")
                raise

    # entries

    def look_up(self, files: Iterable[PhotoFile], specs: Collection[ModeSpec] = ()) -> list[PhotoEntry]:
        """Find or create the entry of every one of `files`.

        An entry whose photo has changed is reset. A photo that this run has looked up before is left out: one that is
        named twice is processed once.
        """
        return self._lookup.look_up(files, specs)

    def take_finished(
        self,
        files: Sequence[PhotoFile],
        specs: Collection[ModeSpec],
        *,
        missing: MissingOutputs,
        with_results: bool,
        kinds: Collection[Kind] = (),
    ) -> FinishedBatch:
        """Take those out of `files` that need no work: earlier runs have finished them, and no output is `missing`."""
        seen = self._lookup.seen
        return take_finished(self.sql, files, specs, missing=missing, seen=seen, with_results=with_results, kinds=kinds)

    def ask_again(
        self, entries: Iterable[PhotoEntry], specs: Collection[ModeSpec], kinds: Collection[Kind]
    ) -> list[PhotoEntry]:
        """`entries`, whose outputs were looked for, marked by `EntryLookup.ask_again`."""
        return [self._lookup.ask_again(entry, specs, kinds) for entry in entries]

    def note_pages(self, photo: int, pages: int) -> None:
        """Note how many pictures the file of a photo holds."""
        self.sql.execute("UPDATE photos SET pages = ? WHERE id = ?", (pages, photo))

    # contents

    def unhashed(self, size: int) -> list[UnhashedPhoto]:
        """Photos of `size` bytes whose digest is not known, at most `MAX_UNHASHED`."""
        return self._lookup.unhashed(size, limit=MAX_UNHASHED)

    def note_digests(self, digests: Mapping[int, bytes]) -> None:
        """Note the digests of photos, by id; empty for those that cannot be read."""
        self.sql.executemany(
            "UPDATE photos SET digest = ? WHERE id = ?", [(digest, photo) for photo, digest in digests.items()]
        )

    def contents_of(self, photos: Iterable[int]) -> dict[int, Content]:
        """The contents of those of `photos` whose digest is known."""
        contents: dict[int, Content] = {}
        for photo in photos:
            digest, shared = self.sql.execute(
                "SELECT digest, EXISTS (SELECT 1 FROM photos AS other WHERE other.digest = photos.digest"
                " AND other.digest > x'' AND other.id <> photos.id) FROM photos WHERE id = ?",
                (photo,),
            ).fetchone()
            if digest is not None:
                contents[photo] = Content(bytes(digest), bool(shared))
        return contents

    def verify(self, entry: PhotoEntry, digest: bytes, specs: Collection[ModeSpec] = ()) -> PhotoEntry:
        """Compare the content of a photo whose version has changed with the digest in the journal.

        Args:
            entry: an entry with `version_changed`.
            digest: the digest of its present content, see `Content.digest`; empty when the file cannot be read.
            specs: what the run asks of it.

        Returns:
            The entry with its answers when the content is the same, without them when it is another, and with a
            problem when the file cannot be read.
        """
        if not digest:
            unreadable = ErrorInfo("unreadable", "cannot be read, or changed while it was read")
            return msgspec.structs.replace(entry, version_changed=False, problem=unreadable)
        [known] = self.sql.execute("SELECT digest FROM photos WHERE id = ?", (entry.id,)).fetchone()
        if known == digest:
            self.sql.execute("UPDATE photos SET version = ? WHERE id = ?", (entry.file.version, entry.id))
            # A run that could not read the file did not change its answers: the result is due again.
            self.sql.execute(
                "UPDATE photos SET outcome = NULL WHERE id = ? AND outcome = 'rejected' AND error_type = 'unreadable'",
                (entry.id,),
            )
        else:
            self._unplaced.pop(entry.id, None)
            self._lookup.renew(entry.id, entry.file, digest)
        verified = self._lookup.entry_of(entry.id, entry.file)
        if verified.problem is None and not verified.place:
            verified = msgspec.structs.replace(verified, problem=entry.problem)
        return self._lookup.placed(msgspec.structs.replace(verified, may_be_duplicate=entry.may_be_duplicate), specs)

    def follow_moved(self, entry: PhotoEntry, specs: Collection[ModeSpec] = ()) -> PhotoEntry:
        """Give a photo whose source was renamed or moved the entry that it had under the former path.

        The former entry must have the same digest, relative path and page, its file must no longer exist, and it must
        not have been looked up in this run. Its outputs stay where they are.

        Args:
            entry: the photo's entry.
            specs: what the run asks of it.

        Returns:
            The entry with the place and answers of the former one, or `entry` if there is none.
        """
        if entry.answers:
            return entry
        for former, source in self.sql.execute(_FORMER, (entry.id,)).fetchall():
            path = photo_path(os.fsdecode(source), entry.file.photo)
            # Whether an object is still there is not looked up: outputs of the same content are copied then.
            if is_gone(path) and not (self._lookup.seen.has(former) or is_store_address(path)):
                self._lookup.replace(former, by=entry.id)
                moved = msgspec.structs.replace(self._lookup.entry_of(entry.id, entry.file), may_be_duplicate=True)
                return self._lookup.placed(moved, specs)
        return entry

    def answers_to(self, wanted: WantedAnswer, photo: int, *, after: int = 0) -> list[DuplicateAnswer]:
        """Committed answers that are `wanted` of other photos than `photo`, at most 8, in the order of their ids.

        An answer of which a kind that is needed was dropped is none. Their outputs may be gone.

        Args:
            wanted: what is searched for.
            photo: the photo's id.
            after: the id of the last photo of the answers before.
        """
        rows = self.sql.execute(
            f"SELECT photos.id, place, {ANSWER_COLUMNS} FROM photos JOIN answers ON answers.photo = photos.id"  # noqa: S608 - no values from outside
            " WHERE digest = ? AND digest > x'' AND photos.id > ? AND photos.id <> ?"
            " AND spec = ? AND state = 'committed' AND (dropped & ?) = 0 ORDER BY photos.id LIMIT 8",
            (wanted.digest, after, photo, wanted.spec.text, bits_of(wanted.kinds)),
        )
        return [DuplicateAnswer(row[0], os.fsdecode(row[1]), answers_of([row])[wanted.spec.mode]) for row in rows]

    def most_pages(self, photos: Sequence[int]) -> int:
        """The most pictures that the file of one of `photos` is known to hold."""
        query = f"SELECT coalesce(max(pages), 1) FROM photos WHERE id IN ({', '.join('?' * len(photos))})"  # noqa: S608 - likewise
        [pages] = self.sql.execute(query, photos).fetchone()
        return int(pages)

    # answers and results

    def record_received(self, answers: Sequence[ReceivedAnswer]) -> None:
        """The outputs of `answers` are durable in temporary files."""
        for one in answers:
            if one.removes:
                self._former.note(one.entry.id, one.spec.mode, one.entry.place, one.removes)
        self._execute(
            "INSERT OR REPLACE INTO answers (photo, mode, spec, state, outputs, bw, dropped) VALUES {rows}",
            [
                (
                    *(one.entry.id, one.spec.mode, one.spec.text, "received", _encoded(one.outputs).decode(), one.bw),
                    bits_of(one.dropped),
                )
                for one in answers
            ],
        )
        self._execute(
            "WITH new (photo, spec) AS (VALUES {rows}) DELETE FROM failures"
            " WHERE photo IN (SELECT photo FROM new) AND (photo, spec) IN (SELECT photo, spec FROM new)",
            [(one.entry.id, one.spec.text) for one in answers],
        )
        # The outcome of an earlier run no longer holds.
        self._execute(
            "WITH new (photo, digest) AS (VALUES {rows}) UPDATE photos SET outcome = NULL,"
            " digest = coalesce((SELECT max(new.digest) FROM new WHERE new.photo = id), digest)"
            " WHERE id IN (SELECT photo FROM new)",
            [(one.entry.id, one.content_digest or None) for one in answers],
        )

    def record_committed(self, answers: Sequence[tuple[int, ModeSpec]]) -> None:
        """The outputs of `answers`, each named by its photo and mode, are at their places."""
        if self._former.photos:
            self._former.forget_at_own_place([(photo, spec.mode) for photo, spec in answers])
        self._execute(
            "WITH new (photo, mode) AS (VALUES {rows}) UPDATE answers SET state = 'committed'"
            " WHERE photo IN (SELECT photo FROM new) AND (photo, mode) IN (SELECT photo, mode FROM new)",
            [(photo, spec.mode) for photo, spec in answers],
        )

    def _execute(self, query: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute `query` with parameters for the rows that it has at ``{rows}``.

        SQLite gives the interpreter's lock away for each execution: one of all rows waits for it less often.
        """
        if rows:
            row, most = f"({', '.join('?' * len(rows[0]))})", _MOST_PARAMETERS // len(rows[0])
            for start in range(0, len(rows), most):
                some = rows[start : start + most]
                self.sql.execute(query.format(rows=", ".join([row] * len(some))), list(chain.from_iterable(some)))

    def give_distinct_place(self, photo: int, mode: Mode) -> str | None:
        """Give a photo another place, because a file that no run made is at the one it has; None when there is none."""
        return self._places.give_distinct(photo, mode)

    def record_results(self, photos: Sequence[FinishedPhoto]) -> list[tuple[str, dict[Kind, StoredOutput]]]:
        """The results of photos, and why modes of them failed permanently.

        Answers to an earlier content of a photo are deleted, unless it failed: it may have changed because it was
        damaged.

        Returns:
            The places and the outputs that such answers had, and other former outputs at places that no photo has.
        """
        self._execute(
            "INSERT OR REPLACE INTO failures (photo, spec, type, message) VALUES {rows}",
            [
                (photo.entry.id, spec.text, why.type, why.message)
                for photo in photos
                for spec, why in photo.failures.items()
            ],
        )
        self._execute(
            "WITH new (photo, outcome, bw, attempts, type, message, warnings) AS (VALUES {rows})"
            " UPDATE photos SET (outcome, bw, attempts, error_type, error, warnings) ="
            " (SELECT outcome, bw, attempts, type, message, warnings FROM new WHERE new.photo = id)"
            " WHERE id IN (SELECT photo FROM new)",
            [result_columns(photo) for photo in photos],
        )
        # Answers have noted it; a failure is to be known by its content, too.
        self.note_digests(
            {
                photo.entry.id: content_digest(photo.digest, page=photo.entry.file.page)
                for photo in photos
                if photo.failures and photo.digest
            }
        )
        forgotten = self._forget_stale([photo.entry.id for photo in photos if photo.result.error is None])
        if self._former.photos:
            forgotten += self._former.take(photos, is_used=self._places.is_used)
        return forgotten

    def _forget_stale(self, photos: Sequence[int]) -> list[tuple[str, dict[Kind, StoredOutput]]]:
        """Delete the answers to earlier contents of `photos`; the places and outputs they had."""
        forgotten: list[tuple[str, dict[Kind, StoredOutput]]] = []
        for start in range(0, len(photos), _MOST_PARAMETERS):
            numbers = photos[start : start + _MOST_PARAMETERS]
            stale = f"photo IN ({', '.join('?' * len(numbers))}) AND state = 'stale'"
            rows = self.sql.execute(
                f"SELECT place, outputs FROM answers JOIN photos ON answers.photo = id WHERE answers.{stale}",  # noqa: S608 - likewise
                numbers,
            ).fetchall()
            if rows:
                self.sql.execute(f"DELETE FROM answers WHERE {stale}", numbers)  # noqa: S608 - likewise
            forgotten += [(os.fsdecode(where), outputs_of(outputs)) for where, outputs in rows]
        return forgotten

    # requests

    def start_request(self, *, images: int, size: int) -> int:
        """A request of `images` images and `size` bytes is about to be sent; its number."""
        row = self.sql.execute(
            "INSERT INTO requests (started, images, bytes, state) VALUES (?, ?, ?, 'open')", (time.time(), images, size)
        )
        return int(row.lastrowid or 0)

    def finish_request(self, number: int, state: RequestState) -> None:
        """A request has ended."""
        self.sql.execute("UPDATE requests SET state = ? WHERE id = ?", (state, number))

    def counts(self) -> Counts:
        """Totals over all runs."""
        outcomes = self.sql.execute("SELECT outcome, count(*) FROM photos GROUP BY outcome").fetchall()
        images, refused = self.sql.execute(
            "SELECT coalesce(sum(images), 0), coalesce(sum(images * (state = 'refused')), 0) FROM requests"
        ).fetchone()
        return Counts(outcomes=dict(outcomes), images=images, images_paid=images - refused)

    def images_paid(self) -> int:
        """`Counts.images_paid` alone."""
        [images] = self.sql.execute("SELECT coalesce(sum(images), 0) FROM requests WHERE state <> 'refused'").fetchone()
        return int(images)

    def finished_bytes(self, spec: ModeSpec) -> int:
        """Bytes of the photos whose answer to `spec` is at its place."""
        [size] = self.sql.execute(
            "SELECT coalesce(sum(size), 0) FROM photos JOIN answers ON answers.photo = id"
            " WHERE spec = ? AND state = 'committed'",
            (spec.text,),
        ).fetchone()
        return int(size)

    # recovery

    @property
    def is_empty(self) -> bool:
        """Whether it knows no photo."""
        return self.sql.execute("SELECT 1 FROM photos LIMIT 1").fetchone() is None

    @property
    def has_finished(self) -> bool:
        """Whether it knows a photo that a run has finished."""
        return self.sql.execute("SELECT 1 FROM photos WHERE outcome IS NOT NULL LIMIT 1").fetchone() is not None

    def recover(self, place_received: PlaceReceived) -> tuple[set[str], DiskError | None]:
        """Commit the answers that an interrupted run had received, see `recover_received`.

        A photo whose outputs cannot be moved to their places has the reason as its problem when it is looked up.
        """
        return recover_received(self.sql, self._places, self._unplaced, place_received)

    def unplaced(self) -> list[str]:
        """Why `recover` could not commit answers: one reason a photo."""
        return [why.message for why in self._unplaced.values()]

    # reports

    def results(self) -> Iterator[Result]:
        """The result of every finished photo, in the order of their entries.

        The query begins with the first one: SQLite does not end its journal while a query is open.
        """
        rows = self.sql.execute(
            f"SELECT id, {RESULT_COLUMNS} FROM photos LEFT JOIN answers ON answers.photo = id"  # noqa: S608 - likewise
            " WHERE outcome IS NOT NULL ORDER BY id"
        )
        for _, group in groupby(rows, key=itemgetter(0)):
            yield result_of(list(group))

    def failures(self, *, after: int = 0, limit: int = 1000) -> list[FailedPhoto]:
        """Failed and rejected photos in the order of their ids, one page at a time.

        Args:
            after: the id of the last photo of the page before; 0 for the first page.
            limit: photos in a page.
        """
        rows: Iterable[Any] = self.sql.execute(
            "SELECT id, source, photo, outcome, error_type, error FROM photos"
            " WHERE outcome IS NOT NULL AND error_type IS NOT NULL AND id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
        failed: list[FailedPhoto] = []
        for number, source, key, outcome, kind, message in rows:
            path, page = photo_of_key(key)
            photo, place = display_path(path), display_path(os.fsdecode(source))
            failed.append(FailedPhoto(number, photo, place, page, outcome, ErrorInfo(kind, message)))
        return failed
