"""Find the photos in a scan that earlier runs have finished: nearly all when an archive is run again. Blocking.

An entry for each, with its answers, would cost more than all else, and so would a row. The scan and the journal are
read side by side instead: a disk lists a folder in the same order each time, and entries were created in that order.
What the journal has between two entries is read as one row of lists, and lists are compared.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from smarty_async.archive.entries import output_paths
from smarty_async.archive.journal.lookup import SeenEntries
from smarty_async.archive.journal.records import bits_of, key_of
from smarty_async.archive.journal.schema import column_decoder
from smarty_async.archive.paths import display_path
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import ModeSpec
from smarty_async.results import KINDS, Kind, Result

__all__ = ["FinishedBatch", "MissingOutputs", "take_finished"]

_CODEC: Final = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

_Kinds = Collection[Kind]

MissingOutputs = Callable[[Iterable[tuple[str, _Kinds]]], Collection[str]]
"""Of some places, each with kinds of outputs, those where one of these is not."""

_SMALL_PART: Final = 32
"""Photos that are not divided further to find some whose entries lie together."""


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
    missing: MissingOutputs,
    seen: SeenEntries,
    with_results: bool,
    kinds: Collection[Kind] = (),
) -> FinishedBatch:
    """Take those out of `files` that came to a good end, are unchanged since, and have all outputs that are asked for.

    Args:
        sql: the journal's database.
        files: a batch of a scan, in its order.
        specs: what the run asks of them.
        missing: finds outputs that are not at their places.
        seen: the entries that were looked up before: they are left out.
        with_results: whether their results are wanted.
        kinds: the kinds of output that are asked for; all when empty.
    """
    batch = FinishedBatch([])
    search = _Search(sql, len(specs), (*[spec.text for spec in specs], bits_of(kinds or KINDS)), missing, seen)
    for _, some in groupby(files, key=_source_of):
        for part, ids in _parts(sql, list(some)):
            if ids is None:
                batch.rest += part
            elif not with_results and _are_all_finished(search, part, ids) and seen.mark_all(ids[0], ids[-1]):
                batch.count += len(part)
            else:
                _take(search, batch, part, ids, with_results=with_results)
    return batch


class _Search(NamedTuple):
    """What `take_finished` looks for, and where.

    Attributes:
        sql: the journal's database.
        specs: how many answers are wanted of a photo.
        wanted: the parameters of `_is_wanted`.
        missing: finds outputs that are not at their places.
        seen: the entries that were looked up before.
    """

    sql: sqlite3.Connection
    specs: int
    wanted: tuple[str | int, ...]
    missing: MissingOutputs
    seen: SeenEntries


_source_of: Callable[[PhotoFile], str] = attrgetter("source")


def _parts(sql: sqlite3.Connection, files: Sequence[PhotoFile]) -> Iterator[tuple[Sequence[PhotoFile], range | None]]:
    """Divide `files` into parts whose entries lie together, each with their ids, and others, whose do not."""
    first, last = (_id_of(sql, file) for file in (files[0], files[-1]))
    if first is not None and last is not None and first <= last < first + 2 * len(files):
        yield files, range(first, last + 1)
    elif len(files) <= _SMALL_PART:
        yield files, None
    else:
        middle = len(files) // 2
        yield from _parts(sql, files[:middle])
        yield from _parts(sql, files[middle:])


def _id_of(sql: sqlite3.Connection, file: PhotoFile) -> int | None:
    row = sql.execute("SELECT id FROM photos WHERE source = ? AND photo = ?", key_of(file)).fetchone()
    return None if row is None else int(row[0])


def _are_all_finished(search: _Search, files: Sequence[PhotoFile], ids: range) -> bool:
    """Whether the entries with these `ids` are finished and are `files`, in this order, each at its own place.

    This compares whole columns, each as one text, because there may be millions of photos. False says nothing of each.
    """
    count, between = len(files), (ids[0], ids[-1])
    pages, problems = [file.page for file in files], [file.problem for file in files]
    if not len(ids) == pages.count(1) == problems.count(None) == count:
        return False
    paths = [file.photo for file in files]
    known = search.sql.execute(_OWN_PLACES, (*between, os.fsencode(files[0].source))).fetchone()
    if known != (
        count,
        _PATH_END.join(paths).encode(*_CODEC),
        msgspec.json.encode([file.size for file in files]).decode()[1:-1],
        _VALUE_END.join([file.version for file in files]),
    ):
        return False
    # No photo has two answers to one spec: as many as are wanted are all of them.
    query = _outputs_query(search.specs)
    given, good, outputs = search.sql.execute(query, (*search.wanted, *between)).fetchone()
    if not given == good == count * search.specs:
        return False
    places = paths if search.specs == 1 else [path for path in paths for _ in range(search.specs)]
    return not search.missing(zip(places, _kinds_of_all(f"[{outputs}]"), strict=True))


_GOOD_END: Final = (
    " FROM photos WHERE id BETWEEN ? AND ? AND +source = ? AND pages = 1"
    " AND outcome IN ('restored', 'already_good', 'duplicate')"
)
"""Photos of one source that came to a good end. Plus: SQLite must not look for them in an index of other columns."""
_PATH_END: Final = "\0\0"
"""What is between two paths of a column; the key of a page holds one zero byte."""
_VALUE_END: Final = "\0"
"""What is between two other texts of a column."""
_PATHS: Final = "CAST(group_concat(CAST(photo AS TEXT), x'0000') AS BLOB)"
_OWN_PLACES: Final = (
    f"SELECT count(*), {_PATHS}, group_concat(size), group_concat(version, x'00'){_GOOD_END} AND place = photo"
)


def _is_wanted(specs: int) -> str:
    """Whether an answer is committed, to one of so many specs, and none of some kinds of its outputs was dropped."""
    return f"state = 'committed' AND spec IN ({', '.join('?' * specs)}) AND (dropped & ?) = 0"


@cache
def _outputs_query(specs: int) -> str:
    """The answers between two photos' ids: how many there are, how many are wanted and committed, and their outputs."""
    return (
        f"SELECT count(*), sum({_is_wanted(specs)}), group_concat(outputs)"  # noqa: S608 - no values from outside
        " FROM answers WHERE photo BETWEEN ? AND ?"
    )


