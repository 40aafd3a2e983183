"""The image resources of Photoshop, in which IPTC data is kept.

Only the resources that describe the picture are kept; those that describe its pixels (thumbnails, paths, guides, the
resolution) or repeat EXIF, XMP and ICC would be wrong in an output. Format: Adobe Photoshop File Formats
Specification, "Image Resources Section".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["PhotoshopError", "descriptive_resources", "iptc_resource"]

_SIGNATURES = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")
_IPTC = 0x0404
_DESCRIPTIVE = frozenset((_IPTC, 0x040A, 0x040B, 0x0425))
"""IPTC, copyright flag, URL, digest of the IPTC data."""


class PhotoshopError(ValueError):
    """The resources are malformed."""


def descriptive_resources(block: bytes) -> bytes | None:
    """The resources in `block` that describe the picture, None when there is none.

    Raises:
        PhotoshopError: it is malformed.
    """
    return b"".join(data for number, data in _resources(block) if number in _DESCRIPTIVE) or None


def iptc_resource(records: bytes) -> bytes:
    """IPTC `records` as an image resource."""
    return b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(records)) + records + bytes(len(records) % 2)


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while any(block[at : at + 4]):  # there may be zeros behind the last one
        start = at
        if block[at : at + 4] not in _SIGNATURES:
            raise PhotoshopError(f"no image resource at byte {at:,}")
        at += 7 + (block[at + 6] if at + 6 < len(block) else 0)
        at += at % 2 != start % 2  # names are padded
        if at + 4 > len(block):
            raise PhotoshopError("it breaks off")
        at += 4 + int(struct.unpack_from(">I", block, at)[0])
        if at > len(block):
            raise PhotoshopError("it breaks off")
        number = int(struct.unpack_from(">H", block, start + 4)[0])
        data = block[start:at]
        yield number, data + bytes(len(data) % 2)
        at += len(data) % 2
