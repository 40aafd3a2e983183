"""Find committed outputs that are no longer at their places, in a folder and in a bucket. Blocking.

In a folder names are read once for many outputs, in a bucket a page of a listing: a HEAD for each of millions of
outputs would be a request each. Photos come folder by folder, or in the order of their keys, so that the outputs of the
next ones are most often among the names that were read already.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import msgspec

from smarty_async.archive.entries import PhotoEntry, StoredAnswer
from smarty_async.archive.object_store import Bucket
from smarty_async.options import Mode
from smarty_async.results import KINDS, Kind

__all__ = ["FolderChecker", "KeyPages", "OutputChecker"]

_LOOKUPS = 16
"""Lookups in one folder after which its names are read: that costs as much as looking up a fifth of them."""
_MAX_NAMES = 10_000
"""Names of a folder that are held, at most."""
_MAX_FOLDERS = 2 * len(KINDS)
"""Folders whose names are held: those of all kinds, where one photo is in a folder and the next in another."""


class OutputChecker:
    """Checks whether outputs exist. Several threads may call `checked` and `missing`, which wait for each other."""

    def __init__(self) -> None:
        self._in_use = Lock()

    def checked(self, entries: Iterable[PhotoEntry]) -> list[PhotoEntry]:
        """`entries`, with committed answers of which an output does not exist marked as ``missing``."""
        with self._in_use:
            return list(map(self._marked, entries))

    def _marked(self, entry: PhotoEntry) -> PhotoEntry:
        gone: dict[Mode, StoredAnswer] = {
            mode: msgspec.structs.replace(answer, state="missing", gone=kinds)
            for mode, answer in entry.answers.items()
            if answer.state == "committed" and (kinds := tuple(self.gone(entry.place, answer.outputs)))
        }
        return msgspec.structs.replace(entry, answers=entry.answers | gone) if gone else entry

    def gone(self, place: str, kinds: Iterable[Kind]) -> Iterator[Kind]:
        """Those of `kinds` of which no output is at `place`."""
        raise NotImplementedError

    def missing(self, outputs: Iterable[tuple[str, Collection[Kind]]]) -> set[str]:
        """Those of the places where one of their kinds of outputs is not."""
        with self._in_use:
            return self._missing(outputs)

    def _missing(self, outputs: Iterable[tuple[str, Collection[Kind]]]) -> set[str]:
        return {place for place, kinds in outputs if any(self.gone(place, kinds))}


class FolderChecker(OutputChecker):
    """Checks whether outputs exist in a folder."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self._out = os.fspath(out)
        self._folder = ""  # of the last output, relative to the folder of its kind
        self._lookups: Counter[Kind] = Counter()
        self._names: dict[tuple[Kind, str], frozenset[str]] = {}  # by kind and folder, the last read at the end

    def gone(self, place: str, kinds: Iterable[Kind]) -> Iterator[Kind]:
        """Those of `kinds` of which no output is at `place`."""
        folder, _, name = place.rpartition("/")
        if folder != self._folder:
            self._folder = folder
            self._lookups.clear()
        for kind in kinds:
            if name not in self._names.get((kind, folder), ()):
                self._lookups[kind] += 1
                if self._lookups[kind] == _LOOKUPS:
                    self._read_names(kind, folder)
                if not self._look_up(kind, place):
                    yield kind

    def _missing(self, outputs: Iterable[tuple[str, Collection[Kind]]]) -> set[str]:
        names_of: defaultdict[tuple[str, tuple[Kind, ...]], list[str]] = defaultdict(list)
        for place, kinds in outputs:
            folder, _, name = place.rpartition("/")
            names_of[folder, tuple(kinds)].append(name)
        gone: set[str] = set()
        for (folder, of_kinds), names in names_of.items():
            for kind in of_kinds:
                if len(names) >= _LOOKUPS and (kind, folder) not in self._names:
                    self._read_names(kind, folder)
                known = self._names.get((kind, folder), frozenset())
                if not known.issuperset(names):
                    beyond = (_joined(folder, name) for name in names if name not in known)
                    gone.update(place for place in beyond if not self._look_up(kind, place))
        return gone

    def _look_up(self, kind: Kind, place: str) -> bool:
        """Look a file up by name: it may be beyond the names that are held, or be listed in another spelling."""
        # os: a Path for each of millions costs more than the lookup.
        return os.access(f"{self._out}/{kind}/{place}", os.F_OK)

    def _read_names(self, kind: Kind, folder: str) -> None:
        self._names[kind, folder] = _names_in(f"{self._out}/{kind}/{folder}")
        if len(self._names) > _MAX_FOLDERS:
            del self._names[next(iter(self._names))]


_name_of: Callable[[os.DirEntry[str]], str] = attrgetter("name")


def _names_in(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(map(_name_of, islice(entries, _MAX_NAMES)))
    except OSError:
        return frozenset()


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


_MAX_PAGES: Final = 64
"""Pages of a thousand keys that are held."""


class _Page(NamedTuple):
    """A part of a listing.

    Attributes:
        start: a key; none between it and the first of `keys` is there.
        end: the last key; None when there are no more.
        keys: the keys that are there.
    """

    start: str
    end: str | None
    keys: set[str]

    def covers(self, key: str) -> bool:
        """Whether `keys` tells of `key`."""
        return self.start < key and (self.end is None or key <= self.end)


class KeyPages(OutputChecker):
    """Checks whether outputs exist in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__()
        self._bucket = bucket
        self._pages: OrderedDict[tuple[Kind, str], _Page] = OrderedDict()  # by kind and start, the last used at the end
        self._last: dict[Kind, _Page] = {}

    def gone(self, place: str, kinds: Iterable[Kind]) -> Iterator[Kind]:
        """Those of `kinds` of which no output is at `place`."""
        return (kind for kind in kinds if place not in self._page_for(kind, place).keys)

    def add(self, kind: Kind, place: str) -> None:
        """Note that an output was stored."""
        with self._in_use:  # a page that is being read may lack it
            for (of, _), page in self._pages.items():
                if of == kind and page.covers(place):
                    page.keys.add(place)

    def _page_for(self, kind: Kind, place: str) -> _Page:
        last = self._last.get(kind)
        if last is None or not last.covers(place):
            last = self._last[kind] = self._held(kind, place) or self._read(kind, place)
        return last

    def _held(self, kind: Kind, place: str) -> _Page | None:
        for key, page in self._pages.items():
            if key[0] == kind and page.covers(place):
                self._pages.move_to_end(key)
                return page
        return None

    def _read(self, kind: Kind, place: str) -> _Page:
        after = place[:-1]  # it sorts before
        keys: set[str] = set()
        end: str | None = None
        for some in self._bucket.pages(under=kind, after=f"{kind}/{after}" if after else ""):
            names = [one.key.removeprefix(f"{kind}/") for one in some]
            keys.update(names)
            if names and max(names) >= place:
                end = max(names)
                break
        page = _Page(after, end, keys)
        self._pages[kind, after] = page
        if len(self._pages) > _MAX_PAGES:
            self._pages.popitem(last=False)
        return page