def _take(search: _Search, batch: FinishedBatch, files: Sequence[PhotoFile], ids: range, *, with_results: bool) -> None:
    """Take those out of `files` that are finished, compared one by one; `batch` gets them and the rest."""
    photos = _photos(search.sql, ids, files[0].source)
    answers = _answers(search, photos.ids, ids)
    rows = [None if row in answers.unwanted else row for row in photos.rows_of(files)]
    gone = search.missing((photos.places[row], answers.kinds[row]) for row in rows if row is not None)
    taken: list[int] = []
    for file, row in zip(files, rows, strict=True):
        if row is None or photos.places[row] in gone:
            batch.rest.append(file)
        elif search.seen.mark(photos.ids[row]):
            taken.append(row)
    batch.count += len(taken)
    if with_results:
        batch.results += _results(files[0].source, photos, answers, taken)


class _Photos(NamedTuple):
    """Photos of one source that came to a good end: a list for each column, with a row for each photo.

    Attributes:
        ids: of their entries.
        paths: relative to the source.
        sizes: bytes.
        versions: see `PhotoFile.version`.
        places: of their outputs.
        attempts: requests that carried them.
    """

    ids: list[int]
    paths: list[str]
    sizes: list[int]
    versions: list[str]
    places: list[str]
    attempts: list[int]

    def rows_of(self, files: Sequence[PhotoFile]) -> Sequence[int | None]:
        """The row of each of `files`; None for one that has none or has changed."""
        rows = {key: row for row, key in enumerate(zip(self.paths, self.sizes, self.versions, strict=True))}
        return [
            rows.get((file.photo, file.size, file.version)) if file.page == 1 and file.problem is None else None
            for file in files
        ]


