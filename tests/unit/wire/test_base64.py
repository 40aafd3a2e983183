"""The incremental base64 reader against the standard library's, for any cut of the text."""

from __future__ import annotations

import base64
import binascii
import string
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smarty_async.wire.base64 import Base64Reader
from smarty_async.wire.messages import Blob

ALPHABET = string.ascii_letters + string.digits + "+/"
thorough = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def read(pieces: list[bytes], *, max_bytes: int = 1000, number: int = 7) -> tuple[Blob, bytes]:
    """What a reader makes of a string in these pieces, each cut between escapes."""
    reader = Base64Reader(number, max_bytes=max_bytes)
    data = b"".join(part for piece in pieces for part in fed(reader, piece))
    return reader.close(), data


def fed(reader: Base64Reader, piece: bytes) -> list[bytes]:
    """What a piece brings, which lies between others."""
    return reader.feed(b"QUJD" + piece + b"QUJD", 4, 4 + len(piece))


def pieces_of(text: bytes, cuts: list[int]) -> list[bytes]:
    """`text` cut at these places, wherever they fall."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)] or [b""]


def reference(text: bytes) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return data if len(text) == (len(data) + 2) // 3 * 4 else None  # it lets some surplus padding pass


cuts = st.lists(st.integers(0, 1000), max_size=12)
near_base64 = st.lists(st.sampled_from([*ALPHABET, *ALPHABET, "=", "==", "\n", "-", "QUJD"]), max_size=40).map(
    lambda parts: "".join(parts).encode()
)


@thorough
@given(st.binary(max_size=200), cuts)
def test_what_was_encoded_comes_back(data: bytes, places: list[int]) -> None:
    blob, found = read(pieces_of(base64.b64encode(data), places))
    assert found == data
    assert blob == Blob(7, len(data), data[:3])


@thorough
@given(st.one_of(near_base64, st.binary(max_size=30).filter(lambda text: b"\\" not in text)), cuts)
def test_anything_else_is_an_error(text: bytes, places: list[int]) -> None:
    expected = reference(text)
    blob, found = read(pieces_of(text, places))
    assert blob == read([text])[0]
    if expected is None:
        assert blob.error in {"its base64 is broken", "its base64 is cut short"}
        assert (blob.size, blob.head) == (0, b"")
    else:
        assert (blob.error, found) == (None, expected)


@thorough
@given(near_base64, cuts, st.integers(1, 20))
def test_the_error_does_not_hang_on_the_cut(text: bytes, places: list[int], max_bytes: int) -> None:
    blob, _ = read([text], max_bytes=max_bytes)
    assert read(pieces_of(text, places), max_bytes=max_bytes)[0] == blob
    assert read([text[i : i + 1] for i in range(len(text))], max_bytes=max_bytes)[0] == blob


@thorough
@given(st.binary(max_size=60), st.data())
def test_escapes_are_the_characters_they_stand_for(data: bytes, drawn: st.DataObject) -> None:
    forms = [rb"%c", rb"\u%04x", rb"\u%04X"]
    parts = []
    for code in base64.b64encode(data):
        choices = [form % code for form in forms] + ([rb"\/"] if code == ord("/") else [])
        parts.append(drawn.draw(st.sampled_from(choices)))
    blob, found = read(parts)
    assert found == data
    assert read([b"".join(parts)]) == (blob, found)
    assert blob.error is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"QUJ!", id="not of the alphabet"),
        pytest.param(b"QUJ-", id="the URL alphabet"),
        pytest.param(b"QU\nJD", id="newline"),
        pytest.param(b"QUI =", id="space"),
        pytest.param(b"QQ==QUJD", id="data after padding"),
        pytest.param(b"QQ==QQ==", id="padding twice"),
        pytest.param(b"QUJD====", id="surplus padding"),
        pytest.param(b"====", id="padding alone"),
        pytest.param(b"Q===", id="too much padding"),
        pytest.param(b"QQ=A", id="padding inside"),
        pytest.param(b"\xd0\xa4\xd0\xa4", id="not ASCII"),
        pytest.param(rb"QUJ\n", id="escaped newline"),
        pytest.param(rb"QUJ\u000a", id="escaped newline by number"),
        pytest.param(rb"QUJ\u0444", id="escaped, not ASCII"),
        pytest.param(rb"QUJ\u0100", id="escaped, ASCII in its low byte"),
        pytest.param(rb"QUJ\"", id="escaped quote"),
        pytest.param(rb"QUJ\\", id="escaped backslash"),
        pytest.param(b"QUJ\\\n", id="escaped line break"),
        pytest.param(rb"Q\u00zz", id="no escape at all"),
        pytest.param(b"!!!!QUJD", id="sound data after the break"),
        pytest.param(b"QUJDQ!", id="not of the alphabet, in what is cut short"),
        pytest.param(rb"QUJDQ\n", id="escaped newline, in what is cut short"),
        pytest.param(b"QUJDQ\xd0", id="not ASCII, in what is cut short"),
    ],
)
def test_what_breaks_it(text: bytes) -> None:
    assert read([text])[0] == Blob(7, 0, b"", "its base64 is broken")


@pytest.mark.parametrize("text", [b"Q", b"QQ", b"QQ=", b"QUJDQ", b"QUJDQUI"])
def test_what_is_cut_short(text: bytes) -> None:
    assert read([text])[0] == Blob(7, 0, b"", "its base64 is cut short")


@thorough
@given(st.lists(st.sampled_from([b"Q", b"QUJD", b"QUJDQUI", b"=", b"==", b"", b'"', b"!", rb"\/", rb"\u002b", rb"\x"])))
def test_what_is_not_taken_has_changed_nothing(pieces: list[bytes]) -> None:
    tried, fed_only = Base64Reader(7, max_bytes=20), Base64Reader(7, max_bytes=20)
    for piece in pieces:
        taken = tried.take(piece, 0, len(piece))
        assert taken is None or not set(piece) & set(b'"!\\')
        assert (tried.feed(piece, 0, len(piece)) if taken is None else taken) == fed_only.feed(piece, 0, len(piece))
    assert tried.close() == fed_only.close()


def test_nothing_is_given_after_the_break() -> None:
    reader = Base64Reader(0, max_bytes=1000)
    assert fed(reader, b"QUJDQ") == [b"ABC"]
    assert fed(reader, b"!!!QUJD") == []
    assert fed(reader, b"QUJD") == []


@pytest.mark.parametrize("pieces", [[b"QQ==", b"QUJD"], [b"QQ=", b"=QUJD"], [b"QUJDQQ==", b"QQ=="]])
def test_padding_is_the_end_also_where_pieces_meet(pieces: list[bytes]) -> None:
    assert read(pieces)[0] == Blob(7, 0, b"", "its base64 is broken")


def test_no_more_is_given_than_its_bound() -> None:
    assert read([b"QUJD", b"QUJD"], max_bytes=6) == (Blob(7, 6, b"ABC"), b"ABCABC")
    assert read([b"QUJD", b"QUJD", b"QQ=="], max_bytes=6) == (
        Blob(7, 0, b"", "it decodes to more than 6 bytes"),
        b"ABCABC",
    )


def test_the_empty_string() -> None:
    assert read([b""]) == (Blob(7, 0, b""), b"")
