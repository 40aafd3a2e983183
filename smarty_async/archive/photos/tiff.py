"""Read and write the structure that TIFF files and EXIF blocks share: directories of tagged fields.

Everything raises `TiffError` on malformed data, and reads no more than the directories and the fields asked for.
Layout: TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from operator import itemgetter
from typing import BinaryIO, Literal

import msgspec
from PIL import TiffTags
from PIL.ExifTags import IFD, Base

__all__ = [
    "INTEGERS",
    "ROOT",
    "Directory",
    "Field",
    "TiffError",
    "TiffReader",
    "build",
    "first_orientation",
    "integers",
]


class TiffError(ValueError):
    """The structure is malformed."""


ROOT = 0
"""Stands for the first directory where others are named by the tag that holds their offset."""

_CHILDREN: dict[int, frozenset[int]] = {ROOT: frozenset((IFD.Exif, IFD.GPSInfo)), IFD.Exif: frozenset((IFD.Interop,))}
"""For a directory the tags whose value is the offset of another one."""

INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}
"""`struct` codes of the integer types."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by type."""
_SIZES[129] = 1  # UTF-8, EXIF 3.0

_MAGICS = (42, 43, 0x55, 0x4F52, 0x5352)  # TIFF, BigTIFF, and the RAW files of Panasonic and Olympus

_MOST_FIELDS = 0xFFFF
"""Of a directory; a TIFF cannot hold more."""
_LARGEST_VALUE = 4 << 20
_MOST_PADDING = 4096

_MOST_INTEGERS, _FEW_INTEGERS = 4_000_000, 1 << 16
"""Integers of all lists of a file: offset and length of two million strips; those that directories may share."""


_TAG = itemgetter(0)


class Field(msgspec.Struct, frozen=True):
    """One field of a directory.

    Attributes:
        type: TIFF's number of the type.
        count: how many values of this type.
        value: their bytes, in the byte order of the structure.
        offset: where `value` is, in bytes from the structure's beginning; 0 for a new field.
    """

    type: int
    count: int
    value: bytes
    offset: int = 0


class Directory(msgspec.Struct, frozen=True):
    """One directory (IFD).

    Attributes:
        fields: by tag; without the fields that hold the offset of a child.
        children: by the tag that holds their offset.
        entries: tag and position of each of its entries, in bytes from the structure's beginning.
        broken: tags of fields and children that cannot be read.
        offset: where the directory is.
        next: the offset of the next one, 0 when there is none.
    """

    fields: dict[int, Field]
    children: dict[int, Directory] = {}
    entries: tuple[tuple[int, int], ...] = ()
    broken: frozenset[int] = frozenset()
    offset: int = 0
    next: int = 0


