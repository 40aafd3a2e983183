"""Look up the entries of the photos that a scan has found, and give each a place for its outputs. Blocking.

No two photos share a place.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from smarty_async.archive.journal.records import (
    ANSWER_COLUMNS,
    AnswerState,
    PhotoEntry,
    StoredAnswer,
    StoredOutput,
    answers_of,
    key_of,
)
from smarty_async.archive.paths import (
    SYSTEM_RULES,
    FileNameRules,
    display_path,
    distinct_place,
    folded_key,
    output_place,
)
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import GOOD_OUTCOMES, ErrorInfo, Kind
from smarty_async.wire.messages import OUTPUT_FIELDS

__all__ = ["NO_OUTPUTS", "EntryLookup", "OutputPlaces", "finished_bytes", "give_distinct_place"]

_BATCH: Final = 256
"""Photos looked up in one query; some builds of SQLite take 999 parameters, and a photo needs two."""

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


class OutputPlaces(Protocol):
    """Which places outputs can have: the part of an `OutputStore` that the journal asks."""

    @property
    def rules(self) -> FileNameRules:
        """Which names the storage takes."""
        ...

    def is_taken(self, place: str) -> bool:
        """Whether something that no run made is at `place`."""
        ...

    def foreign_kinds(self, place: str, known: Mapping[Kind, StoredOutput]) -> list[Kind]:
        """The kinds of which something is at `place` that is none of the `known` outputs."""
        ...

    def problem_of(self, place: str) -> ErrorInfo | None:
        """Why nothing can be stored at `place`, None when it can."""
        ...


class _NoOutputs:
    """Outputs of which nothing is known."""

    rules = SYSTEM_RULES

    def is_taken(self, place: str) -> bool:  # noqa: ARG002
        return False

    def foreign_kinds(self, place: str, known: Mapping[Kind, StoredOutput]) -> list[Kind]:  # noqa: ARG002
        return []

    def problem_of(self, place: str) -> ErrorInfo | None:  # noqa: ARG002
        return None


NO_OUTPUTS: OutputPlaces = _NoOutputs()
"""For a journal without its outputs."""


def finished_bytes(sql: sqlite3.Connection, spec: ModeSpec) -> int:
    """Bytes of the photos whose answer to `spec` is at its place."""
    [size] = sql.execute(
        "SELECT coalesce(sum(size), 0) FROM photos JOIN answers ON answers.photo = id"
        " WHERE spec = ? AND state = 'committed'",
        (spec.text,),
    ).fetchone()
    return int(size)


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
        outputs: which places outputs can have.

    Attributes:
        seen: those that were looked up.
    """

    def __init__(
        self,
        sql: sqlite3.Connection,
        unplaced: Mapping[int, ErrorInfo] | None = None,
        outputs: OutputPlaces = NO_OUTPUTS,
    ) -> None:
        self._sql = sql
        self._outputs = outputs
        self._has_place_keys = outputs.rules.is_exact
        self._unplaced: Mapping[int, ErrorInfo] = {} if unplaced is None else unplaced
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
            where, problem = self._free_place(file)
            if where:
                _write_place(self._sql, number, where)
        entry = PhotoEntry(
            file, number, where, answers, {}, outcome, attempts, problem, version_changed=changed, pages=pages
        )
        missing = entry.without_answer(specs)
        if outcome in GOOD_OUTCOMES and not missing:  # true for nearly all photos of a large archive
            return entry
        if problem is None and missing and place is not None and not changed and not is_new:
            where, problem = _check_place(self._sql, entry, [spec.mode for spec in missing], self._outputs)
            entry = msgspec.structs.replace(entry, place=where, problem=problem)
        # A photo without a place may have been moved here: its outputs then have one.
        comparable = file.problem is None and (problem is None or problem.type == "collision")
        may_be_duplicate = comparable and bool(missing) and self._has_same_size(number, file)
        failures = {} if is_new else self._failures_of(number)
        return msgspec.structs.replace(entry, failures=failures, may_be_duplicate=may_be_duplicate)

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
        place, problem = self._free_place(file) if file.problem is None else ("", file.problem)
        key = key_of(file)
        where = (os.fsencode(place), folded_key(place)) if place else (None, None)
        created = self._sql.execute(
            "INSERT INTO photos (source, photo, size, version, place, place_key) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (source, photo) DO NOTHING",  # it is in this batch twice, and was created before
            (*key, file.size, file.version, *where),
        )
        if created.rowcount:
            return [(*key, created.lastrowid, where[0], file.size, file.version, *_NEW)], problem
        return self._sql.execute(_by_key(1), key).fetchall(), problem

    def _free_place(self, file: PhotoFile) -> tuple[str, ErrorInfo | None]:
        """Find a free place for the outputs of a photo that has none.

        That is its own path; where another source has a photo with this path, the path under its source's folder name.
        Where the name is not free for another reason (the disk ignores case and a name differs in nothing else, or a
        file is there that no run made), the name gets a hash: `distinct_place`.

        Returns:
            The place, relative to ``DIR/<kind>``; or an empty one, and why there is none.
        """
        if not self._has_place_keys:
            _fill_place_keys(self._sql)
            self._has_place_keys = True
        rules = self._outputs.rules
        rivals: list[str] = []
        for place in _own_places(file, rules):
            name, rival = place, _rival(self._sql, place, rules)
            if (rival and rival.is_alike) or (not rival and self._outputs.is_taken(place)):
                identity = _identity_of(file.source, file.photo if file.page == 1 else f"{file.photo}\0{file.page}")
                name = distinct_place(place, identity=identity, rules=rules)
                rival = _rival(self._sql, name, rules)
            if rival or (name != place and self._outputs.is_taken(name)):
                rivals.append(rival.photo if rival else display_path(name))
                continue
            if problem := self._outputs.problem_of(name):
                return "", problem
            return name, None
        own = display_path(output_place(file.photo, page=file.page, rules=rules))
        message = f"its output {own!r} would be written over that of {rivals[0]!r}: give it another --out"
        return "", ErrorInfo("collision", message)

    def _has_same_size(self, photo: int, file: PhotoFile) -> bool:
        """Whether another file of this size is known; the pages of one file are no duplicates of each other."""
        source, path = os.fsencode(file.source), os.fsencode(file.photo)
        row = self._sql.execute(
            "SELECT 1 FROM photos WHERE size = ? AND id <> ?"
            " AND NOT (source = ? AND (photo = ? OR (photo > ? AND photo < ?))) LIMIT 1",
            (file.size, photo, source, path, path + b"\0", path + b"\1"),
        )
        return row.fetchone() is not None

    def _knows_content(self, photo: int) -> bool:
        row = self._sql.execute("SELECT 1 FROM photos WHERE id = ? AND digest > x''", (photo,))
        return row.fetchone() is not None

    def renew(self, photo: int, file: PhotoFile, digest: bytes | None = None) -> None:
        """Reset the entry of a photo whose content has changed; its outputs stay until there are new ones."""
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


