"""The incremental answer reader: a JSON answer of any size in, its items and their decoded outputs out.

It never holds the answer. It walks the JSON from quote to quote; what is structure or a short string goes into a
small skeleton, which msgspec parses once an object has closed, so that the grammar is a real parser's business; the
long strings, the outputs, go piece by piece through base64 and leave only a placeholder in the skeleton.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from smarty_async.errors import RequestError
from smarty_async.options import MODES, Limits, Mode
from smarty_async.results import Kind
from smarty_async.wire.base64 import Base64Reader
from smarty_async.wire.messages import OUTPUT_FIELDS, Answered, Blob, Envelope, Piece, parse_envelope, parse_item

__all__ = ["AnswerSplitter"]

MAX_SKELETON_BYTES: Final = 1 << 20
"""Bytes of JSON that are no output, in one item or around all of them."""
MAX_TEXT_BYTES: Final = 1 << 16
"""Bytes of one string that is no output; a longer one is replaced by an ellipsis."""
MAX_BESIDE_BYTES: Final = 1 << 28
"""Bytes of an answer that are no output, kept or not: white space and long texts may go on for ever, too."""
MAX_DEPTH: Final = 64
LONG_TEXT_BYTES: Final = 1 << 18
"""Bytes of an output behind which the next piece is taken for its middle; where it ends instead costs a decoding."""

_TOKEN = re.compile(rb'["{}\[\],:]')
_KEY = re.compile(  # as nearly every key comes, behind members that are no outputs; the others take the longer way
    rb'(?:"(?:status|name|error|bw)":(?:[-0-9a-z]{1,20}|"[^"\\]{0,256}"),){0,4}"([A-Za-z_]{1,32})":'
)
_TEXT = re.compile(rb'[^"\\]{0,256}"')  # likewise the rest of a short text, behind its opening quote
_SPACES = re.compile(rb"[ \t\r\n]+")
_BACKSLASH = ord("\\")
_ESCAPE_LENGTH, _UNICODE_ESCAPE_LENGTH = 2, 6
_ITEM_DEPTH = 4  # envelope object, body object, mode's array, item object


class _Frame:
    """An object or array that is open."""

    __slots__ = ("awaits_key", "is_object", "key")

    def __init__(self, *, is_object: bool) -> None:
        self.is_object = is_object
        self.awaits_key = is_object
        self.key = ""


class AnswerSplitter:
    """Feed it the answer's bytes as they come; it gives back what they complete.

    Args:
        max_output_bytes: what one output may decode to; a longer one is spoiled, its neighbours are not.
    """

    def __init__(self, *, max_output_bytes: int = Limits().max_output_bytes) -> None:
        self._max_output_bytes = max_output_bytes
        self._frames: list[_Frame] = []
        self._outer = bytearray()
        self._skeleton = self._outer
        self._tail = b""  # an escape cut in two
        self._text: bytearray | None = None  # the short string being read
        self._output: Base64Reader | None = None  # the long one
        self._blobs: list[Blob] = []  # of the item that is open
        self._blob_count = 0
        self._mode: Mode | None = None  # of the item whose object is the innermost one open
        self._answered: Answered | None = None  # an item that has just closed
        self._beside = 0  # bytes that are no output
        self._length = 0  # of the output's text
        self._closed = False

    def feed(self, data: bytes) -> Iterator[Piece | Answered]:
        """What `data`, the next bytes of the answer, completes.

        Raises:
            RequestError: this is not JSON, or goes beyond what an answer may be.
        """
        self._beside += len(data)
        if self._tail:
            data, self._tail = self._tail + data, b""
        position = 0
        while position < len(data):
            if (output := self._output) is not None:
                position, read = self._read_output(data, position, output)
                for part in read:
                    yield Piece(output.number, part)
            elif self._text is not None:
                position = self._read_text(data, position, self._text)
            else:
                position = self._read_structure(data, position)
                if self._answered is not None:
                    answered, self._answered = self._answered, None
                    yield answered
        if self._beside > MAX_BESIDE_BYTES:
            raise self._broken(f"the answer holds more than {MAX_BESIDE_BYTES:,} bytes beside its outputs")

    def finish(self) -> Envelope:
        """The envelope, at the answer's end.

        Raises:
            RequestError: the answer broke off, or is not the service's.
        """
        if not self._closed:
            raise self._broken("the answer broke off" if self._frames else "the answer is not JSON")
        try:
            return parse_envelope(self._outer)
        except msgspec.DecodeError as error:
            raise RequestError(f"the answer is not the service's: {error}") from None

    # strings

    def _read_output(self, data: bytes, start: int, output: Base64Reader) -> tuple[int, list[bytes]]:
        end, closed = len(data), False
        read = output.take(data, start, end) if self._length >= LONG_TEXT_BYTES else None
        if read is None:  # else it was all base64, which holds no quote
            end, closed = self._string_end(data, start)
            read = output.feed(data, start, end)
        self._beside -= end - start
        self._length += end - start
        if self._length > 2 * self._max_output_bytes + MAX_TEXT_BYTES:  # up to there its neighbours are waited for
            raise self._broken("one of the answer's outputs has no end")
        if not closed:
            return len(data), read
        self._keep(b'"%d"' % len(self._blobs))
        self._blobs.append(output.close())
        self._blob_count += 1
        self._output = None
        return end + 1, read

    def _read_text(self, data: bytes, start: int, text: bytearray) -> int:
        end, closed = self._string_end(data, start)
        if len(text) <= MAX_TEXT_BYTES:
            text += data[start:end]
        if not closed:
            return len(data)
        self._close_text(bytes(text) if len(text) <= MAX_TEXT_BYTES else b"\xe2\x80\xa6")
        return end + 1

    def _string_end(self, data: bytes, start: int) -> tuple[int, bool]:
        """Where this piece of a string ends, and whether at its closing quote; a cut escape waits for its rest."""
        quote = data.find(b'"', start)
        while quote >= 0 and _backslashes_before(data, start, quote) % 2:
            quote = data.find(b'"', quote + 1)
        if quote >= 0:
            return quote, True
        end = len(data) - _cut_escape(data, start)
        self._tail = data[end:]
        return end, False

    def _close_text(self, text: bytes) -> None:
        self._text = None
        quoted = b'"%b"' % text
        self._keep(quoted)
        frame = self._frames[-1]
        if frame.awaits_key:
            try:
                frame.key = msgspec.json.decode(quoted, type=str)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self._broken("the answer is not JSON") from None

    # structure

    def _read_structure(self, data: bytes, start: int) -> int:
        """Read on to where an output opens, an item has closed, or `data` ends."""
        while self._output is None and self._text is None and self._answered is None:
            if self._frames and self._frames[-1].awaits_key and (key := _KEY.match(data, start)):
                self._keep(key[0])
                self._frames[-1].key, self._frames[-1].awaits_key = key[1].decode("ascii"), False
                start = key.end()
            token = _TOKEN.search(data, start)
            end = token.start() if token else len(data)
            if end > start:
                self._keep_gap(data[start:end])
            if token is None:
                return end
            start = self._take_token(data, end)
        return start

    def _take_token(self, data: bytes, place: int) -> int:
        """Take the token at `place`, and a short text whole; where it ends."""
        mark = data[place : place + 1]
        if not self._frames and (mark != b"{" or self._closed):
            raise self._broken("the answer is not JSON")
        if mark == b'"':
            return self._open_string(data, place + 1)
        if mark in b"{[":
            self._open(mark)
        elif mark in b"}]":
            self._close(mark)
        else:
            self._keep(mark)
            frame = self._frames[-1]
            frame.awaits_key = frame.is_object and mark == b","
        return place + 1

    def _open_string(self, data: bytes, start: int) -> int:
        frame = self._frames[-1]
        if self._mode and not frame.awaits_key and frame.key in OUTPUT_FIELDS[self._mode]:
            self._length = 0
            self._output = Base64Reader(self._blob_count, max_bytes=self._max_output_bytes)
        elif text := _TEXT.match(data, start):
            self._close_text(text[0][:-1])
            return text.end()
        else:
            self._text = bytearray()
        return start

    def _open(self, mark: bytes) -> None:
        if len(self._frames) >= MAX_DEPTH:
            raise self._broken(f"the answer is nested deeper than {MAX_DEPTH}")
        self._frames.append(_Frame(is_object=mark == b"{"))
        self._mode = self._item_mode()
        if self._mode:
            self._skeleton, self._blobs = bytearray(), []
        self._keep(mark)

    def _close(self, mark: bytes) -> None:
        self._keep(mark)
        if self._frames[-1].is_object is not (mark == b"}"):
            raise self._broken("the answer is not JSON")
        mode = self._mode
        self._frames.pop()
        self._closed = not self._frames
        self._mode = self._item_mode()
        if mode:
            self._answered = self._close_item(mode)

    def _close_item(self, mode: Mode) -> Answered | None:
        skeleton, self._skeleton = self._skeleton, self._outer
        self._keep(b"{}")
        try:
            item = parse_item(mode, skeleton)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._broken("the answer is not JSON") from None
        if item is None:
            return None
        blobs: dict[Kind, Blob] = {}
        for field, kind in OUTPUT_FIELDS[mode].items():
            number: str | None = getattr(item, field)
            if number is not None and ((blob := self._blobs[int(number)]).size or blob.error):
                blobs[kind] = blob
        return Answered(mode, item.name, item.status, item.error, item.bw, blobs)

    def _item_mode(self) -> Mode | None:
        """The mode of the item whose object is the innermost one open, None when there is no such item."""
        if len(self._frames) != _ITEM_DEPTH or not self._frames[3].is_object:
            return None
        envelope, body, items = self._frames[:3]
        if envelope.key != "body" or not body.is_object or items.is_object:
            return None
        return next((mode for mode in MODES if mode == body.key), None)

    # the skeleton

    def _keep_gap(self, gap: bytes) -> None:
        text = _SPACES.sub(b" ", gap)
        if not self._frames and text != b" ":
            raise self._broken("the answer is not JSON")
        self._keep(text.lstrip(b" ") if self._skeleton.endswith(b" ") else text)

    def _keep(self, text: bytes) -> None:
        self._skeleton += text
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise self._broken(f"the answer holds more than {MAX_SKELETON_BYTES:,} bytes beside its outputs")

    def _broken(self, why: str) -> RequestError:
        return RequestError(why, enveloped=bool(self._frames) or self._closed)


def _backslashes_before(data: bytes, start: int, position: int) -> int:
    """How many backslashes stand right before `position`; `start` is between escapes."""
    run = position
    while run > start and data[run - 1] == _BACKSLASH:
        run -= 1
    return position - run


def _cut_escape(data: bytes, start: int) -> int:
    """The length of the escape that is cut by the end of `data`, 0 when none is."""
    slash = data.rfind(b"\\", max(start, len(data) - _UNICODE_ESCAPE_LENGTH + 1))
    if slash < 0 or _backslashes_before(data, start, slash) % 2:
        return 0
    have = len(data) - slash
    need = _UNICODE_ESCAPE_LENGTH if data[slash + 1 : slash + 2] == b"u" else _ESCAPE_LENGTH
    return have if have < need else 0
