"""What an interrupted run had received, brought to its place. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from smarty_async.archive.journal.records import StoredOutput
from smarty_async.archive.outputs.placing import Move, place
from smarty_async.errors import DiskError
from smarty_async.options import Mode
from smarty_async.results import Kind
from smarty_async.wire.messages import OUTPUT_FIELDS

__all__ = ["finish"]


def finish(
    where: str, mode: Mode, outputs: Mapping[Kind, StoredOutput], *, temporary: Callable[[str], Path], out: Path
) -> bool:
    """Whether all `outputs` of `mode` stand at `where`, after what was still to be moved is moved.

    Raises:
        DiskError: the disk refuses.
    """
    moves: list[tuple[str, str]] = []
    for kind, kept in outputs.items():
        final, waiting = out / kind / where, temporary(kept.temporary)
        try:
            if waiting.exists():
                moves.append((str(waiting), str(final)))
            elif not final.exists() or final.stat().st_size != kept.size:
                return False
        except OSError as error:
            raise DiskError.of(error, final, "read") from None
    stale = set(OUTPUT_FIELDS[mode].values()) - outputs.keys()
    [refused] = place([Move(moves, [str(out / kind / where) for kind in stale])])
    if refused is not None:
        raise refused
    return True
