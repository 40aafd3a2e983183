"""From a stranger's bytes to a picture one can work on, and back to a JPEG."""

from __future__ import annotations

import io
from typing import Final, NoReturn

from PIL import Image, ImageOps

from smarty_async.service.engine.protocol import UNDECODABLE, ItemRefused

__all__ = ["MAX_PIXELS", "decode", "encode"]

MAX_PIXELS: Final = 64_000_000
"""Pixels an image may have; past them it is taken for a decompression bomb."""

_FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
"""Raster formats only: Pillow would start other programs for some of the rest. JPEG covers MPO."""

_SIXTEEN_BITS: Final = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in a file's bytes: upright, opaque, 8 bits a channel, of mode ``L`` or ``RGB``.

    Raises:
        ItemRefused: 2 (as it is published), the bytes cannot be decoded; 1, it is too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                _too_large()
            image.load()
            return _plain(ImageOps.exif_transpose(image))
    except ItemRefused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        _too_large()
    except Exception as error:
        # Pillow's plugins raise whatever a broken file makes them meet.
        raise ItemRefused(UNDECODABLE, status=2) from error


def _too_large() -> NoReturn:
    raise ItemRefused("image dimensions are too large", status=1)


def _plain(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    plain = _eight_bits(image)
    # The profile of a gray, CMYK or indexed picture does not describe the RGB made of it.
    plain.info = {"icc_profile": profile} if profile and image.mode == plain.mode else {}
    return plain


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image.copy()
    if image.mode in _SIXTEEN_BITS:
        return image.convert("I").point(lambda value: value * (255 / 65535)).convert("L")
    if image.mode == "1":
        return image.convert("L")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image).convert("RGB")


def encode(image: Image.Image, *, comment: str = "") -> bytes:
    """The picture as a JPEG file's bytes, the `comment` written into it."""
    buffer = io.BytesIO()
    profile = image.info.get("icc_profile")
    image.save(buffer, "JPEG", quality=92, comment=comment.encode("ascii"), icc_profile=profile)
    return buffer.getvalue()
