"""The photos that runs have finished: found in a scan, nearly all when an archive is run again, and listed. Blocking.

An entry for each, with its answers, would cost more than all else. The scan and the journal are read side by side
instead: a disk lists a folder in the same order each time, and entries were created in that order.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from smarty_async.archive.journal.lookup import SeenEntries
from smarty_async.archive.journal.records import key_of, photo_of_key, warnings_of
from smarty_async.archive.paths import display_path
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import ModeSpec
from smarty_async.results import KINDS, ErrorInfo, Kind, Result

__all__ = ["FinishedBatch", "finished_results", "take_finished"]

_CODEC: Final = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


_kinds_of: Callable[[str], dict[Kind, msgspec.Raw]] = msgspec.json.Decoder(dict[Kind, msgspec.Raw]).decode
"""The kinds of an answer's outputs, from its column ``outputs``."""
_kinds_of_all: Callable[[str], list[dict[Kind, msgspec.Raw]]] = msgspec.json.Decoder(
    list[dict[Kind, msgspec.Raw]]
).decode
"""Those of many answers, from a list of such columns."""


class FinishedBatch(msgspec.Struct):
    """Photos of a batch of a scan that need no work.

    Attributes:
        rest: the other photos of the batch.
        count: how many are finished.
        results: their results, unless they are only counted.
    """

    rest: list[PhotoFile]
    count: int = 0
    results: list[Result] = []


_T = TypeVar("_T")
_Missing = Callable[[Kind, Collection[str]], Collection[str]]
"""Of some places, those where no output of a kind is."""


def take_finished(
    sql: sqlite3.Connection,
    files: Sequence[PhotoFile],
    specs: Collection[ModeSpec],
    *,
    missing: _Missing,
    seen: SeenEntries,
    with_results: bool,
) -> FinishedBatch:
    """Take those out of `files` that came to a good end, are unchanged since, and have their outputs.

    Args:
        sql: the journal's database.
        files: a batch of a scan, in its order.
        specs: what the run asks of them.
        missing: of some places, those where no output of a kind is.
        seen: the entries that were looked up before: they are left out.
        with_results: whether their results are wanted.
    """
    first, last = (_id_of(sql, file) for file in (files[0], files[-1])) if files else (None, None)
    if first is None or last is None or not first <= last < first + 2 * len(files):
        return FinishedBatch(list(files))
    rows = sql.execute(_answers_query(len(specs)), (*map(str, specs), first, last)).fetchall()
    answers = _Answers(len(specs), rows, _kinds_of_all(f"[{','.join([row[2] for row in rows])}]"))
    ids = range(first, last + 1)
    if not with_results and _are_finished(sql, files, ids, answers, missing=missing) and seen.mark_all(first, last):
        return FinishedBatch([], len(files))
    finished = _finished(sql, files, ids, answers, missing=missing)
    batch = FinishedBatch([])
    for file, photo in zip(files, finished, strict=True):
        if photo is None:
            batch.rest.append(file)
        elif seen.mark(photo.id):
            batch.count += 1
            if with_results:
                batch.results.append(_result(file, photo))
    return batch


class _Answers(NamedTuple):
    """The answers to photos.

    Attributes:
        specs: how many are wanted of each photo.
        rows: of `_answers_query`.
        kinds: of the outputs of each.
    """

    specs: int
    rows: list[Any]
    kinds: list[dict[Kind, msgspec.Raw]]


class _Finished(msgspec.Struct, frozen=True, gc=False):
    """A photo that needs no work.

    Attributes:
        id: of its entry.
        place: of its outputs.
        attempts: requests that carried it.
        answers: of each answer the kinds of its outputs, and the column ``bw``.
    """

    id: int
    place: str
    attempts: int
    answers: list[tuple[Collection[Kind], int | None]]


def _are_finished(
    sql: sqlite3.Connection, files: Sequence[PhotoFile], ids: range, answers: _Answers, *, missing: _Missing
) -> bool:
    """Whether the entries with these `ids` are finished and are `files`, in this order, each at its own place.

    Lists are compared as a whole, because there may be millions of photos. False says nothing of each of them.
    """
    count, source = len(files), files[0].source
    places = [file.photo for file in files]
    if not (
        len(ids) == count
        and [row[0] for row in answers.rows] == _repeated(ids, answers.specs)
        and 0 not in [row[1] for row in answers.rows]
        and [file.source for file in files].count(source) == count
        and [file.page for file in files].count(1) == [file.problem for file in files].count(None) == count
        and sql.execute(_OWN_PLACES, (ids[0], ids[-1], os.fsencode(source))).fetchall()
        == [(file.photo.encode(*_CODEC), file.size, file.version) for file in files]
    ):
        return False
    places = _repeated(places, answers.specs)
    by_kind: dict[Kind, list[str]] = {
        kind: [at for at, kinds in zip(places, answers.kinds, strict=True) if kind in kinds] for kind in KINDS
    }
    return not any(missing(kind, at) for kind, at in by_kind.items() if at)


