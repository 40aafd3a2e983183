"""One base64 string, decoded as its pieces arrive."""

from __future__ import annotations

import re

import msgspec
import pybase64

from smarty_async.wire.messages import Blob

__all__ = ["Base64Reader"]

_ALPHABET = re.compile(rb"[A-Za-z0-9+/=]*")
_QUANTUM, _TRIPLE = 4, 3  # so many characters make so many bytes, and fewer where there is padding
_HEAD = 3  # bytes that a JPEG is known by


def _unescaped(text: bytes) -> bytes:
    """`text` without its JSON escapes; as it is, which is no base64 either, when it breaks JSON's rules."""
    try:
        return msgspec.json.decode(b'"%b"' % text, type=str).encode()
    except (msgspec.DecodeError, UnicodeError):
        return text


class Base64Reader:
    """Strict incremental base64: the alphabet alone, padding at the end alone, nothing cut.

    An error does not raise: it spoils this string, not the answer around it. Which error it is does not hang on
    how the string was cut into pieces.
    """

    def __init__(self, number: int, *, max_bytes: int) -> None:
        self.number = number
        self._max_bytes = max_bytes
        self._size = 0
        self._head = b""
        self._error: str | None = None
        self._carry = b""  # up to 3 characters that await their quantum
        self._escaped = False  # so far

    def feed(self, data: bytes, start: int, end: int) -> list[bytes]:
        """The bytes that `data[start:end]`, a piece of the JSON string cut between escapes, brings, in order."""
        read = self.take(data, start, end)
        if read is None and self._error is None:
            self._escaped = True
            text = _unescaped(data[start:end])
            read = self._decode(text, 0, len(text))
            if read is None:
                self._error = "its base64 is broken"
        return read or []

    def take(self, data: bytes, start: int, end: int) -> list[bytes] | None:
        """The same when it is base64 as it stands; else, or where escapes came before, None, and nothing was taken."""
        return None if self._escaped else self._decode(data, start, end)

    def close(self) -> Blob:
        """What was read, at the closing quote."""
        error = self._error
        if error is None and self._carry:
            error = "its base64 is cut short"
        if error is None and self._size > self._max_bytes:
            error = f"it decodes to more than {self._max_bytes:,} bytes"
        if error is not None:
            return Blob(self.number, 0, b"", error)
        return Blob(self.number, self._size, self._head)

    def _decode(self, data: bytes, start: int, end: int) -> list[bytes] | None:
        middle = min(start + -len(self._carry) % _QUANTUM, end)
        whole = end - (end - middle) % _QUANTUM
        first, carry = self._carry + data[start:middle], data[whole:end]
        if len(first) % _QUANTUM:
            first, carry = b"", first
        if not _ALPHABET.fullmatch(carry):
            return None
        texts = (first, memoryview(data)[middle:whole])  # apart: joining them would copy all
        try:
            read = [pybase64.b64decode(text, None, True) for text in texts if text]  # noqa: FBT003 - by name takes longer
        except ValueError:
            return None
        size = self._size
        for part in read:
            if size % _TRIPLE:  # what was before it ended in padding
                return None
            size += len(part)
        if not self._size and read:
            self._head = read[0][:_HEAD]
        self._carry, self._size = carry, size
        # One that is too long is called so at its end: should it break before that, it is called broken.
        return read if size <= self._max_bytes else []
