"""What a caller gets back."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["ErrorInfo", "Kind", "Outcome", "Restored", "Result"]

Outcome = Literal["restored", "already_good", "failed", "rejected", "skipped", "duplicate"]
"""What became of a photo.

``restored``: outputs were made. ``already_good``: the service found nothing to do. ``failed``: the service, or the
bound on retries, said no. ``rejected``: never sent. ``skipped``: finished in an earlier run. ``duplicate``: the same
content as another photo, sent once.
"""

Kind = Literal["improved", "colorized_improved", "colorized", "resolved"]
"""What an output is; the API's field names, and the folders under ``--out``."""


class ErrorInfo(msgspec.Struct, frozen=True):
    """Why a photo did not come to a good end.

    Attributes:
        type: a short stable word (``not_an_image``, ``too_large``, ``permanent``, ``temporary``, …).
        message: one sentence, for people.
    """

    type: str
    message: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one photo of an archive: one line of ``results.jsonl``.

    Attributes:
        photo: path relative to its source, with ``/``; bytes that are no UTF-8 are shown as ``\\xNN``.
        source: the source it came from.
        outcome: what became of it.
        outputs: {kind: path relative to the output folder}.
        bw: whether the service took it for black-and-white; None when it did not say.
        attempts: how many requests it rode in, in all runs.
        error: why not, None when all is well.
    """

    photo: str
    source: str
    outcome: Outcome
    outputs: dict[Kind, str] = {}
    bw: bool | None = None
    attempts: int = 0
    error: ErrorInfo | None = None


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """One photo restored in memory; each picture is a JPEG file's bytes, None when the service made none.

    Attributes:
        outcome: ``restored`` or ``already_good``.
        improved: defects corrected.
        colorized_improved: defects corrected and colour restored.
        colorized: colour restored.
        resolved: enlarged.
        bw: whether the service took it for black-and-white; None when it did not say.
        attempts: how many requests it rode in.
    """

    outcome: Outcome
    improved: bytes | None = None
    colorized_improved: bytes | None = None
    colorized: bytes | None = None
    resolved: bytes | None = None
    bw: bool | None = None
    attempts: int = 1
