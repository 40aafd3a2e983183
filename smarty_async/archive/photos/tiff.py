"""The structure of a TIFF file: its directories, which of them are pictures, and how these are laid out.

Layout: TIFF 6.0 (Adobe, 1992); the supplements for SubIFDs and for Deflate (Adobe Photoshop TIFF Technical Notes,
2002); BigTIFF; camera raw files as DNG 1.7 (Adobe, 2023) and TIFF/EP (ISO 12234-2) describe them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from smarty_async.errors import PhotoRejected

__all__ = ["Directory", "Tag", "pictures", "raw_name", "read_directories"]


class Tag:
    """Numbers of tags."""

    NEW_SUBFILE_TYPE = 254
    SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    MAKE = 271
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    STRIP_LENGTHS = 279
    MAX_SAMPLE = 281
    PLANAR = 284
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_OFFSETS = 324
    TILE_LENGTHS = 325
    SUB_IFDS = 330
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    THUMBNAIL_OFFSET = 513
    DNG_VERSION = 50706


_KNOWN = frozenset(value for name, value in vars(Tag).items() if name.isupper())

_INTEGERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}
"""`struct` codes of the integer types; tags of the other types are left out, but for text."""
_ASCII = 2
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

_MOST_DIRECTORIES = 10_000
_MOST_VALUES = 2_000_000
"""Values of one tag: the strips of a picture of two million rows."""

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""
_OLD_REDUCED = 2
"""A value of SubfileType."""

_CFA, _LINEAR_RAW = 32803, 34892
"""Photometric interpretations of a sensor's data."""
_RAW_COMPRESSIONS = frozenset((32767, 32769, 34713, 65000, 65535))
"""Of Sony, Epson, Nikon, Kodak and Pentax raw data."""

