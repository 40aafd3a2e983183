"""An answer's bytes on their way to the spool, and its items to whoever waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from smarty_async.errors import RequestError
from smarty_async.results import Kind
from smarty_async.transport.sinks import OutputSink, ReceivedItem, SpoolFile
from smarty_async.wire.messages import Answered, Envelope
from smarty_async.wire.splitter import AnswerSplitter

__all__ = ["ResponseReader"]

_FLUSH_BYTES = 1 << 19
"""How much waits in memory before it goes to the spool; as much again may be on its way there."""

_MOST_OUTPUTS = 16
"""Outputs of one item: no more than a few fields hold one, but a field may be repeated."""

_AT_ONCE = 8
"""Items delivered in one turn of the loop: each wakes a photo's whole story."""


class ResponseReader:
    """Takes the splitter's events to the spool and to whoever waits for the items."""

    def __init__(
        self,
        sink: OutputSink,
        deliver: Callable[[ReceivedItem], bool],
        *,
        clean: Callable[[str], str],
        max_output_bytes: int,
    ) -> None:
        self._splitter = AnswerSplitter(max_output_bytes=max_output_bytes)
        self._spool = sink
        self._deliver = deliver
        self._clean = clean
        self._files: dict[int, SpoolFile] = {}  # of the item that is open
        self._closed: list[tuple[Answered, dict[int, SpoolFile]]] = []
        self._pieces: dict[SpoolFile, list[bytes]] = {}
        self._waiting = 0
        self._writing: asyncio.Task[None] | None = None

    async def feed(self, data: bytes) -> None:
        """Take `data` in; the items that it closes are delivered when all their bytes are in their spool.

        The spool is waited for only when too much waits for it.
        """
        try:
            for event in self._splitter.feed(data):
                if isinstance(event, Answered):
                    self._closed.append((event, self._files))
                    self._files = {}
                    continue
                if (file := self._files.get(event.number)) is None:
                    if len(self._files) == _MOST_OUTPUTS:
                        raise RequestError("one of the answer's items has outputs without an end", enveloped=True)
                    file = self._files[event.number] = self._spool.open()
                self._pieces.setdefault(file, []).append(event.data)
                self._waiting += len(event.data)
        finally:
            if self._due and self._writing is None:
                self._writing = asyncio.create_task(self._write(), name="smarty_async spool")
        while self._waiting >= _FLUSH_BYTES and self._writing is not None:
            await self._writing

    def finish(self) -> Envelope:
        """The envelope, at the answer's end."""
        return self._splitter.finish()

    async def close(self) -> None:
        """Deliver what is whole, and let go of what belongs to no delivered item."""
        try:
            if self._writing is not None:
                await self._writing
        finally:
            self._pieces.clear()
            for files in (self._files, *(files for _, files in self._closed)):
                while files:
                    await files.popitem()[1].discard()

    @property
    def _due(self) -> bool:
        return bool(self._closed) or self._waiting >= _FLUSH_BYTES

    async def _write(self) -> None:
        while self._due:
            pieces, self._pieces, self._waiting = self._pieces, {}, 0
            closed = len(self._closed)
            if pieces:
                await self._spool.write(list(pieces.items()))
            await self._hand_over(closed)
        self._writing = None

    async def _hand_over(self, items: int) -> None:
        for number in range(items):
            if number and not number % _AT_ONCE:
                await asyncio.sleep(0)  # whoever was woken has a turn, and so have other requests
            answered, files = self._closed[0]
            if answered.error is not None:
                answered = msgspec.structs.replace(answered, error=self._clean(answered.error))
            outputs: dict[Kind, SpoolFile] = {
                kind: files[blob.number] for kind, blob in answered.blobs.items() if blob.number in files
            }
            if self._deliver(ReceivedItem(answered, outputs)):
                for blob in answered.blobs.values():
                    files.pop(blob.number, None)
            del self._closed[0]
            for file in files.values():
                await file.discard()