class TiffReader:
    """Reads directories from a seekable stream, or from bytes.

    Attributes:
        order: ``<`` or ``>``, as `struct` spells the byte order.
        big: whether it is BigTIFF.
        first: the offset of the first directory.
        size: bytes of the structure.

    Raises:
        TiffError: the stream does not begin with a TIFF header.
    """

    def __init__(self, stream: BinaryIO | bytes) -> None:
        self._stream = stream
        self.size = len(stream) if isinstance(stream, bytes) else stream.seek(0, os.SEEK_END)
        # Directories and values may share bytes, but not many times over.
        self._left = 16 * self.size + _LARGEST_VALUE
        self._budget = 2 * min(self.size, _LARGEST_VALUE)
        # In memory an integer takes 40 bytes.
        self._integers = min(self.size // 2, _MOST_INTEGERS) + _FEW_INTEGERS
        head = self.read(0, 8)
        self.order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        self._endian: Literal["little", "big"] = "little" if self.order == "<" else "big"
        magic = int.from_bytes(head[2:4], self._endian)
        if not self.order or magic not in _MAGICS:
            raise TiffError("it does not begin with a TIFF header")
        self.big = magic == 43  # noqa: PLR2004 - as listed above
        self._entry = self.order + ("HHQ8s" if self.big else "HHL4s")
        self.first = int.from_bytes(self.read(8, 8) if self.big else head[4:], self._endian)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`.

        Raises:
            TiffError: they do not lie within the stream, or too much was read of it.
        """
        if offset + size > self.size or offset < 0:
            raise TiffError(f"it refers to bytes {offset:,} to {offset + size:,} of {self.size:,}")
        self._left -= size
        if self._left < 0:
            raise TiffError("its parts overlap")
        if isinstance(self._stream, bytes):
            return self._stream[offset : offset + size]
        self._stream.seek(offset)
        data = self._stream.read(size)
        if len(data) < size:
            raise TiffError("it has become shorter")
        return data

    def entries(self, offset: int) -> tuple[list[tuple[int, int, int, bytes]], int, int]:
        """The entries of the directory at `offset`.

        Returns:
            Of each its tag, type, number of values, and the bytes that hold its value or the value's offset; where the
            first of them is; the offset of the next directory, 0 where there is none: some cameras leave it out.

        Raises:
            TiffError: the directory does not lie within the stream.
        """
        width, word, start = (20, 8, offset + 8) if self.big else (12, 4, offset + 2)
        count = int.from_bytes(self.read(offset, start - offset), self._endian)
        if count > _MOST_FIELDS:
            raise TiffError(f"a directory of {count:,} fields")
        end = start + count * width
        table = self.read(start, min(max(end, self.size), end + word) - start)
        after = table[count * width :]
        entries = list(struct.iter_unpack(self._entry, table[: count * width]))
        return entries, start, int.from_bytes(after, self._endian) if len(after) == word else 0

    def value(self, kind: int, count: int, room: bytes) -> tuple[bytes, int]:
        """The bytes of the value of an entry, and their offset; 0 for those in the entry itself.

        Raises:
            TiffError: its type is not known, or they do not lie within the stream.
        """
        size = _SIZES.get(kind, 0) * count
        if not size:
            raise TiffError(f"a field of type {kind} with {count:,} values")
        if size <= len(room):
            return room[:size], 0
        offset = int.from_bytes(room, self._endian)
        return self.read(offset, size), offset

    def integers(self, kind: int, count: int, room: bytes) -> tuple[int, ...]:
        """The integers that are the value of an entry, which is of one of the types in `INTEGERS`.

        Raises:
            TiffError: they do not lie within the stream, or too many were read of it.
        """
        self._integers -= count
        if self._integers < 0:
            raise TiffError("its values overlap")
        value, _ = self.value(kind, count, room)
        return struct.unpack(f"{self.order}{count}{INTEGERS[kind]}", value)

    def _value_of_field(self, kind: int, count: int, room: bytes) -> tuple[bytes, int]:
        if self._budget < 0 or _SIZES.get(kind, 0) * count > _LARGEST_VALUE:
            raise TiffError("its values overlap, or one is too large")
        value, offset = self.value(kind, count, room)
        self._budget -= len(value)
        return value, offset

    def directory(self, offset: int, *, wanted: Collection[int] | None = None) -> Directory:
        """Read the directory at `offset` and its children.

        Args:
            offset: in bytes from the beginning.
            wanted: tags of the fields to read, all when None; children are read whole.

        Raises:
            TiffError: the directory does not lie within the stream.
        """
        return self._directory(ROOT, offset, wanted, frozenset())

    def _directory(self, number: int, offset: int, wanted: Collection[int] | None, above: frozenset[int]) -> Directory:
        if offset in above or offset < 8:  # noqa: PLR2004 - the header's length
            raise TiffError("a directory refers to itself" if offset in above else "it has no directory")
        entries, start, after = self.entries(offset)
        width = 20 if self.big else 12
        fields: dict[int, Field] = {}
        children: dict[int, Directory] = {}
        broken: set[int] = set()
        leads = _CHILDREN.get(number, frozenset())
        for position, (tag, kind, count, room) in enumerate(entries):
            if tag in fields or tag in children or (wanted is not None and tag not in wanted):
                continue
            size = _SIZES.get(kind, 0) * count
            if 0 < size <= len(room) and tag not in leads:
                fields[tag] = Field(kind, count, room[:size], start + (position + 1) * width - len(room))
                continue
            try:
                field = Field(kind, count, *self._value_of_field(kind, count, room))
                if tag in leads:
                    children[tag] = self._directory(tag, integers(field, self.order)[0], None, above | {offset})
                else:
                    fields[tag] = field
            except TiffError:
                broken.add(tag)
        places = tuple(zip(map(_TAG, entries), range(start, start + len(entries) * width, width), strict=True))
        return Directory(fields, children, places, frozenset(broken), offset, after)


def integers(field: Field, order: str) -> tuple[int, ...]:
    """The values of `field`.

    Raises:
        TiffError: they are no integers.
    """
    if field.type not in INTEGERS:
        raise TiffError(f"a field of type {field.type} in place of an integer")
    return struct.unpack(f"{order}{field.count}{INTEGERS[field.type]}", field.value)


def first_orientation(block: bytes) -> int:
    """The orientation (1…8) in the first directory of an EXIF block, 0 where there is none, or not one number."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4], "")
    start = int.from_bytes(block[4:8], "little" if order == "<" else "big")
    if not order or start + 2 > len(block):
        return 0
    (count,) = struct.unpack_from(f"{order}H", block, start)
    entries = block[start + 2 : start + 2 + 12 * count]
    for tag, kind, values, room in struct.iter_unpack(f"{order}HHL4s", entries[: len(entries) // 12 * 12]):
        if tag == Base.Orientation:
            size = _SIZES[kind] if kind in INTEGERS and values == 1 else 0
            value = int.from_bytes(room[:size], "little" if order == "<" else "big")
            return value if 1 <= value <= 8 else 0  # noqa: PLR2004 - EXIF knows eight
    return 0


def build(directory: Directory, order: str) -> bytes:
    """Write `directory` and its children as a TIFF structure of their own.

    A maker note stays at its offset when little padding makes that possible: many refer to their parts from the
    structure's beginning.

    Args:
        directory: what is written; only its fields and children count.
        order: the byte order that the fields' values are in.
    """
    data = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8))
    _append(data, directory, order)
    return bytes(data)


def _append(data: bytearray, directory: Directory, order: str) -> int:
    start = len(data)
    tags = sorted({*directory.fields, *directory.children})
    data += struct.pack(order + "H", len(tags)) + bytes(12 * len(tags) + 4)
    for position, tag in zip(range(start + 2, len(data), 12), tags, strict=False):
        if tag in directory.children:
            head = (tag, TiffTags.LONG, 1)
            room = struct.pack(order + "I", _append(data, directory.children[tag], order))
        else:
            field = directory.fields[tag]
            head = (tag, field.type, field.count)
            room = field.value.ljust(4, b"\0")
            if len(room) > 4:  # noqa: PLR2004 - what an entry holds itself
                room = struct.pack(order + "I", _append_value(data, tag, field))
        data[position : position + 12] = struct.pack(order + "HHI", *head) + room
    return start


def _append_value(data: bytearray, tag: int, field: Field) -> int:
    padding = field.offset - len(data) if tag == IFD.MakerNote else 0
    data += bytes(padding) if 0 <= padding <= _MOST_PADDING else b""
    start = len(data)
    data += field.value + bytes(len(field.value) % 2)
    return start
