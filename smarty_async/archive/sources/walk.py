"""One walk through a folder: depth first, streaming, never in a circle."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from smarty_async.archive.paths import PRODUCE
from smarty_async.archive.sources.generated_files import GeneratedFiles, Identity, identity_of
from smarty_async.archive.sources.patterns import Glob, Wanted, passed_over
from smarty_async.archive.sources.scan_root import ScanRoot
from smarty_async.results import ErrorInfo

__all__ = ["PhotoFile", "Walk", "reason", "unreadable"]

_OPEN_FOLDERS = 64
"""How many folders a walk holds open: some systems allow a process 256 files."""


class PhotoFile(msgspec.Struct, frozen=True, gc=False):
    """A photo candidate; whether it is an image, the probe says.

    Attributes:
        source: the source it was found in, an absolute path. Bytes that are no UTF-8 are surrogate-escaped here,
            in `photo` and in `path`.
        photo: path relative to `source`, with ``/``.
        path: what to open.
        size: bytes.
        version: what changes when the file does: its modification time in nanoseconds since 1970, as text.
        problem: why it is not to be sent, None when nothing speaks against it. A folder that cannot be read is told
            this way too, with its own path as `photo` (``.`` for the source itself).
        page: which picture of a file that holds several, from 1.
    """

    source: str
    photo: str
    path: str
    size: int
    version: str
    problem: ErrorInfo | None = None
    page: int = 1


def unreadable(source: str, photo: str, path: str, error: Exception) -> PhotoFile:
    """The finding for `error`, met while looking at `path`."""
    told = ErrorInfo("unreadable", f"cannot be read: {reason(path, error)}")
    return PhotoFile(source, photo or ".", path, 0, "0", told)


def reason(path: str, error: Exception) -> str:
    """Why `path` cannot be read, for people."""
    if isinstance(error, FileNotFoundError) and Path(path).is_symlink():
        return "the link leads to nothing"
    return getattr(error, "strerror", None) or str(error)


class _Folder(NamedTuple):
    """A folder that a walk is in: what is left of it, how it was reached, and whether all in it is meant."""

    entries: Iterator[os.DirEntry[str]]
    close: Callable[[], None] | None
    identity: Identity
    photo: str
    path: str
    state: frozenset[int]
    whole: bool


class Walk:
    """What lies under `start`, over a stack of the walk's own: a deep tree costs no Python stack.

    Args:
        start: a folder.
        wanted: which photos are meant.
        generated: what is to be left out as this program's own.
    """

    def __init__(self, start: ScanRoot, wanted: Wanted, generated: GeneratedFiles) -> None:
        self._start = start
        self._wanted = wanted
        self._generated = generated
        self._glob = Glob(start.pattern)
        self._inside: list[_Folder] = []

    def photos(self) -> Generator[PhotoFile, None, None]:
        """Every finding, as the disk gives it; closing the iterator closes every folder."""
        try:
            if found := self._enter(self._start.path, self._start.photo, self._glob.start):
                yield found
            while self._inside:
                yield from self._go_on()
        finally:
            while self._inside:
                self._leave()

    def _go_on(self) -> Iterator[PhotoFile]:
        """What comes next in the innermost folder, until another is the innermost."""
        folder = self._inside[-1]
        above = f"{folder.photo}/" if folder.photo else ""
        try:
            for entry in folder.entries:
                if found := self._look(entry, above + entry.name, folder):
                    yield found
                if self._inside[-1] is not folder:
                    return
        except OSError as error:
            if found := self._lost(folder.path, folder.photo, error):
                yield found
        self._leave()

    def _look(self, entry: os.DirEntry[str], photo: str, folder: _Folder) -> PhotoFile | None:
        name = entry.name
        state = folder.state if folder.whole else self._glob.step(folder.state, name)
        if not state or passed_over(name) or (name in PRODUCE and self._is_made_in(folder)):
            return None
        meant = (folder.whole or self._glob.matched(state)) and self._wanted(photo)
        try:
            # Not the entry's own stat: what Windows keeps in a folder may be older than the file.
            status = os.stat(entry.path)  # noqa: PTH116 - a Path for each of millions costs more than the look
        except OSError as error:
            return unreadable(self._start.source, photo, entry.path, error) if meant else None
        if meant and stat.S_ISREG(status.st_mode):
            return PhotoFile(self._start.source, photo, entry.path, status.st_size, str(status.st_mtime_ns))
        if stat.S_ISDIR(status.st_mode):
            identity = identity_of(entry.path, status)
            if self._generated.is_out(identity) or (entry.is_symlink() and self._generated.is_one(identity)):
                return None
            return self._enter(entry.path, photo, state, identity)
        return None

    def _is_made_in(self, folder: _Folder) -> bool:
        # Only a folder that a walk starts from can be the output folder.
        return len(self._inside) == 1 and self._generated.is_out(folder.identity)

    def _enter(
        self, path: str, photo: str, state: frozenset[int], identity: Identity | None = None
    ) -> PhotoFile | None:
        """Go into the folder at `path`, unless the walk is in it already."""
        try:
            identity = identity or identity_of(path, Path(path).stat())
            if any(identity == folder.identity for folder in self._inside):
                return None
            if len(self._inside) >= _OPEN_FOLDERS:
                self._read_out()
            entries = os.scandir(path)
            self._inside.append(
                _Folder(entries, entries.close, identity, photo, path, state, whole=self._glob.matched(state))
            )
        except OSError as error:
            return self._lost(path, photo, error)
        return None

    def _read_out(self) -> None:
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

    def _lost(self, path: str, photo: str, error: OSError) -> PhotoFile | None:
        """A folder that cannot be read: its photos would be missed in silence."""
        if self._wanted.excludes(f"{photo}/"):
            return None
        return unreadable(self._start.source, photo, path, error)
