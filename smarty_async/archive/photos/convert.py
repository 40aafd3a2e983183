"""Make a picture into one that the service takes: 8-bit gray or RGB, its format, and on demand its size.

A JPEG of which nothing but the end is missing is given one.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import cache
from math import sqrt
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from PIL import Image, ImageChops, ImageCms, ImageMath

from smarty_async.archive.photos.excerpt import excerpt
from smarty_async.archive.photos.identify import Orientation, loaded, silenced
from smarty_async.archive.photos.jpeg import has_all_scans
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits

__all__ = [
    "SHORTEST_SIDE",
    "converted",
    "fitted_size",
    "fitting_profile",
    "flattened",
    "incomplete",
    "scale_to_fit",
    "unusual_gamma",
    "upright",
    "way_to_fit",
    "with_end",
]


SHORTEST_SIDE = 5
"""The service's smallest side, in pixels."""

_BEST, _LOWER = 95, (85, 75)
"""Qualities of JPEG: the one to begin with, and those to go down to before the picture is made smaller."""

_LONGEST_JPEG_SIDE = 65_500
"""Pixels that libjpeg can write."""

_MOST_PACKED = 8
"""How many times smaller than its pixels the PNG of a photo or a scan may be expected; past that none is tried."""

_JPEG_END = b"\xff\xd9"
"""A JPEG's end marker."""
_LOOKAHEAD = b"\x55" * 128
"""Data that libjpeg may read ahead behind the last pixel. They replace the end marker and a few blocks of 8×8
pixels; a file that lacks more does not decode with them."""
_LAST_BYTES = 256
"""Bytes without which the last rows of a progressive JPEG look different, and only they."""

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright (CIPA DC-008, "Orientation")."""


class _Converted(NamedTuple):
    """A picture that was encoded again.

    Attributes:
        data: the file.
        content_type: ``image/png`` or ``image/jpeg``.
        width: pixels.
        height: pixels.
        to_srgb: whether its colours became sRGB, so that the source's ICC profile is not theirs any more.
    """

    data: bytes
    content_type: str
    width: int
    height: int
    to_srgb: bool


def scale_to_fit(width: int, height: int, limits: Limits) -> float:
    """What the sides are multiplied by to be within the limits on pixels; 1 when they are, or cannot be."""
    scale = min(1.0, sqrt(limits.max_pixels / (width * height)))
    if limits.max_dimensions is not None:
        long, short = max(width, height), min(width, height)
        scale = min(scale, max(limits.max_dimensions) / long, min(limits.max_dimensions) / short)
    return scale if scale * min(width, height) >= SHORTEST_SIDE else 1.0


def way_to_fit(fit: bool | None) -> str:  # noqa: FBT001 - as `probe` has it
    """What the message about a photo that is too large ends with."""
    if fit is None:
        return ""
    return ": it cannot be made smaller" if fit else ": add --fit (fit=True in Python) to send a smaller copy"


def fitted_size(width: int, height: int, limits: Limits) -> tuple[int, int]:
    """Width and height of the largest copy within the limits on pixels; those given when they are, or cannot be."""
    return _scaled((width, height), scale_to_fit(width, height, limits))


_ROUNDING = 1e-9
"""How far a side may miss a whole number of pixels by the rounding of floating-point numbers."""


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The sides multiplied by `scale` and rounded down, so that what it was computed for is not exceeded."""
    width, height = (max(SHORTEST_SIDE, int(side * scale + _ROUNDING)) if scale < 1 else side for side in size)
    return width, height


def converted(
    image: Image.Image,
    *,
    size: tuple[int, int],
    orientation: Orientation,
    lossy: bool,
    limits: Limits,
    fit: bool | None,
) -> _Converted:
    """`image` as PNG when that is within the limit and nothing was lost before, else as JPEG, 4:4:4.

    It is turned upright, its transparency laid on white, its samples brought to 8 bits. CMYK and Lab become sRGB;
    gray and RGB stay in the colour space of the source's profile.

    Args:
        image: decoded; its sides may be smaller than `size` where the decoder can scale.
        size: width and height of the source, in pixels, not turned.
        orientation: of `image`.
        lossy: whether the source is a JPEG: a PNG of one would be large for nothing.
        limits: what the endpoint takes.
        fit: bring it within the limits, on bytes too; None as for `probe`.

    Raises:
        PhotoRejected: with type ``too_large`` or ``unsupported``.
    """
    to_srgb = image.mode in _CONVERTED_SPACES
    try:
        picture = flattened(image)
    except (ValueError, OSError) as error:
        raise PhotoRejected(f"its colours cannot be converted: {error}", type="unsupported") from error
    profile = fitting_profile(picture)
    if fit:
        picture = _resized(picture, fitted_size(*size, limits))
    data, content_type, picture = _encoded(
        upright(picture, orientation), profile, limits.max_image_bytes, lossy=lossy, fit=fit
    )
    return _Converted(data, content_type, *picture.size, to_srgb)