_RAW_BY_MAKE = {
    b"NIKON": "NEF",
    b"SONY": "ARW",
    b"CANON": "CR2",
    b"PENTAX": "PEF",
    b"RICOH": "PEF",
    b"SAMSUNG": "SRW",
    b"OLYMPUS": "ORF",
    b"PANASONIC": "RW2",
    b"LEICA": "RWL",
    b"EPSON": "ERF",
    b"KODAK": "DCR",
    b"EASTMAN": "DCR",
    b"HASSELBLAD": "3FR",
    b"MAMIYA": "MEF",
    b"LEAF": "MOS",
    b"PHASE": "IIQ",
}


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """One image file directory (IFD).

    Attributes:
        offset: where it begins, in bytes.
        index: its place in the file's chain of directories, None for one that only another one points to.
        big: whether the file is a BigTIFF.
        order: ``<`` or ``>``, as `struct` spells the file's byte order.
        numbers: values of the tags in `Tag` that are integers.
        make: of the camera, upper case.
        children: the directories that its tag SubIFDs points to.
    """

    offset: int
    index: int | None
    big: bool
    order: str = "<"
    numbers: dict[int, tuple[int, ...]]
    make: bytes = b""
    children: tuple[Directory, ...] = ()

    def first(self, tag: int, default: int = 0) -> int:
        """The first value of `tag`."""
        return next(iter(self.numbers.get(tag, ())), default)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels; 0 where it does not say."""
        return self.first(Tag.WIDTH), self.first(Tag.HEIGHT)

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample of a pixel."""
        return self.numbers.get(Tag.BITS, (1,) * self.samples)

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return self.first(Tag.SAMPLES, 1)

    @property
    def photometric(self) -> int:
        """What the samples mean: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, 8 Lab."""
        return self.first(Tag.PHOTOMETRIC, 1)

    @property
    def compression(self) -> int:
        """1 none, 2…4 fax, 5 LZW, 6 and 7 JPEG, 8 Deflate."""
        return self.first(Tag.COMPRESSION, 1)

    @property
    def planar(self) -> bool:
        """Whether each sample has a plane of its own."""
        return self.first(Tag.PLANAR, 1) == 2 and self.samples > 1  # noqa: PLR2004 - the tag's value

    @property
    def segments(self) -> list[tuple[int, int]]:
        """Offset and length of each strip or tile that the file says both of, in bytes."""
        for offsets, lengths in ((Tag.TILE_OFFSETS, Tag.TILE_LENGTHS), (Tag.STRIP_OFFSETS, Tag.STRIP_LENGTHS)):
            if offsets in self.numbers and lengths in self.numbers:
                return list(zip(self.numbers[offsets], self.numbers[lengths], strict=False))
        return []

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a strip or tile before compression."""
        width = self.first(Tag.TILE_WIDTH) or self.first(Tag.WIDTH)
        bits = self.bits[0] if self.planar else sum(self.bits)
        return (width * bits + 7) // 8

    @property
    def longest_zero_tail(self) -> int:
        """Bytes of zeros with which a compressed strip or tile does not end.

        Literal runs of PackBits have at most 128 bytes, and T.4 allows some filling before the end of a line.
        """
        return 256 if self.compression in (3, 32773) else 64

    @property
    def is_plain(self) -> bool:
        """Whether every decoder reads it alike.

        That is: 8-bit gray or RGB, black is zero, samples side by side, in strips, uncompressed, PackBits, LZW or
        Deflate, in the classic format of the file.
        """
        values = self.numbers
        return (
            not self.big
            and self.index == 0
            and (self.photometric, self.bits) in ((1, (8,)), (2, (8, 8, 8)))
            and len(self.bits) == self.samples
            and not self.planar
            and self.compression in (1, 5, 8, 32773)
            and set(values.get(Tag.SAMPLE_FORMAT, (1,))) == {1}
            and self.first(Tag.FILL_ORDER, 1) == 1
            and self.first(Tag.PREDICTOR, 1) in (1, 2)
            and Tag.EXTRA_SAMPLES not in values
            and Tag.TILE_OFFSETS not in values
        )


def read_directories(stream: BinaryIO) -> list[Directory]:
    """The directories in the file's chain, with those they point to.

    Raises:
        PhotoRejected: with type ``truncated`` or ``not_an_image``.
        OSError: the file cannot be read.
    """
    return list(_Reader(stream).chain())


class _Reader:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, os.SEEK_END)
        start = self._at(0, 16)
        self._order = "<" if start[:2] == b"II" else ">"
        self._big = start[2:4] in (b"+\0", b"\0+")
        self._word = "Q" if self._big else "L"
        self._first = self._unpack(self._word, start, 8 if self._big else 4)[0]
        self._seen: set[int] = set()

    def chain(self) -> Iterator[Directory]:
        """The directories one after the other."""
        offset, index = self._first, 0
        while offset and offset not in self._seen and index < _MOST_DIRECTORIES:
            if offset + 2 > self._size:
                raise _broken_off()
            directory, offset = self._directory(offset, index)
            yield directory
            index += 1
        if not index:
            raise PhotoRejected("it is not an image: its TIFF header points to no picture", type="not_an_image")

    def _directory(self, offset: int, index: int | None) -> tuple[Directory, int]:
        """The directory at `offset`, and where the next one begins, 0 when it is the last."""
        self._seen.add(offset)
        head, entry = (8, 20) if self._big else (2, 12)
        (count,) = self._unpack("Q" if self._big else "H", self._at(offset, head))
        if not count:
            raise PhotoRejected("the file is damaged: its TIFF directory is empty: copy it again", type="damaged")
        body = self._at(offset + head, count * entry + struct.calcsize(f"={self._word}"))
        if len(body) < count * entry:
            raise _broken_off()
        if not any(body[(count - 1) * entry : count * entry]):
            raise PhotoRejected("the file is damaged: zeros stand in its TIFF directory: copy it again", type="damaged")
        numbers: dict[int, tuple[int, ...]] = {}
        make = b""
        for at in range(0, count * entry, entry):
            tag, values = self._entry(body[at : at + entry])
            if isinstance(values, tuple):
                numbers.setdefault(tag, values)
            elif tag == Tag.MAKE:
                make = values.strip(b"\0 ").upper()
        after = body[count * entry :].ljust(8, b"\0")
        children = tuple(self._children(numbers.get(Tag.SUB_IFDS, ()))) if index is not None else ()
        found = Directory(
            offset=offset,
            index=index,
            big=self._big,
            order=self._order,
            numbers=numbers,
            make=make,
            children=children,
        )
        return found, self._unpack(self._word, after)[0]

    def _children(self, offsets: tuple[int, ...]) -> Iterator[Directory]:
        for offset in offsets[:_MOST_DIRECTORIES]:
            if 0 < offset < self._size - 2 and offset not in self._seen:
                yield self._directory(offset, None)[0]

    def _entry(self, data: bytes) -> tuple[int, tuple[int, ...] | bytes]:
        """One tag and its values; empty for those that are not asked for, or of a type that does not fit."""
        tag, kind = self._unpack("HH", data)
        (count,) = self._unpack(self._word, data, 4)
        length = count * _SIZES.get(kind, 0)
        if tag not in _KNOWN or not length or count > _MOST_VALUES or (kind not in _INTEGERS and kind != _ASCII):
            return tag, b""
        place = data[12:] if self._big else data[8:]
        if length > len(place):
            place = self._at(self._unpack(self._word, place)[0], length)
        if len(place) < length:
            raise _broken_off()
        if kind == _ASCII:
            return tag, place[:length]
        return tag, self._unpack(f"{count}{_INTEGERS[kind]}", place)

    def _unpack(self, layout: str, data: bytes, at: int = 0) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + layout, data, at)
        except struct.error:
            raise _broken_off() from None

    def _at(self, offset: int, length: int) -> bytes:
        if offset >= self._size:
            return b""
        self._stream.seek(offset)
        return self._stream.read(min(length, self._size))


def _broken_off() -> PhotoRejected:
    return PhotoRejected("the TIFF file ends in its directory of tags: copy it again", type="truncated")


def raw_name(directories: list[Directory]) -> str | None:
    """The name of the camera raw format that a TIFF's directories show, None for a TIFF of pictures."""
    every = [*directories, *(child for one in directories for child in one.children)]
    if any(Tag.DNG_VERSION in one.numbers for one in every):
        return "DNG"
    if not any(one.photometric in (_CFA, _LINEAR_RAW) or one.compression in _RAW_COMPRESSIONS for one in every):
        return None
    make = directories[0].make
    return next((name for prefix, name in _RAW_BY_MAKE.items() if make.startswith(prefix)), "camera")


