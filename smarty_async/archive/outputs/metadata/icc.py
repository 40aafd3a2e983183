"""A gray ICC profile as one for colours (ICC.1:2022, sections 7 to 9)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["color_profile"]

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
    primaries = [(name, b"XYZ \0\0\0\0" + _fixed(values)) for name, values in _PRIMARIES.items()]
    curves = [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return _profile(gray, [*kept, *primaries, *curves])


def _tags(profile: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each tag that lies in the profile."""
    count = int.from_bytes(profile[_HEADER : _HEADER + 4])
    for at in range(_HEADER + 4, _HEADER + 4 + 12 * min(count, _MOST_TAGS), 12):
        entry = profile[at : at + 12]
        start, length = int.from_bytes(entry[4:8]), int.from_bytes(entry[8:])
        if entry and start + length <= len(profile):
            yield entry[:4], profile[start : start + length]


def _profile(gray: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    """A profile with the header of `gray`, but for RGB; the same data are stored once."""
    start = _HEADER + 4 + 12 * len(tags)
    body, places, table = b"", dict[bytes, int](), struct.pack(">I", len(tags))
    for name, data in tags:
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    size = struct.pack(">I", start + len(body))
    without_id = gray[24:84] + bytes(16) + gray[100:_HEADER]
    return size + gray[4:12] + b"mntrRGB XYZ " + without_id + table + body


def _fixed(values: Iterable[float]) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