def upright(picture: Image.Image, orientation: Orientation) -> Image.Image:
    """`picture`, stored with an EXIF `orientation`, turned so that it is upright."""
    transposition = _TRANSPOSITIONS.get(orientation)
    return picture if transposition is None else picture.transpose(transposition)


def _encoded(
    picture: Image.Image, profile: bytes | None, most: int | None, *, lossy: bool, fit: bool | None
) -> tuple[bytes, str, Image.Image]:
    """The file, its content type, and the picture in it, which is smaller where `fit` asked for that."""
    raw = picture.width * picture.height * len(picture.mode)
    if not lossy and (most is None or raw <= _MOST_PACKED * most):
        data = _saved(picture, "PNG", profile)
        if most is None or len(data) <= most:
            return data, "image/png", picture
    if max(picture.size) > _LONGEST_JPEG_SIDE:
        raise PhotoRejected(f"{max(picture.size):,} pixels are more than a JPEG's side may have", type="too_large")
    data = _saved(picture, "JPEG", profile, quality=_BEST, subsampling=0)
    if most is None:
        return data, "image/jpeg", picture
    for quality in _LOWER if fit else ():
        if len(data) > most:
            data = _saved(picture, "JPEG", profile, quality=quality, subsampling=0)
    while fit and len(data) > most and min(picture.size) > SHORTEST_SIDE:
        picture = _resized(picture, _scaled(picture.size, min(0.9, sqrt(most / len(data)))))
        data = _saved(picture, "JPEG", profile, quality=_LOWER[0], subsampling=0)
    if len(data) > most:
        raise PhotoRejected(
            f"converted it has {len(data):,} bytes, over the limit of {most:,}{way_to_fit(fit)}", type="too_large"
        )
    return data, "image/jpeg", picture


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`picture` made smaller; as it is where it is no larger than `size`."""
    if picture.width <= size[0] and picture.height <= size[1]:
        return picture
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def fitting_profile(picture: Image.Image) -> bytes | None:
    """The picture's profile; one for colours that the picture no longer has would spoil those it has."""
    profile: bytes = picture.info.get("icc_profile") or b""
    return profile if _profile_space(profile) == {"L": "GRAY", "RGB": "RGB"}[picture.mode] else None


def _saved(picture: Image.Image, kind: str, profile: bytes | None, **options: int) -> bytes:
    picture.info = {}  # or the encoder would write whatever the source's decoder noted
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, icc_profile=profile, **options)
    except (OSError, ValueError) as error:
        raise PhotoRejected(f"it cannot be converted to {kind}: {error}", type="too_large") from error
    return buffer.getvalue()


_CONVERTED_SPACES = ("CMYK", "LAB")
"""Modes of Pillow whose colours become sRGB; in all others the pixels keep the profile they have."""

_SRGB_GAMMA = 0.45455
"""What a PNG says whose samples are sRGB."""
_SAME_GAMMA = 0.05
"""Part by which a gamma may differ and still count as the same, as in libpng."""
_GAMMAS = (0.1, 5.0)
"""The smallest and the largest gamma that is believed."""

_SIXTEEN_BITS = 65535 // 255
"""A 16-bit sample is so many times an 8-bit one: 0xABAB is 0xAB."""


def flattened(image: Image.Image) -> Image.Image:
    """`image` as 8-bit gray (``L``) or ``RGB``, what shows through on white.

    CMYK is converted to sRGB through the profile in ``image.info``, by relative colorimetric intent with black point
    compensation, as image editors do; without a usable profile by the plain formula. Lab is CIE L*a*b* at D50. What a
    PNG stores with another gamma than sRGB's gets that.

    Raises:
        PhotoRejected: its type is ``unsupported``: nothing says how its samples are to be shown.
    """
    gamma = unusual_gamma(image)
    picture = _flattened(image)
    return picture if gamma is None else picture.point(_to_srgb_tone(gamma) * len(picture.mode))