def _repeated(items: Sequence[_T], times: int) -> list[_T]:
    return list(items) if times == 1 else [item for item in items for _ in range(times)]


def _finished(
    sql: sqlite3.Connection, files: Sequence[PhotoFile], ids: range, answers: _Answers, *, missing: _Missing
) -> list[_Finished | None]:
    """What is known of each of `files` that needs no work, compared one by one."""
    given: dict[int, list[tuple[Collection[Kind], int | None]]] = {}
    for row, kinds in zip(answers.rows, answers.kinds, strict=True):
        given.setdefault(row[0], []).append((kinds, row[3]))
    unwanted = {row[0] for row in answers.rows if not row[1]}
    known = {
        row[:4]: row
        for row in sql.execute(_PHOTOS, (ids[0], ids[-1]))
        if len(given.get(row[4], ())) == answers.specs and row[4] not in unwanted
    }
    sources = {source: os.fsencode(source) for source in {file.source for file in files}}
    found: list[_Finished | None] = []
    wanted: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    for file in files:
        row = known.get((sources[file.source], file.photo.encode(*_CODEC), file.size, file.version))
        if row is None or file.page != 1 or file.problem is not None:
            found.append(None)
            continue
        place = file.photo if row[5] is None else os.fsdecode(row[5])
        found.append(_Finished(row[4], place, row[6], given[row[4]]))
        for outputs, _ in given[row[4]]:
            for kind in outputs:
                wanted[kind].append(place)
    gone = {place for kind, places in wanted.items() if places for place in missing(kind, places)}
    return [None if photo is None or photo.place in gone else photo for photo in found] if gone else found


def _id_of(sql: sqlite3.Connection, file: PhotoFile) -> int | None:
    row = sql.execute("SELECT id FROM photos WHERE source = ? AND photo = ?", key_of(file)).fetchone()
    return None if row is None else int(row[0])


_GOOD_END: Final = (
    " FROM photos WHERE id BETWEEN ? AND ? AND pages = 1 AND outcome IN ('restored', 'already_good', 'duplicate')"
)
_PHOTOS: Final = (
    f"SELECT source, photo, size, version, id, CASE WHEN place <> photo THEN place END, attempts {_GOOD_END}"
    " AND place IS NOT NULL"  # a rebuilt journal may have none for a photo without outputs
)
"""The photos between two ids that came to a good end; the place is null where it is the photo's own path."""
_OWN_PLACES: Final = f"SELECT photo, size, version {_GOOD_END} AND +place = photo AND +source = ? ORDER BY id"
"""Those of them in one source at their own paths. Plus: SQLite must not look for them in an index of other columns."""


@cache
def _answers_query(specs: int) -> str:
    """The answers between two photos' ids, and whether each is one that is wanted and committed.

    Read by themselves, they and the photos take three quarters of the time of a join. Few columns take less.
    """
    return (
        f"SELECT photo, state = 'committed' AND spec IN ({', '.join('?' * specs)}), outputs, bw"  # noqa: S608 - no values from outside
        " FROM answers WHERE photo BETWEEN ? AND ? ORDER BY photo, mode"
    )


def _result(file: PhotoFile, photo: _Finished) -> Result:
    """What `PhotoEntry.end` makes of the photo."""
    shown = display_path(photo.place)
    outputs: dict[Kind, str] = {}
    bw: int | None = None
    for kinds, found in photo.answers:
        bw = found if bw is None else bw
        for kind in kinds:
            outputs[kind] = f"{kind}/{shown}"
    return Result(
        photo=display_path(file.photo),
        source=display_path(file.source),
        outcome="skipped",
        outputs=outputs,
        bw=None if bw is None else bool(bw),
        attempts=photo.attempts,
    )


_FINISHED: Final = (
    "SELECT id, source, photos.photo, place, outcome, attempts, error_type, error, warnings, state, outputs, answers.bw"
    " FROM photos LEFT JOIN answers ON answers.photo = id WHERE outcome IS NOT NULL ORDER BY id"
)
"""Every finished photo: one row for each answer, and one row for a photo without answers."""


def finished_results(sql: sqlite3.Connection) -> Iterator[Result]:
    """The result of every finished photo, as `PhotoEntry.result` gives it, in the order of their entries."""
    for _, group in groupby(sql.execute(_FINISHED), key=itemgetter(0)):
        rows = list(group)
        _, source, key, where, outcome, attempts, kind, message, warnings, *_ = rows[0]
        committed = [row for row in rows if row[9] == "committed"]
        place = display_path(os.fsdecode(where)) if committed else ""
        outputs: dict[Kind, str] = {output: f"{output}/{place}" for row in committed for output in _kinds_of(row[10])}
        colours = [bool(row[11]) for row in committed if row[11] is not None]
        path, page = photo_of_key(key)
        yield Result(
            photo=display_path(path),
            source=display_path(os.fsdecode(source)),
            outcome=outcome,
            outputs=outputs,
            bw=colours[0] if colours else None,
            attempts=attempts,
            error=ErrorInfo(kind, message) if kind else None,
            page=page,
            warnings=warnings_of(warnings) if warnings else (),
        )
