"""Read an EXIF block, and correct it for an output: orientation, size, resolution; no thumbnail.

The block is changed in place wherever possible, so that maker notes, and other data whose meaning is not known, stay
byte for byte and keep the offsets that they may hold. Tags: CIPA DC-008 (EXIF 3.0), section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from fractions import Fraction
from math import sqrt
from typing import Literal

import msgspec
from PIL import TiffTags
from PIL.ExifTags import IFD, Base

from smarty_async.archive.photos.identify import swaps_axes
from smarty_async.archive.photos.tiff import ROOT, Directory, Field, TiffError, TiffReader, build, integers

__all__ = [
    "ExifSummary",
    "Geometry",
    "correct_exif",
    "exif_with",
    "minimal_exif",
    "read_exif",
    "short_exif",
]


class Geometry:
    """The stored size and orientation of an output, and of the source it was made from.

    Args:
        width: pixels of the output, as stored.
        height: pixels of the output, as stored.
        orientation: the EXIF orientation (1…8) under which the output shows upright.
        source_size: width and height of the source as stored, in pixels; None when they are not known.
        source_orientation: the source's own EXIF orientation.

    Attributes:
        turned: whether the output's rows are the source's columns.
        scale: how many pixels of the output there are for one of the source, along the output's rows and columns. Sides
            that were rounded to whole pixels do not make the two differ.
        unchanged: whether positions and lengths in pixels are the same in both.
    """

    def __init__(
        self,
        *,
        width: int,
        height: int,
        orientation: int = 1,
        source_size: tuple[int, int] | None = None,
        source_orientation: int = 1,
    ) -> None:
        self.width, self.height, self.orientation = width, height, orientation
        self.turned = swaps_axes(orientation) != swaps_axes(source_orientation)
        self.scale = (1.0, 1.0)
        if source_size and min(source_size) and (self.turned or source_size != (width, height)):
            source_width, source_height = reversed(source_size) if self.turned else source_size
            self.scale = _scale(width / source_width, height / source_height, min(source_size))
        self.unchanged = orientation == source_orientation and self.scale == (1.0, 1.0)

    def resolution(self, horizontal: float, vertical: float) -> tuple[float, float]:
        """The output's pixels a unit of length, for the same physical size as the source's resolution gives."""
        along, down = self.scale
        return (vertical * along, horizontal * down) if self.turned else (horizontal * along, vertical * down)


def _scale(along: float, down: float, shortest: int) -> tuple[float, float]:
    """The two scales of a picture's sides, the shorter one `shortest` pixels long, less what rounding changed."""
    if abs(along - down) * shortest > 2 * max(1.0, along):
        return along, down
    both = sqrt(along * down)
    near = round(both)
    whole = near >= 1 and abs(both - near) * shortest <= near
    return (float(near), float(near)) if whole else (both, both)


