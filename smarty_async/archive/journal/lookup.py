"""The entries of the photos that a scan has found, and which of them this run has claimed. Blocking."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from smarty_async.archive.journal.places import NO_OUTPUTS, OutputPlaces, check_place, fill_place_keys, give_place
from smarty_async.archive.journal.records import PhotoEntry, StoredAnswer
from smarty_async.archive.journal.rows import BETWEEN, known_of, named
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import ErrorInfo

__all__ = ["EntryLookup"]

_NOT_RECOVERED: Final = ErrorInfo(
    "output_refused",
    "its output was received, and is kept in .smarty-async/tmp, but something is in its way: move that, and run again",
)

_GOOD: Final = ("restored", "already_good", "duplicate")

_TOGETHER: Final = 256
"""Photos looked up together; some builds of SQLite take 999 parameters, and a name has two."""

_Name = tuple[bytes, bytes]
_Rows = list[Sequence[Any]]


class EntryLookup:
    """What a run has claimed, and how it claims.

    Args:
        sql: the journal's database.
        outputs: which places outputs can have.
    """

    def __init__(self, sql: sqlite3.Connection, outputs: OutputPlaces = NO_OUTPUTS) -> None:
        self._sql = sql
        self._outputs = outputs
        self._has_place_keys = False
        self._claimed = bytearray()  # a bit for each entry: it may be all the photos there are
        self._taken: list[int] = []  # in this transaction

    def begin(self) -> None:
        """A transaction begins."""
        self._taken = []

    def undo(self) -> None:
        """It came to nothing, and what was claimed in it."""
        for photo in self._taken:
            self._claimed[photo >> 3] &= ~(1 << (photo & 7))

    def has(self, photo: int) -> bool:
        """Whether the entry `photo` is claimed."""
        return photo >> 3 < len(self._claimed) and bool(self._claimed[photo >> 3] >> (photo & 7) & 1)

    def look_up(self, batch: Iterable[PhotoFile], specs: Collection[ModeSpec]) -> list[PhotoEntry]:
        """Find or make the entry of every photo in `batch` that is not claimed yet."""
        photos = list(batch)
        parts = (photos[start : start + _TOGETHER] for start in range(0, len(photos), _TOGETHER))
        entries = ((found, rows) for part in parts for found, rows in zip(part, self._entries(part), strict=True))
        return [entry for found, rows in entries if (entry := self._look_up_one(found, rows, specs))]

    def _look_up_one(self, found: PhotoFile, rows: _Rows, specs: Collection[ModeSpec]) -> PhotoEntry | None:
        look = (found.size, found.version)
        rows = rows or self._made(found, look)
        _, _, number, where, size, version, outcome, attempts = rows[0][:8]
        if not self._take(number):
            return None
        known: dict[Mode, StoredAnswer] = known_of(rows)
        # Of a photo that cannot be looked at now, nobody knows whether it has changed.
        if found.problem is None and (size, version) != look:
            self._renew(number, look)
            outcome = None
            known = {mode: msgspec.structs.replace(answer, state="stale") for mode, answer in known.items()}
        place, problem = "" if where is None else os.fsdecode(where), found.problem
        if not place and problem is None:
            if not (self._has_place_keys or self._outputs.rules.is_exact):
                fill_place_keys(self._sql)
                self._has_place_keys = True
            place, problem = give_place(self._sql, number, found, self._outputs)
        entry = PhotoEntry(found, number, place, known, {}, outcome, attempts, problem)
        missing = [spec for spec in specs if not entry.has(spec)]
        if outcome in _GOOD and not missing:  # of a million photos nearly all may be
            return entry
        if problem is None and any(answer.state == "kept" for answer in known.values()):
            problem = _NOT_RECOVERED
        if problem is None and missing and where is not None:
            place, problem = check_place(self._sql, entry, [spec.mode for spec in missing], self._outputs)
        may_be_duplicate = problem is None and bool(missing) and self._is_alike(number, found)
        entry = msgspec.structs.replace(entry, place=place, problem=problem)
        return msgspec.structs.replace(entry, failures=self._failures_of(number), may_be_duplicate=may_be_duplicate)

    def _take(self, photo: int) -> bool:
        """Claim an entry; False when it is claimed already."""
        byte, bit = photo >> 3, 1 << (photo & 7)
        if byte >= len(self._claimed):
            self._claimed.extend(bytes(byte + 1 - len(self._claimed)))
        if self._claimed[byte] & bit:
            return False
        self._claimed[byte] |= bit
        self._taken.append(photo)
        return True

    # their rows

    def _entries(self, photos: Sequence[PhotoFile]) -> list[_Rows]:
        """The rows of each one's entry; none where there is no entry.

        A disk tells a folder in the same order each time, and entries were made in that order: where the first and the
        last of `photos` are as near to each other in the journal as here, what lies between them is read in one go.
        Asking by name takes twice as long, and three times in a folder of a million.
        """
        names = [(os.fsencode(found.source), os.fsencode(found.photo)) for found in photos]
        entries: dict[_Name, _Rows] = {}
        self._add_named(entries, [names[0], *names[1:][-1:]])
        if names[0] in entries and names[-1] in entries:
            first, last = entries[names[0]][0][2], entries[names[-1]][0][2]
            if first < last < first + 2 * len(names):
                _add(entries, self._sql.execute(BETWEEN, (first, last)))
        self._add_named(entries, [name for name in names[1:-1] if name not in entries])
        return [entries.get(name, []) for name in names]

    def _add_named(self, entries: dict[_Name, _Rows], names: Sequence[_Name]) -> None:
        if names:
            _add(entries, self._sql.execute(named(len(names)), [part for name in names for part in name]))

    def _made(self, found: PhotoFile, look: tuple[int, str]) -> _Rows:
        name = (os.fsencode(found.source), os.fsencode(found.photo))
        self._sql.execute(
            "INSERT INTO photos (source, photo, size, mtime_ns) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (source, photo) DO NOTHING",  # it was named twice, and made before
            (*name, *look),
        )
        return self._sql.execute(named(1), name).fetchall()

    # notes

    def _is_alike(self, photo: int, found: PhotoFile) -> bool:
        row = self._sql.execute("SELECT 1 FROM photos WHERE size = ? AND id <> ? LIMIT 1", (found.size, photo))
        return row.fetchone() is not None

    def _renew(self, photo: int, look: tuple[int, str]) -> None:
        """Begin the entry of a photo that has changed anew; its outputs stay until there are new ones."""
        self._sql.execute(
            "UPDATE photos SET size = ?, mtime_ns = ?, outcome = NULL, bw = NULL, error_type = NULL, error = NULL,"
            " digest = NULL WHERE id = ?",
            (*look, photo),
        )
        self._sql.execute("UPDATE answers SET state = 'stale' WHERE photo = ?", (photo,))
        self._sql.execute("DELETE FROM failures WHERE photo = ?", (photo,))

    def _failures_of(self, photo: int) -> dict[str, ErrorInfo]:
        rows = self._sql.execute("SELECT task, type, message FROM failures WHERE photo = ?", (photo,))
        return {spec: ErrorInfo(kind, message) for spec, kind, message in rows}


def _add(entries: dict[_Name, _Rows], rows: Iterable[Sequence[Any]]) -> None:
    for row in rows:
        entries.setdefault((row[0], row[1]), []).append(row)
