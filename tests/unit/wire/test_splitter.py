"""The splitter against a whole-document parser, for any answer and any cut of its bytes."""

from __future__ import annotations

import base64
import binascii
import json
import re
import tracemalloc
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smarty_async.errors import RequestError
from smarty_async.wire import splitter
from smarty_async.wire.messages import Answered, Envelope, Event, Piece
from smarty_async.wire.splitter import (
    _MEMBERS,
    LONG_TEXT_BYTES,
    MAX_DEPTH,
    MAX_OUTPUTS,
    MAX_SKELETON_BYTES,
    MAX_TEXT_BYTES,
    SHORT_TEXT_BYTES,
    AnswerSplitter,
)

# No complaint about slow generation: a busy machine is no failure.
thorough = settings(max_examples=100, suppress_health_check=list(HealthCheck))
costly = settings(thorough, max_examples=10)

FIELDS = {
    "improve": {
        "improved": "improved",
        "colorized_improved": "colorized_improved",
        "colored": "colorized",
        "colorized": "colorized",
    },
    "resolution": {"resolved": "resolved"},
}
BROKEN = "broken"
PIECE = 1 << 16


class Item(NamedTuple):
    mode: str
    name: str
    status: int
    error: str | None
    bw: bool | None
    outputs: dict[str, bytes | str]  # a broken one is a text


class Read(NamedTuple):
    items: list[Item]
    end: Envelope | str

    def plain(self) -> list[Item]:
        """The items, every broken output as `BROKEN`, whatever it is that broke it."""
        return [item._replace(outputs={k: _plain(v) for k, v in item.outputs.items()}) for item in self.items]


def _plain(output: bytes | str) -> bytes | str:
    return BROKEN if isinstance(output, str) else output


def read(pieces: Iterable[bytes], *, long: int | None = None, **options: int) -> Read:
    """What a splitter makes of an answer in these pieces; an output counts as a long one from `long` bytes on."""
    events: list[Event] = []
    limits = (SHORT_TEXT_BYTES, LONG_TEXT_BYTES) if long is None else (long, long)
    try:
        with patch.multiple(splitter, SHORT_TEXT_BYTES=limits[0], LONG_TEXT_BYTES=limits[1]):
            reader = AnswerSplitter(**options)
            for piece in pieces:
                reader.feed(piece, events)
        end: Envelope | str = reader.finish()
    except RequestError as error:
        end = f"{error} ({error.enveloped})"
    return Read(_items(events), end)


def _items(events: Iterable[Event]) -> list[Item]:
    items: list[Item] = []
    data: dict[int, bytes] = {}
    for event in events:
        if isinstance(event, Piece):
            data[event.number] = data.get(event.number, b"") + event.data
        elif event is not None:
            items.append(_item(event, data))
    return items


def _item(event: Answered, data: dict[int, bytes]) -> Item:
    outputs: dict[str, bytes | str] = {}
    for kind, blob in event.blobs.items():
        if blob.error is not None:
            assert (blob.size, blob.head) == (0, b"")
            outputs[kind] = blob.error
        else:
            outputs[kind] = data[blob.number]
            assert (blob.size, blob.head) == (len(data[blob.number]), data[blob.number][:3])
    return Item(event.mode, event.name, event.status, event.error, event.bw, outputs)


def cut(answer: bytes, random: Random) -> Iterator[bytes]:
    """The answer in pieces of random lengths, some empty."""
    longest, position = random.choice([2, 5, 30, 300]), 0
    while position < len(answer):
        length = random.randint(0, longest)
        yield answer[position : position + length]
        position += length


def one_by_one(answer: bytes) -> list[bytes]:
    return [answer[i : i + 1] for i in range(len(answer))]


def read_any_way(answer: bytes, random: Random, **options: int) -> Read:
    """What a splitter makes of the answer, which is the same for every cut."""
    whole = read([answer], **options)
    middle = random.randint(0, len(answer))
    for long in (0, random.randint(1, 40), None):
        assert read(one_by_one(answer), long=long, **options) == whole
        assert read(cut(answer, random), long=long, **options) == whole
        assert read([answer[:middle], answer[middle:]], long=long, **options) == whole
    return whole


