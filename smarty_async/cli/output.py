"""What the program says: lines on stderr, results on stdout."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from smarty_async.cli.streams import to_nowhere
from smarty_async.errors import DiskError

__all__ = ["Output", "say"]


def say(line: str) -> None:
    """Print one line on stderr, whatever is in it. That nobody can read it is no reason to stop."""
    from smarty_async.report.wording import plain  # noqa: PLC0415 - help is quick

    try:
        print(_fitted(plain(line), sys.stderr), file=sys.stderr, flush=True)  # noqa: T201 - what the program says
    except OSError:  # the reader has left, or the disk of a log file is full
        to_nowhere(sys.stderr.fileno())


def _fitted(line: str, stream: TextIO) -> str:
    """`line` in lines that fit a terminal; elsewhere it stays one line."""
    from smarty_async.report.wording import wrapped  # noqa: PLC0415 - help is quick

    # A terminal breaks lines in the middle of a word. Commands stay on one line, to be copied.
    if not stream.isatty() or line.lstrip().startswith("smarty-async "):
        return line
    return wrapped(line, shutil.get_terminal_size().columns)


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
            self._write(_fitted(line, sys.stdout).encode(encoding, "backslashreplace"))

    def _write(self, line: bytes) -> None:
        if self._closed:
            return
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except OSError as error:
            self._close()
            if isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL):
                return  # Windows has no error of its own for a closed pipe
            raise DiskError(f"cannot write to stdout: {error.strerror}", errno=error.errno) from None

    def _close(self) -> None:
        self._closed = True
        to_nowhere(sys.stdout.fileno())
