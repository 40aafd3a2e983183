"""What the caller named: folders, files, globs and lists, each as a place where a walk begins."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["ScanRoot", "named", "of_list", "read_list"]

# Over two of the longest paths: a list parted by NULs shows one in its first block.
_BLOCK = 16_384


class ScanRoot(NamedTuple):
    """Where a walk begins.

    Attributes:
        source: the source, an absolute path.
        photo: path of the beginning relative to `source`, with ``/``; empty for the source itself.
        path: what to open.
        pattern: the parts of a glob, to be matched from `path` on; empty when everything under it is meant.
    """

    source: str
    photo: str
    path: str
    pattern: tuple[str, ...] = ()


def named(source: str) -> ScanRoot:
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


def of_list(entry: str) -> ScanRoot:
    """Where the walk of a list's `entry` begins.

    A relative path is the photo's path as it stands, its source the current folder. Of an absolute one, or one with
    ``..``, the photo's path is what `tar` keeps: all that follows the anchor or the last ``..``.
    """
    parts = Path(entry).parts
    kept = 1 + max((place for place, part in enumerate(parts) if part == ".."), default=-1)
    kept = max(kept, 1 if Path(entry).anchor else 0)
    source = _absolute(parts[:kept])
    return ScanRoot(source, "/".join(parts[kept:]), str(Path(source, *parts[kept:])))


def read_list(stream: BinaryIO) -> Iterator[str]:
    r"""The paths of a list, as they come.

    They stand one a line (``\r\n`` too; blank lines mean nothing), or end in NULs, as `find -print0` makes them,
    when the first block of `stream` holds one.

    Args:
        stream: the list's bytes, of which only a block is held at a time.
    """
    block = _filled(stream).removeprefix(b"\xef\xbb\xbf")  # what Windows' editors begin a text with
    separator = b"\0" if b"\0" in block else b"\n"
    rest = b""
    while block:
        *whole, rest = (rest + block).split(separator)
        yield from _paths(whole, separator)
        block = _filled(stream)
    yield from _paths([rest], separator)


def _paths(entries: list[bytes], separator: bytes) -> Iterator[str]:
    for entry in entries:
        path = entry if separator == b"\0" else entry.rstrip(b"\r")
        if path and (separator == b"\0" or path.strip()):
            yield os.fsdecode(path)


def _filled(stream: BinaryIO) -> bytes:
    """The next block of `stream`, whole unless the stream ends: a pipe gives what it has."""
    block = stream.read(_BLOCK)
    while len(block) < _BLOCK and (piece := stream.read(_BLOCK - len(block))):
        block += piece
    return block


def _below_anchor(path: str) -> Iterator[tuple[int, str]]:
    r"""The parts of `path` and their places, without its anchor: the ``?`` of Windows' ``\\?\`` is no magic."""
    for place, part in enumerate(Path(path).parts):
        if part != Path(path).anchor:
            yield place, part


def _absolute(parts: tuple[str, ...]) -> str:
    """The absolute path of `parts`; ``..`` is followed on the disk, where a link may lead elsewhere."""
    path = Path(*parts)
    return os.path.realpath(path) if ".." in path.parts else str(path.absolute())