# the reference


def reference(answer: bytes) -> tuple[list[Item], Envelope]:
    """What the standard library's parsers make of a whole answer."""
    envelope = replaced(json.loads(answer.removeprefix(b"\xef\xbb\xbf"), strict=False))
    body = envelope["body"]
    items: list[Item] = []
    for mode, entries in body.items() if isinstance(body, dict) else ():
        if mode in FIELDS and isinstance(entries, list):
            items += [item for entry in entries if (item := reference_item(mode, entry)) is not None]
    return items, Envelope(envelope["status"], body if isinstance(body, str) else None)


def replaced(value: Any) -> Any:
    """The same value with U+FFFD for each half of a character in its texts."""
    match value:
        case dict():
            return {replaced(key): replaced(inner) for key, inner in value.items()}
        case list():
            return [replaced(inner) for inner in value]
        case str():
            return re.sub("[\ud800-\udfff]", "\ufffd", value)
        case _:
            return value


def reference_item(mode: str, entry: Any) -> Item | None:
    if not isinstance(entry, dict):
        return None
    texts = [entry.get(field) for field in ("error", *FIELDS[mode])]
    if (
        type(entry.get("status")) is not int
        or not isinstance(entry.get("name"), str)
        or not isinstance(entry.get("bw"), bool | None)
        or not all(isinstance(text, str | None) for text in texts)
    ):
        return None
    texts_by_kind = [(kind, entry[field]) for field, kind in FIELDS[mode].items() if entry.get(field)]
    # Two fields may hold the same kind: of these the last that is not empty counts.
    outputs = {kind: output for kind, text in texts_by_kind if (output := reference_output(text))}
    return Item(mode, entry["name"], entry["status"], entry.get("error"), entry.get("bw"), outputs)


def reference_output(text: str) -> bytes | str:
    plain = re.sub(r"[ \t\n\r\f\v]", "", text)
    plain = re.sub(r"\A(?i:data):[^,]{0,244}(?i:;base64),", "", plain)
    padded = plain if "=" in plain else plain + "=" * (-len(plain) % 4)
    try:
        data = base64.b64decode(padded.encode(), validate=True)
    except binascii.Error:
        return BROKEN
    # The standard library accepts some surplus padding.
    return data if len(padded) == (len(data) + 2) // 3 * 4 else BROKEN


# answers, any that JSON allows


class ItemObject(dict[str, Any]):
    """An item's object, so that the scribe knows where it ends."""