def unusual_gamma(image: Image.Image) -> float | None:
    """The gamma with which the samples of a PNG are stored, where decoders that ignore it show them too dark or bright.

    None where it is sRGB's or nearly so, and where a profile says what the samples mean (W3C PNG, third edition, 4.3).
    """
    gamma = image.info.get("gamma")
    if not isinstance(gamma, float) or "srgb" in image.info or "icc_profile" in image.info:
        return None
    return gamma if _GAMMAS[0] <= gamma <= _GAMMAS[1] and abs(gamma / _SRGB_GAMMA - 1) > _SAME_GAMMA else None


def _to_srgb_tone(gamma: float) -> list[int]:
    """For each 8-bit sample stored with `gamma`, the one of sRGB (IEC 61966-2-1)."""
    light = [(sample / 255) ** (1 / gamma) for sample in range(256)]
    return [round(255 * (12.92 * one if one <= 0.0031308 else 1.055 * one ** (1 / 2.4) - 0.055)) for one in light]  # noqa: PLR2004


def _flattened(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16"):
        return _sixteen_bits(image.convert("I"), transparent=image.info.get("transparency"))
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


def _profile_space(profile: bytes) -> str:
    """The colour space that an ICC profile is for, such as ``RGB``, ``GRAY`` or ``CMYK`` (ICC.1:2022, 7.2.6)."""
    return profile[16:20].decode("latin-1").strip()


def _on_white(image: Image.Image) -> Image.Image:
    kind = "L" if image.mode == "LA" else "RGB"
    rgba = image.convert("LA" if kind == "L" else "RGBA")
    picture = Image.new(kind, image.size, "white")
    picture.paste(rgba.convert(kind), mask=rgba.getchannel("A"))
    picture.info = image.info
    return picture


def _sixteen_bits(image: Image.Image, *, transparent: int | None) -> Image.Image:
    picture = image.point(lambda value: value * (1 / _SIXTEEN_BITS)).convert("L")
    if transparent is not None:
        seen = cast("Image.Image", ImageMath.lambda_eval(lambda names: names["image"] != transparent, image=image))
        white = Image.new("L", image.size, "white")
        white.paste(picture, mask=seen.point(lambda value: value * 255).convert("L"))
        return white
    return picture


def _wide(image: Image.Image) -> Image.Image:
    """32-bit gray: integers, which come from 16-bit files, or real numbers."""
    transparent: int | None = image.info.pop("transparency", None)
    if image.mode == "I":
        return _sixteen_bits(image, transparent=transparent)
    raise PhotoRejected("its samples are real numbers that need a scale", type="unsupported")


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    profile: bytes = image.info.get("icc_profile") or b""
    if _profile_space(profile) == "CMYK":
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


def with_end(stream: BinaryIO, *, progressive: bool) -> BinaryIO | None:
    """The JPEG file in `stream` with an end marker where decoders miss that; None where they miss nothing.

    Besides the marker it may lack a byte or two before that.

    Raises:
        PhotoRejected: with type ``truncated``: more is missing.
        OSError: the file cannot be read.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(size - 2)
    broken_marker = stream.read(2).rfind(b"\xff")
    end = size if broken_marker < 0 else size - 2 + broken_marker
    with silenced():
        is_whole = _is_whole_progressive(stream, end) if progressive else _decoded(stream, end, _LOOKAHEAD)
        if not is_whole:
            raise incomplete()
        return None if _decoded(stream, size) else excerpt(stream, [(0, end), _JPEG_END])


def _is_whole_progressive(stream: BinaryIO, end: int) -> bool:
    """Whether all scans have begun, and the last bytes make the last rows; else they make other rows."""
    if not has_all_scans(stream, end):
        return False
    with_them, without = _decoded(stream, end, _JPEG_END), _decoded(stream, end - _LAST_BYTES, _JPEG_END)
    if with_them is None or without is None:
        return False
    changed = ImageChops.difference(with_them.convert("L"), without.convert("L")).getbbox()
    return changed is not None and changed[3] > with_them.height - 2 * 16


def _decoded(stream: BinaryIO, end: int, more: bytes = b"") -> Image.Image | None:
    """The picture in a file up to `end`, and what follows instead; None when the decoder misses data."""
    with suppress(PhotoRejected), loaded(excerpt(stream, [(0, end), more]), "JPEG") as image:
        return image
    return None


def incomplete() -> PhotoRejected:
    """The error for a photo of which a part is missing."""
    return PhotoRejected("the file is incomplete: copy it again", type="truncated")
