"""What a run over an archive is to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from smarty_async.options import Limits, ModeSpec, Retries

__all__ = ["Job"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is to do.

    Attributes:
        sources: files, folders and globs.
        listed: paths from a list.
        out: the output folder.
        specs: what is asked of every photo.
        include: patterns of photos to take; all when empty.
        exclude: patterns of photos to leave out.
        limits: what may be sent.
        retries: how long to go on.
        window: photos alive at a time.
        fit: whether to make photos fit the limits.
        retry_failed: whether to try again what failed in an earlier run.
        redo_missing: whether to do again what an earlier run finished and of which outputs are no longer there.
        max_photos: photos sent in this run, at most.
        max_cost: ₽ spent in this run, at most, by the estimate.
    """

    sources: Sequence[str]
    listed: Iterable[str | bytes]
    out: Path
    specs: tuple[ModeSpec, ...]
    include: Sequence[str]
    exclude: Sequence[str]
    limits: Limits
    retries: Retries
    window: int
    fit: bool
    retry_failed: bool
    redo_missing: bool
    max_photos: int | None
    max_cost: float | None