class Scribe:
    """Writes JSON as oddly as JSON may be written."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.answer = bytearray()
        self.item_ends: list[int] = []

    def write(self, value: Any) -> None:
        self._space()
        match value:
            case dict():
                self._dict(value)
            case list():
                self._between(b"[", [lambda entry=entry: self.write(entry) for entry in value], b"]")
            case str():
                self._string(value)
            case _:
                self.answer += json.dumps(value).encode()
        self._space()

    def _dict(self, value: dict[str, Any]) -> None:
        keys = list(value)
        self._random.shuffle(keys)

        def pair(key: str) -> None:
            self.write(key)
            self.answer += b":"
            self.write(value[key])

        self._between(b"{", [lambda key=key: pair(key) for key in keys], b"}")
        if isinstance(value, ItemObject):
            self.item_ends.append(len(self.answer))

    def _between(self, left: bytes, writers: list[Any], right: bytes) -> None:
        self.answer += left
        self._space()
        for number, writer in enumerate(writers):
            self.answer += b"," if number else b""
            writer()
        self.answer += right

    def _string(self, text: str) -> None:
        odd = self._random.choice([0.0, 0.0, 0.1, 1.0])
        self.answer += b'"'
        for character in text:
            if self._random.random() < odd or "\ud800" <= character <= "\udfff":
                self.answer += self._escaped(character)
            else:
                self.answer += json.dumps(character, ensure_ascii=False)[1:-1].encode()
        self.answer += b'"'

    def _escaped(self, character: str) -> bytes:
        if character == "/" and self._random.random() < 0.5:
            return rb"\/"
        units = character.encode("utf-16-be", "surrogatepass").hex()
        if self._random.random() < 0.5:
            units = units.upper()
        return b"".join(b"\\u" + units[i : i + 4].encode() for i in range(0, len(units), 4))

    def _space(self) -> None:
        self.answer += self._random.choice([b"", b"", b"", b" ", b"\n\t", b" \r\n   "])


def written(value: Any, random: Random) -> Scribe:
    scribe = Scribe(random)
    scribe.answer += random.choice([b"", b"", b"\xef\xbb\xbf"])
    scribe.write(value)
    return scribe


texts = st.text(st.one_of(st.characters(), st.sampled_from('\ud83d\ude00\\"')), max_size=12)
names = st.one_of(st.sampled_from(["file_0", "file_1", "file_47", "", "../x", '"\\"', "фото", "😀"]), texts)
keys = st.one_of(st.sampled_from(["improve", "resolution", "improved", "resolved", "body", "name", "status"]), texts)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), texts
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)


@st.composite
def base64_texts(draw: st.DrawFn) -> str:
    """Base64, whole or broken at some place."""
    text = base64.b64encode(draw(st.binary(max_size=40))).decode()
    broken = draw(st.sampled_from([None, None, "cut", "insert", "replace", "append"]))
    at = draw(st.integers(0, max(0, len(text) - 1)))
    prefix = draw(st.sampled_from(["", "", "", "data:image/jpeg;base64,", "data:", "Data:;base64,", "data:;base64"]))
    text = prefix + text
    wrong = draw(st.sampled_from(["\n", "\r\n", "-", "_", "=", "====", " ", "é", '"', "\\", "\0", "QUJD", "A", "/"]))
    match broken:
        case "cut":
            return text.rstrip("=") if draw(st.booleans()) else text[:-1]
        case "insert":
            return text[:at] + wrong + text[at:]
        case "replace":
            return text[:at] + wrong + text[at + 1 :]
        case "append":
            return text + wrong
        case _:
            return text


@st.composite
def item_objects(draw: st.DrawFn, mode: str) -> ItemObject:
    """A proper item with fields nobody has documented."""
    item = ItemObject(draw(st.dictionaries(texts, anything, max_size=2)))
    item |= {"status": draw(st.integers(-1, 3)), "name": draw(names)}
    item |= draw(st.fixed_dictionaries({}, optional={"error": st.none() | texts, "bw": st.none() | st.booleans()}))
    outputs = st.one_of(base64_texts(), st.none(), st.just(""))
    item |= draw(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS[mode], outputs)))
    return item


@st.composite
def odd_items(draw: st.DrawFn, mode: str) -> Any:
    """Something in an item's place: an item whose fields are of any type, or none at all."""
    fields = ["status", "name", "error", "bw", "improved", "resolved", "colored"]
    spoiled = draw(st.dictionaries(st.sampled_from(fields), anything, max_size=2))
    return draw(st.one_of(anything, item_objects(mode).map(lambda item: {**item, **spoiled})))


def item_lists(mode: str, *, proper: bool) -> st.SearchStrategy[Any]:
    if proper:
        return st.lists(item_objects(mode), max_size=3)
    return st.one_of(st.lists(st.one_of(item_objects(mode), odd_items(mode)), max_size=4), anything)


@st.composite
def envelopes(draw: st.DrawFn, *, proper: bool = False) -> dict[str, Any]:
    """What an answer may say; `proper` ones hold nothing in an item's place that is no item."""
    around = st.dictionaries(keys.filter(lambda key: key not in FIELDS), anything, max_size=2)
    lists = {mode: item_lists(mode, proper=proper) for mode in FIELDS}
    bodies: st.SearchStrategy[Any] = st.builds(
        lambda unknown, known: unknown | known, around, st.fixed_dictionaries({}, optional=lists)
    )
    envelope: dict[str, Any] = draw(around)
    envelope["status"] = draw(st.sampled_from([200, 400, 500]))
    if proper:
        return envelope | {"body": draw(bodies)}
    return envelope | {"body": draw(st.one_of(bodies, bodies, texts, anything))}


randoms = st.randoms(use_true_random=True)


