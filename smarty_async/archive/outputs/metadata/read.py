"""Read the metadata of a source, whatever its format.

TIFF covers RAW files that are built like one: DNG, NEF, CR2, ARW, PEF, ORF, RW2. Canon's newer RAW files (CR3) are
built of boxes as MP4 is; a box of Canon's own holds the directories of an EXIF block, each as a TIFF structure by
itself: https://github.com/lclevy/canon_cr3.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from itertools import islice
from typing import Any, BinaryIO, cast
from uuid import UUID

import msgspec
from PIL.ExifTags import IFD, Base

from smarty_async.archive.outputs.metadata.parts import Parts, SourceMetadata
from smarty_async.archive.outputs.metadata.png import read_png
from smarty_async.archive.outputs.metadata.profiles import PhotoshopError, resource_data
from smarty_async.archive.photos.boxes import boxes
from smarty_async.archive.photos.identify import PREFIX_BYTES, format_of, open_image
from smarty_async.archive.photos.jpeg import read_header
from smarty_async.archive.photos.jpegxl import original_jpeg, unpacked_box
from smarty_async.archive.photos.pages import pictures, read_directories
from smarty_async.archive.photos.reader import PhotoData, open_for_parsing
from smarty_async.archive.photos.tiff import Directory, Field, TiffError, TiffReader, build, integers
from smarty_async.errors import PhotoRejected

__all__ = ["DESCRIPTIVE", "read_metadata"]


_LARGEST_READ_WHOLE = 200 << 20
"""Files over this, in bytes, are left alone where a decoder would read them whole."""


def read_metadata(photo: PhotoData, *, page: int = 0) -> SourceMetadata:
    """Read what `photo` holds besides its pixels. Blocks; decodes nothing.

    JPEG, PNG, TIFF (RAW and DNG among them), PSD, JPEG 2000 and JPEG XL are read part by part, WebP, AVIF, HEIF and
    others by Pillow, for HEIF with pillow-heif, when it is installed. A part that is malformed is left out, with a
    warning that says so.

    Args:
        photo: the path of a file, a file's bytes, or what opens it.
        page: the page of a multi-page TIFF, from 0.

    Raises:
        OSError: the file cannot be read.
    """
    with open_for_parsing(photo) as stream:
        parts = Parts()
        prefix = stream.read(16)
        try:
            _read(stream, prefix, parts, page)
        except OSError as error:
            if error.errno is not None:
                raise
            parts.leave_out("metadata", error)
        except Exception as error:  # noqa: BLE001 - parsers raise exceptions of any class for broken data
            parts.leave_out("metadata", error)
        return parts.metadata()


def _read(stream: BinaryIO, prefix: bytes, parts: Parts, page: int) -> None:
    if prefix.startswith(b"\xff\xd8"):
        parts.add_jpeg(read_header(stream.getvalue() if isinstance(stream, io.BytesIO) else stream))
    elif prefix.startswith(b"\x89PNG"):
        read_png(stream, parts)
    elif prefix.startswith((b"II", b"MM")):
        _read_tiff(stream, parts, page=page)
    elif prefix.startswith(b"FUJIFILMCCD-RAW"):
        _read_fujifilm(stream, parts)
    elif prefix[4:12] == b"ftypcrx ":
        _read_canon_raw(stream, parts)
    elif prefix.startswith(b"8BPS"):
        _read_with_pillow(stream, parts)
        _read_photoshop(stream, parts)
    elif prefix[4:8] == b"jP  ":
        _read_with_pillow(stream, parts)
        _read_boxes(stream, parts)
    elif prefix[4:8] == b"JXL " or prefix.startswith(b"\xff\x0a"):
        _read_jpeg_xl(stream, parts)
    else:
        _read_with_pillow(stream, parts)


def _read_fujifilm(stream: BinaryIO, parts: Parts) -> None:
    """Fujifilm's RAW holds a JPEG, and that the metadata; the JPEG's size is not the sensor's."""
    stream.seek(84)
    offset, size = struct.unpack(">II", stream.read(8))
    stream.seek(offset)
    parts.add_jpeg(read_header(stream.read(min(size, _LARGEST_READ_WHOLE))))
    parts.size = parts.dpi = None


