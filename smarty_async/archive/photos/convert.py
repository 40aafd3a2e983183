"""Making a picture into one that the service takes: its format, and on demand its size."""

from __future__ import annotations

import io
from contextlib import suppress
from math import sqrt
from typing import NamedTuple

from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from smarty_async.archive.photos.identify import decode
from smarty_async.errors import PhotoRejected

__all__ = ["LONG_SIDE", "SHORTEST_SIDE", "SHORT_SIDE", "Fitted", "fitted", "scale_to_fit"]

LONG_SIDE, SHORT_SIDE = 3840, 2160
"""The service's largest dimensions, in pixels, either way up."""

SHORTEST_SIDE = 5
"""The service's smallest side, in pixels."""

_BEST, _LOWER = 95, (85, 75)
"""Qualities of JPEG: the one to begin with, and those to go down to before the picture is made smaller."""


class Fitted(NamedTuple):
    """A picture encoded anew."""

    data: bytes
    content_type: str
    width: int
    height: int


def scale_to_fit(width: int, height: int) -> float:
    """What the sides are multiplied by to be within the service's dimensions; 1 when they are, or cannot be."""
    long, short = max(width, height), min(width, height)
    scale = min(1.0, LONG_SIDE / long, SHORT_SIDE / short)
    return scale if scale * short >= SHORTEST_SIDE else 1.0


def fitted(image: ImageFile, *, max_bytes: int, shrink: bool) -> Fitted:
    """`image` as PNG when that is within the limit (and the picture was no JPEG), else as JPEG, 4:4:4.

    It is turned as its EXIF says, its transparency laid on white, its samples brought to 8 bits.

    Args:
        image: a picture just opened.
        max_bytes: what the result may have, in bytes.
        shrink: bring it within the service's dimensions, and make it as small as `max_bytes` asks for.

    Raises:
        PhotoRejected: with type ``truncated``, ``not_an_image``, or ``too_large``.
        OSError: the file cannot be read.
    """
    picture = _decoded(image, scale_to_fit(*image.size) if shrink else 1.0)
    if image.format != "JPEG" and len(data := _png(picture)) <= max_bytes:
        return Fitted(data, "image/png", *picture.size)
    data = _jpeg(picture, _BEST)
    for quality in _LOWER if shrink else ():
        if len(data) > max_bytes:
            data = _jpeg(picture, quality)
    while shrink and len(data) > max_bytes and min(picture.size) > SHORTEST_SIDE:
        picture = _scaled(picture, min(0.9, sqrt(max_bytes / len(data))))
        data = _jpeg(picture, _LOWER[0])
    if len(data) > max_bytes:
        way_out = "and it cannot be made smaller" if shrink else "--fit makes it smaller"
        raise PhotoRejected(
            f"converted it has {len(data):,} bytes, over the limit of {max_bytes:,}: {way_out}", type="too_large"
        )
    return Fitted(data, "image/jpeg", *picture.size)


def _decoded(image: ImageFile, scale: float) -> Image.Image:
    """The pixels of `image`, upright, gray or RGB, scaled."""
    longest = max(image.size)
    if scale < 1:
        image.draft(image.mode, (round(image.width * scale), round(image.height * scale)))
    decode(image)
    upright: Image.Image = image
    with suppress(Exception):  # broken EXIF spoils no picture
        upright = ImageOps.exif_transpose(image)
    try:
        picture = _flat(upright)
    except (ValueError, OSError) as error:
        raise PhotoRejected(f"it cannot be converted: {error}", type="not_an_image") from error
    return _scaled(picture, scale * longest / max(picture.size))


def _flat(image: Image.Image) -> Image.Image:
    """`image` as 8-bit gray (``L``) or ``RGB``, what shows through on white."""
    if image.mode.startswith("I"):  # 16 bits a sample; Pillow itself would cut them off at 255
        gray = image.convert("I").point(lambda value: value * (1 / 257))
        gray.info.pop("transparency", None)
        return gray.convert("L")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L", "F") else "RGB")


def _scaled(picture: Image.Image, scale: float) -> Image.Image:
    if scale >= 1:
        return picture
    size = [max(SHORTEST_SIDE, round(side * scale)) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def _png(picture: Image.Image) -> bytes:
    return _saved(picture, "PNG")


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    return _saved(picture, "JPEG", quality=quality, subsampling=0)


def _saved(picture: Image.Image, kind: str, **options: int) -> bytes:
    profile: bytes = picture.info.get("icc_profile") or b""
    # A profile for colours the picture no longer has would spoil those it has.
    fits = profile[16:20] == {"L": b"GRAY", "RGB": b"RGB "}[picture.mode]
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, icc_profile=profile if fits else None, **options)
    except (OSError, ValueError) as error:
        raise PhotoRejected(f"it cannot be converted to {kind}: {error}", type="too_large") from error
    return buffer.getvalue()