_PHOTOS: Final = (
    f"SELECT group_concat(id), {_PATHS}, group_concat(size), group_concat(version, x'00'), group_concat(attempts),"
    f" CAST(group_concat(CASE WHEN place = photo THEN '' ELSE CAST(place AS TEXT) END, x'00') AS BLOB){_GOOD_END}"
    " AND place IS NOT NULL"  # a rebuilt journal may have none for a photo without outputs
)
"""The photos between two ids that came to a good end, in one row; a place is empty where it is the photo's own path."""


def _photos(sql: sqlite3.Connection, ids: range, source: str) -> _Photos:
    """Those of the photos with `ids` that are in `source` and came to a good end."""
    row = sql.execute(_PHOTOS, (ids[0], ids[-1], os.fsencode(source))).fetchone()
    if row[0] is None:
        return _Photos([], [], [], [], [], [])
    numbers, paths, sizes, versions, attempts, others = row
    own = os.fsdecode(paths).split(_PATH_END)
    places = own
    if others.strip(b"\0"):
        places = [other or path for other, path in zip(os.fsdecode(others).split(_VALUE_END), own, strict=True)]
    return _Photos(_integers(numbers), own, _integers(sizes), versions.split(_VALUE_END), places, _integers(attempts))


def _integers(column: str) -> list[int]:
    return _list_of_integers(f"[{column}]")


_list_of_integers = column_decoder(list[int])


class _Answers(NamedTuple):
    """The answers to photos, with a row for each photo.

    Attributes:
        kinds: of its outputs.
        bw: whether the service took it for black-and-white; None when it did not say.
        unwanted: rows of photos whose answers are not those that are wanted.
    """

    kinds: Sequence[_Kinds]
    bw: Sequence[bool | None]
    unwanted: Collection[int]


_kinds_of_all = column_decoder(list[dict[Kind, msgspec.Raw]])
_list_of_booleans = column_decoder(list[bool | None])


@cache
def _answers_query(specs: int) -> str:
    """The answers between two photos' ids in one row, in the order of their key.

    Read by themselves, they and the photos take three quarters of the time of a join.
    """
    return (
        f"SELECT group_concat(photo), group_concat({_is_wanted(specs)}), group_concat(outputs),"  # noqa: S608 - no values from outside
        " group_concat(CASE bw WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END)"
        " FROM answers WHERE photo BETWEEN ? AND ?"
    )


def _answers(search: _Search, photos: Sequence[int], ids: range) -> _Answers:
    """The answers to `photos`, whose ids are in `ids`.

    Those to a photo are wanted when they are one wanted answer for each spec.
    """
    row = search.sql.execute(_answers_query(search.specs), (*search.wanted, ids[0], ids[-1])).fetchone()
    numbers, are_wanted, outputs, bw = (column or "" for column in row)
    answered, kinds, colours = _integers(numbers), _kinds_of_all(f"[{outputs}]"), _list_of_booleans(f"[{bw}]")
    if search.specs == 1 and answered == photos and "0" not in are_wanted:  # nearly always
        return _Answers(kinds, colours, ())
    given: dict[int, list[int]] = {photo: [] for photo in photos}
    for number, photo in enumerate(answered):
        given.get(photo, []).append(number)
    of_photos = list(given.values())
    good = {number for number, one in enumerate(are_wanted.split(",")) if one == "1"}
    return _Answers(
        [[kind for number in of_photo for kind in kinds[number]] for of_photo in of_photos],
        [next((colours[number] for number in of_photo if colours[number] is not None), None) for of_photo in of_photos],
        {
            row
            for row, of_photo in enumerate(of_photos)
            if len(of_photo) != search.specs or not good.issuperset(of_photo)
        },
    )


def _results(source: str, photos: _Photos, answers: _Answers, rows: Iterable[int]) -> list[Result]:
    """What `PhotoEntry.end` makes of the photos in `rows`."""
    shown = display_path(source)
    return [
        Result(
            photo=display_path(photos.paths[row]),
            source=shown,
            outcome="skipped",
            outputs=output_paths(photos.places[row], answers.kinds[row]),
            bw=answers.bw[row],
            attempts=photos.attempts[row],
        )
        for row in rows
    ]
