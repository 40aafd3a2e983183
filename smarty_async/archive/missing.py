"""Outputs that an earlier run made and that are no longer there. Blocking."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from smarty_async.archive.entry import Claim, Known

__all__ = ["checked"]


def checked(claims: Sequence[Claim], out: Path, *, redo: bool) -> list[Claim]:
    """`claims`, with answers whose outputs are not all there marked as ``missing``, or forgotten if `redo`."""
    folder = os.fspath(out)
    return [_checked(claim, folder, redo=redo) for claim in claims]


def _checked(claim: Claim, out: str, *, redo: bool) -> Claim:
    gone = {mode: known for mode, known in claim.known.items() if not _stands(known, claim.place, out)}
    if not gone:
        return claim
    known = {mode: known for mode, known in claim.known.items() if mode not in gone}
    if not redo:
        known |= {mode: msgspec.structs.replace(known, state="missing") for mode, known in gone.items()}
    return msgspec.structs.replace(claim, known=known)


def _stands(known: Known, place: str, out: str) -> bool:
    # os: a Path for each of millions costs more than the look.
    return known.state != "placed" or all(os.access(f"{out}/{kind}/{place}", os.F_OK) for kind in known.outputs)
