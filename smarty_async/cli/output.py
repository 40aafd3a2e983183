"""What the program says: lines on stderr, results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from smarty_async.cli.streams import to_nowhere
from smarty_async.errors import DiskError

__all__ = ["Output", "say"]


def say(line: str) -> None:
    """Print one line on stderr, whatever is in it. That nobody can read it is no reason to stop."""
    from smarty_async.report.wording import plain  # noqa: PLC0415 - help is quick

    try:
        print(plain(line), file=sys.stderr, flush=True)  # noqa: T201 - what the program says
    except OSError:  # the reader has left, or the disk of a log file is full
        to_nowhere(sys.stderr.fileno())


class Output:
    """Lines on stdout, each flushed as it comes.

    When the reader leaves (``… | head``), the lines that follow are dropped without a word, as every Unix tool does.
    """

    def __init__(self) -> None:
        self._closed = False

    def struct(self, value: Any) -> None:
        """Print one line of JSON.

        Raises:
            DiskError: stdout cannot be written to: the disk of the file is full, say. It is raised once.
        """
        import msgspec  # noqa: PLC0415 - help is quick

        self._write(msgspec.json.encode(value))

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines for people.

        Raises:
            DiskError: as for `struct`.
        """
        encoding = sys.stdout.encoding or "utf-8"
        for line in lines:
            self._write(line.encode(encoding, "backslashreplace"))

    def _write(self, line: bytes) -> None:
        if self._closed:
            return
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._close()
        except OSError as error:
            self._close()
            raise DiskError(f"cannot write to stdout: {error.strerror}", errno=error.errno) from None

    def _close(self) -> None:
        self._closed = True
        to_nowhere(sys.stdout.fileno())