_INCHES, _CENTIMETRES = 2, 3
_UNITS = {_INCHES: 1.0, _CENTIMETRES: 2.54}
_SHOWN = frozenset(map(int, (Base.Orientation, Base.XResolution, Base.YResolution, Base.ResolutionUnit)))
"""Tags of how a picture is shown."""


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

    Raises:
        TiffError: it is malformed.
    """
    editor = _ExifEditor(block)
    editor.set_numbers(geometry)
    editor.set_resolutions(geometry)
    if not geometry.unchanged:
        editor.remove(_POSITIONS)
    return editor.finish()


def short_exif(block: bytes, limit: int) -> tuple[bytes, list[int]]:
    """`block` without its largest fields, as few as make it `limit` bytes or less, and the tags of those.

    Raises:
        TiffError: it is malformed.
    """
    if len(block) <= limit:
        return block, []
    reader, root = _read_block(block)
    places = [
        (len(field.value), tag, owner) for owner in _with_numbers(root).values() for tag, field in owner.fields.items()
    ]
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
    return build(Directory({Base.Orientation: _short_field(orientation, "<")}), "<")


def exif_with(block: bytes | None, texts: Mapping[int, str]) -> bytes:
    """`block`, or a new one, with those of `texts` added, by tag of the first directory, that it does not hold.

    Raises:
        TiffError: it is malformed.
    """
    reader, root = _read_block(block) if block else (None, Directory({}))
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
    reader, root = _read_block(block, wanted=_SHOWN)
    pair = _resolutions_of(root, Base.XResolution, Base.YResolution, reader.order)
    field = root.fields.get(Base.ResolutionUnit)
    unit = int.from_bytes(field.value[:2], "little" if reader.order == "<" else "big") if field else _INCHES
    return ExifSummary(
        orientation=_orientation_of(root, reader.order),
        resolution=(float(pair[0]), float(pair[1])) if pair else None,
        inches=_UNITS.get(unit),
    )


_UPRIGHT = 1

_Key = tuple[int, int]
"""A directory, by the tag that leads to it, and a tag in it."""

_ORIENTATION: _Key = (ROOT, int(Base.Orientation))
_NUMBERS: dict[_Key, Literal["orientation", "width", "height"]] = {
    _ORIENTATION: "orientation",
    (ROOT, int(Base.ImageWidth)): "width",
    (ROOT, int(Base.ImageLength)): "height",
    (int(IFD.Exif), int(Base.ExifImageWidth)): "width",
    (int(IFD.Exif), int(Base.ExifImageHeight)): "height",
    (int(IFD.Interop), int(Base.RelatedImageWidth)): "width",
    (int(IFD.Interop), int(Base.RelatedImageLength)): "height",
}
"""Where single numbers are written, and which ones of `Geometry`."""

_RESOLUTIONS = (
    (ROOT, int(Base.XResolution), int(Base.YResolution)),
    (int(IFD.Exif), int(Base.FocalPlaneXResolution), int(Base.FocalPlaneYResolution)),
)
"""Where pairs of resolutions are written."""

_POSITIONS = ((int(IFD.Exif), 0x9214), (int(IFD.Exif), 0xA214))
"""Where positions in pixels are written: SubjectArea, SubjectLocation."""

_THUMBNAIL_DATA = (
    (Base.JpegIFOffset, Base.JpegIFByteCount),
    (Base.StripOffsets, Base.StripByteCounts),
)

_MOST_STRIPS = 64


class _ExifEditor:
    """Changes an EXIF block in place.

    Raises:
        TiffError: it is malformed.
    """

    def __init__(self, block: bytes) -> None:
        self._reader, self._root = _read_block(block)
        self._directories = _with_numbers(self._root)
        self._order = self._reader.order
        self._data = bytearray(block)
        self._changed: dict[_Key, bytes] = {}
        self._removed: set[_Key] = set()
        self._added: dict[_Key, Field] = {}

    def set_numbers(self, geometry: Geometry) -> None:
        """Set the orientation, which is added where there is none unless it is 1, and all widths and heights."""
        for key, name in _NUMBERS.items():
            value: int = getattr(geometry, name)
            owner = self._directories.get(key[0])
            field = owner.fields.get(key[1]) if owner else None
            if field and field.count == 1 and field.type in (TiffTags.SHORT, TiffTags.LONG):
                self._changed[key] = struct.pack(self._order + {TiffTags.SHORT: "H"}.get(field.type, "I"), value)
                continue
            if field:
                self._removed.add(key)
            if key == _ORIENTATION and value != _UPRIGHT:
                self._added[key] = _short_field(value, self._order)

    def set_resolutions(self, geometry: Geometry) -> None:
        """Set all resolutions that the block holds, for the same physical size."""
        if not geometry.turned and geometry.scale == (1.0, 1.0):
            return
        for number, across, down in _RESOLUTIONS:
            owner = self._directories.get(number)
            pair = _resolutions_of(owner, across, down, self._order) if owner else None
            if pair:
                horizontal, vertical = geometry.resolution(float(pair[0]), float(pair[1]))
                self._changed[number, across] = _rational_value(horizontal, self._order)
                self._changed[number, down] = _rational_value(vertical, self._order)

    def remove(self, keys: Iterable[_Key]) -> None:
        """Remove fields."""
        self._removed.update(keys)

    def finish(self) -> bytes:
        """The block with all changes made.

        Raises:
            TiffError: its parts overlap, so that a change would damage another part.
        """
        if self._changes_nothing:
            return bytes(self._data)
        self._remove_thumbnail()
        for (number, tag), value in self._changed.items():
            offset = self._directories[number].fields[tag].offset
            self._data[offset : offset + len(value)] = value
        for number, directory in self._directories.items():
            self._write_entries(number, directory)
        self._check()
        return bytes(self._data)

    @property
    def _changes_nothing(self) -> bool:
        """Whether the block is right as it is: mostly so where the output has the source's size, and no thumbnail."""
        if self._added or self._root.next:
            return False
        for number, owner in self._directories.items():
            if owner.broken:
                return False
            for tag in owner.fields:
                key = (number, tag)
                if key in self._removed or self._changed.get(key, owner.fields[tag].value) != owner.fields[tag].value:
                    return False
        return True

    def _write_entries(self, number: int, directory: Directory) -> None:
        """Write the entries of a directory without those removed or broken, and with those added."""
        gone = {tag for owner, tag in self._removed if owner == number} | directory.broken
        new = {tag: field for (owner, tag), field in self._added.items() if owner == number}
        kept = [
            (tag, bytes(self._data[position : position + 12])) for tag, position in directory.entries if tag not in gone
        ]
        if len(kept) == len(directory.entries) and not new and number != ROOT:
            return
        kept += [
            (tag, struct.pack(self._order + "HHI", tag, field.type, field.count) + field.value.ljust(4, b"\0"))
            for tag, field in new.items()
        ]
        table = struct.pack(self._order + "H", len(kept)) + b"".join(entry for _, entry in sorted(kept)) + bytes(4)
        room = _extent(directory, len(self._data))
        if len(table) <= len(room):
            self._data[room.start : room.stop] = table.ljust(len(room), b"\0")
        else:
            self._append(table)

    def _append(self, table: bytes) -> None:
        """Write the first directory behind everything else: it has become too long for its place."""
        self._data += bytes(len(self._data) % 2)
        struct.pack_into(self._order + "I", self._data, 4, len(self._data))
        self._data += table

    def _remove_thumbnail(self) -> None:
        """Overwrite the thumbnail, and cut it off where it is the last part; `_write_entries` ends the chain."""
        used = [
            range(8),
            *(part for directory in self._directories.values() for part in _parts(directory, len(self._data))),
        ]
        for part in self._thumbnail():
            if not any(part.start < other.stop and other.start < part.stop for other in used):
                self._data[part.start : part.stop] = bytes(len(part))
        end = max(part.stop for part in used)
        if not any(self._data[end:]):
            del self._data[end:]

    def _thumbnail(self) -> Iterator[range]:
        """The directory that describes the thumbnail, and its data."""
        size = len(self._data)
        try:
            second = self._reader.directory(self._root.next, wanted=[tag for pair in _THUMBNAIL_DATA for tag in pair])
        except TiffError:
            return
        yield _extent(second, size)
        for offsets, lengths in _THUMBNAIL_DATA:
            try:
                places = integers(second.fields[offsets], self._order)
                sizes = integers(second.fields[lengths], self._order)
            except (KeyError, TiffError):
                continue
            for place, length in zip(places[:_MOST_STRIPS], sizes, strict=False):
                yield range(min(place, size), min(place + length, size))

    def _check(self) -> None:
        """Read the block again.

        Raises:
            TiffError: anything but the changes has changed.
        """
        _, root = _read_block(bytes(self._data))
        found = _values(root)
        expected = {key: value for key, value in _values(self._root).items() if key not in self._removed}
        expected |= self._changed | {key: field.value for key, field in self._added.items()}
        if found != expected or root.next:
            raise TiffError("its parts overlap")


