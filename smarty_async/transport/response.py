"""Reads a response's outputs into sinks, and hands its items to the photos that wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Protocol

import aiohttp
import msgspec

from smarty_async.errors import RequestError, SmartyError
from smarty_async.results import Kind
from smarty_async.thread_limit import is_thread_limit
from smarty_async.wire.messages import Answered, Envelope, Event, Piece
from smarty_async.wire.splitter import AnswerSplitter

__all__ = [
    "MemoryFile",
    "MemorySink",
    "OutputEditor",
    "OutputSink",
    "ReceivedItem",
    "ResponseReader",
    "SinkFile",
    "foreign_data",
]

_FLUSH_BYTES = 1 << 19
"""How much is collected in memory before it is written; as much again may be being written."""
_ITEMS_PER_TURN = 8
"""Items handed over in one turn of the event loop: each wakes the coroutine of a photo."""


@contextmanager
def foreign_data(what: str) -> Generator[None]:
    """The boundary around parsers of data from outside: they raise RequestError, whatever the data makes them raise.

    Args:
        what: what is parsed, for the message.
    """
    try:
        yield
    except Exception as error:
        problem = _foreign_problem(error, what)
        if problem is None:
            raise
    else:
        return
    raise problem  # outside of the handler, so that it does not carry the foreign exception along


def _foreign_problem(error: Exception, what: str) -> RequestError | None:
    """What is raised instead of `error`; None when it is raised itself."""
    if isinstance(error, SmartyError | aiohttp.ClientError | OSError) or is_thread_limit(error):
        return None  # translated already, or to be translated where the request was made
    return RequestError(f"{what} cannot be read ({type(error).__name__})")


class SinkFile(Protocol):
    """A temporary place for one output. It has no name until its item has closed."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...

    def edit_with(self, editor: OutputEditor) -> None:
        """Take note of what is to be done to the output, as its image is known now; the sink may do it as it writes."""
        ...

    async def discard(self) -> None:
        """Remove it; more than once does no harm."""
        ...


class OutputSink(Protocol):
    """Where outputs are written as they are decoded."""

    def open(self) -> SinkFile:
        """A new temporary place."""
        ...

    async def write(self, batches: Sequence[tuple[SinkFile, list[bytes]]]) -> None:
        """Append its pieces to each file."""
        ...


class OutputEditor(Protocol):
    """What is done to each output of one image: to its start, where that is enough, or once it is complete."""

    warnings: list[str]
    """What could not be done, and why."""

    def edited_start(self, start: Sequence[bytes]) -> Sequence[bytes | memoryview] | None:
        """What replaces `start`, with which an output starts; None when it has to be complete first; may block."""
        ...

    def copy_to(self, output: str) -> int:
        """Rewrite the file `output`; its size in bytes then; blocks."""
        ...


class ReceivedItem(msgspec.Struct, frozen=True):
    """An answered item and its outputs; the photo that takes it keeps or discards each one.

    Attributes:
        answered: the item.
        files: its outputs, each complete.
        on_taken: called once the outputs are committed or discarded; None for nothing.
    """

    answered: Answered
    files: dict[Kind, SinkFile]
    on_taken: Callable[[], None] | None = None

    async def discard(self) -> None:
        """Discard all its outputs."""
        for file in self.files.values():
            await file.discard()
        self.taken()

    def taken(self) -> None:
        """The outputs are committed, or discarded."""
        if self.on_taken is not None:
            self.on_taken()


class MemoryFile:
    """An output in memory."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`."""
        self._pieces += pieces

    def edit_with(self, editor: OutputEditor) -> None:
        """Do nothing: outputs in memory stay as they are."""

    async def discard(self) -> None:
        """Remove it."""
        self._pieces.clear()

    @property
    def data(self) -> bytes:
        """What was written."""
        return b"".join(self._pieces)


class MemorySink:
    """Keeps outputs in memory."""

    def open(self) -> MemoryFile:
        """A new place in memory."""
        return MemoryFile()

    async def write(self, batches: Sequence[tuple[SinkFile, list[bytes]]]) -> None:
        """Append its pieces to each file."""
        for file, pieces in batches:
            file.append(pieces)


