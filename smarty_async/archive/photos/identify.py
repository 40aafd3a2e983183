"""Opening a picture: its header is read, its pixels are not."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import IO, BinaryIO

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from smarty_async.archive.photos.formats import INSTALL_FORMATS, PREFIX_BYTES, format_of, missing_extra
from smarty_async.archive.photos.pixel_budget import DECODING
from smarty_async.archive.photos.third_party import silenced
from smarty_async.errors import PhotoRejected

__all__ = [
    "MOST_PIXELS",
    "Orientation",
    "check_pixels",
    "decode",
    "decoding",
    "dimensions",
    "open_image",
    "orientation_of",
]

MOST_PIXELS = 250_000_000
"""Pixels of a picture that is decoded in full; 1 GB of memory as Pillow keeps RGB."""

Orientation = int
"""How a picture lies, as EXIF counts: 1 is upright, 6 has to be turned clockwise by 90° …"""

_ORIENTATION_TAG = 0x0112

_ALPHA_BYTES, _OPAQUE_BYTES = 16, 8
"""Memory of decoding and converting a pixel, with and without transparency, in bytes."""


class _Jpeg(JpegImageFile):
    """A JPEG as Pillow opens it, less the resolution in its EXIF: nobody asks for it, and broken EXIF warns."""

    def _read_dpi_from_exif(self) -> None:
        pass


def _heif(stream: IO[bytes], name: str) -> ImageFile:
    """A HEIF file; the decoder is used here only and not registered with Pillow, which others may be using."""
    try:
        from pillow_heif import HeifImageFile  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra("a HEIC picture", kind="heic") from None
    opener: Callable[[IO[bytes], str], ImageFile] = HeifImageFile
    return opener(stream, name)


# Pillow's own opener for JPEG would go on into the other pictures of a file that holds several.
_OPENERS: dict[str, Callable[[IO[bytes], str], ImageFile]] = {"JPEG": _Jpeg, "HEIF": _heif}


def open_image(name: str, stream: BinaryIO) -> ImageFile:
    """Read the header of the picture in `stream`.

    Not `Image.open`, which warns of large pictures, or raises, before it tells their dimensions.

    Args:
        name: of the format.
        stream: seekable.

    Raises:
        PhotoRejected: with type ``not_an_image``, ``truncated``, ``too_large``, or ``heic`` without its decoder.
        OSError: the file cannot be read.
    """
    Image.init()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    opener = _OPENERS.get(name) or (Image.OPEN[name][0] if name in Image.OPEN else None)
    if opener is None:  # AVIF is in Pillow from 11.3 on
        raise missing_extra(f"an {name} picture", kind="heic")
    try:
        image = opener(stream, "")
    except PhotoRejected:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoRejected(f"its dimensions are too large: {error}", type="too_large") from error
    except Exception as error:  # on broken data a parser raises whatever it tripped over
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if "support not installed" in str(error):
            raise PhotoRejected(f"this Pillow cannot read {name}: {INSTALL_FORMATS}", type="heic") from error
        if stream.tell() >= size and name not in ("BMP", "PPM", "PCX", "SGI"):  # signatures of two bytes
            raise PhotoRejected(f"the {name} file breaks off in its header: copy it again", type="truncated") from error
        raise PhotoRejected(f"its {name} header cannot be read", type="not_an_image") from error
    if image.width < 1 or image.height < 1:
        raise PhotoRejected(f"its {name} header tells of no pixels", type="not_an_image")
    return image


def dimensions(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of the image in `stream`, however large; raises as `open_image` does."""
    stream.seek(0)
    with silenced():
        return open_image(format_of(stream.read(PREFIX_BYTES)), stream).size


def orientation_of(image: Image.Image) -> Orientation:
    """How the picture lies, by its EXIF; 1 where that is missing or broken."""
    with suppress(Exception):  # broken EXIF spoils no picture
        # Not the method of a PNG, which decodes it to look behind its pixels.
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
        if isinstance(value, int) and 1 <= value <= 8:  # noqa: PLR2004 - EXIF knows eight
            return value
    return 1


def check_pixels(width: int, height: int) -> None:
    """Make sure that a picture is not too large to be decoded in full."""
    if width * height > MOST_PIXELS:
        raise PhotoRejected(
            f"{width}×{height} pixels are more than can be decoded: {MOST_PIXELS:,} pixels in all", type="too_large"
        )


@contextmanager
def decoding(image: ImageFile, *, extra_pixels: int = 0) -> Generator[None, None, None]:
    """Hold the memory that decoding and converting `image` takes; waits for it.

    Args:
        image: not decoded yet; a JPEG whose draft mode is set counts as small as it will be.
        extra_pixels: pixels of what the decoder has to keep besides.
    """
    check_pixels(*image.size)
    cost = _ALPHA_BYTES if image.has_transparency_data else _OPAQUE_BYTES
    with DECODING.acquire(image.width * image.height + extra_pixels, cost):
        yield


def decode(image: ImageFile) -> None:
    """Decode `image`, in place; within `decoding`.

    Raises:
        PhotoRejected: with type ``truncated``, or ``too_large`` for the memory there is.
        OSError: the file cannot be read.
    """
    try:
        image.load()
    except (MemoryError, Image.DecompressionBombError) as error:
        raise PhotoRejected("decoding it takes more memory than there is", type="too_large") from error
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PhotoRejected(f"the file breaks off or is damaged: {error}: copy it again", type="truncated") from error