def pictures(directories: list[Directory]) -> list[Directory]:
    """The directories that are pictures of their own: no thumbnails, reduced copies, masks, or levels of a pyramid.

    Where a directory of the chain holds nothing but a reduced copy, the picture itself is among its children.
    """
    found = [one for one in directories if _is_picture(one)]
    if not found:
        found = [child for one in directories for child in one.children if _is_picture(child)]
    if not found:
        found = [one for one in directories if all(one.size)][:1]
    if not found:
        raise PhotoRejected("it is not an image: its TIFF directory tells no width and height", type="not_an_image")
    return [one for at, one in enumerate(found) if at == 0 or not _is_level(one, found[at - 1], found[0])]


def _is_picture(one: Directory) -> bool:
    if not all(one.size) or one.first(Tag.NEW_SUBFILE_TYPE) & (_REDUCED | _MASK):
        return False
    # EXIF (CIPA DC-008, 4.5.3) keeps its thumbnail in the second directory.
    is_exif_thumbnail = one.index == 1 and Tag.THUMBNAIL_OFFSET in one.numbers
    return one.first(Tag.SUBFILE_TYPE) != _OLD_REDUCED and not is_exif_thumbnail


def _is_level(one: Directory, before: Directory, first: Directory) -> bool:
    """Whether it is a tiled picture at half the size of the one before: a pyramid whose writer set no flags."""
    if Tag.TILE_OFFSETS not in first.numbers or Tag.TILE_OFFSETS not in one.numbers:
        return False
    return all(abs(2 * small - large) <= 2 for small, large in zip(one.size, before.size, strict=True))  # noqa: PLR2004
