"""The journal's rows, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from smarty_async.archive.entry import Kept, Known
from smarty_async.options import Mode
from smarty_async.results import Kind

__all__ = ["DONE", "ENTRY", "OTHERS", "known_of", "outputs_of"]

_ANSWER: Final = "mode, task, state, outputs, answers.bw"

ENTRY: Final = (
    f"SELECT id, place, size, mtime_ns, outcome, attempts, digest, {_ANSWER}"  # noqa: S608 - our own words
    " FROM photos LEFT JOIN answers ON answers.photo = id WHERE source = ? AND photos.photo = ?"
)
"""A photo by its name, a row for each answer, and one when there is none."""

DONE: Final = (
    f"SELECT id, source, photos.photo, place, outcome, attempts, error_type, error, {_ANSWER}"  # noqa: S608 - likewise
    " FROM photos LEFT JOIN answers ON answers.photo = id WHERE outcome IS NOT NULL ORDER BY id"
)
"""Every photo that came to an end, in the same way."""

OTHERS: Final = (
    "FROM photos AS one JOIN photos AS other ON other.digest = one.digest AND other.digest > x'' AND other.id <> one.id"
)
"""Photos with the same content."""


def known_of(answers: Iterable[Sequence[Any]]) -> dict[Mode, Known]:
    """The answers of a photo by mode; its entry is joined with an empty one when there is none."""
    return {
        mode: Known(task, state, outputs_of(outputs), None if bw is None else bool(bw))
        for mode, task, state, outputs, bw in answers
        if mode
    }


outputs_of: Callable[[str], dict[Kind, Kept]] = msgspec.json.Decoder(dict[Kind, Kept]).decode
