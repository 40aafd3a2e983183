"""Incremental parser of an answer: JSON of any size in, its items and their decoded outputs out.

The answer is never held whole. Structure and short strings go into a small skeleton, which msgspec parses when an
object closes, so that a real parser checks the grammar. The long strings, the outputs, are decoded at once, or piece
by piece where a piece of the answer ends inside of them, and leave a placeholder in the skeleton.

The parser moves through the JSON from quote to quote, token by token. What usually stands between two outputs is one
match of one expression instead, with the same effect as its tokens: a comma, the opening of an object, members that
are no outputs, and then either a key or the end of the object.
"""

from __future__ import annotations

import re
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import msgspec
import pybase64

from smarty_async.errors import RequestError
from smarty_async.options import MODES, Limits, Mode
from smarty_async.results import Kind
from smarty_async.wire.base64 import HEAD_BYTES, Base64Reader
from smarty_async.wire.messages import (
    BOM,
    OUTPUT_FIELDS,
    Answered,
    Blob,
    Envelope,
    Event,
    Piece,
    parse_envelope,
    parse_item,
    without_lone_surrogates,
)

__all__ = ["AnswerSplitter"]

MAX_SKELETON_BYTES: Final = 1 << 20
"""Bytes of JSON that belong to no output, in one item or around all items."""
MAX_TEXT_BYTES: Final = 1 << 16
"""Bytes of one string that is no output. A longer one is replaced by an ellipsis."""
MAX_BESIDE_BYTES: Final = 1 << 28
"""Bytes of an answer that belong to no output, kept or not: bounds white space and long texts without an end."""
MAX_DEPTH: Final = 64
"""Objects and arrays that may be open at a time."""
MAX_OUTPUTS: Final = 16
"""Outputs of one item: only a few fields hold one, but a field may be repeated."""
SHORT_TEXT_BYTES: Final = 1 << 17
"""Bytes of an output up to which it is held until all of it has arrived."""
LONG_TEXT_BYTES: Final = 1 << 18
"""Bytes of an output after which a piece is first tried as base64 alone, without a search for the closing quote."""

_TOKEN = re.compile(rb'["{}\[\],:]')
_MEMBER: Final = rb'"(?:status|name|error|bw)": ?(?:[-0-9a-z]{1,20}|"[^"\\]{0,256}")'
_MEMBERS = re.compile(
    rb'((?:, ?)?)(\{?)(?:%b, ?){0,8}(?:(?:%b)?\}|"([A-Za-z_]{1,32})": ?(?=("?)))' % (_MEMBER, _MEMBER)
)
"""Fast path: a comma, the opening of an object, members that are no outputs, and the object's end or a key.

The members are few, so that no time is lost where they turn out to stand in an array, and are read token by token."""
_TEXT = re.compile(rb'[^"\\]{0,256}"')  # fast path: a short text after its opening quote
_ENVELOPE: Final = frozenset({"status", "body", "htmlencoded", "last_modified"})
"""Keys of the envelope: they distinguish a broken answer of the service from foreign JSON."""
_SPACES = re.compile(rb"[ \t\r\n]+")
_BACKSLASH = ord("\\")
_ESCAPE_LENGTH, _UNICODE_ESCAPE_LENGTH = 2, 6
_ITEM_PATHS: Final[dict[tuple[str | None, ...], Mode]] = {("body", mode, None, ""): mode for mode in MODES}
"""The keys of the envelope, the body, the mode's array and the item, when an item opens."""
_ITEM_DEPTH = 4


