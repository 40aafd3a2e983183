"""The pictures in a TIFF file: which of its directories they are, and how they are laid out.

Layout: TIFF 6.0 (Adobe, 1992); the supplements for SubIFDs and for Deflate (Adobe Photoshop TIFF Technical Notes,
2002); camera raw files as DNG 1.7 (Adobe, 2023) and TIFF/EP (ISO 12234-2) describe them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from smarty_async.archive.photos.tiff import INTEGERS, TiffError, TiffReader
from smarty_async.errors import PhotoRejected

__all__ = ["ImageDirectory", "Tag", "pictures", "raw_name", "read_directories"]


class Tag:
    """Numbers of the tags that describe pixels."""

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
    STRIP_ROWS = 278
    STRIP_LENGTHS = 279
    MAX_SAMPLE = 281
    PLANAR = 284
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_LENGTHS = 325
    SUB_IFDS = 330
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    THUMBNAIL_OFFSET = 513
    DNG_VERSION = 50706


_ASCII = 2
_MOST_DIRECTORIES = 10_000
_LISTS = frozenset(
    (Tag.STRIP_OFFSETS, Tag.STRIP_LENGTHS, Tag.TILE_OFFSETS, Tag.TILE_LENGTHS, Tag.SUB_IFDS, Tag.COLOR_MAP)
)
"""Tags of which all values count."""
_MOST_SAMPLES, _MOST_BITS = 64, 64
"""Of a pixel, and of a sample; of tags other than `_LISTS`, no more values are read."""
_KNOWN = frozenset(value for name, value in vars(Tag).items() if name.isupper())

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""
_OLD_REDUCED = 2
"""A value of SubfileType."""

_YCBCR = 6
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


class ImageDirectory(msgspec.Struct, frozen=True, kw_only=True):
    """A directory (IFD) as a picture: how its pixels are laid out.

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
    children: tuple[ImageDirectory, ...] = ()

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
        return self.numbers.get(Tag.BITS) or (1,) * self.samples

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
        tiled = Tag.TILE_OFFSETS in self.numbers
        width = self.first(Tag.TILE_WIDTH if tiled else Tag.WIDTH)
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
            and {len(values.get(tag, ())) for tag in (Tag.STRIP_OFFSETS, Tag.STRIP_LENGTHS)} == {self._strips}
        )

    def is_cut(self, size: int) -> bool:
        """Whether an uncompressed strip or tile is shorter than its rows, in a file of `size` bytes.

        Some decoders read on past the end that its length gives, others leave the rest black. All go by the rows where
        there is one plain strip, whose length old programs wrote as 0.
        """
        if self.compression != 1 or self.photometric == _YCBCR:  # whose colours have fewer rows and columns
            return False
        segments, row, height, strips = self.segments, self.row_bytes, self.first(Tag.HEIGHT), self._strips
        if self.is_plain and len(segments) == 1:
            return segments[0][0] + row * height > size
        tile = self.first(Tag.TILE_HEIGHT) if Tag.TILE_OFFSETS in self.numbers else 0
        strip = self.first(Tag.STRIP_ROWS) or height
        return any(
            length < row * (tile or min(strip, height - at % strips * strip)) for at, (_, length) in enumerate(segments)
        )

    @property
    def _strips(self) -> int:
        """Strips of a picture whose samples lie side by side, or of each of its planes."""
        height = self.first(Tag.HEIGHT)
        return -(-height // (self.first(Tag.STRIP_ROWS) or max(height, 1)))


def read_directories(stream: BinaryIO) -> list[ImageDirectory]:
    """The directories in the file's chain, with those they point to.

    Raises:
        PhotoRejected: with type ``truncated``, ``damaged`` or ``not_an_image``.
        OSError: the file cannot be read.
    """
    try:
        found = list(_chain(TiffReader(stream)))
    except TiffError as error:
        raise PhotoRejected("the TIFF file ends in its directory of tags: copy it again", type="truncated") from error
    if not found:
        raise PhotoRejected("it is not an image: its TIFF header points to no picture", type="not_an_image")
    return found


def _chain(reader: TiffReader) -> Iterator[ImageDirectory]:
    """The directories one after the other."""
    seen: set[int] = set()
    offset, index = reader.first, 0
    while offset and offset not in seen and index < _MOST_DIRECTORIES:
        directory, offset = _image_directory(reader, offset, index, seen)
        yield directory
        index += 1


def _image_directory(reader: TiffReader, offset: int, index: int | None, seen: set[int]) -> tuple[ImageDirectory, int]:
    """The directory at `offset`, and where the next one begins, 0 when it is the last."""
    seen.add(offset)
    entries, _, after = reader.entries(offset)
    if not entries:
        raise PhotoRejected("the file is damaged: its TIFF directory is empty: copy it again", type="damaged")
    if not any((*entries[-1][:3], *entries[-1][3])):
        raise PhotoRejected("the file is damaged: zeros stand in its TIFF directory: copy it again", type="damaged")
    numbers: dict[int, tuple[int, ...]] = {}
    make = b""
    for tag, kind, count, room in entries:
        if tag not in _KNOWN or not count:
            continue
        if kind in INTEGERS and tag not in numbers:
            numbers[tag] = reader.integers(kind, count if tag in _LISTS else min(count, _MOST_SAMPLES), room)
        elif kind == _ASCII and tag == Tag.MAKE:
            make = reader.value(kind, min(count, _MOST_SAMPLES), room)[0].strip(b"\0 ").upper()
    _check_layout(numbers)
    children = [
        _image_directory(reader, child, None, seen)[0]
        for child in (numbers.get(Tag.SUB_IFDS, ())[:_MOST_DIRECTORIES] if index is not None else ())
        if 0 < child < reader.size - 2 and child not in seen
    ]
    found = ImageDirectory(
        offset=offset,
        index=index,
        big=reader.big,
        order=reader.order,
        numbers=numbers,
        make=make,
        children=tuple(children),
    )
    return found, after


def _check_layout(numbers: dict[int, tuple[int, ...]]) -> None:
    """Make sure that nothing is computed of samples or bits without bounds."""
    samples, bits = (max(numbers.get(tag, ()), default=1) for tag in (Tag.SAMPLES, Tag.BITS))
    if samples > _MOST_SAMPLES or bits > _MOST_BITS:
        raise PhotoRejected(
            f"it is a TIFF of {samples:,} samples a pixel and {bits:,} bits a sample, which cannot be read",
            type="unsupported",
        )


def raw_name(directories: list[ImageDirectory]) -> str | None:
    """The name of the camera raw format that a TIFF's directories show, None for a TIFF of pictures."""
    every = [*directories, *(child for one in directories for child in one.children)]
    if any(Tag.DNG_VERSION in one.numbers for one in every):
        return "DNG"
    if not any(one.photometric in (_CFA, _LINEAR_RAW) or one.compression in _RAW_COMPRESSIONS for one in every):
        return None
    make = directories[0].make
    return next((name for prefix, name in _RAW_BY_MAKE.items() if make.startswith(prefix)), "camera")


def pictures(directories: list[ImageDirectory]) -> list[ImageDirectory]:
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


def _is_picture(one: ImageDirectory) -> bool:
    if not all(one.size) or one.first(Tag.NEW_SUBFILE_TYPE) & (_REDUCED | _MASK):
        return False
    # EXIF (CIPA DC-008, 4.5.3) keeps its thumbnail in the second directory.
    is_exif_thumbnail = one.index == 1 and Tag.THUMBNAIL_OFFSET in one.numbers
    return one.first(Tag.SUBFILE_TYPE) != _OLD_REDUCED and not is_exif_thumbnail


def _is_level(one: ImageDirectory, before: ImageDirectory, first: ImageDirectory) -> bool:
    """Whether it is a tiled picture at half the size of the one before: a pyramid whose writer set no flags."""
    if Tag.TILE_OFFSETS not in first.numbers or Tag.TILE_OFFSETS not in one.numbers:
        return False
    return all(abs(2 * small - large) <= 2 for small, large in zip(one.size, before.size, strict=True))  # noqa: PLR2004
