"""The request's meta and the answer's parts, under the field names of the API's documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from smarty_async.options import Mode, ModeSpec
from smarty_async.results import Kind

__all__ = [
    "OUTPUT_FIELDS",
    "Answered",
    "Blob",
    "Envelope",
    "Piece",
    "encode_meta",
    "item_name",
    "parse_envelope",
    "parse_item",
]

OUTPUT_FIELDS: Final[Mapping[Mode, Mapping[str, Kind]]] = {
    "improve": {
        "improved": "improved",
        "colorized_improved": "colorized_improved",
        "colored": "colorized",  # a table's spelling; `colorized`, every example's, wins where both are there
        "colorized": "colorized",
    },
    "resolution": {"resolved": "resolved"},
}
"""The fields that hold base64 JPEGs, by mode, and the kind of output each one is."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Some decoded bytes of a blob, in order.

    Attributes:
        number: which blob of this answer.
        data: bytes.
    """

    number: int
    data: bytes


class Blob(msgspec.Struct, frozen=True, gc=False):
    """One base64 string of an answer, read to its end.

    Attributes:
        number: which blob of this answer.
        size: decoded bytes; 0 when it is broken.
        head: the first 3 decoded bytes; none when it is broken.
        error: what was wrong with its base64, None when it is whole.
    """

    number: int
    size: int
    head: bytes
    error: str | None = None


class Answered(msgspec.Struct, frozen=True):
    """One item of an answer whose object has closed: it is whole, whatever becomes of the rest.

    Attributes:
        mode: the list it stood in.
        name: the part's name, as the service wrote it.
        status: 0 ok, 1 permanent error, 2 temporary error.
        error: the service's text.
        bw: taken for black-and-white.
        blobs: its outputs by kind; absent and empty ones are left out.
    """

    mode: Mode
    name: str
    status: int
    error: str | None = None
    bw: bool | None = None
    blobs: dict[Kind, Blob] = {}


class Envelope(msgspec.Struct, frozen=True):
    """What stands around the items.

    Attributes:
        status: the real status, whatever HTTP says.
        body: the text of an error; None when the body is an object.
    """

    status: int
    body: str | None = None


class _ImageMeta(msgspec.Struct, frozen=True):
    name: str


class _Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    mode: list[Mode]
    images: list[_ImageMeta]
    rfactor: int | None = None
    rtype: str | None = None
    ftype: str | None = None  # tables say ftype, examples say rtype: both are sent


def item_name(number: int) -> str:
    """The part's name for the item at `number` of a chunk."""
    return f"file_{number}"


def encode_meta(names: Iterable[str], specs: Sequence[ModeSpec]) -> bytes:
    """The ``meta`` part: what is asked, of which parts."""
    enlarge = next((spec for spec in specs if spec.mode == "resolution"), None)
    return msgspec.json.encode(
        _Meta(
            mode=[spec.mode for spec in specs],
            images=[_ImageMeta(name) for name in names],
            rfactor=enlarge.rfactor if enlarge else None,
            rtype=enlarge.rtype if enlarge else None,
            ftype=enlarge.rtype if enlarge else None,
        )
    )


class _RawEnvelope(msgspec.Struct):
    status: int
    body: object = None


_envelope = msgspec.json.Decoder(_RawEnvelope)


def parse_envelope(text: bytes | bytearray) -> Envelope:
    """The envelope in `text`, a whole JSON document.

    Raises:
        msgspec.DecodeError: it is none.
    """
    try:
        raw = _envelope.decode(text)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not UTF-8: {error.reason}") from None
    return Envelope(raw.status, raw.body if isinstance(raw.body, str) else None)


class _Item(msgspec.Struct):
    """An item's skeleton. Output fields hold placeholders: the number of their blob."""

    status: int
    name: str
    error: str | None = None
    bw: bool | None = None


class _Improved(_Item):
    improved: str | None = None
    colorized_improved: str | None = None
    colored: str | None = None
    colorized: str | None = None


class _Resolved(_Item):
    resolved: str | None = None


_items: Final[Mapping[Mode, msgspec.json.Decoder[_Improved] | msgspec.json.Decoder[_Resolved]]] = {
    "improve": msgspec.json.Decoder(_Improved),
    "resolution": msgspec.json.Decoder(_Resolved),
}


def parse_item(mode: Mode, skeleton: bytes | bytearray) -> _Improved | _Resolved | None:
    """The item in `skeleton`; None when it is JSON and no item: whoever it was meant for stays unanswered."""
    try:
        return _items[mode].decode(skeleton)
    except msgspec.ValidationError:
        msgspec.json.decode(skeleton)  # what breaks the grammar may stand behind what has the wrong type
        return None
