"""The incremental base64 reader against the standard library's, for any cut of the text."""

from __future__ import annotations

import base64
import binascii
import re
import string
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smarty_async.wire.base64 import Base64Reader
from smarty_async.wire.messages import Blob

ALPHABET = string.ascii_letters + string.digits + "+/"
thorough = settings(max_examples=3 * settings().max_examples, suppress_health_check=list(HealthCheck))


def read(pieces: list[bytes], *, max_bytes: int = 1000, number: int = 7) -> tuple[Blob, bytes]:
    """What a reader makes of a string in these pieces, each cut between escapes."""
    reader = Base64Reader(number, max_bytes=max_bytes)
    data = b"".join(part for piece in pieces for part in fed(reader, piece)) + b"".join(reader.flush())
    return reader.close(), data


def fed(reader: Base64Reader, piece: bytes) -> list[bytes]:
    """What a reader makes of a piece that has other bytes on both sides."""
    return reader.feed(b"QUJD" + piece + b"QUJD", 4, 4 + len(piece))


def pieces_of(text: bytes, cuts: list[int]) -> list[bytes]:
    """`text` cut at these places, wherever they fall."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)] or [b""]


def reference(text: bytes) -> bytes | None:
    """What the standard library makes of the whole text, once what is tolerated is taken out of it."""
    text = re.sub(rb"[ \t\n\r\f\v]", b"", text)
    text = re.sub(rb"\A(?i:data):[^,]{0,244}(?i:;base64),", b"", text)
    if b"=" not in text:
        text += b"=" * (-len(text) % 4)
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return data if len(text) == (len(data) + 2) // 3 * 4 else None  # it accepts some surplus padding


cuts = st.lists(st.integers(0, 1000), max_size=12)
near_base64 = st.lists(
    st.sampled_from([*ALPHABET, *ALPHABET, "=", "==", "\n", "\r\n", " ", "-", "QUJD"]), max_size=40
).map(lambda parts: "".join(parts).encode())
prefixed = st.tuples(
    st.lists(
        st.sampled_from(["data:", "DATA:", "dat", "da", "ta:", " ", "image/jpeg", ";base64", ";", ","]), max_size=8
    ),
    near_base64,
).map(lambda parts: "".join(parts[0]).encode() + parts[1])


@pytest.mark.slow
@thorough
@given(st.binary(max_size=200), cuts)
def test_what_was_encoded_comes_back(data: bytes, places: list[int]) -> None:
    blob, found = read(pieces_of(base64.b64encode(data), places))
    assert found == data
    assert blob == Blob(7, len(data), data[:3])


@pytest.mark.slow
@thorough
@given(st.one_of(near_base64, prefixed, st.binary(max_size=30).filter(lambda text: b"\\" not in text)), cuts)
def test_any_text_reads_as_a_whole_document_decoder_reads_it(text: bytes, places: list[int]) -> None:
    expected = reference(text)
    blob, found = read(pieces_of(text, places))
    assert blob == read([text])[0] == read([text[i : i + 1] for i in range(len(text))])[0]
    if expected is None:
        assert blob.error in {"its base64 is broken", "its base64 is cut short"}
        assert (blob.size, blob.head) == (0, b"")
    else:
        assert (blob.error, found) == (None, expected)


@pytest.mark.slow
@thorough
@given(st.one_of(near_base64, prefixed), cuts, st.integers(1, 20))
def test_the_error_does_not_depend_on_the_cut(text: bytes, places: list[int], max_bytes: int) -> None:
    blob, _ = read([text], max_bytes=max_bytes)
    assert read(pieces_of(text, places), max_bytes=max_bytes)[0] == blob
    assert read([text[i : i + 1] for i in range(len(text))], max_bytes=max_bytes)[0] == blob


@pytest.mark.slow
@thorough
@given(st.binary(max_size=60), st.data())
def test_escapes_are_decoded(data: bytes, drawn: st.DataObject) -> None:
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
        pytest.param(b"QQ==QUJD", id="data after padding"),
        pytest.param(b"QQ==QQ==", id="padding twice"),
        pytest.param(b"QUJD====", id="surplus padding"),
        pytest.param(b"====", id="padding alone"),
        pytest.param(b"Q===", id="too much padding"),
        pytest.param(b"QQ=A", id="padding inside"),
        pytest.param(b"\xd0\xa4\xd0\xa4", id="not ASCII"),
        pytest.param(rb"QUJ\u0444", id="escaped, not ASCII"),
        pytest.param(rb"QUJ\u0100", id="escaped, ASCII in its low byte"),
        pytest.param(rb"QUJ\"", id="escaped quote"),
        pytest.param(rb"QUJ\\", id="escaped backslash"),
        pytest.param(b"QUJ\\\n", id="escaped line break"),
        pytest.param(rb"Q\u00zz", id="no escape at all"),
        pytest.param(b"!!!!QUJD", id="sound data after the break"),
        pytest.param(b"QUJDQ!", id="not of the alphabet, in what is cut short"),
        pytest.param(b"QUJDQ\xd0", id="not ASCII, in what is cut short"),
        pytest.param(b"data:", id="a prefix that does not end"),
        pytest.param(rb"data:image\p;base64,QUJD", id="a prefix with an invalid escape"),
        pytest.param(b"data:image/jpeg,QUJD", id="a prefix of another encoding"),
        pytest.param(b"data:base64,QUJD", id="a prefix without its semicolon"),
        pytest.param(b"data:" + b"x" * 250 + b";base64,QUJD", id="a prefix over its bound"),
        pytest.param(b"data:" + b"x" * 300, id="an endless prefix"),
        pytest.param(b"data:;base64,data:;base64,QUJD", id="a prefix twice"),
        pytest.param(b"QUJDdata:;base64,QUJD", id="a prefix inside"),
        pytest.param(b"QUJ\xc2\xa0D", id="a space that is not ASCII"),
    ],
)
def test_broken_base64(text: bytes) -> None:
    characters = re.findall(rb"\\u....|\\.|.", text, re.DOTALL)
    for pieces in ([text], characters, [text[:5], text[5:]] if b"\\" not in text else []):
        if pieces:
            assert read(pieces)[0] == Blob(7, 0, b"", "its base64 is broken")


@pytest.mark.parametrize("text", [b"Q", b"QQ=", b"QUJDQ", b"Q\n", b"QQ= \n", b"QQ==QQ", b"data:;base64,Q"])
def test_base64_that_is_cut_short(text: bytes) -> None:
    for pieces in ([text], [text[i : i + 1] for i in range(len(text))]):
        assert read(pieces)[0] == Blob(7, 0, b"", "its base64 is cut short")


TOLERATED = [
    pytest.param(b"QUJDRA", id="missing padding"),
    pytest.param(b"QUJDRA\n==", id="white space in the padding"),
    pytest.param(b"QU\nJD\r\nRA==\r\n", id="wrapped lines"),
    pytest.param(rb"QU\nJD\r\nRA==\r\n", id="wrapped lines, escaped"),
    pytest.param(rb"QU\u000aJD\u0020RA\t", id="wrapped lines, escaped by number"),
    pytest.param(b"Q\nUJ" + rb"\u0044\nRA", id="line ends as they are beside escapes"),
    pytest.param(b" \t\n\r\f\vQUJDRA==", id="every white space before it"),
    pytest.param(b"data:image/jpeg;base64,QUJDRA==", id="a data URL"),
    pytest.param(b"data:;base64,QUJDRA", id="a data URL without a type or padding"),
    pytest.param(b"data:image/jpeg;charset=utf-8;base64,QUJDRA==", id="a data URL with a parameter"),
    pytest.param(rb"data:image\/jpeg;base64,QUJDRA==", id="a data URL, escaped"),
    pytest.param(b"\n DATA:image/jpeg;BASE64,\nQUJD\nRA==", id="a data URL in capitals and lines"),
]


@pytest.mark.parametrize("text", TOLERATED)
def test_tolerated_forms(text: bytes) -> None:
    characters = re.findall(rb"\\u....|\\.|.", text, re.DOTALL)
    for size in range(1, len(characters) + 1):
        pieces = [b"".join(characters[at : at + size]) for at in range(0, len(characters), size)]
        assert read(pieces) == (Blob(7, 4, b"ABC"), b"ABCD")


@pytest.mark.parametrize("text", [b"data", b"d", b"da", b"dat", b"Data", b"dataAAAA"])
def test_base64_that_begins_like_a_data_url(text: bytes) -> None:
    assert read([text[i : i + 1] for i in range(len(text))])[1] == (reference(text) or b"")


@pytest.mark.parametrize("text", [b"", b"\n", b"data:image/jpeg;base64,", rb"\n \t"])
def test_an_empty_output_is_empty_in_any_form(text: bytes) -> None:
    assert read([text]) == (Blob(7, 0, b""), b"")


@thorough
@given(st.lists(st.sampled_from([b"Q", b"QUJD", b"QUJDQUI", b"=", b"==", b"", b'"', b"!", rb"\/", rb"\u002b", rb"\x"])))
def test_take_changes_nothing_when_it_returns_none(pieces: list[bytes]) -> None:
    tried, fed_only = Base64Reader(7, max_bytes=20), Base64Reader(7, max_bytes=20)
    for piece in pieces:
        taken = tried.take(piece, 0, len(piece))
        assert taken is None or not set(piece) & set(b'"!\\')
        assert (tried.feed(piece, 0, len(piece)) if taken is None else taken) == fed_only.feed(piece, 0, len(piece))
    assert tried.flush() == fed_only.flush()
    assert tried.close() == fed_only.close()


def test_nothing_is_decoded_after_an_error() -> None:
    reader = Base64Reader(0, max_bytes=1000)
    assert fed(reader, b"QUJDQ") == [b"ABC"]
    assert fed(reader, b"!!!QUJD") == []
    assert fed(reader, b"QUJD") == []


@pytest.mark.parametrize("pieces", [[b"QQ==", b"QUJD"], [b"QQ=", b"=QUJD"], [b"QUJDQQ==", b"QQ=="]])
def test_data_after_padding_is_an_error_across_pieces(pieces: list[bytes]) -> None:
    assert read(pieces)[0] == Blob(7, 0, b"", "its base64 is broken")


def test_no_more_is_decoded_than_the_limit() -> None:
    assert read([b"QUJD", b"QUJD"], max_bytes=6) == (Blob(7, 6, b"ABC"), b"ABCABC")
    assert read([b"QUJD", b"QUJD", b"QQ=="], max_bytes=6) == (
        Blob(7, 0, b"", "it decodes to more than 6 bytes (max_output_bytes, --max-output-bytes)"),
        b"ABCABC",
    )
