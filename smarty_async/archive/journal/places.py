"""Give each photo a place for its outputs. No two photos share one. Blocking."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from smarty_async.archive.entries import PhotoEntry, StoredOutput
from smarty_async.archive.journal.former import FormerOutputs
from smarty_async.archive.outputs.store import OutputPlaces
from smarty_async.archive.paths import (
    SYSTEM_RULES,
    FileNameRules,
    display_path,
    distinct_place,
    folded_key,
    output_place,
)
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.errors import DiskError
from smarty_async.options import Mode
from smarty_async.results import KINDS_BY_MODE, ErrorInfo, Kind

__all__ = ["NO_OUTPUTS", "Places"]


class _NoOutputs:
    """Outputs of which nothing is known."""

    rules = SYSTEM_RULES

    def is_taken(self, place: str) -> bool:  # noqa: ARG002
        return False

    def foreign_kinds(self, place: str, kinds: Iterable[Kind], known: Mapping[Kind, StoredOutput]) -> list[Kind]:  # noqa: ARG002
        return []

    def problem_of(self, place: str) -> ErrorInfo | None:  # noqa: ARG002
        return None


NO_OUTPUTS: OutputPlaces = _NoOutputs()
"""For a journal without its outputs."""


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


class Places:
    """The places of photos in a journal.

    Attributes:
        former: outputs at places that photos had.
    """

    def __init__(self, sql: sqlite3.Connection, outputs: OutputPlaces = NO_OUTPUTS) -> None:
        self.former = FormerOutputs(sql)
        self._sql = sql
        self._outputs = outputs
        self._has_keys = outputs.rules.is_exact

    def free_for(self, file: PhotoFile) -> tuple[str, ErrorInfo | None]:
        """Find a free place for the outputs of a photo that has none.

        That is its own path; where another source has a photo with this path, the path under its source's folder name.
        Where the name is not free for another reason (the disk ignores case and a name differs in nothing else, or a
        file is there that no run made), the name gets a hash: `distinct_place`.

        Returns:
            The place, relative to ``DIR/<kind>``; or an empty one, and why there is none.
        """
        if not self._has_keys:
            self._fill_keys()
            self._has_keys = True
        rules = self._outputs.rules
        rivals: list[str] = []
        for place in _own_places(file, rules):
            name, rival = place, self._rival(place)
            if (rival and rival.is_alike) or (not rival and self._outputs.is_taken(place)):
                identity = _identity_of(file.source, file.photo if file.page == 1 else f"{file.photo}\0{file.page}")
                name = distinct_place(place, identity=identity, rules=rules)
                rival = self._rival(name)
            if rival or (name != place and self._outputs.is_taken(name)):
                rivals.append(rival.photo if rival else display_path(name))
                continue
            if problem := self._outputs.problem_of(name):
                return "", problem
            return name, None
        own = display_path(output_place(file.photo, page=file.page, rules=rules))
        message = f"its output {own!r} would be written over that of {rivals[0]!r}: give it another --out"
        return "", ErrorInfo("collision", message)

    def checked(self, entry: PhotoEntry, missing: Iterable[Mode]) -> tuple[str, ErrorInfo | None]:
        """Make sure, before a photo is sent, that the outputs of `missing` modes can be committed at the place it has.

        Returns:
            Its place, another one if a file that no run made is there; and why it must not be sent, None when it may.
        """
        known: dict[Kind, StoredOutput] = {
            kind: output for answer in entry.answers.values() for kind, output in answer.outputs.items()
        }
        wanted: dict[Kind, Mode] = {kind: mode for mode in missing for kind in KINDS_BY_MODE[mode]}
        try:
            foreign = self._outputs.foreign_kinds(entry.place, wanted, known)
        except DiskError as error:  # another place would not help: the next run looks again
            return entry.place, ErrorInfo("output_refused", f"{error}; make it readable, or move it away")
        if not foreign:
            return entry.place, None
        place = self.give_distinct(entry.id, wanted[foreign[0]])
        if place is not None:
            return place, None
        path = display_path(f"{foreign[0]}/{entry.place}")
        message = f"{path!r} in the output folder is a file that no run made, or that was changed since: move it away"
        return entry.place, ErrorInfo("output_exists", message)

    def give_distinct(self, photo: int, mode: str) -> str | None:
        """Give a photo another place, because a file that no run made is at the one it has.

        Args:
            photo: the photo's entry.
            mode: whose outputs could not be committed.

        Returns:
            The new place; None when there is none, or when outputs of another mode are at the old one.
        """
        rows = self._sql.execute(
            "SELECT source, photo, place FROM photos WHERE id = ? AND NOT EXISTS"
            " (SELECT 1 FROM answers WHERE answers.photo = id AND mode <> ? AND state IN ('committed', 'received'))",
            (photo, mode),
        ).fetchall()
        for source, key, where in rows:
            identity = _identity_of(os.fsdecode(source), os.fsdecode(key))
            place = distinct_place(os.fsdecode(where), identity=identity, rules=self._outputs.rules)
            if not (self._rival(place) or self._outputs.is_taken(place) or self._outputs.problem_of(place)):
                self.former.note_left(photo, os.fsdecode(where))
                self.write(photo, place)
                return place
        return None

    def is_used(self, place: str) -> bool:
        """Whether a photo has `place`, or one above or below it."""
        return self._rival(place) is not None

    def write(self, photo: int, place: str) -> None:
        """Note the place of a photo."""
        self._sql.execute(
            "UPDATE photos SET place = ?, place_key = ? WHERE id = ?", (os.fsencode(place), folded_key(place), photo)
        )

    def _fill_keys(self) -> None:
        """Write the keys of places into a journal of an older version, which has none; inside a transaction."""
        rows = self._sql.execute(
            "SELECT id, place FROM photos WHERE place_key IS NULL AND place IS NOT NULL"
        ).fetchall()
        self._sql.executemany(
            "UPDATE photos SET place_key = ? WHERE id = ?",
            [(folded_key(os.fsdecode(place)), number) for number, place in rows],
        )

    def _rival(self, place: str) -> _Rival | None:
        """The photo whose outputs leave no room for one at `place`: it has it, or one of the two is above the other."""
        rules = self._outputs.rules
        column, encoded = ("place", os.fsencode) if rules.is_exact else ("place_key", folded_key)
        wanted = encoded(place)
        parts = place.split("/")
        names = [wanted, *(encoded("/".join(parts[:number])) for number in range(1, len(parts)))]
        rows = self._sql.execute(
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


def _own_places(file: PhotoFile, rules: FileNameRules) -> Iterator[str]:
    """The place of a photo's own path, and that below the name of its source."""
    yield output_place(file.photo, page=file.page, rules=rules)
    yield output_place(f"{Path(file.source).name or 'root'}/{file.photo}", page=file.page, rules=rules)


def _identity_of(source: str, key: str) -> str:
    """What identifies a photo: its source, and its path with the number of a further page."""
    return f"{source}\0{key}"


def _clash(one: bytes, other: bytes) -> bool:
    return one == other or one.startswith(other + b"/") or other.startswith(one + b"/")
