"""Incremental parser of an answer: JSON of any size in, its items and their decoded outputs out.

The answer is never held whole. The parser moves through the JSON from quote to quote. Structure and short strings go
into a small skeleton, which msgspec parses when an object closes, so that a real parser checks the grammar. The long
strings, the outputs, are decoded piece by piece and leave a placeholder in the skeleton.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import msgspec

from smarty_async.errors import RequestError
from smarty_async.options import MODES, Limits, Mode
from smarty_async.results import Kind
from smarty_async.wire.base64 import Base64Reader
from smarty_async.wire.messages import OUTPUT_FIELDS, Answered, Blob, Envelope, Piece, parse_envelope, parse_item

__all__ = ["AnswerSplitter"]

MAX_SKELETON_BYTES: Final = 1 << 20
"""Bytes of JSON that belong to no output, in one item or around all items."""
MAX_TEXT_BYTES: Final = 1 << 16
"""Bytes of one string that is no output. A longer one is replaced by an ellipsis."""
MAX_BESIDE_BYTES: Final = 1 << 28
"""Bytes of an answer that belong to no output, kept or not: bounds white space and long texts without an end."""
MAX_DEPTH: Final = 64
"""Objects and arrays that may be open at a time."""
LONG_TEXT_BYTES: Final = 1 << 18
"""Bytes of an output after which a piece is first tried as base64 alone, without a search for the closing quote."""

_BOM: Final = b"\xef\xbb\xbf"
"""UTF-8 byte order mark: accepted at the start of an answer."""

_TOKEN = re.compile(rb'["{}\[\],:]')
_KEY = re.compile(  # fast path: members that are no outputs, then a key
    rb'(?:"(?:status|name|error|bw)":(?:[-0-9a-z]{1,20}|"[^"\\]{0,256}"),){0,4}"([A-Za-z_]{1,32})":'
)
_TEXT = re.compile(rb'[^"\\]{0,256}"')  # fast path: a short text after its opening quote
_ENVELOPE: Final = frozenset({"status", "body", "htmlencoded", "last_modified"})
"""Keys of the envelope: they distinguish a broken answer of the service from foreign JSON."""
_SPACES = re.compile(rb"[ \t\r\n]+")
_BACKSLASH = ord("\\")
_ESCAPE_LENGTH, _UNICODE_ESCAPE_LENGTH = 2, 6
_ITEM_DEPTH = 4  # envelope object, body object, mode's array, item object


class _Frame:
    """An open object or array."""

    __slots__ = ("awaits_key", "is_object", "key")

    def __init__(self, *, is_object: bool) -> None:
        self.is_object = is_object
        self.awaits_key = is_object
        self.key = ""


class AnswerSplitter:
    """Parses an answer that arrives in pieces.

    Args:
        max_output_bytes: what one output may decode to, in bytes. A longer one becomes an error of that output alone.

    Attributes:
        items: how many items have been opened. An object that turns out to be no item yields nothing when it closes.
    """

    def __init__(self, *, max_output_bytes: int = Limits().max_output_bytes) -> None:
        self._max_output_bytes = max_output_bytes
        self._frames: list[_Frame] = []
        self._outer = bytearray()
        self._skeleton = self._outer
        self._tail = b""  # an escape, or a byte order mark, that is cut in two
        self._begun = False  # whether the answer's start is past its byte order mark
        self._text: bytearray | None = None  # the open string that is no output
        self._output: Base64Reader | None = None  # the open output
        self._blobs: list[Blob] = []  # of the open item
        self._blob_count = 0
        self.items = 0
        self._mode: Mode | None = None  # of the item whose object is the innermost open one
        self._answered: Answered | None = None  # the item that has just closed
        self._beside = 0  # bytes that belong to no output
        self._length = 0  # characters of the open output
        self._closed = False
        self._enveloped = False  # whether one of the envelope's keys was read

    def feed(self, data: bytes) -> Iterator[Piece | Answered]:
        """Parse `data`, the next bytes of the answer; yield decoded bytes of outputs and items that are complete.

        Raises:
            RequestError: the answer is not JSON, or is over one of the bounds; its `status` is 200.
        """
        self._beside += len(data)
        if self._tail:
            data, self._tail = self._tail + data, b""
        if not self._begun:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._tail = data
                return
            data, self._begun = data.removeprefix(_BOM), True
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
        """Return the envelope, at the end of the answer.

        Raises:
            RequestError: the answer broke off (`status` is None), or is not in the service's envelope (200).
        """
        if not self._closed:
            if self._frames:
                raise RequestError("the answer broke off", enveloped=self._enveloped)
            raise self._broken("the answer is not JSON")
        try:
            return parse_envelope(self._outer)
        except msgspec.DecodeError as error:
            raise RequestError(f"the answer is not the service's: {error}", status=HTTPStatus.OK) from None

    # strings

    def _read_output(self, data: bytes, start: int, output: Base64Reader) -> tuple[int, list[bytes]]:
        end, closed = len(data), False
        read = output.take(data, start, end) if self._length >= LONG_TEXT_BYTES else None
        if read is None:  # otherwise the piece is all base64, and holds no quote
            end, closed = self._string_end(data, start)
            read = output.feed(data, start, end)
        if closed:
            read += output.flush()
        self._beside -= end - start
        self._length += end - start
        if self._length > 2 * self._max_output_bytes + MAX_TEXT_BYTES:  # below that, its neighbours are still of use
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
        """Find where this piece of a string ends, and whether at the closing quote; a cut escape goes to `_tail`."""
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
                self._set_key(msgspec.json.decode(quoted, type=str))
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self._broken("the answer is not JSON") from None

    def _set_key(self, key: str) -> None:
        self._frames[-1].key = key
        if len(self._frames) == 1 and key in _ENVELOPE:
            self._enveloped = True

    # structure

    def _read_structure(self, data: bytes, start: int) -> int:
        """Parse up to the start of an output, the end of an item, or the end of `data`."""
        while self._output is None and self._text is None and self._answered is None:
            if self._frames and self._frames[-1].awaits_key and (key := _KEY.match(data, start)):
                self._keep(key[0])
                self._set_key(key[1].decode("ascii"))
                self._frames[-1].awaits_key = False
                if len(self._frames) == 1 and b'"status":' in key[0]:
                    self._enveloped = True
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
        """Parse the token at `place`, or a whole short text; return where it ends."""
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
            self.items += 1
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
        """Return the mode of the item whose object is the innermost open one, None when there is none."""
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
        return RequestError(why, status=HTTPStatus.OK, enveloped=self._enveloped)


def _backslashes_before(data: bytes, start: int, position: int) -> int:
    """Count the backslashes directly before `position`; `start` is between escapes."""
    run = position
    while run > start and data[run - 1] == _BACKSLASH:
        run -= 1
    return position - run


def _cut_escape(data: bytes, start: int) -> int:
    """Return the length of the escape that the end of `data` cuts, 0 when there is none."""
    slash = data.rfind(b"\\", max(start, len(data) - _UNICODE_ESCAPE_LENGTH + 1))
    if slash < 0 or _backslashes_before(data, start, slash) % 2:
        return 0
    have = len(data) - slash
    need = _UNICODE_ESCAPE_LENGTH if data[slash + 1 : slash + 2] == b"u" else _ESCAPE_LENGTH
    return have if have < need else 0
