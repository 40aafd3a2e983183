"""Decoding of untrusted image files into 8-bit pictures, and encoding as JPEG.

`PixelBudget` bounds how many pixels are processed at a time, and with them memory: large photos wait for each other.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from threading import Condition
from typing import Final, NoReturn

from PIL import Image, ImageOps

from smarty_async.local.engine.protocol import UNDECODABLE, ItemRefused, check_wanted
from smarty_async.local.memory import largest_photo

__all__ = ["MAX_PIXELS", "PixelBudget", "check_enlarged", "decode", "encode", "pixel_count", "quality_of"]


MAX_PIXELS: Final = largest_photo()
"""Pixels an image may have: what the memory bears."""

_FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
"""Raster formats only: for some others Pillow would start other programs. JPEG includes MPO."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")

_LONGEST_SIDE: Final = 65_500
"""Pixels that libjpeg can write."""

_BRIGHTNESS_TABLE: Final = 3688
"""The sum of the standard's luminance table (ITU-T T.81, table K.1), which libjpeg scales with the quality."""

_STRIP: Final = 256
"""Rows that are converted at a time."""

_SPACES: Final = {"L": b"GRAY", "RGB": b"RGB "}
"""What a colour profile that describes pixels of a mode has at bytes 16 to 19 (ICC.1:2022, 7.2.6)."""

_CONVERTED: Final = ("CMYK", "LAB")
"""Modes whose colours become others, which no profile in the file describes."""

_SIXTEEN_BITS: Final = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def pixel_count(data: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """The number of pixels that the file's header states; nothing is decoded.

    Raises:
        ItemRefused: 2 (as it is published), it is no image; 1, it is too large.
    """
    with _opened(data, max_pixels) as image:
        return image.width * image.height


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in a file's bytes: upright, opaque, 8 bits a channel, of mode ``L`` or ``RGB``.

    Raises:
        ItemRefused: 2 (as it is published), the bytes cannot be decoded; 1, it is too large.
    """
    with _opened(data, max_pixels) as image:
        image.load()
        plain = _plain(ImageOps.exif_transpose(image))
        plain.info["quality"] = _quality(getattr(image, "quantization", {}))
        return plain


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Generator[Image.Image, None, None]:
    """The opened file; every error of it inside the block becomes an `ItemRefused`."""
    try:
        with _image(io.BytesIO(_without_texts(data)), data[:16]) as image:
            if image.width * image.height > max_pixels or max(image.size) > _LONGEST_SIDE:
                _too_large()
            yield image
    except (ItemRefused, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        _too_large()
    except Exception as error:
        # Pillow's plugins raise exceptions of any class for a broken file.
        raise ItemRefused(UNDECODABLE, status=2) from error


def _image(stream: io.BytesIO, prefix: bytes) -> Image.Image:
    """Not `Image.open`, which refuses, whatever the memory bears, what is twice as large as ``MAX_IMAGE_PIXELS``."""
    Image.init()
    for factory, accept in map(Image.OPEN.__getitem__, _FORMATS):
        if accept is not None and accept(prefix) is True:
            return factory(stream, "")
    raise ItemRefused(UNDECODABLE, status=2)


def _without_texts(data: bytes) -> bytes:
    """A PNG file without its text chunks, because Pillow refuses texts of more than 1 MB; other files unchanged."""
    if not data.startswith(_PNG):
        return data
    kept, position = [_PNG], len(_PNG)
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] not in _TEXTS:
            kept.append(data[position:end])
        position = end
    return b"".join(kept)


def quality_of(image: Image.Image) -> int | None:
    """The quality (libjpeg's, 1 to 100) of the JPEG that `decode` read; None for other formats."""
    quality: int | None = image.info.get("quality")
    return quality


def _quality(tables: dict[int, list[int]]) -> int | None:
    if 0 not in tables:
        return None
    # Sums, so that the order of the table's entries does not matter.
    scale = 100 * sum(tables[0]) / _BRIGHTNESS_TABLE
    return round(max(1.0, (200 - scale) / 2 if scale <= 100 else 5000 / scale))  # noqa: PLR2004 - libjpeg's formula


def check_enlarged(image: Image.Image, factor: int) -> None:
    """Check that the picture enlarged by `factor` can be written as a JPEG.

    Raises:
        ItemRefused: 1, it is too large.
    """
    if max(image.size) * factor > _LONGEST_SIDE:
        _too_large()


def _too_large() -> NoReturn:
    raise ItemRefused("image dimensions are too large", status=1)


def _plain(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    plain = _eight_bits(image)
    fits = profile is not None and image.mode not in _CONVERTED and profile[16:20] == _SPACES[plain.mode]
    plain.info = {"icc_profile": profile} if fits else {}
    return plain


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image.copy()
    if image.mode in _SIXTEEN_BITS:
        return image.convert("I").point(lambda value: value * (255 / 65535)).convert("L")
    if image.mode == "1":
        return image.convert("L")
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """The picture on a white background, converted in strips, because RGBA takes four bytes a pixel."""
    paper = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, _STRIP):
        box = (0, top, image.width, min(top + _STRIP, image.height))
        strip = image.crop(box).convert("RGBA")
        paper.paste(strip, box, strip)
    return paper


def encode(image: Image.Image, *, comment: str = "", quality: int = 92, subsampling: str = "4:2:0") -> bytes:
    """The picture as a JPEG file's bytes.

    Args:
        image: the picture.
        comment: written into the file.
        quality: as libjpeg counts, 1 to 100.
        subsampling: of the colours; ``4:4:4`` keeps all of them.
    """
    buffer = io.BytesIO()
    profile = image.info.get("icc_profile")
    options = {"quality": quality, "subsampling": subsampling, "icc_profile": profile}
    image.save(buffer, "JPEG", comment=comment.encode("ascii"), **options)
    return buffer.getvalue()


_CHECK_SECONDS: Final = 0.5
"""How often a waiting thread checks whether its client has disconnected."""


_AT_ONCE: Final = 3840 * 2160 * 4 * 4
"""Pixels that an engine works on at a time: the largest photo the service's pages allow, at the largest factor."""


class PixelBudget:
    """A number of pixels that may be processed at a time; a single photo may exceed it when it is alone."""

    def __init__(self, pixels: int = _AT_ONCE) -> None:
        self._total = pixels
        self._free = pixels
        self._changed = Condition()

    @contextmanager
    def reserved(self, pixels: int) -> Generator[None, None, None]:
        """Wait until `pixels` are free, and reserve them during the block.

        Raises:
            Abandoned: the client has disconnected.
        """
        pixels = min(pixels, self._total)
        with self._changed:
            while self._free < pixels:
                check_wanted()
                self._changed.wait(_CHECK_SECONDS)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()
