"""Look up the entries of the photos that a scan has found. Blocking."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final

import msgspec

from smarty_async.archive.entries import AnswerState, PhotoEntry, StoredAnswer
from smarty_async.archive.journal.places import Places
from smarty_async.archive.journal.records import ANSWER_COLUMNS, UnhashedPhoto, answers_of, key_of, photo_of_key
from smarty_async.archive.paths import folded_key, photo_path
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import GOOD_OUTCOMES, ErrorInfo, Kind

__all__ = ["EntryLookup", "SeenEntries"]

_BATCH: Final = 256
"""Photos looked up in one query; some builds of SQLite take 999 parameters, and a photo needs two."""

_MAX_SIZES: Final = 4096
"""Sizes of which it is remembered how many photos have digests."""

_ENTRY: Final = f"source, photos.photo, id, place, size, version, outcome, attempts, pages, {ANSWER_COLUMNS}"
_ENTRY_ONLY: Final = 9
_NEW: Final = (None, 0, 1, *[None] * len(ANSWER_COLUMNS.split(", ")))
"""What a new entry has in the columns from its outcome on."""

_BETWEEN: Final = (
    f"SELECT {_ENTRY} FROM photos LEFT JOIN answers ON answers.photo = id"  # noqa: S608 - no values from outside
    " WHERE id > ? AND id < ?"
)
"""Entries between two ids: one row for each answer, and one row for an entry without answers."""

_BY_ID: Final = f"SELECT {_ENTRY} FROM photos LEFT JOIN answers ON answers.photo = id WHERE id = ?"  # noqa: S608 - likewise

_Rows = list[Sequence[Any]]


class SeenEntries:
    """The entries that a run has looked up: a bit for each, because there may be millions."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._marked: list[range] = []  # in this transaction

    def begin(self) -> None:
        """A transaction begins."""
        self._marked = []

    def undo(self) -> None:
        """The transaction was rolled back: forget what was looked up in it."""
        for photo in chain.from_iterable(self._marked):
            self._bits[photo >> 3] &= ~(1 << (photo & 7))

    def has(self, photo: int) -> bool:
        """Whether the entry `photo` was looked up."""
        return photo >> 3 < len(self._bits) and bool(self._bits[photo >> 3] >> (photo & 7) & 1)

    def mark(self, photo: int) -> bool:
        """Remember that an entry was looked up; False when it was before."""
        return self.mark_all(photo, photo)

    def mark_all(self, first: int, last: int) -> bool:
        """The same for all entries between two ids; False, and none is marked, when one of them was before."""
        start, end = first >> 3, (last >> 3) + 1
        if end > len(self._bits):
            self._bits.extend(bytes(end - len(self._bits)))
        bits = int.from_bytes(self._bits[start:end], "little")
        wanted = (1 << last - first + 1) - 1 << (first & 7)
        if bits & wanted:
            return False
        self._bits[start:end] = (bits | wanted).to_bytes(end - start, "little")
        self._marked.append(range(first, last + 1))
        return True


