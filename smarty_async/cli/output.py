"""What the program says: lines on stderr, results on stdout. A reader who has left is no error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

__all__ = ["Output", "say", "to_nowhere"]


def say(line: str) -> None:
    """One line on stderr, whatever is in it."""
    from smarty_async.report.wording import plain  # noqa: PLC0415 - help is quick

    try:
        print(plain(line), file=sys.stderr, flush=True)  # noqa: T201 - what the program says
    except BrokenPipeError:
        to_nowhere(sys.stderr.fileno())


def to_nowhere(descriptor: int) -> None:
    """What is still buffered goes nowhere, so that the interpreter's last flush does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


class Output:
    """Lines on stdout, each flushed as it comes. When its reader leaves (``… | head``) the photos go on."""

    def __init__(self) -> None:
        self._gone = False

    def struct(self, value: Any) -> None:
        """One line of JSON."""
        import msgspec  # noqa: PLC0415 - help is quick

        self._write(msgspec.json.encode(value))

    def lines(self, lines: Iterable[str]) -> None:
        """Lines for people."""
        encoding = sys.stdout.encoding or "utf-8"
        for line in lines:
            self._write(line.encode(encoding, "backslashreplace"))

    def _write(self, line: bytes) -> None:
        if self._gone:
            return
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._gone = True
            to_nowhere(sys.stdout.fileno())
