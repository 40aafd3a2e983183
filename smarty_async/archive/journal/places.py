"""Which place the outputs of each photo get, so that no two photos share one. Blocking."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from smarty_async.archive.journal.records import PhotoEntry, StoredOutput
from smarty_async.archive.paths import (
    SYSTEM_RULES,
    FileNameRules,
    display_path,
    distinct_place,
    folded_key,
    output_place,
)
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.options import Mode
from smarty_async.results import ErrorInfo, Kind
from smarty_async.wire.messages import OUTPUT_FIELDS

__all__ = ["NO_OUTPUTS", "OutputPlaces", "check_place", "fill_place_keys", "give_distinct_place", "give_place"]


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


_MAX_CANDIDATES = 64
"""Places read that are alike when case and composition are ignored; the disk tells most of them apart, or none."""

NO_OUTPUTS: OutputPlaces = _NoOutputs()
"""For a journal without its outputs."""


def give_place(
    sql: sqlite3.Connection, photo: int, file: PhotoFile, outputs: OutputPlaces
) -> tuple[str, ErrorInfo | None]:
    """Give a photo a place for its outputs and write it into the journal.

    That is its own path; where another source has a photo with this path, the path under its source's folder name.
    Where the name is not free for another reason (the disk ignores case and a name differs in nothing else, or a file
    is there that no run made), the name gets a hash: `distinct_place`.

    Args:
        sql: the journal's database.
        photo: the photo's entry.
        file: the photo.
        outputs: which places outputs can have.

    Returns:
        The place, relative to ``DIR/<kind>``; or an empty one, and why there is none.
    """
    rules, identity = (
        outputs.rules,
        _identity_of(file.source, file.photo if file.page == 1 else f"{file.photo}\0{file.page}"),
    )
    own = output_place(file.photo, page=file.page, rules=rules)
    below = output_place(f"{Path(file.source).name or 'root'}/{file.photo}", page=file.page, rules=rules)
    rivals: list[str] = []
    for place in (own, below):
        name, rival = place, _rival(sql, place, rules)
        if (rival and rival.is_alike) or (not rival and outputs.is_taken(place)):
            name = distinct_place(place, identity=identity, rules=rules)
            rival = _rival(sql, name, rules)
        if rival or (name != place and outputs.is_taken(name)):
            rivals.append(rival.photo if rival else display_path(name))
            continue
        if problem := outputs.problem_of(name):
            return "", problem
        _write_place(sql, photo, name)
        return name, None
    told = f"its output {display_path(own)!r} would be written over that of {rivals[0]!r}: give it another --out"
    return "", ErrorInfo("collision", told)


def check_place(
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
    told = f"{path!r} in the output folder is a file that no run made, or that was changed since: move it away"
    return entry.place, ErrorInfo("output_exists", told)


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
    """What tells a photo from all others: its source, and its path with the number of a further page."""
    return f"{source}\0{key}"


def _write_place(sql: sqlite3.Connection, photo: int, place: str) -> None:
    sql.execute(
        "UPDATE photos SET place = ?, place_key = ? WHERE id = ?", (os.fsencode(place), folded_key(place), photo)
    )


def fill_place_keys(sql: sqlite3.Connection) -> None:
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


def _rival(sql: sqlite3.Connection, place: str, rules: FileNameRules) -> _Rival | None:
    """The photo whose outputs leave no room for one at `place`: it has it, or one of the two is above the other."""
    column, encoded = ("place", os.fsencode) if rules.is_exact else ("place_key", folded_key)
    wanted = encoded(place)
    names = [wanted, *(encoded(str(folder)) for folder in PurePosixPath(place).parents)]
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
