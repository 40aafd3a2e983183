"""Which names are meant: include and exclude patterns, globs, and what is always skipped. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from fnmatch import fnmatch, translate

__all__ = ["SYSTEM_FILES", "SYSTEM_SUFFIXES", "Glob", "Wanted", "is_skipped"]

SYSTEM_FILES = frozenset({
    # Windows
    "$recycle.bin", "desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "recycler", "system volume information",
    "thumbs.db",
    # macOS; the others that it makes are hidden: .AppleDouble, .Spotlight-V100, .Trashes, ._*
    "__macosx", "icon\r", "network trash folder", "temporary items", "thevolumesettingsfolder",
    # Linux; hidden: .Trash-1000, .thumbnails, .directory
    "lost+found",
    # Synology
    "#recycle", "#snapshot", "@eadir", "@sharebin", "@tmp",
    # QNAP; hidden: .@__thumb, .@upload_cache
    "@__thumb", "@recently-snapshot", "@recycle", "@transcode",
    # other storage boxes and file servers; hidden: .recycle, .snapshot, .wdmc, .zfs
    "@snapshot", "files_trashbin", "files_versions", "trashbox", "~snapshot",
    # photo tools; hidden: .dtrash, .picasaoriginals
    "captureone",
})  # fmt: skip
"""Files and folders that operating systems, storage boxes and photo tools keep for themselves (recycle bins, snapshots,
thumbnails), in lower case. They are skipped, as is every name that begins with a dot, wherever a walk meets them; one
that is named as a source is scanned."""

SYSTEM_SUFFIXES = (".lrdata", ".lrcat-data")
"""How the names of such folders end, in lower case: the previews of Lightroom."""


def is_skipped(name: str) -> bool:
    """Whether a file or folder called `name` is skipped: it is hidden, or the system's."""
    if name.startswith("."):
        return True
    name = name.lower()
    return name in SYSTEM_FILES or name.endswith(SYSTEM_SUFFIXES)


class Wanted:
    """The include and exclude patterns of a run.

    They are `fnmatch`'s, and case does not matter: people write ``*.jpg`` and have ``IMG.JPG``. A pattern
    with a ``/`` is matched against the whole path relative to the source (``*`` passes over ``/``, and a leading
    ``**/`` may stand for no folder at all), one without against the name alone.

    Args:
        include: photos that match none of these are left out; empty means every photo.
        exclude: photos that match one of these are left out.
    """

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._include = _compiled(include)
        self._exclude = _compiled(exclude)

    def __call__(self, photo: str) -> bool:
        """Whether `photo`, a path relative to its source, is wanted."""
        # Without patterns no name is looked at: there may be a million.
        return not (self._include and not _matches(self._include, photo)) and not (
            self._exclude and _matches(self._exclude, photo)
        )

    def excludes(self, photo: str) -> bool:
        """Whether an exclude pattern matches `photo`; for a folder, give its path with a ``/`` at the end."""
        return _matches(self._exclude, photo)


_Patterns = list[tuple[bool, re.Pattern[str]]]


def _compiled(patterns: Iterable[str]) -> _Patterns:
    """Each pattern beside whether it is for whole paths."""
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    if os.sep != "/":
        given = [pattern.replace(os.sep, "/") for pattern in given]
    given += [pattern.removeprefix("**/") for pattern in given if pattern.startswith("**/")]
    return [("/" in pattern, re.compile(translate(pattern), re.IGNORECASE)) for pattern in given]


def _matches(patterns: _Patterns, photo: str) -> bool:
    name = photo.rstrip("/").rpartition("/")[2]
    return any(pattern.match(photo if whole else name) for whole, pattern in patterns)


class Glob:
    """The magic part of a glob source, followed along a walk, one name after another.

    A state is the set of places in the pattern that the names so far lead to. The standard library's `glob` would
    list whole folders, and go round in circles where links do.

    Args:
        parts: the pattern's parts, none a separator; ``**`` stands for any number of folders. No parts at all match
            everything.
    """

    def __init__(self, parts: tuple[str, ...] = ()) -> None:
        self._parts = parts
        self.start = self._closed({0})

    def step(self, state: frozenset[int], name: str) -> frozenset[int]:
        """The state after `name`; empty when nothing under it can match. What lies in a matched folder matches."""
        if self.matched(state):
            return state
        following = {place + 1 for place in state if fnmatch(name, self._parts[place])}
        return self._closed(following | {place for place in state if self._parts[place] == "**"})

    def matched(self, state: frozenset[int]) -> bool:
        """Whether the names that led to `state` match the whole pattern."""
        return len(self._parts) in state

    def _closed(self, places: set[int]) -> frozenset[int]:
        """`places`, and those that a ``**`` standing for nothing leads on to."""
        for place, part in enumerate(self._parts):
            if part == "**" and place in places:
                places.add(place + 1)
        return frozenset(places)
