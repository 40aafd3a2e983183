"""Photos with the same content: one of them is sent, the others get copies of its outputs.

The content of a photo is compared when the journal knows another photo of the same size, or the same photo with another
version (modification time). So a photo that was renamed, moved or copied, or whose modification time has changed, is
never sent again. Each content is read at most once for this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Final

import msgspec

from smarty_async.archive.entries import PhotoEntry
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import Content, UnhashedPhoto, content_digest
from smarty_async.archive.journal.store import MAX_UNHASHED
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.archive.threads import threaded

__all__ = ["Duplicates", "digest_of", "unhashed_of"]

_MAX_REMEMBERED: Final = 64
"""Digests of files that are remembered: the pages of one file follow each other."""


class _InProgress(msgspec.Struct, eq=False, gc=False):
    """A photo that this run is processing.

    Attributes:
        content: its content, once it is known.
        ended: set when it has come to its end; made for those who wait for it.
    """

    content: Content | None = None
    ended: asyncio.Event | None = None


class Duplicates:
    """Finds photos whose content the journal, or another photo of this run, has already.

    Args:
        journal: where digests are stored.
        redo_missing: whether outputs that no longer exist are to be made again.
        digest: reads a photo, see `PhotoSource.digest`.
    """

    def __init__(self, journal: Journal, *, redo_missing: bool, digest: Callable[..., bytes]) -> None:
        self._journal = journal
        self._redo_missing = redo_missing
        self._digest = threaded(digest, pool="hashing")
        self._in_progress: dict[int, dict[int, _InProgress]] = {}  # by size and entry, in the order they began
        self._reading = asyncio.Lock()
        self._digests: dict[tuple[str, str], asyncio.Future[bytes]] = {}  # by path and version, the oldest first

    def begin(self, entry: PhotoEntry) -> None:
        """The photo is being processed from now on, until `end`."""
        self._in_progress.setdefault(entry.file.size, {})[entry.id] = _InProgress()

    def end(self, entry: PhotoEntry) -> None:
        """The photo, with which `begin` was called, has come to its end."""
        same_size = self._in_progress[entry.file.size]
        photo = same_size.pop(entry.id)
        if not same_size:
            del self._in_progress[entry.file.size]
        if photo.ended is not None:
            photo.ended.set()

    async def identify(self, entry: PhotoEntry) -> PhotoEntry:
        """Find out by its content whether an earlier run has finished the photo, under this path or a former one.

        Call it for an entry with `PhotoEntry.needs_comparison`, between `begin` and `end`.

        Returns:
            The entry with the answers to its content. `PhotoEntry.end` says whether there is anything left to do;
            if so, and with `PhotoEntry.may_be_duplicate`, `compare` and `earlier` find the same content elsewhere.
        """
        if entry.version_changed:
            digests = await self._read([unhashed_of(entry)])
            entry = await self._journal.verify(entry, digests[entry.id], redo_missing=self._redo_missing)
        if entry.may_be_duplicate and not entry.answers and await self.compare(entry):
            entry = await self._journal.follow_moved(entry, redo_missing=self._redo_missing)
        return msgspec.structs.replace(entry, may_be_duplicate=False) if entry.problem else entry

    async def compare(self, entry: PhotoEntry) -> bool:
        """Whether the journal knows another photo with the content of this one.

        All photos of the same size are read at once, so that the others of them find their digests known.
        """
        same_size = self._in_progress[entry.file.size]
        photo = same_size[entry.id]
        async with self._reading:
            while photo.content is None:
                unhashed = await self._journal.unhashed(entry.file.size)
                digests: Mapping[int, bytes] = await self._read(unhashed) if unhashed else {}
                # A content that is known is not asked for again: a photo that comes later compares by itself.
                asking = [number for number, other in same_size.items() if other.content is None]
                contents = await self._journal.note_digests(digests, asking=asking)
                if len(unhashed) < MAX_UNHASHED:  # else there may be more, and what is shared is not known yet
                    for number in same_size.keys() & contents.keys():
                        same_size[number].content = contents[number]
        return photo.content.shared

    def earlier(self, entry: PhotoEntry) -> asyncio.Event | None:
        """Set when a photo with the same content, begun before this one, has ended; None when there is none."""
        same_size = self._in_progress[entry.file.size]
        photo = same_size[entry.id]
        before = takewhile(lambda other: other is not photo, same_size.values())
        same = next((other for other in before if _is_same(photo.content, other.content)), None)
        if same is not None and same.ended is None:
            same.ended = asyncio.Event()
        return None if same is None else same.ended

    async def _read(self, photos: Sequence[UnhashedPhoto]) -> Mapping[int, bytes]:
        """The digests of `photos` by entry."""
        reading = {photo.id: self._digest_of(photo) for photo in photos}
        files = {number: await asyncio.shield(digest) for number, digest in reading.items()}
        return {photo.id: content_digest(files[photo.id], page=photo.page) for photo in photos}

    def _digest_of(self, photo: UnhashedPhoto) -> asyncio.Future[bytes]:
        """The digest of its file, being read now or read a while ago."""
        key = photo.path, photo.version
        if key not in self._digests:
            while len(self._digests) >= _MAX_REMEMBERED:
                del self._digests[next(iter(self._digests))]
            self._digests[key] = self._digest(photo.path, size=photo.size, version=photo.version)
        return self._digests[key]


def _is_same(one: Content | None, other: Content | None) -> bool:
    return one is not None and other is not None and bool(one.digest) and one.digest == other.digest


def unhashed_of(entry: PhotoEntry) -> UnhashedPhoto:
    """The photo of `entry` as it is now, to be read."""
    file: PhotoFile = entry.file
    return UnhashedPhoto(entry.id, file.path, file.size, file.version, file.page)


def digest_of(photo: UnhashedPhoto, *, digest: Callable[..., bytes]) -> bytes:
    """The digest of a photo's content, empty when it cannot be read or has changed; blocks."""
    return content_digest(digest(photo.path, size=photo.size, version=photo.version), page=photo.page)