@pytest.mark.slow
@thorough
@given(envelopes(), randoms)
def test_an_answer_reads_as_a_whole_document_parser_reads_it(envelope: dict[str, Any], random: Random) -> None:
    answer = bytes(written(envelope, random).answer)
    found = read_any_way(answer, random)
    assert (found.plain(), found.end) == reference(answer)


@pytest.mark.slow
@costly
@given(envelopes(proper=True), randoms)
def test_of_a_truncated_answer_the_closed_items_are_given(envelope: dict[str, Any], random: Random) -> None:
    scribe = written(envelope, random)
    answer = bytes(scribe.answer).rstrip()
    items, _ = reference(answer)
    assert len(items) == len(scribe.item_ends)
    for length in range(len(answer)):
        found = read(cut(answer[:length], random), long=random.choice([0, None]))
        assert isinstance(found.end, str)
        assert found.plain() == items[: sum(end <= length for end in scribe.item_ends)]


@pytest.mark.slow
@costly
@given(envelopes(proper=True), randoms, st.binary(min_size=1, max_size=6).filter(bytes.strip))
def test_garbage_ends_the_answer_and_takes_no_item_that_had_closed(
    envelope: dict[str, Any], random: Random, garbage: bytes
) -> None:
    scribe = written(envelope, random)
    answer = bytes(scribe.answer)
    items, _ = reference(answer)
    for end, number in zip(scribe.item_ends, range(1, len(items) + 1), strict=True):
        found = read_any_way(answer[:end] + b"}" + garbage, random)
        assert found.plain() == items[:number]
        assert isinstance(found.end, str)
    found = read_any_way(answer + b"\0" + garbage, random)
    assert found.plain() == items
    assert isinstance(found.end, str)


