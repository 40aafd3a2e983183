"""Correct an EXIF block for an output: orientation, size, resolution; no thumbnail.

The block is changed in place wherever possible, so that maker notes, and whatever else is not understood, stay byte
for byte and keep the offsets that they may hold. Tags: CIPA DC-008 (EXIF 3.0), section 4.6.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from PIL import TiffTags
from PIL.ExifTags import Base

from smarty_async.archive.outputs.metadata.exif_editor import POSITIONS, ExifEditor
from smarty_async.archive.outputs.metadata.exif_fields import (
    orientation_of,
    read_block,
    resolutions_of,
    short_field,
    with_numbers,
)
from smarty_async.archive.outputs.metadata.geometry import Geometry
from smarty_async.archive.outputs.metadata.tiff import Directory, Field, TiffError, build

__all__ = ["ExifSummary", "correct_exif", "exif_with", "minimal_exif", "read_exif", "short_exif"]

_INCHES, _CENTIMETRES = 2, 3
_UNITS = {_INCHES: 1.0, _CENTIMETRES: 2.54}


class ExifSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an EXIF block says of how the picture is shown; None for what it does not say.

    Attributes:
        orientation: 1…8.
        resolution: horizontal and vertical resolution, in pixels a unit.
        inches: how many units are an inch; None when only the ratio of the two resolutions is meant.
    """

    orientation: int | None = None
    resolution: tuple[float, float] | None = None
    inches: float | None = None


def correct_exif(block: bytes, geometry: Geometry) -> bytes:
    """The EXIF block `block` as it is right for an output.

    Args:
        block: begins with the TIFF header.
        geometry: the output's.

    Raises:
        TiffError: it is malformed.
    """
    editor = ExifEditor(block)
    editor.set_orientation(geometry.orientation)
    editor.set_sizes(geometry)
    editor.set_resolutions(geometry)
    if not geometry.unchanged:
        editor.remove(POSITIONS)
    return editor.finish()


def short_exif(block: bytes, limit: int) -> tuple[bytes, list[int]]:
    """`block` without its largest fields, as few as make it `limit` bytes or less, and the tags of those.

    Raises:
        TiffError: it is malformed.
    """
    if len(block) <= limit:
        return block, []
    reader, root = read_block(block)
    places = [(len(field.value), tag, owner) for _, owner in with_numbers(root) for tag, field in owner.fields.items()]
    places.sort(key=lambda place: place[:2])
    left_out: list[int] = []
    while len(block) > limit:
        excess = len(block) - limit
        while excess > 0:
            if not places:
                raise TiffError(f"{len(block):,} bytes of directories")
            size, tag, owner = places.pop()
            del owner.fields[tag]
            left_out.append(tag)
            excess -= size
        block = build(root, reader.order)
    return block, left_out


def minimal_exif(orientation: int) -> bytes:
    """An EXIF block that holds an orientation alone."""
    return build(Directory({Base.Orientation: short_field(orientation, "<")}), "<")


def exif_with(block: bytes | None, texts: Mapping[int, str]) -> bytes:
    """`block`, or a new one, with those of `texts` added, by tag of the first directory, that it does not hold.

    Raises:
        TiffError: it is malformed.
    """
    reader, root = read_block(block) if block else (None, Directory({}))
    missing = {tag: text for tag, text in texts.items() if tag not in root.fields}
    for tag, text in missing.items():
        value = text.encode() + b"\0"
        root.fields[tag] = Field(TiffTags.ASCII, len(value), value)
    if block and not missing:
        return block
    return build(root, reader.order if reader else "<")


def read_exif(block: bytes) -> ExifSummary:
    """What `block` says of how the picture is shown.

    Raises:
        TiffError: it is malformed.
    """
    reader, root = read_block(block)
    pair = resolutions_of(root, Base.XResolution, Base.YResolution, reader.order)
    field = root.fields.get(Base.ResolutionUnit)
    unit = int.from_bytes(field.value[:2], "little" if reader.order == "<" else "big") if field else _INCHES
    return ExifSummary(
        orientation=orientation_of(root, reader.order),
        resolution=(float(pair[0]), float(pair[1])) if pair else None,
        inches=_UNITS.get(unit),
    )