class AnswerSplitter:
    """Parses an answer that arrives in pieces.

    Args:
        max_output_bytes: what one output may decode to, in bytes. A longer one becomes an error of that output alone.
    """

    def __init__(self, *, max_output_bytes: int = Limits().max_output_bytes) -> None:
        self._max_output_bytes = max_output_bytes
        self._max_held = min(SHORT_TEXT_BYTES, max_output_bytes)
        self._keys: list[str | None] = []  # of each open object the key that was read last; None for an array
        self._awaits_key = False  # whether a string that opens now is a key
        self._outer = bytearray()
        self._skeleton = self._outer
        self._tail = b""  # an escape, or a byte order mark, that is cut in two
        self._begun = False  # whether the answer's start is past its byte order mark
        self._text: bytearray | None = None  # the open string that is no output
        self._held: bytes | None = None  # the open output, while it is short
        self._output: Base64Reader | None = None  # the open output, from then on
        self._blobs: list[Blob] = []  # of the open item
        self._blob_count = 0
        self._mode: Mode | None = None  # of the open item
        self._events: list[Event] = []
        self._beside = 0  # bytes that belong to no output
        self._length = 0  # characters of the open output
        self._closed = False
        self._enveloped = False  # whether one of the envelope's keys was read

    def feed(self, data: bytes, events: list[Event]) -> None:
        """Parse `data`, the next bytes of the answer.

        Args:
            data: the bytes.
            events: gets what was parsed, in order, also when an error is raised: decoded bytes of outputs, and items
                that are complete; None where an object closes that should have been an item.

        Raises:
            RequestError: the answer is not JSON, or is over one of the bounds; its `status` is 200.
        """
        self._events = events
        self._beside += len(data)
        if self._tail:
            data, self._tail = self._tail + data, b""
        if not self._begun:
            if len(data) < len(BOM) and BOM.startswith(data):
                self._tail = data
                return
            data, self._begun = data.removeprefix(BOM), True
        position = 0
        while position < len(data):
            if self._held is not None:
                position = self._read_short_output(data, position, self._held)
            elif self._output is not None:
                position = self._read_output(data, position, self._output)
            elif self._text is not None:
                position = self._read_text(data, position, self._text)
            else:
                position = self._read_structure(data, position)
        if self._beside > MAX_BESIDE_BYTES:
            raise self._broken(f"the answer holds more than {MAX_BESIDE_BYTES:,} bytes beside its outputs")

    @property
    def item_name(self) -> str | None:
        """The name of the item whose output is open; None where it has not come yet, and where no output is open."""
        if self._mode is None or (self._held is None and self._output is None):
            return None
        try:
            item = parse_item(self._mode, self._skeleton + b'""}')
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return None if item is None else item.name

    def finish(self) -> Envelope:
        """Return the envelope, at the end of the answer.

        Raises:
            RequestError: the answer broke off (`status` is None), or is not in the service's envelope (200).
        """
        if not self._closed:
            if self._keys:
                raise RequestError("the answer broke off", enveloped=self._enveloped)
            raise self._broken("the answer is not JSON")
        try:
            return parse_envelope(self._outer)
        except msgspec.DecodeError as error:
            raise RequestError(f"the answer is not the service's: {error}", status=HTTPStatus.OK) from None

    # strings

    def _read_short_output(self, data: bytes, start: int, held: bytes) -> int:
        """Decode an output when all of it has arrived; until then, hold it while it is short and has no escapes.

        Any other, also one that turns out to be more than plain base64, is left to `_read_output`.
        """
        end = data.find(b'"', start)
        rest = len(data) - start
        if end < 0 and len(held) + rest <= self._max_held and data.find(b"\\", start) < 0:
            self._held = held + data[start:]
            self._beside -= rest
            return len(data)
        self._held = None
        number, decoded = self._blob_count, None
        if end >= 0:
            text = held + data[start:end] if held else memoryview(data)[start:end]
            with suppress(ValueError):
                decoded = pybase64.b64decode(text, None, True)  # noqa: FBT003 - a keyword is slower
        if decoded is None or len(decoded) > self._max_output_bytes:
            self._output = Base64Reader(number, max_bytes=self._max_output_bytes)
            self._length = 0
            self._beside += len(held)
            self._read_output(held, 0, self._output)
            return start
        self._beside -= end - start
        if decoded:
            self._events.append(Piece(number, decoded))
        self._close_output(Blob(number, len(decoded), decoded[:HEAD_BYTES]))
        return end + 1

    def _read_output(self, data: bytes, start: int, output: Base64Reader) -> int:
        end, closed = len(data), False
        read = output.take(data, start, end) if self._length >= LONG_TEXT_BYTES else None
        if read is None:  # otherwise the piece is all base64, and holds no quote
            end, closed = self._string_end(data, start)
            read = output.feed(data, start, end)
        if closed:
            read += output.flush()
        for part in read:
            self._events.append(Piece(output.number, part))
        self._beside -= end - start
        self._length += end - start
        if self._length > 2 * self._max_output_bytes + MAX_TEXT_BYTES:  # below that, its neighbours are still of use
            raise self._broken("one of the answer's outputs has no end")
        if not closed:
            return len(data)
        self._output = None
        self._close_output(output.close())
        return end + 1

    def _close_output(self, blob: Blob) -> None:
        self._skeleton += b'"%d"' % len(self._blobs)
        self._blobs.append(blob)
        self._blob_count += 1

    def _read_text(self, data: bytes, start: int, text: bytearray) -> int:
        end, closed = self._string_end(data, start)
        if len(text) <= MAX_TEXT_BYTES:
            text += data[start:end]
        if not closed:
            return len(data)
        fits = len(text) <= MAX_TEXT_BYTES
        self._close_text(without_lone_surrogates(bytes(text)) if fits else b"\xe2\x80\xa6")
        return end + 1

    def _string_end(self, data: bytes, start: int) -> tuple[int, bool]:
        """Find where this piece of a string ends, and whether at the closing quote; a cut escape goes to `_tail`."""
        quote = data.find(b'"', start)
        while quote > start and data[quote - 1] == _BACKSLASH and _backslashes_before(data, start, quote) % 2:
            quote = data.find(b'"', quote + 1)
        if quote >= 0:
            return quote, True
        end = len(data) - _cut_escape(data, start)
        self._tail = data[end:]
        return end, False

    def _close_text(self, text: bytes) -> None:
        self._text = None
        quoted = b'"%b"' % text
        self._add_to_skeleton(quoted)
        if self._awaits_key:
            try:
                self._keys[-1] = key = msgspec.json.decode(quoted, type=str)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self._broken("the answer is not JSON") from None
            self._enveloped |= len(self._keys) == 1 and key in _ENVELOPE

    # structure

    def _read_structure(self, data: bytes, start: int) -> int:
        """Parse up to the inside of a string that is not all in `data`, or to the end of `data`."""
        while self._held is None and self._output is None and self._text is None:
            if self._keys and (members := _MEMBERS.match(data, start)) and (end := self._take_members(data, members)):
                start = end
                continue
            token = _TOKEN.search(data, start)
            end = token.start() if token else len(data)
            if end > start:
                self._add_gap(data[start:end])
            if token is None:
                return end
            start = self._take_token(data, end)
        return start

    def _take_members(self, data: bytes, members: re.Match[bytes]) -> int:
        """Take in what `members` matches, and a string behind it; return where that ends, 0 where this is an array."""
        comma, brace, key, quote = members.groups()
        text = members[0]
        if brace:
            self._add_to_skeleton(comma)
            self._open(brace)
            text = text[len(comma) :]
        elif not (self._awaits_key or (comma and self._keys[-1] is not None)):
            return 0
        self._add_to_skeleton(text)
        name = key.decode("ascii") if key else None
        self._enveloped |= len(self._keys) == 1 and (name in _ENVELOPE or b'"status":' in text)
        if name is None:
            self._close(b"}")
            return members.end()
        self._keys[-1] = name
        self._awaits_key = False
        return self._open_string(data, members.end() + 1) if quote else members.end()

    def _take_token(self, data: bytes, place: int) -> int:
        """Parse the token at `place`, or a whole short text; return where it ends."""
        mark = data[place : place + 1]
        if not self._keys and (mark != b"{" or self._closed):
            raise self._broken("the answer is not JSON")
        if mark == b'"':
            return self._open_string(data, place + 1)
        if mark in b"{[":
            self._open(mark)
        self._add_to_skeleton(mark)
        if mark in b"}]":
            self._close(mark)
        elif mark in b",:":
            self._awaits_key = mark == b"," and self._keys[-1] is not None
        return place + 1

    def _open_string(self, data: bytes, start: int) -> int:
        """Read the string that begins at `start`, if all of it is in `data`; return where that ends."""
        if (
            self._mode is not None
            and self._keys[-1] in OUTPUT_FIELDS[self._mode]
            and len(self._keys) == _ITEM_DEPTH
            and not self._awaits_key
        ):
            if len(self._blobs) == MAX_OUTPUTS:
                raise self._broken("one of the answer's items has outputs without an end")
            return self._read_short_output(data, start, b"")
        if text := _TEXT.match(data, start):
            self._close_text(text[0][:-1])
            return text.end()
        self._text = bytearray()
        return start

    def _open(self, mark: bytes) -> None:
        if len(self._keys) >= MAX_DEPTH:
            raise self._broken(f"the answer is nested deeper than {MAX_DEPTH}")
        self._awaits_key = mark == b"{"
        self._keys.append("" if self._awaits_key else None)
        if len(self._keys) == _ITEM_DEPTH and (mode := _ITEM_PATHS.get(tuple(self._keys))):
            self._mode, self._skeleton, self._blobs = mode, bytearray(), []

    def _close(self, mark: bytes) -> None:
        if (self._keys.pop() is not None) is not (mark == b"}"):
            raise self._broken("the answer is not JSON")
        self._closed = not self._keys
        self._awaits_key = False
        if self._mode and len(self._keys) < _ITEM_DEPTH:
            self._events.append(self._close_item(self._mode))

    def _close_item(self, mode: Mode) -> Answered | None:
        self._mode, skeleton, self._skeleton = None, self._skeleton, self._outer
        self._add_to_skeleton(b"{}")
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

    # the skeleton

    def _add_gap(self, gap: bytes) -> None:
        text = _SPACES.sub(b" ", gap)
        if not self._keys and text != b" ":
            raise self._broken("the answer is not JSON")
        self._add_to_skeleton(text.lstrip(b" ") if self._skeleton.endswith(b" ") else text)

    def _add_to_skeleton(self, text: bytes) -> None:
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
