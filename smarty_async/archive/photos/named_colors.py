"""The colours of HEIF and AVIF pictures that name them by numbers, as many phones and cameras do, and hold no profile.

Boxes: ISO/IEC 14496-12, 8.11.4 and 12.1.5; ISO/IEC 23008-12, 9.3. The numbers: ITU-T H.273, tables 2 and 3.
Profiles: ICC.1:2022, sections 7 to 10.
"""

from __future__ import annotations

import os
import struct
from functools import cache
from typing import BinaryIO, Final

from smarty_async.archive.photos.boxes import boxes
from smarty_async.archive.photos.icc import fixed, profile, xyz
from smarty_async.errors import PhotoRejected

__all__ = ["named_profile"]

_LARGEST_BOX: Final = 1 << 20

_DISPLAY_P3: Final = 12
_OTHER_PRIMARIES: Final = {
    4: "the primaries of NTSC",
    8: "the primaries of film",
    9: "the primaries of BT.2020",
    10: "CIE XYZ",
    11: "the primaries of DCI-P3",
}
"""Primaries that are far from sRGB's; the others that have a name are those of older television, which are near."""
_OTHER_TONES: Final = {
    8: "linear tones",
    9: "logarithmic tones",
    10: "logarithmic tones",
    16: "tones for high dynamic range (PQ)",
    17: "the tones of cinema",
    18: "tones for high dynamic range (HLG)",
}
"""Transfer characteristics that are far from sRGB's."""


def named_profile(stream: BinaryIO) -> bytes | None:
    """The ICC profile of the colours that a HEIF or AVIF file names; None where they are about sRGB, or not named.

    Raises:
        PhotoRejected: with type ``unsupported``: they are others than sRGB and Display P3.
        OSError: the file cannot be read.
    """
    try:
        primaries, tones = _named(stream)
    except (LookupError, struct.error):
        return None
    other = _OTHER_TONES.get(tones) or _OTHER_PRIMARIES.get(primaries)
    if other is not None:
        raise PhotoRejected(
            f"its colours have {other}, which are not converted: save it as JPEG or PNG", type="unsupported"
        )
    return _display_p3() if primaries == _DISPLAY_P3 else None


def _named(stream: BinaryIO) -> tuple[int, int]:
    """Colour primaries and transfer characteristics of the primary picture.

    Raises:
        LookupError: the file does not name them, or is not laid out as HEIF has it.
        struct.error: likewise.
    """
    meta = _boxes_in(stream, 0, stream.seek(0, os.SEEK_END), wanted=b"meta")[0]
    parts = {kind: (start, stop) for kind, start, stop in boxes(stream, meta[0] + 4, meta[1])}
    properties = _boxes_in(stream, *parts[b"iprp"], wanted=b"ipco")[0]
    listed = list(boxes(stream, *properties))
    associations = _content(stream, _boxes_in(stream, *parts[b"iprp"], wanted=b"ipma")[0])
    for index in _properties_of(_primary(_content(stream, parts[b"pitm"])), associations):
        kind, start, stop = listed[index - 1]
        if index and kind == b"colr":
            content = _content(stream, (start, stop))
            if content.startswith(b"nclx"):
                return struct.unpack_from(">4xHH", content)
    raise LookupError


def _boxes_in(stream: BinaryIO, start: int, stop: int, *, wanted: bytes) -> list[tuple[int, int]]:
    """Begin and end of the content of the boxes of one kind."""
    return [(begin, end) for kind, begin, end in boxes(stream, start, stop) if kind == wanted]


def _content(stream: BinaryIO, place: tuple[int, int]) -> bytes:
    stream.seek(place[0])
    return stream.read(min(place[1] - place[0], _LARGEST_BOX))


def _primary(box: bytes) -> int:
    """The number of the primary picture, by the box ``pitm``."""
    return int(struct.unpack_from(">4xL" if box[0] else ">4xH", box)[0])


def _properties_of(item: int, box: bytes) -> list[int]:
    """The properties that the box ``ipma`` associates with an item: their places in the box ``ipco``, from 1."""
    entry, width = struct.Struct(">LB" if box[0] else ">HB"), 2 if box[3] & 1 else 1
    at = 8
    for _ in range(int.from_bytes(box[4:8])):
        number, count = entry.unpack_from(box, at)
        at += entry.size
        if number == item:
            essential = 1 << (8 * width - 1)
            return [
                int.from_bytes(box[start : start + width]) & (essential - 1)
                for start in range(at, at + count * width, width)
            ]
        at += count * width
    return []


_D50: Final = (0.96420, 1.0, 0.82491)
_TO_D50: Final = (1.04788, 0.02292, -0.05022, 0.02959, 0.99048, -0.01707, -0.00925, 0.01508, 0.75168)
"""What adapts D65 to D50 (Bradford)."""
_PRIMARIES: Final = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
"""Those of Display P3 (SMPTE EG 432-1), adapted to D50."""
_TONES: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""sRGB's curve (IEC 61966-2-1): the parameters of a function of the third type."""


@cache
def _display_p3() -> bytes:
    """A profile of Display P3, version 4."""
    curve = b"para\0\0\0\0\0\3\0\0" + fixed(_TONES)
    made = struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    head = struct.pack(">4xL", 4 << 24) + b"mntrRGB XYZ " + made + b"acsp" + bytes(28) + fixed(_D50)
    tags = [
        (b"desc", _text("Display P3")),
        (b"cprt", _text("CC0")),
        (b"wtpt", xyz(_D50)),
        (b"chad", b"sf32\0\0\0\0" + fixed(_TO_D50)),
        *((name, xyz(values)) for name, values in _PRIMARIES.items()),
        *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    return profile(head.ljust(124, b"\0"), tags)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">LL4sLL", 1, 12, b"enUS", len(encoded), 28) + encoded