@pytest.mark.slow
@thorough
@given(envelopes(), randoms, st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_answer_reads_the_same_for_any_cut(
    envelope: dict[str, Any], random: Random, damage: bytes, lost: int
) -> None:
    answer = bytes(written(envelope, random).answer)
    at = random.randint(0, len(answer))
    read_any_way(answer[:at] + damage + answer[at + lost :], random, max_output_bytes=20)


_SHARDS = [
    *'{}[]:," \\',
    *(r"\\", r"\"", r"\u", r"\u002", r"\u002b", r"\ud83d", r"\/", "QUJD", "QQ==", "=", "1", "true", "\0", "\n"),
    *('"improved":', '"name":"a"', '"status":0', '"resolved"', '"body":{', '"improve":[', "{}", "[]", "é", "…"),
]


@pytest.mark.slow
@thorough
@given(
    st.sampled_from(["", '{"body":{"improve":[', '{"status":200,"body":{"improve":[{"status":0,"improved":"']),
    st.lists(st.sampled_from(_SHARDS), max_size=25).map("".join),
    randoms,
)
def test_fragments_of_json_read_the_same_for_any_cut(start: str, shards: str, random: Random) -> None:
    read_any_way((start + shards).encode(), random, max_output_bytes=5)


TEXT = base64.b64encode(bytes(range(18)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b'"',
        b"=",
        b"==",
        b"-",
        b"\n",
        "é".encode(),
        b"\\",
        rb"\/",
        rb"\u002b",
        rb"\u002B\/",
        rb"\"",
        rb"\\",
        rb"\ud83d\ude00",
    ],
)
def test_an_odd_character_in_a_long_output_is_found_at_every_place(odd: bytes) -> None:
    head, tail = b'{"status":200,"body":{"improve":[{"status":0,"name":"a","improved":"', b'","bw":true}]}}'
    for at in range(len(TEXT) + 1):
        answer = head + TEXT[:at] + odd + TEXT[at:] + tail
        whole = read([answer])
        try:
            assert (whole.plain(), whole.end) == reference(answer)
        except ValueError:  # no JSON
            assert whole.items == [] or BROKEN in whole.plain()[0].outputs.values()
        for step in (1, 2, 3, 4, 7, 12):
            pieces = [answer[i : i + step] for i in range(0, len(answer), step)]
            for long in (0, 1, 9):
                assert read(pieces, long=long) == whole


@pytest.mark.parametrize("odd", [b"A", rb"\/", rb"\u002b", b"=", b"-", b'"', b'"}]}}'])
@pytest.mark.parametrize("at", [0, 1, 5 * PIECE, 6 * PIECE - 1, 10 * PIECE - 1])
def test_a_long_output_reads_the_same_in_pieces(odd: bytes, at: int) -> None:
    text = base64.b64encode(Random(1).randbytes(PIECE // 4 * 3) * 10)  # noqa: S311 - a picture, no secret
    text = text[:at] + odd + text[at + 1 :]
    answer = b'{"status":200,"body":{"improve":[{"status":0,"name":"a","improved":"%b"}]}}' % text
    whole = read([answer])
    assert read([answer[i : i + PIECE] for i in range(0, len(answer), PIECE)]) == whole
    if b'"' not in odd:
        assert (whole.plain(), whole.end) == reference(answer)


def answer_with(item: str = "", around: str = "", body: str = "") -> bytes:
    """An answer of two items, with something more in the first one, in the body or in the envelope."""
    first = '{"status":0,"name":"file_0","improved":"QUJD"' + item + "}"
    items = '"improve":[' + first + ',{"status":0,"name":"file_1"}]'
    return ('{"status":200' + around + ',"body":{"status":0' + body + "," + items + "}}").encode()


FIRST = Item("improve", "file_0", 0, None, None, {"improved": b"ABC"})
SECOND = Item("improve", "file_1", 0, None, None, {})
BOTH = [FIRST, SECOND]


def test_the_two_spellings_of_colorized() -> None:
    (both, _), end = read([answer_with(',"colorized":"Qg==","colored":"QQ=="')])
    assert both.outputs == {"improved": b"ABC", "colorized": b"B"}
    assert end == Envelope(200)
    (one, _), _ = read([answer_with(',"colored":"QQ==","colorized":""')])
    assert one.outputs == {"improved": b"ABC", "colorized": b"A"}


@pytest.mark.parametrize("name", ['",', '","improved":"QQ==', '"', "\\", '\\",', "a,b:c", ""])
def test_names_that_contain_json(name: str) -> None:
    item = {"status": 0, "name": name, "error": name, "bw": None, "improved": "QUJD"}
    answer = json.dumps({"status": 200, "body": {"improve": [item, item]}}, separators=(",", ":")).encode()
    found = read_any_way(answer, Random(0))  # noqa: S311 - cuts, no secrets
    assert (found.items, found.end) == reference(answer)
    assert found.items == [Item("improve", name, 0, name, None, {"improved": b"ABC"})] * 2


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00", "\ufffd"),
        (r"\uD83D\ude00", "😀"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83dx\ude00", "\ufffdx\ufffd"),
        (r"\ud83d\n\u0041", "\ufffd\nA"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\ud7ff\ue000", "\ud7ff\ue000"),
    ],
)
def test_the_escape_of_half_a_character_is_replaced(escaped: str, text: str) -> None:
    answer = answer_with(f',"error":"{escaped}","x{escaped}":["{escaped}"]', f',"{escaped}":"{escaped}"')
    found = read_any_way(answer, Random(0))  # noqa: S311 - cuts, no secrets
    assert (found.items, found.end) == ([FIRST._replace(error=text), SECOND], Envelope(200)) == reference(answer)
    assert read_any_way(b'{"status":400,"body":"%b"}' % escaped.encode(), Random(0)) == ([], Envelope(400, text))  # noqa: S311 - cuts, no secrets


def test_events_come_in_order_and_none_is_lost_to_an_error() -> None:
    answer = answer_with().replace(b'"status":0,"name":"file_0"', b'"status":"0","name":"file_0"') + b"}"
    events: list[Event] = []
    with pytest.raises(RequestError, match="not JSON"):
        AnswerSplitter().feed(answer, events)
    assert events == [Piece(0, b"ABC"), None, Answered("improve", "file_1", 0)]


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ('"status":0,"name":"b",', "b"),
        ('"name":"b","x":{"name":"c"},"status":0,', "b"),
        ('"name":"b","status":0,"colorized":"QQ==",', "b"),
        ('"status":0,', None),
        ('"name":"b",', None),
        ('"status":0,"name":5,', None),
        ('"status":0,"name":"\xff",', None),
    ],
)
@pytest.mark.parametrize("long", [0, 5])
def test_the_item_of_an_open_output_is_named(before: str, name: str | None, long: int) -> None:
    item = "{" + before + '"improved":"' + "QUJD" * 9
    answer = b'{"status":200,"body":{"improve":[{"status":0,"name":"a","improved":"QUJD"},' + item.encode("latin-1")
    with patch.multiple(splitter, SHORT_TEXT_BYTES=long, LONG_TEXT_BYTES=long):
        reader = AnswerSplitter()
        for part in (answer[:-12], answer[-12:]):
            reader.feed(part, [])
            assert reader.item_name == name
        reader.feed(b'"', [])
    assert reader.item_name is None


@pytest.mark.parametrize("count", [7, 8, 9, 30])
def test_any_number_of_members_is_read(count: int) -> None:
    members = ',"bw":true' * count
    assert read([answer_with(members, members, members)]) == ([FIRST._replace(bw=True), SECOND], Envelope(200))
    assert read([answer_with(members + ',"colored":"QQ=="')]).items[0].outputs == {
        "improved": b"ABC",
        "colorized": b"A",
    }


def test_what_is_matched_at_once_is_bounded() -> None:  # in an array it is matched again at every string
    members = _MEMBERS.match(b'"status":0,' * 1000)
    assert members is not None
    assert members.end() < 200


def test_a_short_output_is_decoded_whole_however_it_is_cut() -> None:
    splitter, events = AnswerSplitter(), list[Event]()
    for piece in one_by_one(answer_with(',"colored":"QUJDRA=="')):
        splitter.feed(piece, events)
    assert [event for event in events if isinstance(event, Piece)] == [Piece(0, b"ABC"), Piece(1, b"ABCD")]


def test_fields_of_the_other_mode_are_ignored() -> None:
    assert read([answer_with(',"resolved":[1]')]).items == BOTH


@pytest.mark.parametrize("place", ["item", "around", "body"])
def test_lists_elsewhere_hold_no_items(place: str) -> None:
    decoy = ',"x":{"body":{"improve":[{"status":0,"name":"file_0","improved":"QQ=="}]},"improve":[{"improved":5}]}'
    assert read([answer_with(**{place: decoy})]) == (BOTH, Envelope(200))


@pytest.mark.parametrize("error", [400, 401, 403, 500])
def test_the_envelope_of_an_error(error: int) -> None:
    answer = b'{"htmlencoded":false,"last_modified":0,"body":"\\"no\\"","status":%d}' % error
    assert read(one_by_one(answer)) == ([], Envelope(error, '"no"'))


@pytest.mark.parametrize(
    ("answer", "why", "enveloped"),
    [
        (b"", "not JSON", False),
        (b" \n ", "not JSON", False),
        (b"<html><body>502 Bad Gateway</body></html>", "not JSON", False),
        (b"[]", "not JSON", False),
        (b"}", "not JSON", False),
        (b'"text"', "not JSON", False),
        (b"\xef\xbb\xbf{}", "not the service's", False),
        (b"\xef\xbb\xbf", "not JSON", False),
        (b"\xef\xbb", "not JSON", False),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"status":200,"body":{}}', "not JSON", False),
        (b' \xef\xbb\xbf{"status":200,"body":{}}', "not JSON", False),
        (b'{"status":200}', "not the service's", False),
        (b'{"error":{"status":404', "broke off", False),
        (b'{"x":1,"body":{"improve":[', "broke off", True),
        (b'{"error":"not found"}', "not the service's", False),
        (b'{"status":"200"}', "not the service's", False),
        (b'{"status":200,}', "not the service's", False),
        (b'{"status":200,"body":"\xff"}', "not the service's", False),
        (b'{"status":200]', "not JSON", True),
        (b'{"\xff":200}', "not JSON", False),
        (b'{"body":1,"\xff":200}', "not JSON", True),
        (b'{"status":200}x', "not JSON", True),
        (b'{"status":200}{}', "not JSON", True),
        (b'{"status":200}"', "not JSON", True),
        (b'{"status":200}]', "not JSON", True),
        (b'{"body":{"improve":[{"status":tru}', "not JSON", True),
        (b'{"body":{"improve":[{"name":"\xff","status":0}', "not JSON", True),
        (b'{"status":20', "broke off", True),
    ],
)
def test_what_is_not_an_answer(answer: bytes, why: str, *, enveloped: bool) -> None:
    found = read_any_way(answer, Random(0))  # noqa: S311 - cuts, no secrets
    assert isinstance(found.end, str)
    assert why in found.end
    assert found.end.endswith(f"({enveloped})")