def _values(root: Directory) -> dict[_Key, bytes]:
    return {
        (number, tag): field.value
        for number, directory in _with_numbers(root).items()
        for tag, field in directory.fields.items()
    }


def _extent(directory: Directory, size: int) -> range:
    """Where a directory is; the offset of the next one is part of it unless the block ends before."""
    end = directory.offset + 2 + 12 * len(directory.entries)
    return range(directory.offset, end + 4 if end + 4 <= size else end)


def _parts(directory: Directory, size: int) -> Iterator[range]:
    yield _extent(directory, size)
    for field in directory.fields.values():
        yield range(field.offset, field.offset + len(field.value))


_FIRST, _LAST = 1, 8


def _read_block(block: bytes, *, wanted: Collection[int] | None = None) -> tuple[TiffReader, Directory]:
    """What reads `block`, and its first directory: the fields `wanted` of it, or all, and its children.

    Raises:
        TiffError: it is malformed.
    """
    reader = TiffReader(block)
    if reader.big:
        raise TiffError("it is a BigTIFF")
    return reader, reader.directory(reader.first, wanted=wanted)


def _with_numbers(root: Directory) -> dict[int, Directory]:
    """The directories below `root`, then itself, by the tag that leads to each."""
    found: dict[int, Directory] = {}
    for number, child in root.children.items():
        found |= child.children
        found[number] = child
    found[ROOT] = root
    return found


def _orientation_of(root: Directory, order: str) -> int | None:
    """The orientation (1…8) in a directory, None when there is none."""
    field = root.fields.get(Base.Orientation)
    try:
        value = integers(field, order)[0] if field else 0
    except TiffError:
        return None
    return value if _FIRST <= value <= _LAST else None


def _resolutions_of(owner: Directory, across: int, down: int, order: str) -> tuple[Fraction, Fraction] | None:
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


def _short_field(value: int, order: str) -> Field:
    """A field that holds one integer below 65,536."""
    return Field(TiffTags.SHORT, 1, struct.pack(order + "H", value))


def _rational_value(value: float, order: str) -> bytes:
    """The bytes of one unsigned rational number."""
    fraction = Fraction(min(value, 0xFFFFFFFF)).limit_denominator(1000 if value < 0xFFFFFFFF // 1000 else 1)
    return struct.pack(order + "II", fraction.numerator, fraction.denominator)
