"""Photos with the same content: one of them is sent, the others get copies of its outputs.

The content of a photo is compared when the journal knows another photo of the same size, or the same photo with another
version (modification time). So a photo that was renamed, moved or copied, or whose modification time has changed, is
never sent again. Each content is read at most once for this.

Photos of the same content take turns: one looks for an answer that can be copied, and, where there is none, is sent
before the next one looks. Once one was copied, the others copy it at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from smarty_async.archive.entries import PhotoEntry
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import (
    Content,
    DuplicateAnswer,
    UnhashedPhoto,
    WantedAnswer,
    content_digest,
)
from smarty_async.archive.journal.store import MAX_UNHASHED
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.archive.threads import threaded
from smarty_async.options import ModeSpec
from smarty_async.results import Kind

__all__ = ["AnswerSearch", "Duplicates", "FoundAnswer", "digest_of", "unhashed_of"]

_MAX_REMEMBERED: Final = 64
"""Digests of files that are remembered: the pages of one file follow each other."""
_MAX_SEARCHES: Final = 4096
"""Searches that are remembered: one that is forgotten begins again, which takes time and nothing else."""


class FoundAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer that can be copied, if its outputs are unchanged.

    Attributes:
        wanted: what was searched for.
        answer: the answer.
        start: where its search began.
    """

    wanted: WantedAnswer
    answer: DuplicateAnswer
    start: int


class AnswerSearch:
    """How far the stored answers to each content were searched for one that can be copied.

    An answer is looked at once in a run, however many photos of its content there are: one that was copied serves all
    of them, and one whose outputs are gone or changed none.
    """

    def __init__(self) -> None:
        self._copied: dict[WantedAnswer, FoundAnswer] = {}
        self._passed: dict[tuple[bytes, str], dict[frozenset[Kind], int]] = {}

    def copied(self, wanted: WantedAnswer, photo: int) -> FoundAnswer | None:
        """An answer that was copied before, unless it is that of `photo` itself."""
        found = self._copied.get(wanted)
        return None if found is None or found.answer.photo == photo else found

    def start(self, wanted: WantedAnswer) -> int:
        """The id of the last photo whose answer is known to be of no use, 0 for none: the search goes on after it."""
        return self._passed.get((wanted.digest, wanted.spec.text), {}).get(wanted.kinds, 0)

    def first_there(
        self, wanted: WantedAnswer, answers: Iterable[DuplicateAnswer], *, start: int, gone: Collection[str]
    ) -> FoundAnswer | None:
        """The first of the `answers` after `start` that is at none of the places where outputs are `gone`, if any."""
        if len(self._copied) + len(self._passed) >= _MAX_SEARCHES:
            self._copied.clear()
            self._passed.clear()
        for answer in answers:
            found = FoundAnswer(wanted, answer, start)
            if answer.place not in gone:
                return found
            self.skip(found)
        return None

    def note_copied(self, found: FoundAnswer) -> None:
        """The answer that was found could be copied."""
        self._copied[found.wanted] = found

    def skip(self, found: FoundAnswer) -> None:
        """Go on after an answer that cannot be copied, unless a new one was committed since that comes before it."""
        wanted, start = found.wanted, self.start(found.wanted)
        if self._copied.get(wanted) == found:
            del self._copied[wanted]
        if start >= found.start:
            passed = self._passed.setdefault((wanted.digest, wanted.spec.text), {})
            passed[wanted.kinds] = max(start, found.answer.photo)

    def go_back(self, digest: bytes, spec: str, photo: int) -> None:
        """`photo`, which has this digest, has an answer to `spec`, as text, now: it is found from now on."""
        passed = self._passed.get((digest, spec), {})
        for kinds, last in passed.items():
            passed[kinds] = min(last, photo - 1)


class _InProgress(msgspec.Struct, eq=False, gc=False):
    """A photo that this run is processing.

    Attributes:
        is_verified: whether the digest that the journal has of it, if any, is not that of a former content.
        content: its content, once it is known.
        turn: set when it is its turn; made when it waits for that.
    """

    is_verified: bool
    content: Content | None = None
    turn: asyncio.Event | None = None

    @property
    def digest(self) -> bytes:
        """Of its content; empty while that is not known, or when it cannot be read."""
        return b"" if self.content is None else self.content.digest


