"""Coverage-guided differential fuzzing of the answer splitter against whole-document parsers.

    tox -e fuzz                       # a short run
    tox -e fuzz -- -runs=10000000     # a long one; libFuzzer's options

A difference stops it and leaves the input in a file; give that file as the only argument to see it again.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import atheris

with atheris.instrument_imports(include=["smarty_async.wire", "smarty_async.errors"]):
    from smarty_async.errors import RequestError
    from smarty_async.wire import splitter
    from smarty_async.wire.messages import Event, Piece, without_lone_surrogates
    from smarty_async.wire.splitter import MAX_DEPTH, AnswerSplitter

import msgspec

FIELDS = {
    "improve": ("improved", "colorized_improved", "colored", "colorized"),
    "resolution": ("resolved",),
}
KIND = {"colored": "colorized"}
BROKEN = "broken"

Item = tuple[str, str, int, str | None, bool | None, dict[str, bytes | str]]


class NotAnAnswer(Exception):
    """The reference does not take it for a whole answer."""


def read(pieces: Iterator[bytes]) -> tuple[list[Item], tuple[int, str | None] | None]:
    """The items, and the envelope's status and text, None when the splitter refuses the answer."""
    reader, events = AnswerSplitter(), list[Event]()
    try:
        for piece in pieces:
            reader.feed(piece, events)
        envelope = reader.finish()
    except RequestError:
        return items_of(events), None
    return items_of(events), (envelope.status, envelope.body)


def items_of(events: list[Event]) -> list[Item]:
    """The items among `events`, with their outputs."""
    data, items = dict[int, bytes](), list[Item]()
    for event in events:
        if isinstance(event, Piece):
            data[event.number] = data.get(event.number, b"") + event.data
        elif event is not None:
            outputs: dict[str, bytes | str] = {
                kind: BROKEN if blob.error else data[blob.number] for kind, blob in event.blobs.items()
            }
            items.append((event.mode, event.name, event.status, event.error, event.bw, outputs))
    return items


class Pairs(list[tuple[str, Any]]):
    """An object with every key it was written with."""


def reference(answer: bytes) -> tuple[list[Item], tuple[int, str | None]]:
    """What msgspec, for the grammar, and the standard library, for the rest, make of a whole document."""
    answer = without_lone_surrogates(answer.removeprefix(b"\xef\xbb\xbf"))
    try:
        msgspec.json.decode(answer)
        document = json.loads(answer.decode(), object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        raise NotAnAnswer from None
    if not isinstance(document, Pairs) or type(status := dict(document).get("status")) is not int:
        raise NotAnAnswer
    if "body" not in dict(document):
        raise NotAnAnswer
    items: list[Item] = []
    for key, body in document:
        for mode, entries in body if key == "body" and isinstance(body, Pairs) else ():
            if mode in FIELDS and isinstance(entries, list) and not isinstance(entries, Pairs):
                items += [item for entry in entries if (item := reference_item(mode, entry))]
    body = dict(document).get("body")
    return items, (status, body if isinstance(body, str) else None)


def reference_item(mode: str, entry: object) -> Item | None:
    """The item that `entry` is, None when it is none."""
    if not isinstance(entry, Pairs):
        return None
    fields = dict(entry)
    texts = [fields.get(field) for field in ("error", *FIELDS[mode])]
    if (
        type(fields.get("status")) is not int
        or not isinstance(fields.get("name"), str)
        or not isinstance(fields.get("bw"), bool | None)
        or not all(isinstance(text, str | None) for text in texts)
    ):
        return None
    texts_by_kind = {KIND.get(field, field): fields[field] for field in FIELDS[mode] if fields.get(field)}
    outputs = {kind: output for kind, text in texts_by_kind.items() if (output := reference_output(text))}
    return mode, fields["name"], fields["status"], fields.get("error"), fields.get("bw"), outputs


def reference_output(text: str) -> bytes | str:
    """What `text` decodes to: strictly, once white space and a `data:` prefix are gone and padding is complete."""
    plain = re.sub(r"[ \t\n\r\f\v]", "", text)
    plain = re.sub(r"\A(?i:data):[^,]{0,244}(?i:;base64),", "", plain)
    padded = plain if "=" in plain else plain + "=" * (-len(plain) % 4)
    try:
        data = base64.b64decode(padded.encode(), validate=True)
    except (binascii.Error, ValueError):
        return BROKEN
    return data if len(padded) == (len(data) + 2) // 3 * 4 else BROKEN


def beyond_comparison(answer: bytes) -> bool:
    """Where the two may differ: nesting past the splitter's bound, numbers past 64 bits, text that is not UTF-8.

    msgspec does not look at the text of fields it passes over; to lose a paid result for that would help nobody.
    """
    try:
        answer.decode()
    except UnicodeDecodeError:
        return True
    return answer.count(b"[") + answer.count(b"{") > MAX_DEPTH or any(
        len(digits) > 17 for digits in bytes(c if 48 <= c < 58 else 32 for c in answer).split()
    )


def check(data: bytes) -> None:
    """One execution: any cut reads alike, and as the reference reads it."""
    if len(data) < 2:
        return
    step, answer = data[0] % 40 + 1, data[1:]
    long = data[0] // 40  # 0: every output counts as a long one
    with patch.object(splitter, "MAX_OUTPUTS", len(answer)):  # the reference has no such bound
        whole = read(iter((answer,)))
        with patch.multiple(splitter, SHORT_TEXT_BYTES=long, LONG_TEXT_BYTES=long):
            parts = read(answer[i : i + step] for i in range(0, len(answer), step))
    if parts != whole:
        raise AssertionError(f"cut by {step}: {parts} is not {whole}")
    if beyond_comparison(answer):
        return
    try:
        expected = reference(answer)
    except NotAnAnswer:
        # Bytes that no JSON string may hold spoil one output, not the answer around it.
        if whole[1] is not None and not any(BROKEN in item[5].values() for item in whole[0]):
            spoilt = (
                answer.count(b'"improved') + answer.count(b'"color') + answer.count(b'"resolved') + answer.count(b"\\u")
            )
            if not spoilt:
                raise AssertionError(f"{whole} was read from what is no answer") from None
        return
    if whole != expected:
        raise AssertionError(f"{whole} is not {expected}")


SEEDS = rb"""
{"status":200,"body":{"improve":[{"status":0,"name":"file_0","improved":"/9j/","bw":true}]}}
{"status":200,"body":{"status":0,"improve":[{"improved":"\/9j\/","colored":"YQ==","status":0,"name":"a"},{"status":2}]}}
{"status":200,"body":{"resolution":[{"resolved":"","name":"a","status":0}]},"htmlencoded":false,"last_modified":0}
{"status":200,"body":{"improve":[{"status":0,"name":"a","improved":"data:image/jpeg;base64,\n/9j\r\n\/","colored":"YQ"}]}}
{"status":400,"body":"could not get image by name file1: http: no such file"}
{ "x" : [ { "improve" : [ {} ] } , null , 1.5e3 , "\u00e9\"" ] , "status" : 200 }
{"body":{"imp\u0072ove":[{"name":"n","colorized_improved":"YWI\u003d","colorized":null,"status":1}]},"status":200}
""".split(b"\n")[1:-1]


def main() -> None:
    """Run until stopped, from a few good answers on."""
    own = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    corpus = Path(own[0]) if own else Path(".tox/fuzz/corpus")
    if not corpus.is_file():
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS):
            (corpus / f"seed_{number}").write_bytes(b"\x06" + seed)
    arguments = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    atheris.Setup([sys.argv[0], "-max_len=1024", *arguments, str(corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
