"""The journal's rows, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from smarty_async.archive.journal.records import StoredAnswer, StoredOutput
from smarty_async.options import Mode
from smarty_async.results import Kind

__all__ = ["BETWEEN", "DONE", "OTHERS", "known_of", "named", "outputs_of"]

_ANSWER: Final = "mode, task, state, outputs, answers.bw"
_ANSWER_COLUMNS: Final = 5

_ENTRY: Final = f"source, photos.photo, id, place, size, mtime_ns, outcome, attempts, {_ANSWER}"

BETWEEN: Final = (
    f"SELECT {_ENTRY} FROM photos LEFT JOIN answers ON answers.photo = id"  # noqa: S608 - our own words
    " WHERE id > ? AND id < ?"
)
"""Photos whose entries lie between two others, a row for each answer, and one when there is none."""


@cache
def named(photos: int) -> str:
    """So many photos by their sources and names, in the same way."""
    return (
        f"WITH named (source, photo) AS (VALUES {', '.join(['(?, ?)'] * photos)})"  # noqa: S608 - likewise
        # CROSS: from the names to the entries, and never the other way round.
        f" SELECT {_ENTRY} FROM named CROSS JOIN photos USING (source, photo) LEFT JOIN answers ON answers.photo = id"
    )


DONE: Final = (
    f"SELECT id, source, photos.photo, place, outcome, attempts, error_type, error, {_ANSWER}"  # noqa: S608 - likewise
    " FROM photos LEFT JOIN answers ON answers.photo = id WHERE outcome IS NOT NULL ORDER BY id"
)
"""Every photo that came to an end, in the same way."""

OTHERS: Final = (
    "FROM photos AS one JOIN photos AS other ON other.digest = one.digest AND other.digest > x'' AND other.id <> one.id"
)
"""Photos with the same content."""


def known_of(rows: Iterable[Sequence[Any]]) -> dict[Mode, StoredAnswer]:
    """The answers of a photo by mode, from its rows; one row without a mode stands for none."""
    known: dict[Mode, StoredAnswer] = {}
    for row in rows:
        mode, spec, state, outputs, bw = row[-_ANSWER_COLUMNS:]
        if mode:
            known[mode] = StoredAnswer(spec, state, outputs_of(outputs), None if bw is None else bool(bw))
    return known


outputs_of: Callable[[str], dict[Kind, StoredOutput]] = msgspec.json.Decoder(dict[Kind, StoredOutput]).decode
