"""The contract as a server reads it: what a request may ask for, and how answers are encoded."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import OptionsError
from smarty_async.local.memory import usable_memory

__all__ = [
    "FOOT",
    "HEAD",
    "Health",
    "ImproveItem",
    "Limits",
    "Mode",
    "Refusal",
    "RequestMeta",
    "ResolutionItem",
    "check_access",
    "check_images",
    "encode_envelope",
    "encode_item",
    "parse_meta",
]

Mode = Literal["improve", "resolution"]

_IN_ORDER: Final[tuple[Mode, ...]] = ("improve", "resolution")

HEAD: Final = b'{"status":200,"body":{'
"""Start of an answer; the lists follow."""

FOOT: Final = b'},"htmlencoded":false,"last_modified":0}'
"""End of an answer."""


_PIECE: Final = 3 << 16
"""Bytes that are encoded as base64 at a time; a multiple of 3, so that the pieces can be joined."""

_MEMORY_SHARE: Final = 16
"""An image may be as large as this part of the memory: its copies and the outputs are held, too."""


class Refusal(Exception):
    """The whole request is answered with an error.

    Attributes:
        status: the envelope's status.
        text: the envelope's body.
        retry_after: seconds that the client is asked to wait; None for no header.
    """

    def __init__(self, status: int, text: str, *, retry_after: int | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.retry_after = retry_after


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may carry. By default the only limits on bytes are those of the memory.

    Attributes:
        max_images: images in a request; more are refused with status 400.
        max_image_bytes: bytes of one image; a larger one is refused by name with status 400. None for what the
            memory of this machine bears.
        max_request_bytes: bytes of a request body with several images; a larger one is refused with status 413. An
            image within `max_image_bytes` may always go alone. None for no limit: images wait on the disk.
    """

    max_images: int = 48
    max_image_bytes: int | None = None
    max_request_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionsError(f"{name} must be at least 1, not {value}")

    @property
    def image_bytes(self) -> int:
        """The limit on the bytes of one image."""
        return usable_memory() // _MEMORY_SHARE if self.max_image_bytes is None else self.max_image_bytes


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What ``GET /healthz`` answers: the limits that a client of this service should keep to.

    Attributes:
        engine: ``restore``, ``basic`` or ``echo``.
        workers: images that are worked on at a time.
        max_images: images in a request.
        max_image_bytes: bytes of one image; a share of the memory, unless the service has a limit.
        max_request_bytes: bytes of a request with several images; None for no limit.
        max_pixels: pixels of one image.
        pace: seconds a megapixel of the images sent, as measured since the start with as many images at a time as
            there were; None before the first one is finished.
    """

    engine: str
    workers: int
    max_images: int
    max_image_bytes: int
    max_request_bytes: int | None
    max_pixels: int
    pace: float | None


class RequestMeta(msgspec.Struct, frozen=True):
    """The `meta` of a request, checked.

    Attributes:
        modes: the lists of the answer, in its order.
        names: the names of the images, in the order of `meta`.
        rfactor: 2 or 4; 0 when `resolution` is not asked for.
        rtype: ``art`` or ``photo``; empty when `resolution` is not asked for.
    """

    modes: tuple[Mode, ...]
    names: tuple[str, ...]
    rfactor: int = 0
    rtype: str = ""


class _ImageMeta(msgspec.Struct):
    name: str


class _Meta(msgspec.Struct):
    mode: list[str] = []
    images: list[_ImageMeta] = []
    rfactor: object = None
    rtype: object = None
    ftype: object = None


class ImproveItem(msgspec.Struct, frozen=True):
    """One element of the `improve` list. Outputs are JPEG bytes, encoded as base64; None ones are left out."""

    status: int
    name: str
    error: str | None = None
    improved: bytes | None = None
    colorized_improved: bytes | None = None
    colorized: bytes | None = None
    bw: bool | None = None


class ResolutionItem(msgspec.Struct, frozen=True):
    """One element of the `resolution` list. The output is JPEG bytes, encoded as base64."""

    status: int
    name: str
    error: str | None = None
    resolved: bytes | None = None


class _Envelope(msgspec.Struct):
    status: int
    body: str
    htmlencoded: bool = False
    last_modified: int = 0


def check_access(provider: str | None, token: str | None) -> None:
    """Check that the query has a provider and a token. Any provider and any token will do.

    Raises:
        Refusal: 403, one of them is missing or empty.
    """
    for name, value in (("oauth_provider", provider), ("oauth_token", token)):
        if not value:
            raise Refusal(403, f"authorization failed: {name} is required")


def parse_meta(raw: bytes | None, limits: Limits) -> RequestMeta:
    """Parse and check the `meta` field.

    Raises:
        Refusal: 400, the field is missing, is not JSON, or asks for something unknown.
    """
    if raw is None:
        raise Refusal(400, "meta is required")
    try:
        meta = msgspec.json.decode(raw, type=_Meta)
    except DAMAGED_JSON as error:
        raise Refusal(400, f"could not parse meta: {error}") from None
    modes = _modes(meta.mode)
    names = _names(meta.images, limits)
    return RequestMeta(modes, names, *_enlargement(meta)) if "resolution" in modes else RequestMeta(modes, names)


def _modes(asked: list[str]) -> tuple[Mode, ...]:
    if not asked:
        raise Refusal(400, "mode is required")
    for mode in asked:
        if mode not in _IN_ORDER:
            raise Refusal(400, f"unknown mode {mode}")
    return tuple(mode for mode in _IN_ORDER if mode in asked)


def _names(images: list[_ImageMeta], limits: Limits) -> tuple[str, ...]:
    names = tuple(image.name for image in images)
    if not names or not all(names):
        raise Refusal(400, "images must be a list of non-empty names")
    if len(names) > limits.max_images:
        raise Refusal(400, f"too many images: {len(names)}, at most {limits.max_images}")
    if len(set(names)) < len(names):
        raise Refusal(400, "names of images must be unique")
    return names


def _enlargement(meta: _Meta) -> tuple[int, str]:
    """Return factor and type. Tables call the type ``ftype``, examples ``rtype``; both are accepted."""
    if meta.rfactor not in (2, 4):
        raise Refusal(400, "rfactor must be 2 or 4")
    rtype = meta.ftype if meta.rtype is None else meta.rtype
    if rtype not in ("art", "photo") or meta.ftype not in (rtype, None):
        raise Refusal(400, "rtype must be art or photo")
    return (2 if meta.rfactor == 2 else 4), ("art" if rtype == "art" else "photo")  # noqa: PLR2004 - as published


def check_images(names: Iterable[str], sizes: dict[str, int], limits: Limits) -> None:
    """Check that every image is present and within the limits.

    Args:
        names: the names in `meta`.
        sizes: bytes of each file of the form, by the part's name.
        limits: the limits.

    Raises:
        Refusal: 400, the first one that is missing, too large or empty.
    """
    for name in names:
        problem = f"could not get image by name {name}: "
        if name not in sizes:
            raise Refusal(400, problem + "http: no such file")
        if sizes[name] > limits.image_bytes:
            raise Refusal(400, problem + f"larger than {limits.image_bytes} bytes")
        if not sizes[name]:
            raise Refusal(400, "empty image")


def encode_item(item: ImproveItem | ResolutionItem) -> list[bytes]:
    """Encode one element of a list as JSON, in pieces: no step of encoding or sending it blocks other threads long.

    A small element is one piece: each that is sent costs a call of the system here, and another where it is received.
    """
    pieces: list[bytes] = []
    piece = bytearray()
    for name in item.__struct_fields__:
        value: object = getattr(item, name)
        if value is None:
            continue
        piece += (b"," if piece or pieces else b"{") + b'"' + name.encode("ascii") + b'":'
        if not isinstance(value, bytes):
            piece += msgspec.json.encode(value)
            continue
        piece += b'"'
        for at in range(0, len(value), _PIECE):
            piece += b64encode(value[at : at + _PIECE])
            if len(piece) >= _PIECE:
                pieces.append(bytes(piece))
                piece.clear()
        piece += b'"'
    return [*pieces, bytes(piece + b"}")]


def encode_envelope(status: int, text: str) -> bytes:
    """Encode a whole answer whose body is a text."""
    return msgspec.json.encode(_Envelope(status, text))
