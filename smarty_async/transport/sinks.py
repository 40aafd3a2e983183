"""Where outputs go as they are decoded, before anyone knows whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from smarty_async.results import Kind
from smarty_async.wire.messages import Answered

__all__ = ["MemorySink", "OutputSink", "ReceivedItem", "SpoolFile"]


class SpoolFile(Protocol):
    """A temporary place for one output. It has no name until its item has closed."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...

    async def discard(self) -> None:
        """Let it be gone; more than once does no harm."""
        ...


class OutputSink(Protocol):
    """Where outputs go as they are decoded."""

    def open(self) -> SpoolFile:
        """A new temporary place."""
        ...

    async def write(self, lots: Sequence[tuple[SpoolFile, list[bytes]]]) -> None:
        """Append its pieces to each file."""
        ...


class ReceivedItem(msgspec.Struct, frozen=True):
    """An answered item and its outputs; whoever takes it keeps or discards each one."""

    answered: Answered
    files: dict[Kind, SpoolFile]

    async def discard(self) -> None:
        """Let all its outputs be gone."""
        for file in self.files.values():
            await file.discard()


class MemoryFile:
    """An output in memory."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`."""
        self._pieces += pieces

    async def discard(self) -> None:
        """Let it be gone."""
        self._pieces.clear()

    @property
    def data(self) -> bytes:
        """What was written."""
        return b"".join(self._pieces)


class MemorySink:
    """Keeps outputs in memory, for one photo at a time."""

    def open(self) -> MemoryFile:
        """A new place in memory."""
        return MemoryFile()

    async def write(self, lots: Sequence[tuple[SpoolFile, list[bytes]]]) -> None:
        """Append its pieces to each file."""
        for file, pieces in lots:
            file.append(pieces)
