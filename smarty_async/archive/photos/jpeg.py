"""JPEG files: which kinds every decoder reads, and where the picture ends (ITU-T T.81, annex B)."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import BinaryIO, Final

import msgspec
from PIL import ImageChops
from PIL.ImageFile import ImageFile

from smarty_async.archive.photos.identify import decode, decoding, open_image
from smarty_async.archive.photos.jpeg_extent import find_jpeg_extent
from smarty_async.errors import PhotoRejected

__all__ = ["Frame", "check_whole", "described", "read_frame"]

_END: Final = b"\xff\xd9"
_SCAN: Final = b"\xff\xda"
_FRAMES: Final = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_COMMON: Final = frozenset((0xC0, 0xC1, 0xC2))
_MOST_SEGMENTS: Final = 10_000

_LOOKAHEAD: Final = b"\x55" * 128
"""Data that libjpeg may read ahead behind the last pixel. They stand for the end marker and for a few blocks of 8×8
pixels; a file that lacks more does not decode with them."""

_LAST_BYTES: Final = 256
"""Bytes without which the last rows of a progressive JPEG look different, and only they."""

_LARGEST: Final = 500_000_000


class Frame(msgspec.Struct, frozen=True):
    """The header of a JPEG's frame: its place, its marker, bits of a sample, and dimensions in pixels."""

    offset: int
    marker: int
    bits: int
    height: int
    width: int

    @property
    def is_common(self) -> bool:
        """Whether every decoder reads it: 8 bits, Huffman codes, not lossless."""
        return self.marker in _COMMON and self.bits == 8  # noqa: PLR2004


def read_frame(stream: BinaryIO) -> Frame | None:
    """The header of the frame; None when the file holds none where it should."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        stream.seek(at)
        head = stream.read(9)
        if len(head) < 9 or head[0] != 0xFF:  # noqa: PLR2004 - marker, length, bits, height, width
            return None
        if head[1] in _FRAMES:
            return Frame(at, head[1], head[4], int.from_bytes(head[5:7]), int.from_bytes(head[7:9]))
        at += 1 if head[1] == 0xFF else 2 + int.from_bytes(head[2:4])  # noqa: PLR2004 - a fill byte
    return None


def described(frame: Frame) -> str:
    """The kind of a frame that is not common, in words that follow "it is"."""
    kind = {0xC3: "lossless ", 0xC9: "arithmetic-coded ", 0xCA: "arithmetic-coded "}.get(frame.marker, "")
    return f"a {frame.bits}-bit {kind}JPEG"


def check_whole(stream: BinaryIO, size: int, image: ImageFile) -> tuple[int, bytes | None]:
    """Where the picture ends, in bytes; and the same file with an end marker where decoders miss that.

    A picture may lack its end marker and a byte or two before.

    Raises:
        PhotoRejected: with type ``truncated`` or ``damaged``.
        OSError: the file cannot be read.
    """
    extent = find_jpeg_extent(stream)
    if extent.hole is not None:
        raise PhotoRejected(
            f"the file is damaged: zeros stand in for its data from byte {extent.hole:,} on: copy it again",
            type="damaged",
        )
    if extent.end is not None:
        return extent.end, None
    if size > _LARGEST:
        raise PhotoRejected(f"the file has no end within {size:,} bytes", type="truncated")
    stream.seek(0)
    data = stream.read()
    broken_marker = data.rfind(b"\xff", len(data) - 2)
    picture = data[:broken_marker] if broken_marker >= 0 else data
    whole = _is_whole_progressive if image.info.get("progressive") else _is_whole_baseline
    if not whole(picture):
        raise PhotoRejected("the file breaks off: copy it again", type="truncated")
    with suppress(PhotoRejected):
        _decoded(data)
        return size, None
    return size, picture + _END


def _is_whole_baseline(data: bytes) -> bool:
    with suppress(PhotoRejected):
        _decoded(data + _LOOKAHEAD)
        return True
    return False


def _is_whole_progressive(data: bytes) -> bool:
    """Whether all scans have begun, and the last bytes make the last rows; else they make other rows."""
    if not _has_all_scans(data):
        return False
    try:
        with_them, without = _decoded(data + _END), _decoded(data[:-_LAST_BYTES] + _END)
    except PhotoRejected:
        return False
    changed = ImageChops.difference(with_them.convert("L"), without.convert("L")).getbbox()
    return changed is not None and changed[3] > with_them.height - 2 * 16


def _has_all_scans(data: bytes) -> bool:
    """Whether a scan brings each coefficient of each component to its last bit (ITU-T T.81, G.1.1)."""
    frame = read_frame(io.BytesIO(data))
    if frame is None or len(data) < frame.offset + 10:
        return False
    count = data[frame.offset + 9]
    components = data[frame.offset + 10 : frame.offset + 10 + 3 * count : 3]
    missing = {(component, place) for component in components for place in range(64)}
    at = data.find(_SCAN, frame.offset)
    while at >= 0:
        size = data[at + 4] if at + 4 < len(data) else 0
        header = data[at + 5 : at + 8 + 2 * size]
        if len(header) == 3 + 2 * size and not header[-1] & 15:
            band = range(header[-3], header[-2] + 1)
            missing.difference_update((component, place) for component in header[: 2 * size : 2] for place in band)
        at = data.find(_SCAN, at + 2)
    return not missing


def _decoded(data: bytes) -> ImageFile:
    image = open_image("JPEG", io.BytesIO(data))
    with decoding(image, extra_pixels=image.width * image.height):
        decode(image)
    return image
