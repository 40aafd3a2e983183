"""The contract as a server reads it: what a request may ask, and how an answer is spelled. Pure: no I/O."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from smarty_async.errors import OptionsError

__all__ = [
    "FOOT",
    "HEAD",
    "Asked",
    "ImproveItem",
    "Limits",
    "Mode",
    "Refusal",
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
"""How an answer that is streamed begins; the lists follow."""

FOOT: Final = b'},"htmlencoded":false,"last_modified":0}'
"""How it ends."""


_PIECE: Final = 3 << 16
"""Bytes that are spelled as base64 at a time; a multiple of 3, so that the pieces join."""


class Refusal(Exception):
    """The request as a whole is answered with an error.

    Attributes:
        status: the envelope's status.
        text: the envelope's body.
        retry_after: seconds the client is asked to wait, None when it is not asked to.
    """

    def __init__(self, status: int, text: str, *, retry_after: int | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.retry_after = retry_after


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may carry; more is refused.

    Attributes:
        max_images: images a request; more are refused with status 400.
        max_image_bytes: bytes of one image; a larger one is refused by name with status 400.
        max_request_bytes: bytes of a request body with several images in it; a larger one is refused with
            status 413. An image within `max_image_bytes` may always go alone.
    """

    max_images: int = 48
    max_image_bytes: int = 8_000_000
    max_request_bytes: int = 30_000_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise OptionsError(f"{name} must be at least 1, not {getattr(self, name)}")


class Asked(msgspec.Struct, frozen=True):
    """What a request asks for, checked.

    Attributes:
        modes: the lists of the answer, in its order.
        names: the parts to work on, in the order of `meta`.
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
    """One answer of the `improve` list. Outputs are JPEG bytes, spelled as base64; those left out are absent."""

    status: int
    name: str
    error: str | None = None
    improved: bytes | None = None
    colorized_improved: bytes | None = None
    colorized: bytes | None = None
    bw: bool | None = None


class ResolutionItem(msgspec.Struct, frozen=True):
    """One answer of the `resolution` list. The output is JPEG bytes, spelled as base64."""

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
    """See that the query names a provider and a token: any provider, any token.

    Raises:
        Refusal: 403, either is missing or empty.
    """
    for name, value in (("oauth_provider", provider), ("oauth_token", token)):
        if not value:
            raise Refusal(403, f"authorization failed: {name} is required")


def parse_meta(raw: bytes | None, limits: Limits) -> Asked:
    """What the `meta` field asks for.

    Raises:
        Refusal: 400, the field is missing, is no JSON, or asks for what there is not.
    """
    if raw is None:
        raise Refusal(400, "meta is required")
    try:
        meta = msgspec.json.decode(raw, type=_Meta)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"could not parse meta: {error}") from None
    modes = _modes(meta.mode)
    names = _names(meta.images, limits)
    return Asked(modes, names, *_enlargement(meta)) if "resolution" in modes else Asked(modes, names)


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
    """The factor and the type; tables call the type ``ftype``, every example ``rtype``: either will do."""
    if meta.rfactor not in (2, 4):
        raise Refusal(400, "rfactor must be 2 or 4")
    rtype = meta.ftype if meta.rtype is None else meta.rtype
    if rtype not in ("art", "photo") or meta.ftype not in (rtype, None):
        raise Refusal(400, "rtype must be art or photo")
    return (2 if meta.rfactor == 2 else 4), ("art" if rtype == "art" else "photo")  # noqa: PLR2004 - as published


def check_images(names: Iterable[str], sizes: dict[str, int], limits: Limits) -> None:
    """See that every image asked for is there and can be taken.

    Args:
        names: the images asked for.
        sizes: bytes of each file that came, by the part's name.
        limits: what one may be.

    Raises:
        Refusal: 400, the first one that is missing, too large or empty.
    """
    for name in names:
        problem = f"could not get image by name {name}: "
        if name not in sizes:
            raise Refusal(400, problem + "http: no such file")
        if sizes[name] > limits.max_image_bytes:
            raise Refusal(400, problem + f"larger than {limits.max_image_bytes} bytes")
        if not sizes[name]:
            raise Refusal(400, "empty image")


def encode_item(item: ImproveItem | ResolutionItem) -> list[bytes]:
    """One element of a list, as JSON in pieces: no step of making or sending it holds other threads up for long."""
    pieces = [b"{"]
    for name in item.__struct_fields__:
        value: object = getattr(item, name)
        if value is None:
            continue
        pieces.append((b"," if len(pieces) > 1 else b"") + b'"' + name.encode("ascii") + b'":')
        if isinstance(value, bytes):
            pieces += [b'"', *(b64encode(value[at : at + _PIECE]) for at in range(0, len(value), _PIECE)), b'"']
        else:
            pieces.append(msgspec.json.encode(value))
    pieces.append(b"}")
    return pieces


def encode_envelope(status: int, text: str) -> bytes:
    """A whole answer whose body is a text."""
    return msgspec.json.encode(_Envelope(status, text))
