"""Read and write the structure that TIFF files and EXIF blocks share: directories of tagged fields.

Everything raises `TiffError` on malformed data, and reads no more than the directories and the fields asked for.
Layout: TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from typing import BinaryIO, Literal

import msgspec
from PIL import TiffTags
from PIL.ExifTags import IFD

__all__ = ["ROOT", "Directory", "Field", "TiffError", "TiffReader", "build", "integers"]


class TiffError(ValueError):
    """The structure is malformed."""


ROOT = 0
"""Stands for the first directory where others are named by the tag that holds their offset."""

_CHILDREN: dict[int, frozenset[int]] = {ROOT: frozenset((IFD.Exif, IFD.GPSInfo)), IFD.Exif: frozenset((IFD.Interop,))}
"""For a directory the tags whose value is the offset of another one."""

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TYPE_SIZES[129] = 1  # UTF-8, EXIF 3.0
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}

_MAGICS = (42, 43, 0x55, 0x4F52, 0x5352)  # TIFF, BigTIFF, and the RAW files of Panasonic and Olympus

_LARGEST_VALUE = 4 << 20
_MOST_PADDING = 4096


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
    """Reads directories from a seekable stream, or from bytes, which takes half the time.

    Attributes:
        order: ``<`` or ``>``, as `struct` spells the byte order.
        big: whether it is BigTIFF.
        first: the offset of the first directory.

    Raises:
        TiffError: the stream does not begin with a TIFF header.
    """

    def __init__(self, stream: BinaryIO | bytes) -> None:
        self._stream = stream
        self._size = len(stream) if isinstance(stream, bytes) else stream.seek(0, os.SEEK_END)
        self._budget = 2 * min(self._size, _LARGEST_VALUE)  # values may share bytes, but not many times over
        head = self.read(0, 8)
        self.order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        self._endian: Literal["little", "big"] = "little" if self.order == "<" else "big"
        magic = self._integer(head[2:4])
        if not self.order or magic not in _MAGICS:
            raise TiffError("it does not begin with a TIFF header")
        self.big = magic == 43  # noqa: PLR2004 - as listed above
        self.first = self._integer(self.read(8, 8) if self.big else head[4:])

    def directory(self, offset: int, *, wanted: Collection[int] | None = None) -> Directory:
        """Read the directory at `offset` and its children.

        Args:
            offset: in bytes from the beginning.
            wanted: tags of the fields to read, all when None; children are read whole.

        Raises:
            TiffError: the directory does not lie within the stream.
        """
        return self._directory(ROOT, offset, wanted, frozenset())

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`.

        Raises:
            TiffError: they do not lie within the stream.
        """
        if offset + size > self._size:
            raise TiffError(f"it refers to bytes {offset:,} to {offset + size:,} of {self._size:,}")
        if isinstance(self._stream, bytes):
            return self._stream[offset : offset + size]
        self._stream.seek(offset)
        return self._stream.read(size)

    def _directory(self, number: int, offset: int, wanted: Collection[int] | None, above: frozenset[int]) -> Directory:
        if offset in above or offset < 8:  # noqa: PLR2004 - the header's length
            raise TiffError("a directory refers to itself" if offset in above else "it has no directory")
        width, start = (20, offset + 8) if self.big else (12, offset + 2)
        count = self._integer(self.read(offset, start - offset))
        if count > 0xFFFF:  # noqa: PLR2004 - the most that a TIFF can hold
            raise TiffError(f"a directory of {count:,} fields")
        table = self.read(start, count * width)
        fields: dict[int, Field] = {}
        children: dict[int, Directory] = {}
        entries: list[tuple[int, int]] = []
        broken: set[int] = set()
        leads = _CHILDREN.get(number, frozenset())
        entry = self.order + ("HHQ8s" if self.big else "HHI4s")
        for position, (tag, kind, values, room) in enumerate(struct.iter_unpack(entry, table)):
            entries.append((tag, start + position * width))
            if tag in fields or tag in children or (wanted is not None and tag not in wanted):
                continue
            try:
                field = self._field(kind, values, room, start + (position + 1) * width - len(room))
                if tag in leads:
                    children[tag] = self._directory(tag, integers(field, self.order)[0], None, above | {offset})
                else:
                    fields[tag] = field
            except TiffError:
                broken.add(tag)
        return Directory(fields, children, tuple(entries), frozenset(broken), offset, self._next(start + count * width))

    def _field(self, kind: int, count: int, room: bytes, position: int) -> Field:
        """The field of an entry that holds `room`, at `position`: the value itself, or its offset."""
        size = _TYPE_SIZES.get(kind, 0) * count
        if not size or size > _LARGEST_VALUE:
            raise TiffError(f"a field of type {kind} with {count:,} values")
        if size <= len(room):
            return Field(kind, count, room[:size], position)
        self._budget -= size
        if self._budget < 0:
            raise TiffError("its values overlap")
        offset = self._integer(room)
        return Field(kind, count, self.read(offset, size), offset)

    def _next(self, position: int) -> int:
        """The offset written at `position`; 0 where the stream ends before: some cameras leave it out."""
        try:
            return self._integer(self.read(position, 8 if self.big else 4))
        except TiffError:
            return 0

    def _integer(self, data: bytes) -> int:
        return int.from_bytes(data, self._endian)


def integers(field: Field, order: str) -> tuple[int, ...]:
    """The values of `field`.

    Raises:
        TiffError: they are no unsigned integers.
    """
    if field.type not in _INTEGERS:
        raise TiffError(f"a field of type {field.type} in place of an integer")
    return struct.unpack(f"{order}{field.count}{_INTEGERS[field.type]}", field.value)


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
