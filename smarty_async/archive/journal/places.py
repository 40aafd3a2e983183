"""Which place each photo's outputs get, so that no two share one. Blocking."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path, PurePosixPath

from smarty_async.archive.paths import display_path, output_place
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.results import ErrorInfo

__all__ = ["give_place"]


def give_place(sql: sqlite3.Connection, photo: int, found: PhotoFile) -> tuple[str, ErrorInfo | None]:
    """Give a photo the place of its outputs: its own path, else that under its source's name, else none.

    Args:
        sql: the journal's database.
        photo: the photo's entry.
        found: the photo.

    Returns:
        The place, relative to ``DIR/<kind>``; or an empty one, and why.
    """
    state_dir = output_place(found.photo)
    rivals: list[str] = []
    for where in (state_dir, output_place(f"{Path(found.source).name or 'root'}/{found.photo}")):
        rival = _rival(sql, where)
        if rival is None:
            sql.execute("UPDATE photos SET place = ? WHERE id = ?", (os.fsencode(where), photo))
            return where, None
        rivals.append(rival)
    told = f"its output {display_path(state_dir)!r} would be written over that of {rivals[0]!r}: give it another --out"
    return "", ErrorInfo("collision", told)


def _rival(sql: sqlite3.Connection, where: str) -> str | None:
    """The photo whose outputs leave no room for one at `where`: they are there, or a folder would have to be."""
    place = os.fsencode(where)
    taken = [place, *(os.fsencode(folder) for folder in PurePosixPath(where).parents)]
    row = sql.execute(
        f"SELECT source, photo FROM photos WHERE place IN ({','.join('?' * len(taken))})"  # noqa: S608 - marks only
        " OR (place > ? AND place < ?) LIMIT 1",
        (*taken, place + b"/", place + b"0"),  # 0 follows /
    ).fetchone()
    return None if row is None else display_path(f"{os.fsdecode(row[0])}/{os.fsdecode(row[1])}")