class Duplicates:
    """Finds photos whose content the journal, or another photo of this run, has already.

    Args:
        journal: where digests and answers are stored.
        outputs: where outputs are.
        redo_missing: whether outputs that no longer exist are to be made again.
        digest: reads a photo, see `PhotoSource.digest`.
    """

    def __init__(
        self, journal: Journal, outputs: OutputStore, *, redo_missing: bool, digest: Callable[..., bytes]
    ) -> None:
        self._journal = journal
        self._outputs = outputs
        self._redo_missing = redo_missing
        self._digest = threaded(digest, pool="hashing")
        self._in_progress: dict[int, dict[int, _InProgress]] = {}  # by size and entry, in the order they began
        self._turns: dict[bytes, dict[int, _InProgress]] = {}  # by digest and entry; it is the first one's turn
        self._search = AnswerSearch()
        self._reading = asyncio.Lock()
        self._digests: dict[tuple[str, str], asyncio.Future[bytes]] = {}  # by path and version, the oldest first

    def begin(self, entry: PhotoEntry) -> None:
        """The photo is being processed from now on, until `end`."""
        self._in_progress.setdefault(entry.file.size, {})[entry.id] = _InProgress(is_verified=not entry.version_changed)

    def end(self, entry: PhotoEntry) -> None:
        """The photo, with which `begin` was called, has come to its end."""
        same_size = self._in_progress[entry.file.size]
        photo = same_size.pop(entry.id)
        if not same_size:
            del self._in_progress[entry.file.size]
        self._leave(entry.id, photo)

    async def identify(self, entry: PhotoEntry) -> PhotoEntry:
        """Find out by its content whether an earlier run has finished the photo, under this path or a former one.

        Call it for an entry with `PhotoEntry.needs_comparison`, between `begin` and `end`.

        Returns:
            The entry with the answers to its content. `PhotoEntry.end` says whether there is anything left to do;
            if so, and with `PhotoEntry.may_be_duplicate`, `compare` and `find_answers` find the same content elsewhere.
        """
        if entry.version_changed:
            digests = await self._read([unhashed_of(entry)])
            entry = await self._journal.verify(entry, digests[entry.id], redo_missing=self._redo_missing)
            self._photo(entry).is_verified = True
        if entry.may_be_duplicate and not entry.answers and await self.compare(entry):
            entry = await self._journal.follow_moved(entry, redo_missing=self._redo_missing)
            for answer in entry.answers.values():  # it was that of another entry, which may have been passed
                self._search.go_back(self._photo(entry).digest, answer.spec, entry.id)
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
                asking = [number for number, one in same_size.items() if one.content is None and one.is_verified]
                contents = await self._journal.note_digests(digests, asking=asking)
                if len(unhashed) < MAX_UNHASHED:  # else there may be more, and what is shared is not known yet
                    for number in asking:  # those that began first are sent, or have been: it is their turn first
                        if number in same_size and number in contents:
                            same_size[number].content = contents[number]
                            self._queue(number, same_size[number])
                assert unhashed or photo.content is not None, "a photo without a digest is not found"  # noqa: S101 - no end
        return photo.content.shared

    async def wait_for_turn(self, entry: PhotoEntry) -> None:
        """Wait until the photos of this content that came before have an answer to copy, or have come to their end.

        Call it after `compare`. It is the photo's turn until its end, or until it has an answer to copy, too.
        """
        photo = self._photo(entry)
        self._queue(entry.id, photo)
        if photo.digest and next(iter(self._turns[photo.digest])) != entry.id:
            photo.turn = asyncio.Event()
            await photo.turn.wait()

    async def find_answers(
        self, entry: PhotoEntry, specs: Iterable[ModeSpec], kinds: Collection[Kind]
    ) -> list[FoundAnswer]:
        """For each of `specs` an answer of a photo with the same content, if there is one whose outputs are there.

        Call it when it is the photo's turn. That ends here when other photos have copied what is found; else the photo
        tries it before the next one's turn.

        Args:
            entry: the photo.
            specs: the mode specs.
            kinds: the kinds of output that are asked for; all when empty.
        """
        photo, found = self._photo(entry), list[FoundAnswer]()
        for spec in specs:
            if one := await self._find(entry, WantedAnswer(photo.digest, spec, entry.needs(spec, kinds))):
                found.append(one)
        if found and all(self._search.copied(one.wanted, entry.id) for one in found):
            self._leave(entry.id, photo)
        return found

    async def _find(self, entry: PhotoEntry, wanted: WantedAnswer) -> FoundAnswer | None:
        if found := self._search.copied(wanted, entry.id):
            return found
        while answers := await self._journal.answers_to(wanted, entry, after=(start := self._search.start(wanted))):
            gone = await self._outputs.find_missing([other.copied(wanted.kinds) for other in answers])
            if found := self._search.first_there(wanted, answers, start=start, gone=gone):
                return found
        return None

    async def is_current(self, found: FoundAnswer, entry: PhotoEntry) -> bool:
        """Whether the journal still has the answer that was found for `entry`."""
        answer = found.answer
        return answer in await self._journal.answers_to(found.wanted, entry, after=answer.photo - 1)

    def note_copied(self, found: FoundAnswer) -> None:
        """An answer that was found could be copied."""
        self._search.note_copied(found)

    def skip(self, found: FoundAnswer) -> None:
        """An answer that was found cannot be copied."""
        self._search.skip(found)

    def note_committed(self, entry: PhotoEntry, spec: ModeSpec) -> None:
        """The journal has an answer to `spec` of the photo, which those of the same content can copy."""
        self._search.go_back(self._photo(entry).digest, spec.text, entry.id)

    def _photo(self, entry: PhotoEntry) -> _InProgress:
        return self._in_progress[entry.file.size][entry.id]

    def _queue(self, number: int, photo: _InProgress) -> None:
        if photo.digest:  # else it is like no other
            self._turns.setdefault(photo.digest, {}).setdefault(number, photo)

    def _leave(self, number: int, photo: _InProgress) -> None:
        """It is the next one's turn, if it was that of `photo`."""
        waiting = self._turns.get(photo.digest, {})
        if waiting.pop(number, None) is None:
            return
        if not waiting:
            del self._turns[photo.digest]
        elif (following := next(iter(waiting.values()))).turn is not None:
            following.turn.set()

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


def unhashed_of(entry: PhotoEntry) -> UnhashedPhoto:
    """The photo of `entry` as it is now, to be read."""
    file: PhotoFile = entry.file
    return UnhashedPhoto(entry.id, file.path, file.size, file.version, file.page)


def digest_of(photo: UnhashedPhoto, *, digest: Callable[..., bytes]) -> bytes:
    """The digest of a photo's content, empty when it cannot be read or has changed; blocks."""
    return content_digest(digest(photo.path, size=photo.size, version=photo.version), page=photo.page)
