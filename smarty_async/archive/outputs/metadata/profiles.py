"""Profiles that have segments of their own in a JPEG: ICC's, and Photoshop's image resources, which hold IPTC data.

ICC profiles: ICC.1:2022, sections 7 to 9; in JPEG: annex B.4. Image resources: Adobe Photoshop File Formats
Specification, "Image Resources Section".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from smarty_async.archive.photos.icc import profile, xyz
from smarty_async.archive.photos.jpeg import LARGEST_PAYLOAD, SegmentKind, segment

__all__ = [
    "PhotoshopError",
    "color_profile",
    "descriptive_resources",
    "icc_segments",
    "iptc_resource",
    "photoshop_segments",
    "resource_data",
    "with_iptc",
]

_LARGEST_PART: Final = LARGEST_PAYLOAD - 14
"""Bytes of a profile in one segment, behind a signature."""

_HEADER: Final = 128
_MOST_TAGS: Final = 100
_KEPT: Final = (b"desc", b"cprt", b"wtpt", b"chad")

_PRIMARIES: Final = {
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}
"""sRGB's, adapted to the white D50 of the connection space (IEC 61966-2-1, annex F)."""


def color_profile(gray: bytes) -> bytes | None:
    """The profile `gray` for pictures whose gray became colours: the same curve, and sRGB's primaries.

    Where all three samples are alike, they look as the gray sample does under `gray`.

    Args:
        gray: begins with a whole header.

    Returns:
        None when it is no gray profile, or one that a curve does not describe.
    """
    tags = dict(_tags(gray))
    curve = tags.get(b"kTRC")
    if gray[16:24] != b"GRAYXYZ " or curve is None:
        return None
    kept = [(name, tags[name]) for name in _KEPT if name in tags]
    primaries = [(name, xyz(values)) for name, values in _PRIMARIES.items()]
    curves = [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    head = gray[4:12] + b"mntrRGB XYZ " + gray[24:84] + bytes(16) + gray[100:_HEADER]  # without its ID
    return profile(head, [*kept, *primaries, *curves])


def _tags(profile: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each tag that lies in the profile."""
    count = int.from_bytes(profile[_HEADER : _HEADER + 4])
    for at in range(_HEADER + 4, _HEADER + 4 + 12 * min(count, _MOST_TAGS), 12):
        entry = profile[at : at + 12]
        start, length = int.from_bytes(entry[4:8]), int.from_bytes(entry[8:])
        if entry and start + length <= len(profile):
            yield entry[:4], profile[start : start + length]


def icc_segments(profile: bytes) -> bytes:
    """The segments that hold an ICC profile; at most 255 of them, about 16 MB."""
    parts = [profile[at : at + _LARGEST_PART] for at in range(0, len(profile), _LARGEST_PART)]
    return b"".join(
        segment(SegmentKind.ICC, bytes((number, len(parts))) + part) for number, part in enumerate(parts, start=1)
    )


def photoshop_segments(resources: bytes) -> bytes:
    """The segments that hold Photoshop image resources."""
    return b"".join(
        segment(SegmentKind.IPTC, resources[at : at + _LARGEST_PART]) for at in range(0, len(resources), _LARGEST_PART)
    )


_RESOURCE_SIGNATURES = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")
_IPTC, _IPTC_DIGEST = 0x0404, 0x0425
_DESCRIPTIVE = frozenset((_IPTC, _IPTC_DIGEST, 0x040A, 0x040B))
"""IPTC, digest of the IPTC data, copyright flag, URL."""


class PhotoshopError(ValueError):
    """The resources are malformed."""


def descriptive_resources(block: bytes) -> bytes | None:
    """The resources in `block` that describe the picture, None when there is none.

    Raises:
        PhotoshopError: it is malformed.
    """
    return b"".join(data for number, data in _resources(block) if number in _DESCRIPTIVE) or None


def with_iptc(block: bytes, records: bytes) -> bytes:
    """The resources in `block` with these IPTC records.

    Where it holds others, the digest of those is left out.

    Raises:
        PhotoshopError: it is malformed.
    """
    if (resource_data(block, _IPTC) or b"").rstrip(b"\0") == records.rstrip(b"\0"):
        return block
    others = (data for number, data in _resources(block) if number not in (_IPTC, _IPTC_DIGEST))
    return iptc_resource(records) + b"".join(others)


def resource_data(block: bytes, number: int) -> bytes | None:
    """What the first image resource of a number in `block` holds, None when there is none.

    Raises:
        PhotoshopError: it is malformed.
    """
    for found, data in _resources(block):
        if found == number:
            start = 7 + data[6]  # the name
            start += start % 2
            length = int.from_bytes(data[start : start + 4])
            return data[start + 4 : start + 4 + length]
    return None


def iptc_resource(records: bytes) -> bytes:
    """IPTC `records` as an image resource."""
    return b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(records)) + records + bytes(len(records) % 2)


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while any(block[at : at + 4]):  # there may be zeros behind the last one
        start = at
        if block[at : at + 4] not in _RESOURCE_SIGNATURES:
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