def _own_places(file: PhotoFile, rules: FileNameRules) -> Iterator[str]:
    """The place of a photo's own path, and that below the name of its source."""
    yield output_place(file.photo, page=file.page, rules=rules)
    yield output_place(f"{Path(file.source).name or 'root'}/{file.photo}", page=file.page, rules=rules)


def _check_place(
    sql: sqlite3.Connection, entry: PhotoEntry, missing: Iterable[Mode], outputs: OutputPlaces
) -> tuple[str, ErrorInfo | None]:
    """Make sure, before a photo is sent, that the outputs of `missing` modes can be committed at the place it has.

    Returns:
        Its place, another one if a file that no run made is there; and why it must not be sent, None when it may.
    """
    known: dict[Kind, StoredOutput] = {
        kind: output for answer in entry.answers.values() for kind, output in answer.outputs.items()
    }
    wanted = {kind: mode for mode in missing for kind in OUTPUT_FIELDS[mode].values()}
    foreign = [kind for kind in outputs.foreign_kinds(entry.place, known) if kind in wanted]
    if not foreign:
        return entry.place, None
    place = give_distinct_place(sql, entry.id, wanted[foreign[0]], outputs)
    if place is not None:
        return place, None
    path = display_path(f"{foreign[0]}/{entry.place}")
    message = f"{path!r} in the output folder is a file that no run made, or that was changed since: move it away"
    return entry.place, ErrorInfo("output_exists", message)