class ResponseReader:
    """Reads a response as it arrives: writes its outputs to the sink and hands over each item that is complete.

    Args:
        sink: where outputs are written.
        on_item: is given each item when all its outputs are written; False when it is not wanted.
        editor_of: what is to be done to the outputs of the item with a name; None for nothing.
        clean: makes a text of the service safe to show.
        max_output_bytes: what one output may decode to.
    """

    def __init__(
        self,
        sink: OutputSink,
        on_item: Callable[[ReceivedItem], bool],
        *,
        editor_of: Callable[[str], OutputEditor | None],
        clean: Callable[[str], str],
        max_output_bytes: int,
    ) -> None:
        self._splitter = AnswerSplitter(max_output_bytes=max_output_bytes)
        self._sink = sink
        self._on_item = on_item
        self._editor_of = editor_of
        self._clean = clean
        self._files: dict[int, SinkFile] = {}  # of the item that is open
        self._edited_for: str | None = None  # the name that it had when one of its files got an editor
        self._closed: list[tuple[Answered | None, dict[int, SinkFile]]] = []  # None: what was no valid item
        self._pieces: dict[SinkFile, list[bytes]] = {}
        self._buffered = 0  # bytes in `_pieces`
        self._writer: asyncio.Task[None] | None = None

    def feed(self, data: bytes) -> bool:
        """Take the next bytes of the response in; whether `wait_for_sink` is to be called before the next.

        Raises:
            RequestError: this is not the service's response, or goes beyond what one may be.
        """
        events: list[Event] = []
        problem: RequestError | None = None
        try:
            self._splitter.feed(data, events)
        except Exception as error:  # as `foreign_data` does, which costs more than the parsing of a small piece
            problem = _foreign_problem(error, "the answer")
            if problem is None:
                raise
        finally:
            if events:  # also before an error
                self._take(events)
                self._start_writer()
        if problem is not None:
            raise problem
        return self._buffered >= _FLUSH_BYTES

    async def wait_for_sink(self) -> None:
        """Wait for the sink while much is buffered.

        Raises:
            DiskError: the sink refuses.
        """
        while self._buffered >= _FLUSH_BYTES and self._writer is not None:
            await asyncio.wait([self._writer])  # awaited itself, it would be cancelled together with this
            self._start_writer()
            self._raise_refusal()

    def finish(self) -> Envelope:
        """The envelope, at the response's end.

        Raises:
            RequestError: the response broke off, or is not the service's.
        """
        with foreign_data("the answer"):
            return self._splitter.finish()

    async def drain(self) -> None:
        """Write and hand over all complete items, despite cancellations; discard the outputs of incomplete ones."""
        try:
            await self._finish_writing()
        finally:
            self._pieces.clear()
            for files in (self._files, *(files for _, files in self._closed)):
                while files:
                    await files.popitem()[1].discard()

    async def _finish_writing(self) -> None:
        """Wait until the writer has ended: a cancellation would leave its thread alone with the files."""
        cancelled: asyncio.CancelledError | None = None
        while self._writer is not None and not self._writer.done():
            try:
                await asyncio.wait([self._writer])
            except asyncio.CancelledError as error:
                cancelled = error
            self._start_writer()
        if cancelled is not None:
            raise cancelled
        self._raise_refusal()

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Piece):
                if (file := self._files.get(event.number)) is None:
                    file = self._files[event.number] = self._sink.open()
                self._pieces.setdefault(file, []).append(event.data)
                self._buffered += len(event.data)
            else:
                if event is not None and self._edited_for not in (None, event.name):
                    event = None  # noqa: PLW2901 - it has two names, and its outputs may be edited for the wrong image
                if event is not None:
                    self._edit_for(event.name)
                self._closed.append((event, self._files))
                self._files, self._edited_for = {}, None
        if self._files and (name := self._splitter.item_name) is not None:
            self._edit_for(name)

    def _edit_for(self, name: str) -> None:
        """Give the outputs of the open item the editor of the item called `name`."""
        editor = self._editor_of(name)
        if editor is not None and self._edited_for in (None, name):
            self._edited_for = name
            for file in self._files.values():
                file.edit_with(editor)

    @property
    def _due(self) -> bool:
        return bool(self._closed) or self._buffered >= _FLUSH_BYTES

    def _start_writer(self) -> None:
        # An eager task may have ended before it is assigned: only its own state shows whether it still writes.
        if self._writer is not None and self._writer.done() and not self._writer.cancelled():
            self._writer = self._writer if self._writer.exception() else None
        if self._due and self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="smarty_async output writer")

    def _raise_refusal(self) -> None:
        """Raise why nothing more can be written, if that is so."""
        if self._writer is not None and self._writer.done():
            self._writer.result()

    async def _write(self) -> None:
        while self._due:
            pieces, self._pieces, self._buffered = self._pieces, {}, 0
            closed = len(self._closed)
            if pieces:
                await self._sink.write(list(pieces.items()))
            await self._hand_over(closed)

    async def _hand_over(self, items: int) -> None:
        for number in range(items):
            if number and not number % _ITEMS_PER_TURN:
                await asyncio.sleep(0)  # lets the coroutines woken so far, and other requests, run
            answered, files = self._closed[0]
            if answered is not None and self._on_item(self._received(answered, files)):
                for blob in answered.blobs.values():
                    files.pop(blob.number, None)
            del self._closed[0]
            for file in files.values():
                await file.discard()

    def _received(self, answered: Answered, files: dict[int, SinkFile]) -> ReceivedItem:
        if answered.error is not None:
            answered = msgspec.structs.replace(answered, error=self._clean(answered.error))
        outputs: dict[Kind, SinkFile] = {
            kind: files[blob.number] for kind, blob in answered.blobs.items() if blob.number in files
        }
        return ReceivedItem(answered, outputs)
