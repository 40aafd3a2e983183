"""What the caller named (folders, files, globs, entries of a list), each as a place where a walk begins.

A list is a file, a pipe, or whatever the caller iterates over.
"""

from __future__ import annotations

import glob
import os
import select
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from threading import Condition, Thread
from typing import BinaryIO, NamedTuple

from smarty_async.archive.sources.signatures import SIGNATURE_BYTES, has_photo_signature
from smarty_async.errors import OptionsError

__all__ = ["EntryQueue", "ListFile", "ScanRoot", "common_folder", "read_list", "root_of", "root_of_entry"]


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
    if os.path.isdir(path):  # noqa: PTH112 - a Path raises where a folder above may not be read
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


_BLOCK = 16_384
_QUEUE_ENTRIES = 1024
_GIVE_PATHS = "--from-file takes a file with the paths of photos, one a line or with NULs between them"


class ListFile:
    """The entries of the list in a file; it can be iterated over more than once.

    Raises:
        OptionsError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._opened().close()

    def __iter__(self) -> Iterator[str]:
        with self._opened() as file:
            yield from read_list(file)

    def _opened(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise OptionsError(f"cannot read the list {str(self._path)!r}: {error.strerror}") from None


def read_list(stream: BinaryIO) -> Iterator[str]:
    r"""The entries of a list, each as soon as `stream` has given all of it.

    There is one a line (``\r\n`` too; blank lines are ignored), or end in NULs, as `find -print0` makes them. The
    first bytes that hold a separator decide which.

    Args:
        stream: the list's bytes, of which only a block is held at a time. Of a buffered stream the raw one below is
            read: a thread that waits in a buffered one stops the interpreter from ending.

    Raises:
        OptionsError: it is no list: it begins as a picture does, or has NULs in its lines.
    """
    separator, rest = b"", b""
    is_first = True
    for block in _blocks(stream):
        if is_first and has_photo_signature(block[:SIGNATURE_BYTES]):
            raise OptionsError(f"the list is a picture: {_GIVE_PATHS}")
        rest += block.removeprefix(b"\xef\xbb\xbf") if is_first else block  # what Windows' editors begin a text with
        is_first = False
        if separator == b"\n" and b"\0" in block:
            raise OptionsError(f"the list is no text: {_GIVE_PATHS}")
        if not separator:
            separator = b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else b""
        if separator:
            *whole, rest = rest.split(separator)
            yield from _entries(whole, separator)
    yield from _entries([rest], separator)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """What `stream` has at the moment, again and again; waits when it has nothing."""
    raw = getattr(stream, "raw", stream)
    while True:
        block = raw.read(_BLOCK)
        if block is None:  # a pipe that another process has made non-blocking
            select.select([raw], [], [])
        elif not block:
            return
        else:
            yield block


def _entries(entries: Iterable[bytes], separator: bytes) -> Iterator[str]:
    for entry in entries:
        path = entry if separator == b"\0" else entry.rstrip(b"\r")
        if path and (separator == b"\0" or path.strip()):
            yield os.fsdecode(path)


def common_folder(entries: Iterable[str | bytes]) -> str | None:
    """The folder that holds all absolute paths in `entries`; None when there is none but the root.

    Entries with ``..`` do not count: where they lead, only the disk knows.
    """
    common: str | None = None
    for entry in entries:
        path = os.fsdecode(entry)
        if not Path(path).is_absolute() or ".." in Path(path).parts:
            continue
        folder = str(Path(path).parent)
        try:
            common = folder if common is None else os.path.commonpath([common, folder])
        except ValueError:  # two drives
            return None
    return None if common is None or common == Path(common).anchor else common


class EntryQueue:
    """Entries read ahead by a thread, so that the caller learns when there are none at the moment.

    Args:
        entries: an iterable that may wait for its next entry (a pipe, a generator).
    """

    def __init__(self, entries: Iterable[str | bytes]) -> None:
        self._queue: deque[str | bytes] = deque()
        self._changed = Condition()
        self._ended = False
        self._error: BaseException | None = None
        # A daemon: nothing ends its wait for a pipe whose other end stays silent.
        Thread(target=self._fill, args=(entries,), name="smarty_async list", daemon=True).start()

    def __iter__(self) -> Generator[str | bytes | None, None, None]:
        """The entries; None before a wait for the next one.

        Raises whatever the iteration over the entries raised.
        """
        while True:
            with self._changed:
                is_empty = not (self._queue or self._ended)
            if is_empty:
                yield None
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._ended)
                if not self._queue:
                    break
                entry = self._queue.popleft()
                self._changed.notify_all()
            yield entry
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the iteration, also from another thread. Entries that were read are dropped."""
        with self._changed:
            self._ended = True
            self._queue.clear()
            self._changed.notify_all()

    def _fill(self, entries: Iterable[str | bytes]) -> None:
        error: BaseException | None = None
        try:
            for entry in entries:
                self._put(entry)
        except _Closed:
            pass
        except BaseException as raised:  # noqa: BLE001 - it is raised to the caller who iterates
            error = raised
        with self._changed:
            self._error = error
            self._ended = True
            self._changed.notify_all()

    def _put(self, entry: str | bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._queue) < _QUEUE_ENTRIES or self._ended)
            if self._ended:
                raise _Closed
            self._queue.append(entry)
            self._changed.notify_all()


class _Closed(Exception):
    """Nobody takes entries any more."""
