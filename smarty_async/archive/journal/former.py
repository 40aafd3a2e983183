"""Remember outputs of earlier answers that no later output replaces, until they are removed. Blocking."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import msgspec

from smarty_async.archive.entries import FinishedPhoto, StoredOutput
from smarty_async.archive.journal.records import outputs_of
from smarty_async.options import Mode
from smarty_async.results import Kind

__all__ = ["FormerOutputs", "replaced_by"]

_OWN = "place = (SELECT place FROM photos WHERE id = former_outputs.photo)"


class FormerOutputs:
    """Outputs of earlier answers that are to be removed, and that no answer names any more.

    They are noted in the transaction in which that answer loses its row, or its photo its place. A move removes those
    at the photo's own place; the others are removed when the photo has come to its end.
    """

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    @cached_property
    def photos(self) -> set[int]:
        """The photos that have any: nearly none, and nothing is asked for the others."""
        return {number for (number,) in self._sql.execute("SELECT DISTINCT photo FROM former_outputs")}

    def note(self, photo: int, mode: Mode, place: str, outputs: Mapping[Kind, StoredOutput]) -> None:
        """Note `outputs` at `place` of an earlier answer to `mode`."""
        if outputs:
            self.photos.add(photo)
            self._sql.execute(
                "INSERT INTO former_outputs (photo, mode, place, outputs) VALUES (?, ?, ?, ?)",
                (photo, mode, os.fsencode(place), msgspec.json.encode(outputs).decode()),
            )

    def note_left(self, photo: int, place: str) -> None:
        """Note what may be at `place`, which the photo has no longer: outputs of its answers, and what they replace.

        Of an answer that is received, some outputs may have been moved there before the place was found taken. Others
        are forgotten: they are stale, or their mode is asked for with other settings.
        """
        rows = self._sql.execute("SELECT mode, state, outputs FROM answers WHERE photo = ?", (photo,)).fetchall()
        for mode, state, text in rows:
            outputs = outputs_of(text)
            self.note(photo, mode, place, outputs)
            if state == "received":
                self.note(photo, mode, place, replaced_by(outputs))
        self._sql.execute("DELETE FROM answers WHERE photo = ? AND state <> 'received'", (photo,))

    def at_own_place(self, photo: int, mode: Mode) -> dict[Kind, StoredOutput]:
        """Those of a photo's mode at the place it has, which a move removes."""
        if photo not in self.photos:
            return {}
        rows = self._sql.execute(
            f"SELECT outputs FROM former_outputs WHERE photo = ? AND mode = ? AND {_OWN}",  # noqa: S608 - no values from outside
            (photo, mode),
        )
        return {kind: output for (text,) in rows for kind, output in outputs_of(text).items()}

    def forget_at_own_place(self, answers: Iterable[tuple[int, Mode]]) -> None:
        """Forget those at the places of `answers`, each named by its photo and mode: their moves have removed them."""
        self._sql.executemany(
            f"DELETE FROM former_outputs WHERE photo = ? AND mode = ? AND {_OWN}",  # noqa: S608 - likewise
            [answer for answer in answers if answer[0] in self.photos],
        )

    def take(
        self, photos: Iterable[FinishedPhoto], *, is_used: Callable[[str], bool]
    ) -> list[tuple[str, dict[Kind, StoredOutput]]]:
        """Forget those of `photos`, and return what is to be removed, each with its place.

        Of a photo that failed, those of modes without a new answer stay.

        Args:
            photos: what became of them.
            is_used: whether a photo has a place: what is there is that photo's own.
        """
        taken: list[tuple[str, dict[Kind, StoredOutput]]] = []
        for photo in photos:
            if photo.entry.id in self.photos:
                taken += self._take_one(photo.entry.id, is_good=photo.result.error is None)
        return [(place, outputs) for place, outputs in taken if not is_used(place)]

    def _take_one(self, photo: int, *, is_good: bool) -> list[tuple[str, dict[Kind, StoredOutput]]]:
        which = (
            "photo = ? AND (? OR EXISTS (SELECT 1 FROM answers WHERE answers.photo = former_outputs.photo"
            " AND answers.mode = former_outputs.mode AND state = 'committed'))"
        )
        query = f"SELECT place, outputs FROM former_outputs WHERE {which}"  # noqa: S608 - likewise
        rows = self._sql.execute(query, (photo, is_good)).fetchall()
        self._sql.execute(f"DELETE FROM former_outputs WHERE {which}", (photo, is_good))  # noqa: S608 - likewise
        if is_good:
            self.photos.discard(photo)
        return [(os.fsdecode(place), outputs_of(text)) for place, text in rows]

    def follow_moved(self, former: int, *, by: int) -> None:
        """What the entry `former` has of them is the entry `by`'s from now on."""
        if former in self.photos:
            self._sql.execute("UPDATE former_outputs SET photo = ? WHERE photo = ?", (by, former))
            self.photos.add(by)


def replaced_by(outputs: Mapping[Kind, StoredOutput]) -> dict[Kind, StoredOutput]:
    """The outputs of an earlier answer that `outputs` replace, as far as they are known."""
    return {
        kind: StoredOutput("", output.replaces, digest=output.replaced_digest)
        for kind, output in outputs.items()
        if output.replaces is not None
    }
