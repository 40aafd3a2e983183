"""One walk through a folder: depth first, streaming, never in a circle."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from smarty_async.archive.paths import PRODUCE
from smarty_async.archive.sources.generated_files import GeneratedFiles, Identity, holds_results, identity_of
from smarty_async.archive.sources.patterns import Glob, Wanted, is_skipped
from smarty_async.archive.sources.photo_names import SIGNATURE_BYTES, has_photo_signature, is_photo_name
from smarty_async.archive.sources.scan_root import ScanRoot
from smarty_async.results import ErrorInfo

__all__ = ["PhotoFile", "Walk", "photo_file", "reason", "unreadable"]

_OPEN_FOLDERS = 64
"""Folders that a walk holds open, at most: some systems allow a process 256 files."""


class PhotoFile(msgspec.Struct, frozen=True, gc=False):
    """A file that may be a photo; whether it is an image, the probe says.

    Attributes:
        source: the source it was found in, an absolute path. Bytes that are no UTF-8 are surrogate-escaped here,
            in `photo` and in `path`.
        photo: path relative to `source`, with ``/``.
        path: what to open.
        size: bytes.
        version: what changes when the file does: its modification time in nanoseconds since 1970, as text.
        problem: why it is not sent, None when nothing speaks against it. A folder that cannot be read is reported this
            way too, with its own path as `photo` (``.`` for the source itself).
        page: which picture of a file that holds several, from 1.
        left_alone: whether it is no photo, by its name and its first bytes: a note beside a photo, a video, a text.
    """

    source: str
    photo: str
    path: str
    size: int
    version: str
    problem: ErrorInfo | None = None
    page: int = 1
    left_alone: bool = False


def photo_file(source: str, photo: str, path: str, status: os.stat_result) -> PhotoFile:
    """The regular file at `path`."""
    version = str(status.st_mtime_ns)
    if is_photo_name(photo):
        return PhotoFile(source, photo, path, status.st_size, version)
    return PhotoFile(source, photo, path, status.st_size, version, None, 1, not _may_be_photo(photo, path))


def _may_be_photo(photo: str, path: str) -> bool:
    """Whether a file whose name is not a photo's is one all the same, by its first bytes."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs more than the look
            return has_photo_signature(file.read(SIGNATURE_BYTES))
    except OSError:
        return is_photo_name(photo) is None  # the probe says what is wrong with it


def unreadable(source: str, photo: str, path: str, error: Exception) -> PhotoFile:
    """What is reported of `path`, which raised `error`."""
    problem = ErrorInfo("unreadable", f"cannot be read: {reason(path, error)}")
    return PhotoFile(source, photo or ".", path, 0, "0", problem)


def reason(path: str, error: Exception) -> str:
    """Why `path` cannot be read, for people."""
    if isinstance(error, FileNotFoundError) and Path(path).is_symlink():
        return "the link leads to nothing"
    return getattr(error, "strerror", None) or str(error)


class _Folder(NamedTuple):
    """A folder that a walk is in.

    Attributes:
        entries: those that were not looked at yet.
        close: closes it, None when it is closed.
        identity: of the folder.
        photo: its path relative to the source.
        path: its path.
        state: of the glob, after its name.
        whole: whether everything in it is meant.
        skipped: names in it that are skipped.
    """

    entries: Iterator[os.DirEntry[str]]
    close: Callable[[], None] | None
    identity: Identity
    photo: str
    path: str
    state: frozenset[int]
    whole: bool
    skipped: frozenset[str] = frozenset()


class Walk:
    """A walk through `start`, with a stack of its own: a deep tree takes no Python stack.

    Args:
        start: a folder.
        wanted: which photos are meant.
        generated: what this program has created, which is skipped.
    """

    def __init__(self, start: ScanRoot, wanted: Wanted, generated: GeneratedFiles) -> None:
        self._start = start
        self._wanted = wanted
        self._generated = generated
        self._glob = Glob(start.pattern)
        self._inside: list[_Folder] = []

    def photos(self) -> Generator[PhotoFile, None, None]:
        """Every file, in the order the disk gives them; closing the iterator closes every folder."""
        try:
            if found := self._enter(self._start.path, self._start.photo, self._glob.start):
                yield found
            while self._inside:
                yield from self._read_on()
        finally:
            while self._inside:
                self._leave()

    def _read_on(self) -> Iterator[PhotoFile]:
        """What follows in the innermost folder, until another is the innermost."""
        folder = self._inside[-1]
        above = f"{folder.photo}/" if folder.photo else ""
        try:
            for entry in folder.entries:
                if found := self._look(entry, above + entry.name, folder):
                    yield found
                if self._inside[-1] is not folder:
                    return
        except OSError as error:
            if found := self._failed_folder(folder.path, folder.photo, error):
                yield found
        self._leave()

    def _look(self, entry: os.DirEntry[str], photo: str, folder: _Folder) -> PhotoFile | None:
        name = entry.name
        state = folder.state if folder.whole else self._glob.step(folder.state, name)
        if not state or is_skipped(name) or name in folder.skipped:
            return None
        meant = (folder.whole or self._glob.matched(state)) and self._wanted(photo)
        try:
            # Not the entry's own stat: what Windows keeps in a folder may be older than the file.
            status = os.stat(entry.path)  # noqa: PTH116 - a Path for each of millions costs more than the look
        except OSError as error:
            return unreadable(self._start.source, photo, entry.path, error) if meant else None
        if meant and stat.S_ISREG(status.st_mode):
            return photo_file(self._start.source, photo, entry.path, status)
        if stat.S_ISDIR(status.st_mode):
            identity = identity_of(entry.path, status)
            if self._generated.is_out(identity) or (entry.is_symlink() and self._generated.is_one(identity)):
                return None
            return self._enter(entry.path, photo, state, identity)
        return None

    def _enter(
        self, path: str, photo: str, state: frozenset[int], identity: Identity | None = None
    ) -> PhotoFile | None:
        """Go into the folder at `path`, unless the walk is in it already."""
        try:
            identity = identity or identity_of(path, Path(path).stat())
            if any(identity == folder.identity for folder in self._inside):
                return None
            skipped: frozenset[str] = frozenset()
            if holds_results(path):
                if self._inside:
                    return None  # the results of another run
                skipped = PRODUCE  # it was named: there may be photos beside the results
            if len(self._inside) >= _OPEN_FOLDERS:
                self._read_rest()
            entries = os.scandir(path)
            whole = self._glob.matched(state)
            self._inside.append(_Folder(entries, entries.close, identity, photo, path, state, whole, skipped))
        except OSError as error:
            return self._failed_folder(path, photo, error)
        return None

    def _read_rest(self) -> None:
        """Read the rest of the innermost folder into memory and close it, unless that was done."""
        folder = self._inside[-1]
        if folder.close is None:
            return
        rest: list[os.DirEntry[str]] = []
        try:
            rest.extend(folder.entries)
        finally:
            folder.close()
            self._inside[-1] = folder._replace(entries=iter(rest), close=None)

    def _leave(self) -> None:
        folder = self._inside.pop()
        if folder.close is not None:
            folder.close()

    def _failed_folder(self, path: str, photo: str, error: OSError) -> PhotoFile | None:
        """A folder that cannot be read is reported, unless it is excluded."""
        if self._wanted.excludes(f"{photo}/"):
            return None
        return unreadable(self._start.source, photo, path, error)
