"""An answer's bytes on their way to the spool, and its items to whoever waits for them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from smarty_async.results import Kind
from smarty_async.transport.spool import Arrived, Spool, SpoolFile
from smarty_async.wire.messages import Answered, Envelope
from smarty_async.wire.splitter import AnswerSplitter

__all__ = ["Unpacker"]

_FLUSH_BYTES = 1 << 20
"""How much of an output waits in memory before it goes to its spool."""


class Unpacker:
    """Takes the splitter's events to the spool and to whoever waits for the items."""

    def __init__(self, spool: Spool, deliver: Callable[[Arrived], bool], *, clean: Callable[[str], str]) -> None:
        self._splitter = AnswerSplitter()
        self._spool = spool
        self._deliver = deliver
        self._clean = clean
        self._files: dict[int, SpoolFile] = {}  # of the item that is open
        self._closed: list[tuple[Answered, dict[int, SpoolFile]]] = []
        self._pieces: dict[SpoolFile, list[bytes]] = {}
        self._waiting = 0

    async def feed(self, data: bytes) -> None:
        """Take `data` in; the items that it closes are delivered when all their bytes are in their spool."""
        try:
            for event in self._splitter.feed(data):
                if isinstance(event, Answered):
                    self._closed.append((event, self._files))
                    self._files = {}
                    continue
                if (file := self._files.get(event.number)) is None:
                    file = self._files[event.number] = self._spool.open()
                self._pieces.setdefault(file, []).append(event.data)
                self._waiting += len(event.data)
                if self._waiting >= _FLUSH_BYTES:
                    await self._flush()
        finally:
            if self._closed:
                await self._flush()
                await self._hand_over()

    def finish(self) -> Envelope:
        """The envelope, at the answer's end."""
        return self._splitter.finish()

    async def discard(self) -> None:
        """Let go of what belongs to no delivered item."""
        self._pieces.clear()
        self._waiting = 0
        for files in (self._files, *(files for _, files in self._closed)):
            while files:
                await files.popitem()[1].discard()

    async def _flush(self) -> None:
        pieces, self._pieces, self._waiting = self._pieces, {}, 0
        if pieces:
            await self._spool.write(list(pieces.items()))

    async def _hand_over(self) -> None:
        while self._closed:
            answered, files = self._closed[0]
            if answered.error is not None:
                answered = msgspec.structs.replace(answered, error=self._clean(answered.error))
            outputs: dict[Kind, SpoolFile] = {
                kind: files[blob.number] for kind, blob in answered.blobs.items() if blob.number in files
            }
            if self._deliver(Arrived(answered, outputs)):
                for blob in answered.blobs.values():
                    files.pop(blob.number, None)
            del self._closed[0]
            for file in files.values():
                await file.discard()
