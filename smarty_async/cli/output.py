"""What the program says: lines on stderr, results on stdout, and streams that lose nothing.

A write to a descriptor that is not ready waits until it is.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final, TextIO

from smarty_async.errors import DiskError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Output", "say", "terminal_to_nowhere", "to_nowhere", "use_waiting_streams"]


_INSTEAD: Mapping[str, str] = {"₽": "RUB", "×": "x", "·": "-"}
"""What is printed in place of the program's own signs, where the encoding of a stream lacks them."""

_ERRORS: Final = "smarty_async.instead"


def _instead(error: UnicodeError) -> tuple[str | bytes, int]:
    """Print a sign of the program in another way, and anything else, such as a letter of a name, as an escape."""
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - only used to encode
    sign = error.object[error.start]
    if sign in _INSTEAD:
        return _INSTEAD[sign], error.start + 1
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.backslashreplace_errors(one)


codecs.register_error(_ERRORS, _instead)


def say(line: str) -> None:
    """Print one line on stderr, whatever is in it; a closed stream is no reason to stop."""
    from smarty_async.report.wording import plain  # noqa: PLC0415 - help is quick

    try:
        print(_fitted(plain(line), sys.stderr), file=sys.stderr, flush=True)  # noqa: T201 - what the program says
    except OSError:  # the reader has left, or the disk of a log file is full
        to_nowhere(sys.stderr.fileno())


def _fitted(line: str, stream: TextIO) -> str:
    """`line` as `stream` can print it, in lines that fit a terminal; elsewhere it stays one line."""
    from smarty_async.report.wording import wrapped  # noqa: PLC0415 - help is quick

    encoding = stream.encoding or "utf-8"
    line = line.encode(encoding, _ERRORS).decode(encoding)
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
            self._write(_fitted(line, sys.stdout).encode(encoding))

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


def _open_missing_streams() -> None:
    """Let the streams that the program was started without lead nowhere.

    Their descriptors would go to the next files that are opened, such as the journal.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # takes the lowest descriptor that is free
            os.set_inheritable(nowhere, True)  # noqa: FBT003 - its only argument
            setattr(sys, name, open(nowhere, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - a descriptor


def use_waiting_streams() -> None:
    """Make stdout and stderr wait where they would lose output, and print what they cannot encode as an escape.

    On Windows pipes are never non-blocking, and a console needs Python's own writer.
    """
    _open_missing_streams()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, TextIOWrapper):
            continue
        if os.name == "nt":
            stream.reconfigure(errors=_ERRORS)
            continue
        stream.flush()
        try:
            buffer = io.BufferedWriter(_Descriptor(stream.fileno()))
        except io.UnsupportedOperation:  # a stream in memory
            continue
        setattr(
            sys,
            name,
            TextIOWrapper(buffer, encoding=stream.encoding, errors=_ERRORS, line_buffering=True, write_through=True),
        )


def terminal_to_nowhere() -> None:
    """Let what is written to a terminal that was closed go nowhere; files and pipes are still written."""
    for stream in (sys.stdout, sys.stderr):
        if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):  # `isatty` is false for it by now
            to_nowhere(stream.fileno())


def to_nowhere(descriptor: int) -> None:
    """Let what is still buffered for `descriptor` go nowhere, so that the interpreter's last flush does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
