"""Which outputs are in a bucket: asked a page of a listing at a time. Blocking.

A HEAD for each of millions of outputs would be a request each. Photos come in the order of their keys, or folder by
folder, so that the outputs of the next ones are most often in a page of a thousand keys that was read already.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from smarty_async.archive.journal.records import PhotoEntry
from smarty_async.archive.object_store import Bucket
from smarty_async.archive.outputs.checker import mark_missing
from smarty_async.results import Kind

__all__ = ["KeyPages"]

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


class KeyPages:
    """Looks for the committed outputs of entries.

    Args:
        bucket: where outputs are.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._pages: OrderedDict[tuple[Kind, str], _Page] = OrderedDict()  # by kind and start, the last used at the end
        self._last: dict[Kind, _Page] = {}

    def checked(self, entries: Iterable[PhotoEntry], *, redo: bool) -> list[PhotoEntry]:
        """`entries`, marked as `mark_missing` does."""
        return mark_missing(entries, lambda answer, place: self.exist(place, answer.outputs), redo=redo)

    def exist(self, place: str, kinds: Iterable[Kind]) -> bool:
        """Whether the outputs of `kinds` are at `place`."""
        return all(place in self._page_for(kind, place).keys for kind in kinds)

    def add(self, kind: Kind, place: str) -> None:
        """Note that an output was stored."""
        for (of, _), page in list(self._pages.items()):
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
