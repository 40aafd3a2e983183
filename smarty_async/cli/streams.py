"""Standard streams that lose nothing: a write to a descriptor that is not ready waits until it is."""

from __future__ import annotations

import io
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["to_nowhere", "use_waiting_streams"]


class _Descriptor(io.RawIOBase):
    """Writes to a file descriptor, also one that a parent process has set to non-blocking.

    Python's own writer raises `BlockingIOError` when such a pipe is full. The flag belongs to everyone who shares
    the pipe, so it is left as it is.

    Args:
        number: the descriptor; closing this does not close it.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: ReadableBuffer) -> int:
        """Write some of `data`; returns how many bytes."""
        while True:
            try:
                return os.write(self._number, data)
            except BlockingIOError:
                self._wait()

    def _wait(self) -> None:
        import select  # noqa: PLC0415 - help is quick

        select.select([], [self._number], [])


def use_waiting_streams() -> None:
    """Make stdout and stderr wait where they would lose output, and print what they cannot encode as an escape.

    On Windows pipes are never non-blocking, and a console needs Python's own writer.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, TextIOWrapper):
            continue
        if os.name == "nt":
            stream.reconfigure(errors="backslashreplace")
            continue
        stream.flush()
        try:
            buffer = io.BufferedWriter(_Descriptor(stream.fileno()))
        except io.UnsupportedOperation:  # a stream in memory
            continue
        setattr(
            sys,
            name,
            TextIOWrapper(
                buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=True, write_through=True
            ),
        )


def to_nowhere(descriptor: int) -> None:
    """Let what is still buffered for `descriptor` go nowhere, so that the interpreter's last flush does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
