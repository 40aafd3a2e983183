"""What decoders of JPEG XL do not tell of a file, or only with its pixels.

That is its size, its colour space, whether it is an animation, the JPEG it was made of, compressed metadata.

Codestream: ISO/IEC 18181-1, annexes B (bits) and D (image header); boxes: ISO/IEC 18181-2.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final

from smarty_async.archive.photos.boxes import boxes
from smarty_async.archive.photos.identify import check_pixels, missing_extra, swaps_axes, whole_bytes
from smarty_async.archive.photos.memory_budget import DECODING
from smarty_async.errors import PhotoRejected

__all__ = ["check_colors", "decoded_size", "original_jpeg", "unpacked_box"]

_HEADER_BYTES: Final = 4096
"""Bytes of a codestream that hold its image header, whatever the names of its channels."""
_LARGEST_BOX: Final = 8 << 20

_D65: Final = 1
_SRGB_PRIMARIES: Final = 1
_SRGB_TONES: Final = 13
_CUSTOM: Final = 2
"""Enumerated values of a colour encoding (annex D.3.5)."""


_RATIOS: Final = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""What the width may be to the height (annex D.2)."""

_JPEG_BYTES_PER_PIXEL: Final = 8
"""Memory of finding the JPEG that a file was made of."""


def decoded_size(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of the picture that the decoder gives, which turns it upright. Decodes nothing.

    Raises:
        PhotoRejected: with type ``truncated``; ``too_large`` for being decoded.
        OSError: the file cannot be read.
    """
    bits = _Bits(_codestream(stream))
    try:
        width, height = _read_size(bits)
        orientation = _read_orientation(bits)
    except IndexError:
        raise PhotoRejected("the JPEG XL file ends in its header: copy it again", type="truncated") from None
    check_pixels(width, height)
    return (height, width) if swaps_axes(orientation) else (width, height)


def original_jpeg(stream: BinaryIO) -> bytes | None:
    """The JPEG file that a JPEG XL was made of without loss, byte for byte; None where it was made of none.

    Holds memory for it meanwhile.

    Raises:
        PhotoRejected: the decoder is not installed, or as `decoded_size` does.
        OSError: the file cannot be read.
    """
    if not any(kind == b"jbrd" for kind, _, _ in boxes(stream, 0, stream.seek(0, os.SEEK_END))):
        return None
    try:
        import imagecodecs  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra("a JPEG XL picture", kind="unsupported") from None
    width, height = decoded_size(stream)
    with DECODING.acquire(width * height * _JPEG_BYTES_PER_PIXEL + whole_bytes(stream)):
        stream.seek(0)
        try:
            return bytes(imagecodecs.jpegxl_decode_jpeg(stream.read(), numthreads=1))
        except Exception:  # noqa: BLE001 - metadata that were edited since: its pixels are decoded instead
            return None


def unpacked_box(data: bytes) -> tuple[bytes, bytes] | None:
    """Kind and content of the box that a box of the kind ``brob`` holds; None where it cannot be unpacked."""
    try:
        import imagecodecs  # noqa: PLC0415 - an extra

        return data[:4], bytes(imagecodecs.brotli_decode(data[4:], out=_LARGEST_BOX))
    except Exception:  # noqa: BLE001 - not installed, malformed, or too large
        return None


def check_colors(stream: BinaryIO) -> None:
    """Make sure that the decoder's samples are those of one picture, and sRGB: it does not tell their profile.

    Raises:
        PhotoRejected: with type ``unsupported`` or ``animation``.
        OSError: the file cannot be read.
    """
    try:
        space = _color_space(_Bits(_codestream(stream)))
    except IndexError:
        return  # it breaks off, as the decoder will say
    if space is not None:
        raise PhotoRejected(
            f"it is a JPEG XL picture with {space}, which cannot be read: save it as JPEG or PNG", type="unsupported"
        )


def _codestream(stream: BinaryIO) -> bytes:
    """The beginning of the codestream, behind its signature."""
    stream.seek(0)
    if stream.read(2) == b"\xff\x0a":
        return stream.read(_HEADER_BYTES)
    found = b""
    for kind, start, stop in boxes(stream, 0, stream.seek(0, os.SEEK_END)):
        if kind in (b"jxlc", b"jxlp"):
            stream.seek(start)
            content = stream.read(min(stop - start, _HEADER_BYTES))
            found += content[4:] if kind == b"jxlp" else content  # behind the number of the part
        if len(found) >= _HEADER_BYTES:
            break
    return found[2:]


class _Bits:
    """Reads numbers from a codestream; the first bit of a byte is its lowest.

    Raises:
        IndexError: there are no more.
    """

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def read(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise IndexError
        value = self._number & ((1 << bits) - 1)
        self._number >>= bits
        return value

    def choice(self, *ways: tuple[int, int]) -> int:
        """U32 of the standard: two bits choose how many bits follow, and what is added to them."""
        bits, added = ways[self.read(2)]
        return added + self.read(bits)

    def enum(self) -> int:
        return self.choice((0, 0), (0, 1), (4, 2), (6, 18))


def _color_space(bits: _Bits) -> str | None:
    """What the colours are, in words, unless they are sRGB or gray with sRGB's tones."""
    _read_size(bits)
    if bits.read(1):  # everything is as usual
        return None
    if bits.read(1):
        _skip_extra_fields(bits)
    _skip_depth(bits)
    bits.read(1)
    for _ in range(bits.choice((0, 0), (0, 1), (4, 2), (12, 1))):
        _skip_channel(bits)
    bits.read(1)  # whether it is in XYB
    if bits.read(1):
        return None
    return _described(bits)


_OTHER_SPACE: Final = "another colour space than sRGB"


def _described(bits: _Bits) -> str | None:
    """The colour encoding."""
    if bits.read(1):
        return "a colour profile"
    space = bits.enum()
    if space not in (0, 1):
        return "an unknown colour space"
    white = bits.enum()
    primaries = bits.enum() if space == 0 and white != _CUSTOM else _SRGB_PRIMARIES
    if _CUSTOM in (white, primaries):
        return _OTHER_SPACE
    tones = bits.enum() if not bits.read(1) else None  # else a gamma
    return None if (white, primaries, tones) == (_D65, _SRGB_PRIMARIES, _SRGB_TONES) else _OTHER_SPACE


def _read_size(bits: _Bits) -> tuple[int, int]:
    """Width and height, as they are stored."""
    small = bits.read(1) == 1
    height = _read_side(bits, small=small)
    ratio = bits.read(3)
    if not ratio:
        return _read_side(bits, small=small), height
    across, down = _RATIOS[ratio]
    return height * across // down, height


def _read_side(bits: _Bits, *, small: bool) -> int:
    return 8 * (1 + bits.read(5)) if small else bits.choice((9, 1), (13, 1), (18, 1), (30, 1))


def _read_orientation(bits: _Bits) -> int:
    """The EXIF orientation, by what follows the size."""
    is_usual = bits.read(1)
    return 1 + bits.read(3) if not is_usual and bits.read(1) else 1


def _skip_extra_fields(bits: _Bits) -> None:
    bits.read(3)  # orientation
    if bits.read(1):
        _read_size(bits)
    if bits.read(1):  # a preview
        raise IndexError
    if bits.read(1):
        raise PhotoRejected("it is an animation (JXL), not a photo", type="animation")


def _skip_depth(bits: _Bits) -> None:
    if bits.read(1):
        bits.choice((0, 32), (0, 16), (0, 24), (6, 1))
        bits.read(4)
    else:
        bits.choice((0, 8), (0, 10), (0, 12), (6, 1))


def _skip_channel(bits: _Bits) -> None:
    if bits.read(1):
        return
    kind = bits.enum()
    _skip_depth(bits)
    bits.choice((0, 0), (0, 3), (0, 4), (3, 1))
    bits.read(8 * bits.choice((0, 0), (4, 0), (5, 16), (10, 48)))
    if kind == 0:  # transparency
        bits.read(1)
    elif kind in (2, 5):
        raise IndexError
