"""Fields of EXIF blocks, and the blocks' directories."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from fractions import Fraction

from PIL import TiffTags
from PIL.ExifTags import Base

from smarty_async.archive.outputs.metadata.tiff import ROOT, Directory, Field, TiffError, TiffReader, integers

__all__ = ["orientation_of", "rational_value", "read_block", "resolutions_of", "short_field", "with_numbers"]

_UPRIGHT, _MIRRORED_AND_TURNED = 1, 8


def read_block(block: bytes) -> tuple[TiffReader, Directory]:
    """What reads `block`, and its first directory.

    Raises:
        TiffError: it is malformed.
    """
    reader = TiffReader(io.BytesIO(block))
    if reader.big:
        raise TiffError("it is a BigTIFF")
    return reader, reader.directory(reader.first)


def with_numbers(directory: Directory, number: int = ROOT) -> Iterator[tuple[int, Directory]]:
    """The children of `directory`, then itself, each with the tag that leads to it."""
    for tag, child in directory.children.items():
        yield from with_numbers(child, tag)
    yield number, directory


def orientation_of(root: Directory, order: str) -> int | None:
    """The orientation (1…8) in a directory, None when there is none."""
    field = root.fields.get(Base.Orientation)
    try:
        value = integers(field, order)[0] if field else 0
    except TiffError:
        return None
    return value if _UPRIGHT <= value <= _MIRRORED_AND_TURNED else None


def resolutions_of(owner: Directory, across: int, down: int, order: str) -> tuple[Fraction, Fraction] | None:
    """Two resolutions, None unless both are there and over zero."""
    pair: list[Fraction] = []
    for tag in (across, down):
        field = owner.fields.get(tag)
        if not field or field.type != TiffTags.RATIONAL or field.count != 1:
            return None
        numerator, denominator = struct.unpack(order + "II", field.value)
        if not numerator or not denominator:
            return None
        pair.append(Fraction(numerator, denominator))
    return pair[0], pair[1]


def short_field(value: int, order: str) -> Field:
    """A field that holds one integer below 65,536."""
    return Field(TiffTags.SHORT, 1, struct.pack(order + "H", value))


def rational_value(value: float, order: str) -> bytes:
    """The bytes of one unsigned rational number."""
    fraction = Fraction(min(value, 0xFFFFFFFF)).limit_denominator(1000 if value < 0xFFFFFFFF // 1000 else 1)
    return struct.pack(order + "II", fraction.numerator, fraction.denominator)
