"""Any decoded picture as 8-bit gray or RGB, with the colours it was meant to have."""

from __future__ import annotations

import io
from functools import cache
from typing import Any, Literal, cast

from PIL import Image, ImageCms

from smarty_async.errors import PhotoRejected

__all__ = ["CONVERTED_SPACES", "flattened", "profile_space"]

CONVERTED_SPACES = ("CMYK", "LAB")
"""Modes of Pillow whose colours become sRGB; in all others the pixels keep the profile they have."""

_SIXTEEN_BITS = 65535 // 255
"""A 16-bit sample is so many times an 8-bit one: 0xABAB is 0xAB."""


def flattened(image: Image.Image) -> Image.Image:
    """`image` as 8-bit gray (``L``) or ``RGB``, what shows through on white.

    CMYK is converted to sRGB through the profile in ``image.info``, by relative colorimetric intent with black point
    compensation, as image editors do; without a usable profile by the plain formula. Lab is CIE L*a*b* at D50.

    Raises:
        PhotoRejected: its type is ``unsupported``: nothing says how its samples are to be shown.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / _SIXTEEN_BITS)).convert("L")
    if mode == "CMYK":
        return _cmyk_to_rgb(image)
    if mode == "LAB":
        return _transformed(image, _profile_of("LAB"))
    if mode in ("La", "RGBa"):  # premultiplied
        image = image.convert("LA" if mode == "La" else "RGBA")
    if mode in ("I", "F"):
        return _wide(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("L" if mode in ("1", "L") else "RGB")


def profile_space(profile: bytes) -> str:
    """The colour space that an ICC profile is for, such as ``RGB``, ``GRAY`` or ``CMYK`` (ICC.1:2022, 7.2.6)."""
    return profile[16:20].decode("latin-1").strip()


def _on_white(image: Image.Image) -> Image.Image:
    kind = "L" if image.mode == "LA" else "RGB"
    rgba = image.convert("LA" if kind == "L" else "RGBA")
    picture = Image.new(kind, image.size, "white")
    picture.paste(rgba.convert(kind), mask=rgba.getchannel("A"))
    picture.info = image.info
    return picture


def _wide(image: Image.Image) -> Image.Image:
    """32-bit gray: integers, which come from 16-bit files, or real numbers."""
    image.info.pop("transparency", None)
    if image.mode == "I":
        return image.point(lambda value: value * (1 / _SIXTEEN_BITS)).convert("L")
    raise PhotoRejected("its samples are real numbers that need a scale", type="unsupported")


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    profile: bytes = image.info.get("icc_profile") or b""
    if profile_space(profile) == "CMYK":
        try:
            return _transformed(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken profile
    picture = image.convert("RGB")
    picture.info = {}
    return picture


@cache
def _profile_of(space: Literal["LAB", "sRGB"]) -> ImageCms.ImageCmsProfile:
    profile = cast("Any", ImageCms.createProfile(space))  # pyright: ignore[reportUnknownMemberType] - it has no stub
    return ImageCms.ImageCmsProfile(profile)


def _transformed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """`image` in sRGB."""
    picture = ImageCms.profileToProfile(
        image,
        profile,
        _profile_of("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if picture is None:
        raise PhotoRejected("its colours cannot be converted", type="unsupported")
    picture.info = {}
    return picture
