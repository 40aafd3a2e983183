"""Commit the answers that an interrupted run had received. Blocking."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable

import msgspec

from smarty_async.archive.entries import StoredOutput
from smarty_async.archive.journal.former import FormerOutputs, replaced_by
from smarty_async.archive.journal.places import Places
from smarty_async.archive.journal.records import origin_of, outputs_of
from smarty_async.archive.outputs.store import NameTaken, OutputMove, OutputRefused
from smarty_async.errors import DiskError
from smarty_async.options import Mode
from smarty_async.results import ErrorInfo, Kind

__all__ = ["PlaceReceived", "recover_received"]

PlaceReceived = Callable[[OutputMove], bool]
"""Moves the outputs of an answer from temporary files to a place. False: they no longer exist. Raises DiskError."""


def recover_received(
    sql: sqlite3.Connection, places: Places, unplaced: dict[int, ErrorInfo], place_received: PlaceReceived
) -> tuple[set[str], DiskError | None]:
    """Commit the answers that an interrupted run had received, and delete those whose outputs no longer exist.

    A photo whose outputs the disk refuses at their places keeps its answer as received, and the next run tries again.
    At another error of the disk it stops: answers that were committed before are to be journalled all the same, as some
    have got another place.

    Args:
        sql: the journal's database.
        places: gives photos places for their outputs.
        unplaced: gets the disk's reason for each photo whose outputs it refuses.
        place_received: moves the outputs of an answer.

    Returns:
        The temporary files that answers still need, and the error that ended it.
    """
    needed: set[str] = set()
    rows = sql.execute(
        "SELECT id, mode, place, outputs, spec, answers.bw, source, photos.photo, size, version"
        " FROM answers JOIN photos ON id = answers.photo WHERE state = 'received'"
    ).fetchall()
    for photo, mode, place, text, spec, *origin in rows:
        outputs = outputs_of(text)
        former = places.former.at_own_place(photo, mode)
        removes: dict[Kind, StoredOutput] = {kind: one for kind, one in former.items() if kind not in outputs}
        move = OutputMove(os.fsdecode(place), outputs, removes, origin_of(spec, outputs, origin))
        try:
            placed = _placed(places, photo, mode, move, place_received)
        except OutputRefused as error:
            unplaced[photo] = ErrorInfo("output_refused", str(error))
            needed.update(output.temporary for output in outputs.values())
        except DiskError as error:
            return needed, error
        else:
            if placed:
                _note_committed(sql, places.former, photo, mode, spec)
            else:
                places.former.note(photo, mode, move.place, replaced_by(outputs))
                sql.execute("DELETE FROM answers WHERE photo = ? AND mode = ?", (photo, mode))
    return needed, None


def _placed(places: Places, photo: int, mode: Mode, move: OutputMove, place_received: PlaceReceived) -> bool:
    try:
        return place_received(move)
    except NameTaken:
        other = places.give_distinct(photo, mode)
        if other is None:
            raise
        return place_received(msgspec.structs.replace(move, place=other, removes={}))


def _note_committed(sql: sqlite3.Connection, former: FormerOutputs, photo: int, mode: Mode, spec: str) -> None:
    former.forget_at_own_place([(photo, mode)])
    sql.execute("UPDATE answers SET state = 'committed' WHERE photo = ? AND mode = ?", (photo, mode))
    # The disk refused it in an earlier run, and that was its result.
    sql.execute("DELETE FROM failures WHERE photo = ? AND spec = ?", (photo, spec))
    sql.execute("UPDATE photos SET outcome = NULL WHERE id = ? AND outcome IN ('failed', 'rejected')", (photo,))