def _read_with_pillow(stream: BinaryIO, parts: Parts) -> None:
    if stream.seek(0, io.SEEK_END) > _LARGEST_READ_WHOLE:
        parts.warn("the file is too large for its metadata to be read")
        return
    stream.seek(0)
    try:
        image = open_image(format_of(stream.read(PREFIX_BYTES)), stream)
    except PhotoRejected:
        parts.warn("no metadata can be read from a file of this format")
        return
    parts.size = image.size
    info = cast("dict[str, Any]", image.info)
    parts.set_exif(_bytes(info.get("exif")))
    parts.set_xmp(_bytes(info.get("xmp")))
    parts.set_icc(_bytes(info.get("icc_profile")))
    parts.set_comment(_bytes(info.get("comment")))
    if "dpi" in info:
        across, down = info["dpi"]
        parts.set_density(float(across), float(down), 1.0)
    if image.format in ("HEIF", "HEIC"):
        parts.orientation = 1  # the decoder turns the picture upright


def _read_jpeg_xl(stream: BinaryIO, parts: Parts) -> None:
    """Read what the JPEG holds that the file was made of, else what its own boxes hold."""
    if jpeg := original_jpeg(stream):
        parts.add_jpeg(read_header(jpeg))
        return
    _read_boxes(stream, parts)
    parts.orientation = 1  # the decoder turns the picture upright


def _read_boxes(stream: BinaryIO, parts: Parts) -> None:
    """Read the metadata of a JPEG 2000 or JPEG XL file, which are built of boxes (ISO/IEC 15444-1, 18181-2)."""
    kinds = (b"Exif", b"xml ", b"uuid", b"brob")
    found = (box for box in boxes(stream, 0, stream.seek(0, io.SEEK_END)) if box[0] in kinds)
    for kind, start, stop in islice(found, _MOST_METADATA_BOXES):
        stream.seek(start)
        data = stream.read(min(stop - start, _LARGEST_BOX))
        if kind == b"brob":
            unpacked = unpacked_box(data)
            if unpacked is None:
                parts.warn("compressed metadata left out")
                continue
            kind, data = unpacked  # noqa: PLW2901 - the box that is in this one
        if kind == b"uuid":
            take, data = _TAKE_BOX.get(data[:16]), data[16:]
        elif kind == b"Exif":
            take, data = Parts.set_exif, data[4 + int.from_bytes(data[:4]) :]
        else:
            take = Parts.set_xmp if b"RDF" in data else None
        if take is not None:
            take(parts, data)


_PSD_HEADER = 26
_PSD_RESOLUTION, _PSD_EXIF, _PSD_XMP = 0x03ED, 0x0422, 0x0424
_FIXED_POINT = 1 << 16


def _read_photoshop(stream: BinaryIO, parts: Parts) -> None:
    """Read the image resources of a PSD, which lie behind its header and its palette."""
    stream.seek(_PSD_HEADER)
    stream.seek(int.from_bytes(stream.read(4)), io.SEEK_CUR)
    size = int.from_bytes(stream.read(4))
    if size > _LARGEST_READ_WHOLE:
        parts.warn(f"Photoshop's image resources left out: {size:,} bytes")
        return
    block = stream.read(size)
    try:
        parts.set_exif(resource_data(block, _PSD_EXIF))
        parts.set_xmp(resource_data(block, _PSD_XMP))
        resolution = resource_data(block, _PSD_RESOLUTION) or b""
    except PhotoshopError as error:
        parts.leave_out("Photoshop's image resources", error)
        return
    parts.set_iptc(block)
    if len(resolution) >= 12:  # noqa: PLR2004 - two numbers, each with two units of display; always pixels an inch
        across, down = struct.unpack(">I4xI", resolution[:12])
        parts.set_density(across / _FIXED_POINT, down / _FIXED_POINT, 1.0)


