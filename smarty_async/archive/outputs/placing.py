"""Outputs at their places: rename, folder fsync. Blocking."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from smarty_async.archive.fsync import sync_folder
from smarty_async.errors import DiskError

__all__ = ["Move", "place", "remove"]

_making_folders = threading.Lock()


class Move(NamedTuple):
    """How the outputs of one answer go to their places.

    Attributes:
        outputs: each from where, and to where.
        stale: what is removed: outputs of an answer before.
    """

    outputs: Sequence[tuple[str, str]]
    stale: Iterable[str] = ()


def place(moves: Sequence[Move]) -> list[DiskError | None]:
    """Move each temporary onto its final path and remove what is stale; blocks until the names are on the disk.

    Returns:
        For each move what the disk refused, None when nothing.
    """
    ready: set[str] = set()
    refused = [_move(move, ready) for move in moves]
    synced: dict[str, DiskError | None] = {}
    for number, move in enumerate(moves):
        for _, final in move.outputs:
            if refused[number] is None:
                folder = os.path.dirname(final)  # noqa: PTH120 - a Path costs as much as the rename
                if folder not in synced:
                    synced[folder] = _sync_folder(Path(folder))
                refused[number] = synced[folder]
    return refused


def _move(move: Move, ready: set[str]) -> DiskError | None:
    try:
        remove(move.stale)
    except DiskError as error:
        return error
    for temporary, final in move.outputs:
        folder = os.path.dirname(final)  # noqa: PTH120 - as above
        try:
            if folder not in ready:
                _make_lasting(Path(folder))
                ready.add(folder)
            os.replace(temporary, final)  # noqa: PTH105 - as above
        except OSError as error:
            return DiskError.of(error, Path(final), "write")
    return None


def _sync_folder(folder: Path) -> DiskError | None:
    try:
        sync_folder(folder)
    except OSError as error:
        return DiskError.of(error, folder, "write to")
    return None


def remove(outputs: Iterable[str | Path]) -> None:
    """Remove those of `outputs` that are there; blocks.

    Raises:
        DiskError: the disk refuses.
    """
    for path in outputs:
        try:
            os.unlink(path)  # noqa: PTH108 - as above
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DiskError.of(error, Path(path), "remove") from None


def _make_lasting(folder: Path) -> None:
    """Make `folder`, its name on the disk before any other photo finds it there."""
    with _making_folders:
        for parent in _make_folder(folder):
            sync_folder(parent)


def _make_folder(folder: Path) -> list[Path]:
    """Make `folder`; the folders that got a new name in them."""
    if folder.is_dir():
        return []
    made = _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    return [*made, folder.parent]
