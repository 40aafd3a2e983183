"""Read the metadata of a source, whatever its format."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

from PIL import Image

from smarty_async.archive.outputs.metadata.canon_raw import read_canon_raw
from smarty_async.archive.outputs.metadata.jpeg import Kind, join_extended_xmp, read_header
from smarty_async.archive.outputs.metadata.parts import Parts
from smarty_async.archive.outputs.metadata.png import read_png
from smarty_async.archive.outputs.metadata.source_metadata import SourceMetadata
from smarty_async.archive.outputs.metadata.tiff_file import read_tiff

__all__ = ["read_metadata"]

_LARGEST_READ_WHOLE = 200 << 20
"""Files over this, in bytes, are left alone where a decoder would read them whole."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_JFIF_UNITS = {1: 1.0, 2: 2.54}


def read_metadata(photo: str | Path | bytes, *, page: int = 0) -> SourceMetadata:
    """Read what `photo` holds besides its pixels. Blocks; decodes nothing.

    JPEG, PNG and TIFF (RAW and DNG among them) are read part by part, WebP, AVIF, HEIF and others by Pillow, for HEIF
    with pillow-heif, when it is installed. A part that is malformed is left out, with a warning that says so.

    Args:
        photo: the path of a file, or a file's bytes.
        page: the page of a multi-page TIFF, from 0.

    Raises:
        OSError: the file cannot be read.
    """
    with io.BytesIO(photo) if isinstance(photo, bytes) else Path(photo).open("rb") as stream:
        parts = Parts()
        prefix = stream.read(16)
        try:
            _read(stream, prefix, parts, page)
        except OSError as error:
            if error.errno is not None:
                raise
            parts.leave_out("metadata", error)
        except Exception as error:  # noqa: BLE001 - on broken data a parser raises whatever it tripped over
            parts.leave_out("metadata", error)
        return parts.metadata()


def _read(stream: BinaryIO, prefix: bytes, parts: Parts, page: int) -> None:
    if prefix.startswith(b"\xff\xd8"):
        _read_jpeg(stream, parts)
    elif prefix.startswith(b"\x89PNG"):
        read_png(stream, parts)
    elif prefix.startswith((b"II", b"MM")):
        read_tiff(stream, parts, page=page)
    elif prefix.startswith(b"FUJIFILMCCD-RAW"):
        _read_fujifilm(stream, parts)
    elif prefix[4:12] == b"ftypcrx ":
        read_canon_raw(stream, parts)
    else:
        _read_with_pillow(stream, prefix, parts)


def _read_jpeg(stream: BinaryIO, parts: Parts) -> None:
    header = read_header(stream)
    parts.size = header.width, header.height
    parts.set_exif(header.payload(Kind.EXIF))
    parts.set_xmp(header.payload(Kind.XMP))
    extensions = header.payloads(Kind.EXTENDED_XMP)
    if extensions:
        parts.set_extended_xmp(lambda digest: join_extended_xmp(extensions, digest))
    parts.set_iptc(b"".join(header.payloads(Kind.IPTC)))
    # The number of a part is its first byte; how many there are is the second one.
    parts.set_icc(b"".join(part[2:] for part in sorted(header.payloads(Kind.ICC), key=lambda part: part[:1])))
    parts.set_comment(header.payload(Kind.COMMENT))
    jfif = header.payload(Kind.JFIF)
    if jfif and len(jfif) >= 7:  # noqa: PLR2004 - version, unit, two densities
        unit, across, down = struct.unpack(">BHH", jfif[2:7])
        parts.set_density(across, down, _JFIF_UNITS.get(unit))


def _read_fujifilm(stream: BinaryIO, parts: Parts) -> None:
    """Fujifilm's RAW holds a JPEG, and that the metadata; the JPEG's size is not the sensor's."""
    stream.seek(84)
    offset, size = struct.unpack(">II", stream.read(8))
    stream.seek(offset)
    _read_jpeg(io.BytesIO(stream.read(min(size, _LARGEST_READ_WHOLE))), parts)
    parts.size = parts.dpi = None


def _read_with_pillow(stream: BinaryIO, prefix: bytes, parts: Parts) -> None:
    if stream.seek(0, io.SEEK_END) > _LARGEST_READ_WHOLE:
        parts.warn("the file is too large for its metadata to be read")
        return
    opener = _opener(prefix)
    if opener is None:
        parts.warn("no metadata can be read from a file of this format")
        return
    stream.seek(0)
    with opener(stream, "") as image:
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


def _opener(prefix: bytes) -> Callable[[BinaryIO, str], Image.Image] | None:
    """What opens the format that begins with `prefix`. Not `Image.open`, which warns of large pictures."""
    Image.init()
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS and "HEIF" not in Image.OPEN:
        try:
            pillow_heif = import_module("pillow_heif")  # an extra
        except ImportError:
            return None
        pillow_heif.register_heif_opener()
    for factory, accept in Image.OPEN.values():
        if accept and accept(prefix) is True:
            return factory
    return None


def _bytes(value: object) -> bytes | None:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else None
