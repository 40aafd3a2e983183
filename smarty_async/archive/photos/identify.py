"""What a file is, and whether it is whole, without decoding it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, BinaryIO, NamedTuple

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from smarty_async.errors import PhotoRejected

__all__ = ["LARGEST_DECODED", "Header", "check_whole", "decode", "dimensions", "identify"]

LARGEST_DECODED = 500_000_000
"""Files over this are never decoded, in bytes: no picture within Pillow's bound on pixels needs as many."""

_SENT_AS_IS = {"JPEG": "image/jpeg", "PNG": "image/png", "TIFF": "image/tiff"}

# Formats that begin with a signature, and whose decoders run no other program. HEIF is among them when a decoder
# for it has been registered with Pillow.
_CONVERTED = ("GIF", "WEBP", "JPEG2000", "AVIF", "HEIF", "PSD")
_SHORT_SIGNATURE = ("BMP", "PPM", "PCX", "SGI")  # two bytes, with which a text may begin as well

_END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}

_END_BYTES = 65_536
"""How far from a file's end its end marker may stand, in bytes: cameras write notes of their own behind it."""


class Header(NamedTuple):
    """What the beginning of a file tells.

    Attributes:
        image: not decoded; it reads on from the file when it is.
        content_type: None when the service does not take the format.
        size: bytes of the file.
        end: where the header ends, in bytes from the file's beginning.
    """

    image: ImageFile
    content_type: str | None
    size: int
    end: int


class _Jpeg(JpegImageFile):
    """A JPEG as Pillow opens it, less the resolution in its EXIF: nobody asks for it, and broken EXIF warns."""

    def _read_dpi_from_exif(self) -> None:
        pass


# Pillow's own opener for JPEG would go on into the other pictures of a file that holds several.
_OPENERS: dict[str, Callable[[IO[bytes], str], ImageFile]] = {"JPEG": _Jpeg}


def identify(stream: BinaryIO) -> Header:
    """Read the header of the image in `stream`.

    Not `Image.open`, which warns of large pictures, or raises, before it tells their dimensions.

    Raises:
        PhotoRejected: with type ``empty``, ``not_an_image``, ``truncated``, or ``too_large`` for more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`, or more bytes than are decoded.
        OSError: the file cannot be read.
    """
    Image.init()
    size = stream.seek(0, os.SEEK_END)
    if not size:
        raise PhotoRejected("it is empty: 0 bytes", type="empty")
    stream.seek(0)
    name = _format(stream.read(16).ljust(16, b"\0"))
    if name not in _SENT_AS_IS and size > LARGEST_DECODED:
        raise PhotoRejected(f"{size:,} bytes of {name} are too many to be converted", type="too_large")
    image = _opened(name, stream, size)
    _check_pixels(image)
    return Header(image, _SENT_AS_IS.get(name), size, stream.tell())


def dimensions(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of the image in `stream`, however large; raises as `identify` does."""
    Image.init()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return _opened(_format(stream.read(16).ljust(16, b"\0")), stream, size).size


def _format(prefix: bytes) -> str:
    """Pillow's name of the format that begins with `prefix`."""
    for name in (*_SENT_AS_IS, *_CONVERTED, *_SHORT_SIGNATURE):
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        if accept is not None and accept(prefix) is True:
            return name
    raise PhotoRejected("it is not an image in a format that can be read", type="not_an_image")


def _opened(name: str, stream: BinaryIO, size: int) -> ImageFile:
    """The image, its header read."""
    stream.seek(0)
    try:
        return _OPENERS.get(name, Image.OPEN[name][0])(stream, "")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoRejected(f"its dimensions are too large: {error}", type="too_large") from error
    except Exception as error:  # on broken data a parser raises whatever it tripped over
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if stream.tell() >= size and name not in _SHORT_SIGNATURE:
            raise PhotoRejected(f"the {name} file breaks off in its header", type="truncated") from error
        raise PhotoRejected(f"it is not an image: its {name} header is damaged", type="not_an_image") from error


def _check_pixels(image: ImageFile) -> None:
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise PhotoRejected(
            f"{image.width}×{image.height} pixels are more than can be handled: {most:,} pixels in all",
            type="too_large",
        )


def check_whole(header: Header, stream: BinaryIO) -> None:
    """Make sure that the image does not break off: by its end marker, and only without one by decoding it.

    Raises:
        PhotoRejected: it is ``truncated``.
    """
    if _looks_whole(header, stream):
        return
    image = identify(stream).image
    image.draft("L", (1, 1))  # where the format allows it, read all and compute little
    decode(image)


def decode(image: ImageFile) -> None:
    """Decode `image`, in place.

    Raises:
        PhotoRejected: with type ``truncated``, or ``too_large`` for the memory there is.
        OSError: the file cannot be read.
    """
    try:
        image.load()
    except MemoryError as error:
        raise PhotoRejected("decoding it takes more memory than there is", type="too_large") from error
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PhotoRejected(f"the file breaks off or is damaged: {error}", type="truncated") from error


def _looks_whole(header: Header, stream: BinaryIO) -> bool:
    marker = _END_MARKERS.get(header.image.format or "")
    if marker is None:
        return _holds_strips(header)
    stream.seek(-len(marker), os.SEEK_END)
    if stream.read() == marker:
        return True
    # From the header's end on: a thumbnail in the header has an end of its own.
    stream.seek(max(header.end, header.size - _END_BYTES))
    return marker in stream.read()


def _holds_strips(header: Header) -> bool:
    """Whether all the data that a TIFF's first page points to lies within the file."""
    tags = getattr(header.image, "tag_v2", {})
    for offsets, lengths in ((273, 279), (324, 325)):  # strips, tiles
        if offsets in tags and lengths in tags:
            ends = map(sum, zip(tags[offsets], tags[lengths], strict=False))
            return max(ends, default=0) <= header.size
    return False
