"""One base64 string, decoded as its pieces arrive."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

import pybase64

from smarty_async.wire.messages import Blob

__all__ = ["Base64Reader"]

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_QUANTUM = 4  # characters that make 3 bytes


def _unescaped(text: bytes) -> bytes:
    if b"\\\\" not in text:  # else `\\/` would read as an escaped slash
        text = text.replace(b"\\/", b"/")  # what PHP's encoders write, for every 64th character
    return _ESCAPE.sub(_unescape, text) if b"\\" in text else text


def _unescape(match: re.Match[bytes]) -> bytes:
    digits, plain = match.groups()
    if digits is None:
        return bytes(plain) if plain == b"/" else b"\\"  # no other escaped character is of the alphabet
    code = int(digits, 16)
    return bytes((code,)) if code < 128 else b"\\"  # noqa: PLR2004 - the end of ASCII


class Base64Reader:
    """Strict incremental base64: the alphabet alone, padding at the end alone, nothing cut.

    An error does not raise: it spoils this string, not the answer around it. Which error it is does not hang on
    how the string was cut into pieces.
    """

    def __init__(self, number: int, *, max_bytes: int) -> None:
        self._number = number
        self._max_bytes = max_bytes
        self._size = 0
        self._head = b""
        self._error: str | None = None
        self._carry = b""  # up to 3 characters that await their quantum
        self._padded = False

    def feed(self, text: bytes | memoryview, *, escaped: bool) -> Iterator[bytes]:
        """The bytes that `text`, a piece of the JSON string cut between escapes, brings."""
        if escaped:
            text = _unescaped(bytes(text))
        if self._carry:
            missing = _QUANTUM - len(self._carry)
            self._carry += bytes(text[:missing])
            if len(self._carry) < _QUANTUM:
                return
            text = text[missing:]
            yield from self._decode(self._carry)
        whole = len(text) - len(text) % _QUANTUM
        self._carry = bytes(text[whole:])
        if whole:
            yield from self._decode(text[:whole])

    def close(self) -> Blob:
        """What was read, at the closing quote."""
        error = self._error
        if error is None and self._carry:
            error = "its base64 is cut short"
        if error is None and self._size > self._max_bytes:
            error = f"it decodes to more than {self._max_bytes:,} bytes"
        if error is not None:
            return Blob(self._number, 0, b"", error)
        return Blob(self._number, self._size, self._head)

    def _decode(self, text: bytes | memoryview) -> Iterator[bytes]:
        if self._error is not None:
            return
        try:
            if self._padded:
                raise binascii.Error
            data = pybase64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self._error = "its base64 is broken"
            return
        self._padded = text[-1] == ord("=")
        self._size += len(data)
        if self._size > self._max_bytes:
            return  # said at the end, where a broken string is called that and no other name
        if len(self._head) < 3:  # noqa: PLR2004 - what a JPEG is known by
            self._head = (self._head + data)[:3]
        yield data