def give_distinct_place(sql: sqlite3.Connection, photo: int, mode: str, outputs: OutputPlaces) -> str | None:
    """Give a photo another place, because a file that no run made is at the one it has.

    Args:
        sql: the journal's database.
        photo: the photo's entry.
        mode: whose outputs could not be committed.
        outputs: which places outputs can have.

    Returns:
        The new place; None when there is none, or when outputs of another mode are at the old one.
    """
    rows = sql.execute(
        "SELECT source, photo, place FROM photos WHERE id = ? AND NOT EXISTS"
        " (SELECT 1 FROM answers WHERE answers.photo = id AND mode <> ? AND state IN ('committed', 'received'))",
        (photo, mode),
    ).fetchall()
    for source, key, where in rows:
        identity = _identity_of(os.fsdecode(source), os.fsdecode(key))
        place = distinct_place(os.fsdecode(where), identity=identity, rules=outputs.rules)
        if not (_rival(sql, place, outputs.rules) or outputs.is_taken(place) or outputs.problem_of(place)):
            _write_place(sql, photo, place)
            return place
    return None


def _identity_of(source: str, key: str) -> str:
    """What identifies a photo: its source, and its path with the number of a further page."""
    return f"{source}\0{key}"


def _write_place(sql: sqlite3.Connection, photo: int, place: str) -> None:
    sql.execute(
        "UPDATE photos SET place = ?, place_key = ? WHERE id = ?", (os.fsencode(place), folded_key(place), photo)
    )


def _fill_place_keys(sql: sqlite3.Connection) -> None:
    """Write the keys of places into a journal of an older version, which has none; inside a transaction."""
    rows = sql.execute("SELECT id, place FROM photos WHERE place_key IS NULL AND place IS NOT NULL").fetchall()
    sql.executemany(
        "UPDATE photos SET place_key = ? WHERE id = ?",
        [(folded_key(os.fsdecode(place)), number) for number, place in rows],
    )


class _Rival(NamedTuple):
    """A photo whose outputs leave no room for those of another.

    Attributes:
        photo: the photo, for people.
        is_alike: whether its place is another name, which only the disk takes for the same.
    """

    photo: str
    is_alike: bool


_MAX_CANDIDATES = 64
"""Places read that are alike when case and composition are ignored; the disk distinguishes most of them, or none."""


def _rival(sql: sqlite3.Connection, place: str, rules: FileNameRules) -> _Rival | None:
    """The photo whose outputs leave no room for one at `place`: it has it, or one of the two is above the other."""
    column, encoded = ("place", os.fsencode) if rules.is_exact else ("place_key", folded_key)
    wanted = encoded(place)
    parts = place.split("/")
    names = [wanted, *(encoded("/".join(parts[:number])) for number in range(1, len(parts)))]
    rows = sql.execute(
        f"SELECT source, photo, place FROM photos WHERE {column} IN ({','.join('?' * len(names))})"  # noqa: S608
        f" OR ({column} > ? AND {column} < ?) LIMIT {_MAX_CANDIDATES}",
        (*names, wanted + b"/", wanted + b"0"),  # 0 follows /
    ).fetchall()
    key = rules.key(place)
    for source, photo, where in rows:
        other = os.fsdecode(where)
        if rules.is_exact or _clash(key, rules.key(other)):
            is_alike = other != place and rules.key(other) == key
            path = os.fsdecode(photo.partition(b"\0")[0])
            return _Rival(display_path(f"{os.fsdecode(source)}/{path}"), is_alike)
    return None


def _clash(one: bytes, other: bytes) -> bool:
    return one == other or one.startswith(other + b"/") or other.startswith(one + b"/")