def _bytes(value: object) -> bytes | None:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else None


DESCRIPTIVE = frozenset(
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


def _read_tiff(stream: BinaryIO, parts: Parts, *, page: int = 0) -> None:
    """Read the metadata of one page, from 0, of the TIFF in `stream` into `parts`.

    Raises:
        TiffError: the page cannot be read.
        PhotoRejected: likewise.
        IndexError: there is no such page.
    """
    reader = TiffReader(stream)
    wanted = {
        *DESCRIPTIVE,
        *(Base.NewSubfileType, Base.ImageWidth, Base.ImageLength, IFD.Exif, IFD.GPSInfo),
        *(_XMP, _IPTC, _PHOTOSHOP, _ICC),
    }
    directory = reader.directory(_page_offset(stream, reader, page), wanted=wanted)
    for tag in directory.broken:
        parts.leave_out(f"TIFF's field {tag}", "it cannot be read")
    parts.size = _size(directory, reader.order)
    kept = _descriptive_fields(directory)
    if kept or directory.children:
        parts.set_exif(build(Directory(kept, directory.children), reader.order))
    values = {tag: directory.fields[tag].value for tag in (_XMP, _IPTC, _PHOTOSHOP, _ICC) if tag in directory.fields}
    parts.set_xmp(values.get(_XMP))
    parts.set_icc(values.get(_ICC))
    # Where they differ, Exiv2 and the XMP Specification (Part 3) prefer the field of its own to the image resource.
    parts.set_iptc_records(_iptc(values.get(_IPTC, b"")), values.get(_PHOTOSHOP))


def _descriptive_fields(directory: Directory) -> dict[int, Field]:
    """The fields of a page that describe the picture."""
    return {tag: field for tag, field in directory.fields.items() if tag in DESCRIPTIVE}


def _page_offset(stream: BinaryIO, reader: TiffReader, page: int) -> int:
    return pictures(read_directories(stream))[page].offset if page else reader.first


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


_CANON = UUID("85c0b687-820f-11e0-8111-f4ce462b6a48").bytes
_DIRECTORIES = {b"CMT2": IFD.Exif, b"CMT4": IFD.GPSInfo}
_LARGEST_BOX = 8 << 20
_MOST_METADATA_BOXES = 64


_TAKE_BOX: dict[bytes, Callable[[Parts, bytes], None]] = {
    b"JpgTiffExif->JP2": Parts.set_exif,
    UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes: Parts.set_xmp,
    UUID("33c7a4d2-b81d-4723-a0ba-f1a3e097ad38").bytes: Parts.set_iptc,
}
"""Where JPEG 2000 files keep metadata (XMP Specification, Part 3, 1.1.4)."""


def _read_canon_raw(stream: BinaryIO, parts: Parts) -> None:
    """Read the metadata of the CR3 in `stream` into `parts`; the maker note (CMT3) is left out.

    Raises:
        TiffError: it is malformed.
    """
    end = stream.seek(0, io.SEEK_END)
    for kind, start, stop in boxes(stream, 0, end):
        if kind == b"moov":
            for inner, begin, finish in boxes(stream, start, stop):
                stream.seek(begin)
                if inner == b"uuid" and stream.read(16) == _CANON:
                    _read_directories(stream, begin + 16, finish, parts)
                    return


def _read_directories(stream: BinaryIO, start: int, stop: int, parts: Parts) -> None:
    root, order = Directory({}), ""
    for kind, begin, finish in boxes(stream, start, stop):
        if kind not in (b"CMT1", *_DIRECTORIES):
            continue
        stream.seek(begin)
        reader = TiffReader(stream.read(min(finish - begin, _LARGEST_BOX)))
        directory = reader.directory(reader.first)
        if kind == b"CMT1":
            order = reader.order
            root = msgspec.structs.replace(root, fields=_descriptive_fields(directory))
        elif reader.order == order:
            root.children[_DIRECTORIES[kind]] = directory
    if not order:
        raise TiffError("it has no directory")
    parts.set_exif(build(root, order))
