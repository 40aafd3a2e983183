"""The journal's questions and notes. Blocking; `journal` runs it in a thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import msgspec

from smarty_async.archive.journal import schema
from smarty_async.archive.journal.lookup import EntryLookup
from smarty_async.archive.journal.places import NO_OUTPUTS, OutputPlaces, give_distinct_place
from smarty_async.archive.journal.records import Answer, Content, PhotoEntry, StoredOutput, UnhashedPhoto
from smarty_async.archive.journal.rows import DONE, OTHERS, known_of, outputs_of
from smarty_async.archive.outputs.store import NameTaken, OutputRefused
from smarty_async.archive.paths import display_path, folded_key
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import ErrorInfo, Kind, Outcome, Result

__all__ = ["MOST_UNREAD", "Finish", "JournalStore"]

MOST_UNREAD = 64
"""Photos whose content is looked at in one go."""

Finish = Callable[[str, Mapping[Kind, StoredOutput]], bool]
"""Brings the outputs of an answer from their temporaries to a place; whether they all stand there."""


class JournalStore:
    """An open journal.

    Args:
        path: of the database.
        opener: how it is opened, one of `schema`'s.
        outputs: which places outputs can have.

    Attributes:
        damaged: whether it was found to be; nothing in it is to be trusted.

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
        self._sql = opener(path)
        self._outputs = outputs
        self._lookup = EntryLookup(self._sql, outputs)

    def close(self) -> None:
        """Close it."""
        self._sql.close()

    @contextmanager
    def translated(self) -> Generator[None]:
        """SQLite's errors as ours."""
        try:
            with schema.translated(self._path):
                yield
        except schema.DamagedJournal:
            self.damaged = True
            raise

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing, durable at its end."""
        with self.translated():
            self._lookup.begin()
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                self._lookup.undo()
                if self._sql.in_transaction:  # on a full disk SQLite may have rolled back by itself
                    self._sql.execute("ROLLBACK")
                raise

    # one photo's entry

    def look_up(self, batch: Iterable[PhotoFile], specs: Collection[ModeSpec] = ()) -> list[PhotoEntry]:
        """Find or make the entry of every photo in `batch`; an entry of a photo that has changed begins anew.

        A photo that this run has claimed before is left out: one that is named twice is done once.

        Args:
            batch: the photos.
            specs: what is asked of them.
        """
        return self._lookup.look_up(batch, specs)

    # photos with the same content

    def unhashed(self, size: int) -> list[UnhashedPhoto]:
        """The photos of `size` bytes that have no digest, `MOST_UNREAD` of them if there are so many."""
        rows = self._sql.execute(
            "SELECT id, source, photo, mtime_ns FROM photos WHERE size = ? AND digest IS NULL LIMIT ?",
            (size, MOST_UNREAD),
        )
        return [
            UnhashedPhoto(number, str(Path(os.fsdecode(source), os.fsdecode(photo))), size, version)
            for number, source, photo, version in rows
        ]

    def note_digests(self, digests: Mapping[int, bytes]) -> None:
        """The contents of photos, by entry; empty for those that cannot be read."""
        self._sql.executemany(
            "UPDATE photos SET digest = ? WHERE id = ?", [(content, photo) for photo, content in digests.items()]
        )

    def contents_of(self, photos: Iterable[int]) -> dict[int, Content]:
        """The content of those of `photos` for which somebody has asked."""
        known: dict[int, Content] = {}
        for photo in photos:
            digest, twin = self._sql.execute(
                f"SELECT digest, EXISTS (SELECT 1 {OTHERS} WHERE one.id = photos.id) FROM photos"  # noqa: S608 - our own
                " WHERE id = ?",
                (photo,),
            ).fetchone()
            if digest is not None:
                known[photo] = Content(bytes(digest), bool(twin))
        return known

    def answers_to(self, spec: ModeSpec, photo: int) -> list[Answer]:
        """What others with the digest of `photo` have got for `spec`: some of them, if there are many."""
        rows = self._sql.execute(
            f"SELECT other.place, outputs, answers.bw {OTHERS} JOIN answers ON answers.photo = other.id"
            " WHERE one.id = ? AND task = ? AND state = 'placed' LIMIT 8",
            (photo, str(spec)),
        )
        return [
            Answer(os.fsdecode(where), outputs_of(outputs), None if bw is None else bool(bw))
            for where, outputs, bw in rows
        ]

    def has_claimed_twin(self, photo: int) -> bool:
        """Whether this run has claimed another with the digest of `photo`."""
        others = self._sql.execute(f"SELECT other.id {OTHERS} WHERE one.id = ?", (photo,))
        return any(self._lookup.has(number) for (number,) in others)

    # notes

    def keep(self, photo: int, spec: ModeSpec, outputs: Mapping[Kind, StoredOutput], bw: bool | None) -> None:  # noqa: FBT001
        """The answer to `spec` is durable, in temporaries."""
        self._sql.execute(
            "INSERT OR REPLACE INTO answers (photo, mode, task, state, outputs, bw) VALUES (?, ?, ?, 'kept', ?, ?)",
            (photo, spec.mode, str(spec), msgspec.json.encode(outputs).decode(), bw),
        )
        self._sql.execute("DELETE FROM failures WHERE photo = ? AND task = ?", (photo, str(spec)))
        # What was told of the photo is no longer the whole truth.
        self._sql.execute("UPDATE photos SET outcome = NULL WHERE id = ?", (photo,))

    def placed(self, photo: int, spec: ModeSpec) -> None:
        """The outputs of `spec` stand at their places."""
        self._sql.execute("UPDATE answers SET state = 'placed' WHERE photo = ? AND mode = ?", (photo, spec.mode))

    def give_distinct_place(self, photo: int, mode: Mode) -> str | None:
        """Give a photo another place, because a file that no run made is at the one it has; None when there is none."""
        return give_distinct_place(self._sql, photo, mode, self._outputs)

    def record(self, photo: int, result: Result, failures: Mapping[ModeSpec, ErrorInfo]) -> None:
        """What became of a photo, in the end."""
        self._sql.executemany(
            "INSERT OR REPLACE INTO failures (photo, task, type, message) VALUES (?, ?, ?, ?)",
            [(photo, str(spec), why.type, why.message) for spec, why in failures.items()],
        )
        error = result.error
        self._sql.execute(
            "UPDATE photos SET outcome = ?, bw = ?, attempts = ?, error_type = ?, error = ? WHERE id = ?",
            (result.outcome, result.bw, result.attempts, error and error.type, error and error.message, photo),
        )

    def forget_stale(self, photo: int) -> list[tuple[str, dict[Kind, StoredOutput]]]:
        """Forget the outputs of a photo as it was before it changed; their place, and the outputs."""
        rows = self._sql.execute(
            "SELECT place, outputs FROM photos JOIN answers ON answers.photo = id WHERE id = ? AND state = 'stale'",
            (photo,),
        ).fetchall()
        self._sql.execute("DELETE FROM answers WHERE photo = ? AND state = 'stale'", (photo,))
        return [(os.fsdecode(where), outputs_of(outputs)) for where, outputs in rows]

    # the whole

    @property
    def is_empty(self) -> bool:
        """Whether it knows no photo."""
        return self._sql.execute("SELECT 1 FROM photos LIMIT 1").fetchone() is None

    def adopt(
        self, found: PhotoFile, place: str, answers: Mapping[ModeSpec, Mapping[Kind, StoredOutput]], result: Result
    ) -> None:
        """Note what is known of a photo from elsewhere: its outputs, at `place`, and what became of it."""
        name = (os.fsencode(found.source), os.fsencode(found.photo), os.fsencode(place) or None)
        key = folded_key(place) or None
        outcome = None if result.error else result.outcome
        # The last line about a photo is the one that holds.
        self._sql.execute(
            "DELETE FROM answers WHERE photo IN (SELECT id FROM photos WHERE (source = ? AND photo = ?) OR place = ?)",
            name,
        )
        self._sql.execute(
            "INSERT OR REPLACE INTO photos (source, photo, place, place_key, size, mtime_ns) VALUES (?, ?, ?, ?, ?, ?)",
            (*name, key, found.size, found.version),
        )
        [number] = self._sql.execute("SELECT last_insert_rowid()").fetchone()
        for spec, outputs in answers.items():
            self.keep(number, spec, outputs, result.bw)
            self.placed(number, spec)
        self._sql.execute(
            "UPDATE photos SET outcome = ?, bw = ?, attempts = ? WHERE id = ?",
            (outcome, result.bw, result.attempts, number),
        )

    def finish_kept(self, finish: Finish) -> None:
        """Let `finish` bring to their places what an interrupted run had received; forget what is not there."""
        rows = self._sql.execute(
            "SELECT photo, mode, place, outputs FROM answers JOIN (SELECT id, place FROM photos) ON id = photo"
            " WHERE state = 'kept'"
        ).fetchall()
        for photo, mode, where, outputs in rows:
            try:
                finished = self._finish_one(photo, mode, os.fsdecode(where), outputs_of(outputs), finish)
            except OutputRefused:
                continue  # it stays received: a later run may be able to
            if finished:
                self._sql.execute(
                    "DELETE FROM failures WHERE photo = ? AND task ="
                    " (SELECT task FROM answers WHERE answers.photo = failures.photo AND mode = ?)",
                    (photo, mode),
                )
                self._sql.execute(
                    "UPDATE photos SET outcome = NULL WHERE id = ? AND outcome IN ('failed', 'rejected')", (photo,)
                )
                self._sql.execute("UPDATE answers SET state = 'placed' WHERE photo = ? AND mode = ?", (photo, mode))
            else:
                self._sql.execute("DELETE FROM answers WHERE photo = ? AND mode = ?", (photo, mode))

    def _finish_one(
        self, photo: int, mode: Mode, place: str, outputs: Mapping[Kind, StoredOutput], finish: Finish
    ) -> bool:
        try:
            return finish(place, outputs)
        except NameTaken:
            other = self.give_distinct_place(photo, mode)
            if other is None:
                raise
            return finish(other, outputs)

    def results(self) -> Iterator[Result]:
        """What became of every photo that is done."""
        for number, rows in groupby(self._sql.execute(DONE), key=itemgetter(0)):
            one = list(rows)
            _, source, photo, where, outcome, attempts, kind, message = one[0][:8]
            found = PhotoFile(os.fsdecode(source), os.fsdecode(photo), "", 0, "0")
            entry = PhotoEntry(found, number, os.fsdecode(where or b""), known_of(one))
            yield entry.result(outcome, error=kind and ErrorInfo(kind, message), attempts=attempts)

    def counts(self) -> tuple[dict[Outcome | None, int], int]:
        """Photos by outcome (None: still to be done), and images sent in all."""
        rows = self._sql.execute("SELECT outcome, count(*), sum(attempts) FROM photos GROUP BY outcome").fetchall()
        return {outcome: count for outcome, count, _ in rows}, sum(sent for _, _, sent in rows)

    def failures(self) -> Iterator[tuple[Outcome, str, str, int, str]]:
        """Outcome, error type, one message, count and one photo for every reason there is."""
        rows = self._sql.execute(
            "SELECT outcome, error_type, min(error), count(*), min(photo) FROM photos"
            " WHERE outcome IS NOT NULL AND error_type IS NOT NULL"
            " GROUP BY outcome, error_type ORDER BY count(*) DESC"
        )
        for outcome, kind, message, count, photo in rows:
            yield outcome, kind, message, count, display_path(os.fsdecode(photo))