class EntryLookup:
    """Looks up entries, each once in a run.

    Args:
        sql: the journal's database.
        unplaced: why recovery could not move the outputs of a photo to their places, by id.
        places: gives photos places for their outputs.

    Attributes:
        seen: those that were looked up.
    """

    def __init__(self, sql: sqlite3.Connection, unplaced: dict[int, ErrorInfo], places: Places) -> None:
        self._sql = sql
        self._places = places
        self._unplaced = unplaced
        self._hashed: dict[int, int] = {}  # by size, the id up to which all digests are known
        self.seen = SeenEntries()

    def look_up(self, files: Iterable[PhotoFile], specs: Collection[ModeSpec]) -> list[PhotoEntry]:
        """Find or create the entry of every one of `files` that was not looked up before."""
        photos = list(files)
        parts = (photos[start : start + _BATCH] for start in range(0, len(photos), _BATCH))
        entries = ((file, rows) for part in parts for file, rows in zip(part, self._rows_of(part), strict=True))
        return [entry for file, rows in entries if (entry := self._look_up_one(file, rows, specs))]

    def entry_of(self, photo: int, file: PhotoFile) -> PhotoEntry:
        """The entry `photo` as it is now, of `file`, which has not changed since it was written."""
        rows = self._sql.execute(_BY_ID, (photo,)).fetchall()
        _, _, _, place, _, _, outcome, attempts, pages = rows[0][:_ENTRY_ONLY]
        where = "" if place is None else os.fsdecode(place)
        failures, problem = self._failures_of(photo), file.problem or self._unplaced.get(photo)
        return PhotoEntry(file, photo, where, answers_of(rows), failures, outcome, attempts, problem, pages=pages)

    def _look_up_one(self, file: PhotoFile, rows: _Rows, specs: Collection[ModeSpec]) -> PhotoEntry | None:
        is_new, problem = not rows, file.problem
        if is_new:
            rows, problem = self._created(file)
        _, _, number, place, size, version, outcome, attempts, pages = rows[0][:_ENTRY_ONLY]
        if not self.seen.mark(number):
            return None
        answers: dict[Mode, StoredAnswer] = answers_of(rows)
        changed, unplaced = False, self._unplaced.get(number)
        # Whether a file that cannot be read has changed is not known.
        if file.problem is None and (size, version) != (file.size, file.version):
            outcome, changed = None, size == file.size and self._knows_content(number)
            state: AnswerState = "unverified" if changed else "stale"
            answers = {mode: msgspec.structs.replace(answer, state=state) for mode, answer in answers.items()}
            if not changed:
                pages, unplaced = 1, None
                self.renew(number, file)
        where, problem = "" if place is None else os.fsdecode(place), problem or unplaced
        if not where and problem is None:
            where, problem = self._places.free_for(file)
            if where:
                self._places.write(number, where)
        entry = PhotoEntry(
            file, number, where, answers, {}, outcome, attempts, problem, version_changed=changed, pages=pages
        )
        missing = entry.without_answer(specs)
        if outcome in GOOD_OUTCOMES and not missing:  # true for nearly all photos of a large archive
            return entry
        if place is not None and not changed and not is_new:
            entry = self.placed(entry, specs)
        may_be_duplicate = bool(missing) and self._may_be_duplicate(entry)
        failures = {} if is_new else self._failures_of(number)
        return msgspec.structs.replace(entry, failures=failures, may_be_duplicate=may_be_duplicate)

    def placed(self, entry: PhotoEntry, specs: Collection[ModeSpec]) -> PhotoEntry:
        """`entry`, with another place or a problem where outputs of `specs` that it lacks cannot be at the one it has.

        To be called once it is known which answers it has, and before anything is sent.
        """
        missing = entry.without_answer(specs)
        if entry.problem or not entry.place or not missing:
            return entry
        place, problem = self._places.checked(entry, [spec.mode for spec in missing])
        answers = entry.answers if place == entry.place else {}  # they are not there
        return msgspec.structs.replace(entry, place=place, problem=problem, answers=answers)

    def ask_again(self, entry: PhotoEntry, specs: Collection[ModeSpec], kinds: Collection[Kind]) -> PhotoEntry:
        """`entry`, whose outputs were looked for, with its answers marked that are to be asked for again.

        Args:
            entry: the entry.
            specs: what the run asks of it.
            kinds: the kinds of output that are asked for; all when empty.
        """
        incomplete: dict[Mode, StoredAnswer] = {
            mode: msgspec.structs.replace(answer, state="incomplete")
            for mode, answer in entry.answers.items()
            if answer.state in ("committed", "missing") and (answer.misses(kinds) or answer.lacks(kinds))
        }
        if not incomplete:
            return entry
        answers, may_be_duplicate = entry.answers | incomplete, self._may_be_duplicate(entry)
        entry = msgspec.structs.replace(entry, answers=answers, may_be_duplicate=may_be_duplicate)
        return self.placed(entry, specs)

    # rows

    def _rows_of(self, files: Sequence[PhotoFile]) -> list[_Rows]:
        """The rows of each entry; no rows where there is no entry.

        A disk lists a folder in the same order each time, and entries were created in that order: where the entries of
        the first and the last file are close to each other, everything between them is read in one query by id.
        Reading by key takes twice as long, and three times in a folder of a million.
        """
        keys = [key_of(file) for file in files]
        entries: dict[tuple[bytes, bytes], _Rows] = {}
        self._add_by_key(entries, [keys[0], *keys[1:][-1:]])
        if keys[0] in entries and keys[-1] in entries:
            first, last = entries[keys[0]][0][2], entries[keys[-1]][0][2]
            if first < last < first + 2 * len(keys):
                _add(entries, self._sql.execute(_BETWEEN, (first, last)))
        self._add_by_key(entries, [key for key in keys[1:-1] if key not in entries])
        return [entries.get(key, []) for key in keys]

    def _add_by_key(self, entries: dict[tuple[bytes, bytes], _Rows], keys: Sequence[tuple[bytes, bytes]]) -> None:
        if keys:
            _add(entries, self._sql.execute(_by_key(len(keys)), [part for key in keys for part in key]))

    def _created(self, file: PhotoFile) -> tuple[_Rows, ErrorInfo | None]:
        """The rows of a new entry of `file`, with a place for its outputs; or why it has none."""
        place, problem = self._places.free_for(file) if file.problem is None else ("", file.problem)
        key = key_of(file)
        where = (os.fsencode(place), folded_key(place)) if place else (None, None)
        created = self._sql.execute(
            "INSERT INTO photos (source, photo, size, version, place, place_key) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (source, photo) DO NOTHING",  # it is in this batch twice, and was created before
            (*key, file.size, file.version, *where),
        )
        if created.rowcount:
            assert created.lastrowid is not None  # noqa: S101 - what it was inserted as
            self._note_unhashed(file.size, created.lastrowid)
            return [(*key, created.lastrowid, where[0], file.size, file.version, *_NEW)], problem
        return self._sql.execute(_by_key(1), key).fetchall(), problem

    def _may_be_duplicate(self, entry: PhotoEntry) -> bool:
        """Whether another file of its size is known; the pages of one file are no duplicates of each other."""
        file = entry.file
        # A photo without a place may have been moved here: its outputs then have one.
        if file.problem or not (entry.problem is None or entry.problem.type == "collision"):
            return False
        source, path = os.fsencode(file.source), os.fsencode(file.photo)
        row = self._sql.execute(
            "SELECT 1 FROM photos WHERE size = ? AND id <> ?"
            " AND NOT (source = ? AND (photo = ? OR (photo > ? AND photo < ?))) LIMIT 1",
            (file.size, entry.id, source, path, path + b"\0", path + b"\1"),
        )
        return row.fetchone() is not None

    def _knows_content(self, photo: int) -> bool:
        row = self._sql.execute("SELECT 1 FROM photos WHERE id = ? AND digest > x''", (photo,))
        return row.fetchone() is not None

    def unhashed(self, size: int, *, limit: int) -> list[UnhashedPhoto]:
        """Photos of `size` bytes whose digest is not known, at most `limit`.

        It is asked for each of very many photos of one size: those before the first one are not read again.
        """
        rows = self._sql.execute(
            "SELECT id, source, photo, version FROM photos WHERE size = ? AND id > ? AND digest IS NULL"
            " ORDER BY id LIMIT ?",
            (size, self._hashed.get(size, 0), limit),
        ).fetchall()
        if len(self._hashed) >= _MAX_SIZES:
            self._hashed.clear()
        if rows:
            self._hashed[size] = rows[0][0] - 1
        else:
            [self._hashed[size]] = self._sql.execute(
                "SELECT coalesce(max(id), 0) FROM photos WHERE size = ?", (size,)
            ).fetchone()
        return [
            UnhashedPhoto(number, photo_path(os.fsdecode(source), path), size, version, page)
            for number, source, key, version in rows
            for path, page in [photo_of_key(key)]
        ]

    def _note_unhashed(self, size: int, photo: int) -> None:
        """The digest of `photo` is not known. SQLite gives the greatest id again once its entry is deleted."""
        if size in self._hashed:
            self._hashed[size] = min(self._hashed[size], photo - 1)

    def undo(self) -> None:
        """Forget what has been seen, and which digests are known, since `begin`: the transaction was rolled back."""
        self.seen.undo()
        self._hashed.clear()

    def renew(self, photo: int, file: PhotoFile, digest: bytes | None = None) -> None:
        """Reset the entry of a photo whose content has changed; its outputs stay until there are new ones."""
        self._note_unhashed(file.size, photo)
        self._sql.execute(
            "UPDATE photos SET size = ?, version = ?, digest = ?, pages = 1,"
            " outcome = NULL, bw = NULL, error_type = NULL, error = NULL, warnings = NULL WHERE id = ?",
            (file.size, file.version, digest, photo),
        )
        self._sql.execute("UPDATE answers SET state = 'stale' WHERE photo = ?", (photo,))
        self._sql.execute("DELETE FROM failures WHERE photo = ?", (photo,))

    def replace(self, former: int, *, by: int) -> None:
        """Move what is known of the photo `former` to the new entry `by`, and delete `former`."""
        columns = "place, place_key, outcome, bw, attempts, error_type, error, warnings, pages"
        values = self._sql.execute(f"SELECT {columns} FROM photos WHERE id = ?", (former,)).fetchone()  # noqa: S608 - likewise
        for table in ("answers", "failures"):
            self._sql.execute(f"DELETE FROM {table} WHERE photo = ?", (by,))  # noqa: S608 - likewise
            self._sql.execute(f"UPDATE {table} SET photo = ? WHERE photo = ?", (by, former))  # noqa: S608 - likewise
        self._places.former.follow_moved(former, by=by)
        if (why := self._unplaced.pop(former, None)) is not None:
            self._unplaced[by] = why
        self._sql.execute("DELETE FROM photos WHERE id = ?", (former,))
        self._sql.execute(
            f"UPDATE photos SET ({columns}) = ({','.join('?' * len(values))}) WHERE id = ?",  # noqa: S608 - likewise
            (*values, by),
        )

    def _failures_of(self, photo: int) -> dict[str, ErrorInfo]:
        rows = self._sql.execute("SELECT spec, type, message FROM failures WHERE photo = ?", (photo,))
        return {spec: ErrorInfo(kind, message) for spec, kind, message in rows}


@cache
def _by_key(photos: int) -> str:
    """The query for the entries of `photos` keys, with rows as in `_BETWEEN`."""
    return (
        f"WITH keys (source, photo) AS (VALUES {', '.join(['(?, ?)'] * photos)})"  # noqa: S608 - likewise
        # CROSS: SQLite must go from the keys to the entries, never the other way round.
        f" SELECT {_ENTRY} FROM keys CROSS JOIN photos USING (source, photo) LEFT JOIN answers ON answers.photo = id"
    )


def _add(entries: dict[tuple[bytes, bytes], _Rows], rows: Iterable[Sequence[Any]]) -> None:
    for row in rows:
        entries.setdefault((row[0], row[1]), []).append(row)
