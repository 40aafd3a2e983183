from __future__ import annotations

import json

import msgspec
import pytest

from smarty_async.options import MODES, ModeSpec
from smarty_async.results import KINDS, KINDS_BY_MODE
from smarty_async.wire.messages import OUTPUT_FIELDS, Answered, Blob, Envelope, encode_meta, item_name, parse_envelope

IMPROVE = ModeSpec("improve")
RESOLUTION = ModeSpec("resolution", 4, "art")


def test_names_of_items_are_unique() -> None:
    assert [item_name(number) for number in range(3)] == ["file_0", "file_1", "file_2"]
    assert len({item_name(number) for number in range(100)}) == 100


def test_meta_for_improve_names_no_options() -> None:
    assert json.loads(encode_meta(["file_0", "file_1"], [IMPROVE])) == {
        "mode": ["improve"],
        "images": [{"name": "file_0"}, {"name": "file_1"}],
    }


@pytest.mark.parametrize("tasks", [(RESOLUTION,), (IMPROVE, RESOLUTION)])
def test_meta_for_resolution_says_the_type_under_both_its_names(tasks: tuple[ModeSpec, ...]) -> None:
    assert json.loads(encode_meta(["file_0"], tasks)) == {
        "mode": [task.mode for task in tasks],
        "images": [{"name": "file_0"}],
        "rfactor": 4,
        "rtype": "art",
        "ftype": "art",
    }


def test_every_mode_has_its_outputs_and_every_kind_its_field() -> None:
    assert set(OUTPUT_FIELDS) == set(MODES)
    assert {mode: tuple(dict.fromkeys(fields.values())) for mode, fields in OUTPUT_FIELDS.items()} == KINDS_BY_MODE
    assert {kind for kinds in KINDS_BY_MODE.values() for kind in kinds} == set(KINDS)


@pytest.mark.parametrize(
    ("text", "envelope"),
    [
        (
            b'{"status":500,"body":"Internal Server Error","htmlencoded":false,"last_modified":0}',
            (500, "Internal Server Error"),
        ),
        (b'{"status":400,"body":"rfactor must be 2 or 4"}', (400, "rfactor must be 2 or 4")),
        (b'{"status":200,"body":{"improve":[]}}', (200, None)),
        (b'{"body":[1,null],"status":200,"more":{"status":400}}', (200, None)),
        (b'{"status":200,"body":null}', (200, None)),
        (b' {"status":200,"body":{}} ', (200, None)),
        (b'\xef\xbb\xbf{"status":500,"body":"no"}', (500, "no")),
        ('{"status":403,"body":"нет"}'.encode(), (403, "нет")),
        (rb'{"status":400,"body":"cut \uD83D","x":["\ude00"]}', (400, "cut \ufffd")),
    ],
)
def test_an_envelope(text: bytes, envelope: tuple[int, str | None]) -> None:
    assert parse_envelope(text) == Envelope(*envelope)
    assert parse_envelope(bytearray(text)) == Envelope(*envelope)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no",
        b"[]",
        b"{}",
        b"<html></html>",
        b'{"body":"x"}',
        b'{"status":200}',
        b'{"timestamp":"now","status":404,"error":"Not Found","path":"/"}',  # Spring's own error
        b'\xef\xbb\xbf\xef\xbb\xbf{"status":500,"body":"no"}',
        b'{"status":500,"body":' + b"[" * 100_000,
        b'{"status":"400"}',
        b'{"status":null}',
        b'{"status":200',
        b'{"status":200}x',
        b'{"status":400,"body":"\xcd\xe5\xf2"}',
        b'{"status":400,"body":"\xed\xa0\xbd"}',
        rb'{"status":400,"body":"\ud8"}',
    ],
)
def test_no_envelope(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        parse_envelope(text)


def test_messages_are_frozen() -> None:
    for struct in (Envelope(200), Blob(0, 3, b"ABC"), Answered("improve", "file_0", 0)):
        with pytest.raises(AttributeError):
            setattr(struct, struct.__struct_fields__[0], None)


def test_items_do_not_share_their_blobs() -> None:
    one, other = Answered("improve", "file_0", 0), Answered("improve", "file_1", 0)
    assert one.blobs is not other.blobs
