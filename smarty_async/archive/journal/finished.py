"""The photos that runs have finished: found in a scan, nearly all when an archive is run again, and listed. Blocking.

An entry for each, with its answers, would cost more than all else. The scan and the journal are read side by side
instead: a disk lists a folder in the same order each time, and entries were created in that order.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from smarty_async.archive.journal.records import key_of, photo_of_key, warnings_of
from smarty_async.archive.paths import display_path
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import ModeSpec
from smarty_async.results import ErrorInfo, Kind, Result

__all__ = ["FinishedBatch", "finished_results", "take_finished"]

_CODEC: Final = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

_kinds_of: Callable[[str], dict[Kind, msgspec.Raw]] = msgspec.json.Decoder(dict[Kind, msgspec.Raw]).decode
"""The kinds of an answer's outputs, from its column ``outputs``."""

_Row = Sequence[Any]
"""Columns of `_query`."""


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


def take_finished(
    sql: sqlite3.Connection,
    files: Sequence[PhotoFile],
    specs: Collection[ModeSpec],
    *,
    exist: Callable[[str, Iterable[Kind]], bool],
    mark_seen: Callable[[int], bool],
    with_results: bool,
) -> FinishedBatch:
    """Take those out of `files` that came to a good end, are unchanged since, and have their outputs.

    Args:
        sql: the journal's database.
        files: a batch of a scan, in its order.
        specs: what the run asks of them.
        exist: whether the outputs of some kinds are at a place.
        mark_seen: notes that the entry with an id was looked up; False when it was before: it is left out then.
        with_results: whether their results are wanted.
    """
    batch = FinishedBatch([])
    known = {(row[0], row[1]): row for row in _good_ends(sql, files, specs)}
    if not known:
        batch.rest = list(files)
        return batch
    sources: dict[str, bytes] = {}
    for file in files:
        source = sources.get(file.source) or sources.setdefault(file.source, os.fsencode(file.source))
        photo = file.photo.encode(*_CODEC)
        row = known.get((source, photo))
        if row is None or row[2] != file.size or row[3] != file.version or file.page != 1 or file.problem is not None:
            batch.rest.append(file)
            continue
        place = file.photo if row[5] == photo else os.fsdecode(row[5])
        kinds = _kinds_in(row[6])
        if not exist(place, kinds):
            batch.rest.append(file)
        elif mark_seen(row[4]):
            batch.count += 1
            if with_results:
                batch.results.append(_result(file, place, kinds, row))
    return batch


def _good_ends(sql: sqlite3.Connection, files: Sequence[PhotoFile], specs: Collection[ModeSpec]) -> list[_Row]:
    """The entries between those of the first and the last of `files` that came to a good end."""
    first, last = (_id_of(sql, file) for file in (files[0], files[-1]))
    if first is None or last is None or not first <= last < first + 2 * len(files):
        return []
    names = list(map(str, specs))
    rows: list[_Row] = sql.execute(_query(len(names)), (first, last, *names, *names)).fetchall()
    if len(names) == 1:
        return rows
    answers = (list(group) for _, group in groupby(rows, key=itemgetter(4)))
    return [
        (*group[0][:6], "\n".join(row[6] for row in group), group[0][7], _first_known(row[8] for row in group))
        for group in answers
        if len(group) == len(names)
    ]


def _first_known(values: Iterable[int | None]) -> int | None:
    return next((value for value in values if value is not None), None)


def _kinds_in(outputs: str) -> Collection[Kind]:
    """The kinds of outputs, from the column of one answer, or those of several as lines: JSON holds no line break."""
    if "\n" not in outputs:
        return _kinds_of(outputs)
    return [kind for answer in outputs.split("\n") for kind in _kinds_of(answer)]


def _id_of(sql: sqlite3.Connection, file: PhotoFile) -> int | None:
    row = sql.execute("SELECT id FROM photos WHERE source = ? AND photo = ?", key_of(file)).fetchone()
    return None if row is None else int(row[0])


@cache
def _query(specs: int) -> str:
    """The photos between two ids that came to a good end, a row for each answer: to what is wanted, and no others."""
    wanted = f"IN ({', '.join('?' * specs)})"
    return (
        "SELECT source, photos.photo, size, version, id, place, outputs, attempts, answers.bw"  # noqa: S608 - no values from outside
        " FROM photos JOIN answers ON answers.photo = id WHERE id BETWEEN ? AND ? AND pages = 1"
        " AND place IS NOT NULL"  # a rebuilt journal may have none for a photo without outputs
        f" AND outcome IN ('restored', 'already_good', 'duplicate') AND state = 'committed' AND spec {wanted}"
        f" AND NOT EXISTS (SELECT 1 FROM answers AS other WHERE other.photo = id AND other.spec NOT {wanted})"
    )


def _result(file: PhotoFile, place: str, kinds: Collection[Kind], row: _Row) -> Result:
    """What `PhotoEntry.end` makes of the photo."""
    shown = display_path(place)
    return Result(
        photo=display_path(file.photo),
        source=display_path(file.source),
        outcome="skipped",
        outputs={kind: f"{kind}/{shown}" for kind in kinds},
        bw=None if row[8] is None else bool(row[8]),
        attempts=row[7],
    )


_FINISHED: Final = (
    "SELECT id, source, photos.photo, place, outcome, attempts, error_type, error, warnings, state, outputs, answers.bw"
    " FROM photos LEFT JOIN answers ON answers.photo = id WHERE outcome IS NOT NULL ORDER BY id"
)
"""Every finished photo: one row for each answer, and one row for a photo without answers."""


def finished_results(sql: sqlite3.Connection) -> Iterator[Result]:
    """The result of every finished photo, as `PhotoEntry.result` gives it, in the order of their entries."""
    for _, rows in groupby(sql.execute(_FINISHED), key=itemgetter(0)):
        outputs: dict[Kind, str] = {}
        bw: bool | None = None
        for row in rows:
            _, source, key, where, outcome, attempts, kind, message, warnings, state, text, found = row
            if state == "committed":
                place = display_path(os.fsdecode(where))
                for output in _kinds_of(text):
                    outputs[output] = f"{output}/{place}"
                bw = bool(found) if bw is None and found is not None else bw
        path, page = photo_of_key(key)
        yield Result(
            photo=display_path(path),
            source=display_path(os.fsdecode(source)),
            outcome=outcome,
            outputs=outputs,
            bw=bw,
            attempts=attempts,
            error=ErrorInfo(kind, message) if kind else None,
            page=page,
            warnings=warnings_of(warnings) if warnings else (),
        )
