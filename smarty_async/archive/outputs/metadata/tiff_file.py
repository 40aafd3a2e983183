"""Read the metadata of a TIFF file, and of RAW files built like one: DNG, NEF, CR2, ARW, PEF, ORF, RW2."""

from __future__ import annotations

from typing import BinaryIO

from PIL.ExifTags import IFD, Base

from smarty_async.archive.outputs.metadata.parts import Parts
from smarty_async.archive.outputs.metadata.tiff import Directory, Field, TiffError, TiffReader, build, integers

__all__ = ["descriptive_fields", "read_tiff"]

_DESCRIPTIVE = frozenset(
    map(
        int,
        (
            Base.DocumentName,
            Base.ImageDescription,
            Base.Make,
            Base.Model,
            Base.Orientation,
            Base.XResolution,
            Base.YResolution,
            Base.PageName,
            Base.ResolutionUnit,
            Base.Software,
            Base.DateTime,
            Base.Artist,
            Base.HostComputer,
            Base.Rating,
            Base.RatingPercent,
            Base.Copyright,
            Base.XPTitle,
            Base.XPComment,
            Base.XPAuthor,
            Base.XPKeywords,
            Base.XPSubject,
            Base.DateTimeOriginal,
        ),
    )
)
"""Fields of a page that describe the picture. All others describe how its pixels are stored."""

_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
_REDUCED = 1
_MOST_PAGES = 65_535


def read_tiff(stream: BinaryIO, parts: Parts, *, page: int = 0) -> None:
    """Read the metadata of one page of the TIFF in `stream` into `parts`.

    Args:
        stream: seekable.
        parts: where what is found goes; what is malformed is left out there.
        page: from 0.

    Raises:
        TiffError: the page cannot be read.
    """
    reader = TiffReader(stream)
    wanted = {
        *_DESCRIPTIVE,
        *(Base.NewSubfileType, Base.ImageWidth, Base.ImageLength, IFD.Exif, IFD.GPSInfo),
        *(_XMP, _IPTC, _PHOTOSHOP, _ICC),
    }
    directory = reader.directory(_page_offset(reader, page), wanted=wanted)
    for tag in directory.broken:
        parts.leave_out(f"TIFF's field {tag}", "it cannot be read")
    parts.size = _size(directory, reader.order)
    kept = descriptive_fields(directory)
    if kept or directory.children:
        parts.set_exif(build(Directory(kept, directory.children), reader.order))
    values = {tag: directory.fields[tag].value for tag in (_XMP, _IPTC, _PHOTOSHOP, _ICC) if tag in directory.fields}
    parts.set_xmp(values.get(_XMP))
    parts.set_icc(values.get(_ICC))
    if _PHOTOSHOP in values:
        parts.set_iptc(values[_PHOTOSHOP])
    elif _IPTC in values:
        parts.set_iptc(_iptc(values[_IPTC]))


def descriptive_fields(directory: Directory) -> dict[int, Field]:
    """The fields of a page that describe the picture."""
    return {tag: field for tag, field in directory.fields.items() if tag in _DESCRIPTIVE}


def _page_offset(reader: TiffReader, page: int) -> int:
    offset = reader.first
    for _ in range(min(page, _MOST_PAGES)):
        offset = reader.directory(offset, wanted=()).next
    return offset


def _size(directory: Directory, order: str) -> tuple[int, int] | None:
    """The page's size; None for the preview in front of a RAW's pixels."""
    try:
        kind = directory.fields.get(Base.NewSubfileType)
        if kind and integers(kind, order)[0] & _REDUCED:
            return None
        width = integers(directory.fields[Base.ImageWidth], order)[0]
        height = integers(directory.fields[Base.ImageLength], order)[0]
    except (KeyError, TiffError):
        return None
    return width, height


def _iptc(records: bytes) -> bytes:
    """The page's IPTC records. Some programs store them as 32-bit numbers, which a byte order has swapped."""
    if records[:1] != b"\x1c" and records[3:4] == b"\x1c":
        swapped = bytearray(records[: len(records) // 4 * 4])
        for at in range(4):
            swapped[at::4] = records[3 - at : len(swapped) : 4]
        records = bytes(swapped)
    return records
