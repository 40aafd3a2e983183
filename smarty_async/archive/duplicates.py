"""Photos with the same content: the first of them is sent, the others take over what it has got."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import Content, PhotoEntry, UnhashedPhoto
from smarty_async.archive.journal.store import MOST_UNREAD
from smarty_async.archive.threads import threaded

__all__ = ["Duplicates", "digest"]


class _Alive:
    """A photo that is under way in this run."""

    def __init__(self) -> None:
        self.content: Content | None = None
        self.ended = asyncio.Event()


class Duplicates:
    """Knows which photos of a run have the same content. Only photos of one size are read for it, each once.

    Args:
        journal: where digests are noted.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._alive: dict[int, dict[int, _Alive]] = {}  # by size and entry, in the order they began
        self._reading = asyncio.Lock()

    @contextmanager
    def alive(self, entry: PhotoEntry) -> Generator[None]:
        """The photo is under way while this lasts."""
        one = self._of_size(entry)[entry.id] = _Alive()
        try:
            yield
        finally:
            del self._of_size(entry)[entry.id]
            if not self._of_size(entry):
                del self._alive[entry.found.size]
            one.ended.set()

    def _of_size(self, entry: PhotoEntry) -> dict[int, _Alive]:
        return self._alive.setdefault(entry.found.size, {})

    async def compare(self, entry: PhotoEntry) -> bool:
        """Whether there is another photo with the content of this one.

        All of its size are read in one go, so that of many such photos most find that done.
        """
        may_be_duplicate = self._of_size(entry)
        mine = may_be_duplicate[entry.id]
        async with self._reading:
            while mine.content is None:
                unhashed = await self._journal.unhashed(entry.found.size)
                digests: Mapping[int, bytes] = await _digests(unhashed) if unhashed else {}
                # What is known stays as it is: whoever has the same content and comes later compares by itself.
                asking = [number for number, other in may_be_duplicate.items() if other.content is None]
                contents = await self._journal.note_digests(digests, asking=asking)
                if len(unhashed) < MOST_UNREAD:  # else some may be unread yet, and nobody knows what is shared
                    for number in may_be_duplicate.keys() & contents.keys():
                        may_be_duplicate[number].content = contents[number]
        return mine.content.shared

    def earlier(self, entry: PhotoEntry) -> asyncio.Event | None:
        """The end of a photo with this content that began before this one, so that no two wait for each other."""
        may_be_duplicate = self._of_size(entry)
        mine = may_be_duplicate[entry.id]
        before = takewhile(lambda other: other is not mine, may_be_duplicate.values())
        return next((other.ended for other in before if _is_same(mine.content, other.content)), None)


def _is_same(one: Content | None, other: Content | None) -> bool:
    return one is not None and other is not None and bool(one.digest) and one.digest == other.digest


def digest(photo: UnhashedPhoto) -> bytes:
    """The SHA-256 of a photo, empty when it cannot be read or has changed; blocks."""
    path = Path(photo.path)
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        status = path.stat()
    except (OSError, ValueError):
        return b""
    return content if (status.st_size, str(status.st_mtime_ns)) == (photo.size, photo.version) else b""


@threaded
def _digests(photos: Sequence[UnhashedPhoto]) -> Mapping[int, bytes]:
    return {photo.id: digest(photo) for photo in photos}
