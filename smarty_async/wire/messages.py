"""Messages of the API, with the field names of its documents: the request's meta and body, and the parts of an answer.

The request's body is ``multipart/form-data`` (RFC 7578): its length and everything but the images' bytes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from smarty_async.options import Mode, ModeSpec
from smarty_async.results import ErrorInfo, Kind

__all__ = [
    "BOM",
    "FRAME_BYTES",
    "OUTPUT_FIELDS",
    "TAIL_BYTES",
    "Answered",
    "Blob",
    "Envelope",
    "Event",
    "Image",
    "ItemVerdict",
    "Multipart",
    "Piece",
    "encode_meta",
    "item_name",
    "judge_item",
    "parse_envelope",
    "parse_item",
    "without_lone_surrogates",
]


OUTPUT_FIELDS: Final[Mapping[Mode, Mapping[str, Kind]]] = {
    "improve": {
        "improved": "improved",
        "colorized_improved": "colorized_improved",
        "colored": "colorized",  # one table spells it so; `colorized`, as in every example, is preferred
        "colorized": "colorized",
    },
    "resolution": {"resolved": "resolved"},
}
"""The fields that hold base64 JPEGs: by mode, the kind of output of each field."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Some decoded bytes of a blob, in order.

    Attributes:
        number: the number of the blob in its answer.
        data: the bytes.
    """

    number: int
    data: bytes


class Blob(msgspec.Struct, frozen=True, gc=False):
    """One base64 string of an answer, complete.

    Attributes:
        number: its number in the answer.
        size: decoded bytes; 0 when it is broken.
        head: the first 3 decoded bytes; empty when it is broken.
        error: what is wrong with its base64, None when it is valid.
    """

    number: int
    size: int
    head: bytes
    error: str | None = None


class Answered(msgspec.Struct, frozen=True, gc=False):
    """One item of an answer whose object has closed. It stays valid when the rest of the answer is lost.

    Attributes:
        mode: the list that it is in.
        name: the part's name, as the service wrote it.
        status: 0 ok, 1 permanent error, 2 temporary error.
        error: the service's text.
        bw: whether the service took the photo for black-and-white.
        blobs: its outputs by kind; absent and empty ones are left out.
    """

    mode: Mode
    name: str
    status: int
    error: str | None = None
    bw: bool | None = None
    blobs: dict[Kind, Blob] = {}


ItemVerdict = Literal["done", "temporary", "permanent"]
"""What the answer to an item means: it is kept, the item is sent again, or it is not sent again."""


def judge_item(answered: Answered) -> tuple[ItemVerdict, ErrorInfo | None]:
    """Return what the answer to an item means, and the reason when it is not done."""
    if answered.status == 1:
        return "permanent", ErrorInfo("permanent", answered.error or "the service gave no reason")
    if answered.status != 0:
        return "temporary", ErrorInfo("temporary", answered.error or "the service gave no reason")
    for kind, blob in answered.blobs.items():
        wrong = blob.error or (None if blob.head == b"\xff\xd8\xff" else "it is not a JPEG")
        if wrong:
            return "temporary", ErrorInfo("broken_output", f"{kind} came back unusable: {wrong}")
    return "done", None


Event = Piece | Answered | None
"""What a splitter finds in an answer; None where an object closes that should have been an item."""


class Envelope(msgspec.Struct, frozen=True):
    """What surrounds the items.

    Attributes:
        status: the real status, which HTTP's may differ from.
        body: the text of an error; None when the body is no text.
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
    """Return the part's name for item `number` of a chunk."""
    return f"file_{number}"


def encode_meta(names: Iterable[str], specs: Sequence[ModeSpec]) -> bytes:
    """Encode the ``meta`` part: the modes, and the names of the parts they apply to."""
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
    body: object  # required: other programs' errors have a status, too


BOM: Final = b"\xef\xbb\xbf"
"""UTF-8 byte order mark: accepted at the start of an answer."""

_SURROGATE = re.compile(
    rb"(\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
"""The escape of a surrogate that is not one of a pair; its group: an escape that is passed over, or a pair."""
_envelope = msgspec.json.Decoder(_RawEnvelope)


def without_lone_surrogates(text: bytes) -> bytes:
    """Return JSON with U+FFFD, the replacement character, for each escape of half a character.

    RFC 8259 (8.2) allows these, and programs write them that cut a text in the middle of a character; msgspec takes
    none of them.

    Args:
        text: JSON, or the inside of one of its strings.
    """
    return _SURROGATE.sub(lambda found: found[1] or rb"\ufffd", text) if b"\\u" in text else text


def parse_envelope(text: bytes | bytearray) -> Envelope:
    """Parse the envelope in `text`, a whole JSON document, with or without a byte order mark.

    Raises:
        msgspec.DecodeError: `text` is no envelope: not JSON, or without an integer `status` or a `body`.
    """
    try:
        raw = _envelope.decode(without_lone_surrogates(bytes(text).removeprefix(BOM)))
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not UTF-8: {error.reason}") from None
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
    return Envelope(raw.status, raw.body if isinstance(raw.body, str) else None)


class _Item(msgspec.Struct):
    """The skeleton of an item. Output fields hold the number of their blob as a placeholder."""

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
    """Parse the item in `skeleton`; None when it is JSON but no item.

    Raises:
        msgspec.DecodeError: it is not JSON.
        UnicodeDecodeError: it is not UTF-8.
    """
    try:
        return _items[mode].decode(skeleton)
    except msgspec.ValidationError:
        msgspec.json.decode(skeleton)  # a syntax error may follow the value of the wrong type
        return None


_SUFFIXES: Final = {"image/jpeg": "jpg", "image/png": "png", "image/tiff": "tif"}

FRAME_BYTES: Final = 256
"""Bytes that one image adds to a body beside its own, at most: part header and entry in the meta."""
TAIL_BYTES: Final = 512
"""Bytes of a body beside its images and their part headers, at most."""


class Image(msgspec.Struct, frozen=True):
    """What the part header of one image needs.

    Attributes:
        content_type: ``image/jpeg`` or the real type.
        size: bytes of the image.
    """

    content_type: str
    size: int


class Multipart:
    """The body of one request: the images in order, then the meta.

    Attributes:
        content_type: value of the request's ``Content-Type``, with the boundary.
        length: bytes of the whole body.
    """

    def __init__(self, images: Sequence[Image], specs: Sequence[ModeSpec], *, boundary: str | None = None) -> None:
        # 128 random bits do not occur in an image, so the images are not searched for the boundary.
        boundary = boundary or f"smarty-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        names = [item_name(number) for number in range(len(images))]
        # A part without a filename is a plain field, and some parsers take an empty one for none.
        self._heads = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
            f'filename="{name}.{_SUFFIXES.get(image.content_type, "bin")}"\r\n'
            f"Content-Type: {image.content_type}\r\n\r\n".encode()
            for name, image in zip(names, images, strict=True)
        ]
        # No Content-Type: Go 1.10's form reader takes a part that has one for a file (golang/go#24041).
        self._tail = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="meta"\r\n\r\n'.encode()
            + encode_meta(names, specs)
            + f"\r\n--{boundary}--\r\n".encode()
        )
        frames = sum(map(len, self._heads)) + 2 * len(images) + len(self._tail)
        self.length = frames + sum(image.size for image in images)

    def frames(self) -> Iterator[bytes | int]:
        """Yield the body in order: bytes to send, and the number of each image where its bytes belong."""
        lead = b""
        for number, head in enumerate(self._heads):
            yield lead + head
            yield number
            lead = b"\r\n"
        yield lead + self._tail
