"""What the caller named (folders, files, globs, entries of a list), each as a place where a walk begins."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["ScanRoot", "root_of", "root_of_entry"]


class ScanRoot(NamedTuple):
    """Where a walk begins.

    Attributes:
        source: the source, an absolute path.
        photo: path of the beginning relative to `source`, with ``/``; empty for the source itself.
        path: what to open.
        pattern: the parts of a glob that are matched from `path` on; empty when everything below it is meant.
    """

    source: str
    photo: str
    path: str
    pattern: tuple[str, ...] = ()


def root_of(source: str) -> ScanRoot:
    """Where the walk of `source` begins: a folder, a file, or a glob pattern that is no existing path."""
    if not os.path.lexists(source):
        parts = Path(source).parts
        first = next((place for place, part in _below_anchor(source) if glob.has_magic(part)), None)
        if first is not None:
            base = _absolute(parts[:first])
            return ScanRoot(base, "", base, parts[first:])
    path = Path(_absolute((source,)))
    if path.is_dir():
        return ScanRoot(str(path), "", str(path))
    return ScanRoot(str(path.parent), path.name, str(path))


def root_of_entry(entry: str, *, folder: str | None = None) -> ScanRoot:
    """Where the walk of a list's `entry` begins.

    A relative path is the photo's path as it is, its source the current folder. The path of an absolute one is relative
    to `folder` when that holds it, else to the current folder when that does. Of any other absolute path, or one with
    ``..``, the photo's path is what `tar` keeps: all that follows the anchor or the last ``..``.

    Args:
        entry: a path.
        folder: the common folder of the list's absolute paths, None when it is not known.
    """
    path = Path(entry)
    parts = path.parts
    if path.is_absolute() and ".." not in parts:
        for base in (folder, str(Path.cwd())):
            if base is not None and path != Path(base) and path.is_relative_to(base):
                return ScanRoot(base, path.relative_to(base).as_posix(), str(path))
    kept = 1 + max((place for place, part in enumerate(parts) if part == ".."), default=-1)
    kept = max(kept, 1 if path.anchor else 0)
    source = _absolute(parts[:kept])
    return ScanRoot(source, "/".join(parts[kept:]), str(Path(source, *parts[kept:])))


def _below_anchor(path: str) -> Iterator[tuple[int, str]]:
    r"""The parts of `path` and their places, without its anchor: the ``?`` of Windows' ``\\?\`` is no magic."""
    for place, part in enumerate(Path(path).parts):
        if part != Path(path).anchor:
            yield place, part


def _absolute(parts: tuple[str, ...]) -> str:
    """The absolute path of `parts`; ``..`` is followed on the disk, where a link may lead elsewhere."""
    path = Path(*parts)
    return os.path.realpath(path) if ".." in path.parts else str(path.absolute())
