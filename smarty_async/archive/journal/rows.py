"""Rows of the journal's tables, and what they stand for. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from smarty_async.archive.journal.lookup import photo_of_key
from smarty_async.archive.outputs.origin import OutputOrigin
from smarty_async.archive.outputs.store import FinishedPhoto
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.results import Kind

__all__ = ["file_of", "origin_of", "result_columns", "warnings_of"]

warnings_of: Callable[[str], tuple[str, ...]] = msgspec.json.Decoder(tuple[str, ...]).decode
"""The warnings of a result, from their column."""


def result_columns(photo: FinishedPhoto) -> tuple[Any, ...]:
    """What the row of a photo has of its result, and the photo's id: outcome, bw, attempts, the error, warnings."""
    result, error = photo.result, photo.result.error
    return (
        *(result.outcome, result.bw, result.attempts, error and error.type, error and error.message),
        msgspec.json.encode(result.warnings).decode() if result.warnings else None,
        photo.entry.id,
    )


def file_of(source: bytes, key: bytes) -> PhotoFile:
    """The photo of the columns ``source`` and ``photo``; where it is, and its size, nobody asks."""
    path, page = photo_of_key(key)
    return PhotoFile(os.fsdecode(source), path, "", 0, "0", page=page)


def origin_of(spec: str, kinds: Iterable[Kind], row: Sequence[Any]) -> OutputOrigin:
    """What the outputs of an answer are made of, from its ``bw`` and its photo's source, photo, size and version."""
    bw, source, key, size, version = row
    photo, page = photo_of_key(key)
    return OutputOrigin(
        spec=spec,
        kinds=tuple(kinds),
        bw=None if bw is None else bool(bw),
        source=os.fsdecode(source),
        photo=photo,
        page=page,
        size=size,
        version=version,
    )
