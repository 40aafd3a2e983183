"""Incremental base64 decoder for the outputs of an answer."""

from __future__ import annotations

import re
from typing import Final

import msgspec
import pybase64

from smarty_async.wire.messages import Blob

__all__ = ["HEAD_BYTES", "Base64Reader"]

_ALPHABET = re.compile(rb"[A-Za-z0-9+/=]*")
_QUANTUM, _TRIPLE = 4, 3
"""Four characters encode three bytes."""
HEAD_BYTES: Final = 3
"""Bytes of a decoded output that are kept to recognise a JPEG."""

_WHITESPACE: Final = b" \t\n\r\f\v"
_TO_SPACES: Final = bytes.maketrans(_WHITESPACE, b" " * len(_WHITESPACE))
_SCHEME: Final = b"data:"
_DATA_URL = re.compile(rb"data:[^,]*;base64", re.IGNORECASE)
_MAX_PREFIX: Final = 256
"""Longest `data:` prefix that is accepted, in characters."""
_PLAIN_START = re.compile(rb"[A-CE-Za-ce-z0-9+/]")
"""First character of a string that has no `data:` prefix: a base64 character other than d and D."""


class Base64Reader:
    """Decodes one base64 string that arrives in pieces.

    Tolerated: white space anywhere, missing padding, and a ``data:…;base64,`` prefix. Anything else that is not
    base64 makes the string an error: foreign characters, data after padding, incomplete padding, a single left-over
    character. An error does not raise, because it concerns this string and not the answer around it. The result
    does not depend on how the string was cut into pieces.

    Args:
        number: the number of the blob in its answer.
        max_bytes: what the string may decode to, in bytes.
    """

    def __init__(self, number: int, *, max_bytes: int) -> None:
        self.number = number
        self._max_bytes = max_bytes
        self._size = 0
        self._head = b""
        self._error: str | None = None
        self._carry = b""  # up to 3 characters of an incomplete quantum
        self._start: bytes | None = b""  # the string so far, while it may have a data: prefix; then None
        self._normalize = False  # an earlier piece held escapes or white space

    def feed(self, data: bytes, start: int, end: int) -> list[bytes]:
        """Decode `data[start:end]`, a piece of a JSON string that is cut between escapes.

        Returns:
            The decoded bytes, in order.
        """
        if self._start is None or (not self._start and _PLAIN_START.match(data, start, end)):
            self._start = None
            if not self._normalize and (decoded := self._decode(data, start, end)) is not None:
                return decoded
        if self._error is not None or start == end:
            return []
        self._normalize = True
        text = _normalized(data[start:end])
        if text is None:
            self._error = "its base64 is broken"
            return []
        if self._start is None:
            return self._decode_or_fail(text)
        rest = self._without_prefix(self._start + text)
        return [] if rest is None else self._decode_or_fail(rest)

    def take(self, data: bytes, start: int, end: int) -> list[bytes] | None:
        """Decode `data[start:end]` if it is base64 without escapes and white space, and so without a quote.

        Returns:
            The decoded bytes; None when the piece, or an earlier one, needs `feed`. Then nothing was taken.
        """
        return None if self._normalize or self._start is not None else self._decode(data, start, end)

    def flush(self) -> list[bytes]:
        """Decode what is left at the closing quote, where padding is missing."""
        if self._error is not None or not (self._carry or self._start):
            return []
        decoded: list[bytes] = []
        if self._start:
            start, self._start = self._start, None
            if start.lower().startswith(_SCHEME):
                self._error = "its base64 is broken"
                return []
            decoded = self._decode_or_fail(start)
        missing = -len(self._carry) % _QUANTUM
        if self._carry and (b"=" in self._carry or missing == _TRIPLE or self._size % _TRIPLE):
            self._error = "its base64 is cut short"
        elif self._carry:
            decoded += self._decode_or_fail(b"=" * missing)
        return decoded

    def close(self) -> Blob:
        """Describe the whole string, after `flush`."""
        error = self._error
        if error is None and self._size > self._max_bytes:
            error = f"it decodes to more than {self._max_bytes:,} bytes (max_output_bytes, --max-output-bytes)"
        if error is not None:
            return Blob(self.number, 0, b"", error)
        return Blob(self.number, self._size, self._head)

    def _without_prefix(self, text: bytes) -> bytes | None:
        """The base64 in the beginning `text` of the string; None while the prefix is not complete, or is wrong."""
        self._start = text
        opening = text[: len(_SCHEME)].lower()
        if opening != _SCHEME:
            if _SCHEME.startswith(opening):
                return None
        else:
            prefix, comma, text = text.partition(b",")
            if not comma and len(prefix) <= _MAX_PREFIX:
                return None
            if len(prefix) > _MAX_PREFIX or not _DATA_URL.fullmatch(prefix):
                self._error = "its base64 is broken"
        self._start = None
        return None if self._error else text

    def _decode_or_fail(self, text: bytes) -> list[bytes]:
        decoded = self._decode(text, 0, len(text))
        if decoded is None:
            self._error = "its base64 is broken"
        return decoded or []

    def _decode(self, data: bytes, start: int, end: int) -> list[bytes] | None:
        """Decode strict base64 that continues `_carry`; None, and no change, when it is something else."""
        middle = min(start + -len(self._carry) % _QUANTUM, end)
        whole = end - (end - middle) % _QUANTUM
        first, carry = self._carry + data[start:middle], data[whole:end]
        if len(first) % _QUANTUM:
            first, carry = b"", first
        if not _ALPHABET.fullmatch(carry):
            return None
        decoded: list[bytes] = []
        size = self._size
        for text in (first, memoryview(data)[middle:whole]):  # two texts: joining them would copy everything
            if not text:
                continue
            try:
                part = pybase64.b64decode(text, None, True)  # noqa: FBT003 - a keyword is slower
            except ValueError:
                return None
            if size % _TRIPLE:  # the part before it ended in padding
                return None
            decoded.append(part)
            size += len(part)
        if not self._size and decoded:
            self._head = decoded[0][:HEAD_BYTES]
        self._carry, self._size = carry, size
        # Whether the string is too long is decided in `close`: it may still turn out to be broken.
        return decoded if size <= self._max_bytes else []


def _normalized(piece: bytes) -> bytes | None:
    """`piece` of a JSON string without escapes and white space; None when an escape is invalid."""
    if b"\\" in piece:
        quoted = b'"%b"' % piece.translate(_TO_SPACES)  # JSON forbids line ends inside of strings
        try:
            piece = msgspec.json.decode(quoted, type=str).encode()
        except (msgspec.DecodeError, UnicodeError):
            return None
    return piece.translate(None, _WHITESPACE)