@pytest.mark.parametrize("place", ["item", "around", "body"])
def test_no_error_repeats_the_answer(place: str) -> None:
    for wrong in (',"x":"bait\xff"', ',"status":"bait"', ',"bait"', ",bait", ',"bait":tru', ',"bait\udc80":0'):
        answer = answer_with(**{place: wrong}).replace(b"\xc3\xbf", b"\xff") if "\udc80" not in wrong else b"{bait"
        assert "bait" not in str(read([answer]).end)


# bounds


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"body":{"improve":[{"a":'])
def test_nested_a_million_deep(opening: bytes) -> None:
    items, end = read([b'{"status":200,"x":', opening * 1_000_000])
    assert items == []
    assert end == f"the answer is nested deeper than {MAX_DEPTH} (True)"


def test_nested_as_deep_as_may_be() -> None:
    depth = MAX_DEPTH - 1
    assert read([answer_with(around=f',"x":{"[" * depth}{"]" * depth}')]) == (BOTH, Envelope(200))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["item", "around", "body"])
def test_json_beside_the_outputs_is_bounded(place: str) -> None:
    fits = ',"x":[%s0]' % ("123456789012345," * (MAX_SKELETON_BYTES // 16 - 100))
    assert read([answer_with(**{place: fits})]) == (BOTH, Envelope(200))
    answer = answer_with(**{place: fits + fits.replace("x", "y")})
    whole = read([answer])
    assert whole.end == f"the answer holds more than {MAX_SKELETON_BYTES:,} bytes beside its outputs (True)"
    assert read(answer[at : at + 999] for at in range(0, len(answer), 999)) == whole


@pytest.mark.parametrize("place", ["item", "around", "body"])
@pytest.mark.parametrize("long", [',"x":"%s"', ',"%s":0', ',"x":{"y":["%s"]}'])
def test_long_unknown_strings_are_not_kept(place: str, long: str) -> None:
    answer = answer_with(**{place: long % ("\\u002f" * 500_000)})
    assert read(answer[at : at + 1001] for at in range(0, len(answer), 1001)) == (BOTH, Envelope(200))
    assert read([answer]) == (BOTH, Envelope(200))


@pytest.mark.parametrize(("length", "kept"), [(MAX_TEXT_BYTES, True), (MAX_TEXT_BYTES + 1, False)])
def test_a_text_is_kept_up_to_its_limit(length: int, *, kept: bool) -> None:
    text = "x" * length
    answer = b'{"status":500,"body":"%b"}' % text.encode()
    for found in (read([answer]), read(one_by_one(answer))):
        assert found == ([], Envelope(500, text if kept else "…"))


def test_an_output_over_its_limit_does_not_affect_the_others() -> None:
    answer = answer_with(',"colorized":"QUJDRA=="')
    assert read([answer], max_output_bytes=4).items[0].outputs["colorized"] == b"ABCD"
    for pieces in ([answer], one_by_one(answer)):
        first, second = read(pieces, max_output_bytes=3).items
        assert first.outputs == {
            "improved": b"ABC",
            "colorized": "it decodes to more than 3 bytes (max_output_bytes, --max-output-bytes)",
        }
        assert second == SECOND


@pytest.mark.parametrize("output", ["", "QUJD", "!"])
def test_the_outputs_of_an_item_are_few(output: str) -> None:
    more = f',"colored":"{output}"'
    assert read_any_way(answer_with(more * (MAX_OUTPUTS - 1)), Random(0)).end == Envelope(200)  # noqa: S311 - cuts, no secrets
    items, end = read_any_way(answer_with(more * MAX_OUTPUTS), Random(0))  # noqa: S311 - cuts, no secrets
    assert (items, end) == ([], "one of the answer's items has outputs without an end (True)")


@pytest.mark.parametrize("filling", [b"QUJD", b"!!!!", rb"\/\/"])
def test_an_output_without_an_end_ends_the_answer(filling: bytes) -> None:
    most = 1000
    head = b'{"status":200,"body":{"improve":[{"status":0,"name":"a"},{"status":0,"improved":"'
    fits = filling * (2 * most // len(filling) + MAX_TEXT_BYTES // len(filling))
    items, end = read([head, fits], max_output_bytes=most)
    assert (len(items), end) == (1, "the answer broke off (True)")
    for pieces in ([head, fits, filling], [head, *[filling] * (len(fits) // len(filling) + 1)]):
        items, end = read(pieces, max_output_bytes=most)
        assert (len(items), end) == (1, "one of the answer's outputs has no end (True)")


@pytest.mark.slow
@pytest.mark.parametrize("filling", [b" \n\t ", b'"text text",', b"[],", b'"' + b"x" * 90_000 + b'",'])
def test_an_answer_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch, filling: bytes) -> None:
    monkeypatch.setattr(splitter, "MAX_BESIDE_BYTES", 500_000)
    head = b'{"status":200,"body":{"improve":[{"status":0,"name":"a"}]},"x":[' + b" " * 1000
    fits = filling * (490_000 // len(filling))
    assert read([head, fits])[1] == "the answer broke off (True)"
    items, end = read([head, fits, fits])
    assert (len(items), end) == (1, "the answer holds more than 500,000 bytes beside its outputs (True)")


@pytest.mark.parametrize("long", [0, None])
def test_outputs_do_not_count_towards_the_limit_on_other_bytes(
    monkeypatch: pytest.MonkeyPatch, long: int | None
) -> None:
    monkeypatch.setattr(splitter, "MAX_BESIDE_BYTES", 1000)
    answer = answer_with(',"colored":"%s"' % ("QUJD" * 1000))
    for pieces in ([answer], one_by_one(answer)):
        (first, second), end = read(pieces, long=long)
        assert (first.outputs["colorized"], second, end) == (b"ABC" * 1000, SECOND, Envelope(200))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "filling", "tail"),
    [
        pytest.param('{"status":0,"name":"a","improved":"', "QUJD", '"}', id="output"),
        pytest.param('{"status":0,"name":"a","improved":"', r"\/+\u002B" + "A" * 253, '"}', id="escaped-output"),
        pytest.param('{"status":0,"name":"a","improved":"', "!!!!", '"}', id="broken-output"),
        pytest.param('{"status":0,"name":"a","x":"', r"abc\u0041 ", '"}', id="text"),
        pytest.param('{"status":0,"name":"a","', "key ", '":0}', id="key"),
        pytest.param('{"status":0,"name":"a"', " \n\t\r", "}", id="whitespace"),
        pytest.param('{"status":0,"name":"a"}', "    ", "", id="whitespace-around"),
    ],
)
def test_memory_is_bounded_by_the_piece(head: str, filling: str, tail: str) -> None:
    """64 MB of one thing, in pieces of 64 KiB."""
    splitter, events = AnswerSplitter(), list[Event]()
    piece = filling.encode() * (PIECE // len(filling))
    items, size = list[Answered](), 0
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for data in (b'{"status":200,"body":{"improve":[' + head.encode(), *[piece] * 1024, tail.encode() + b"]}}"):
            splitter.feed(data, events)
            size += sum(len(event.data) for event in events if isinstance(event, Piece))
            items += [event for event in events if isinstance(event, Answered)]
            events.clear()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert splitter.finish() == Envelope(200)
    assert [item.name for item in items] == ["a"]
    assert size == sum(blob.size for blob in items[0].blobs.values())
    assert peak - before < 32 * PIECE


def test_a_syntax_error_after_a_field_of_the_wrong_type_is_found() -> None:  # found by fuzzing
    answer = b'{"status":200,"body":{"improve":[{"status":"bw":true}]}}'
    assert read([answer]) == read(one_by_one(answer)) == Read([], "the answer is not JSON (True)")
