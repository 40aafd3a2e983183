"""Read the metadata of a PNG file, chunk by chunk; the pixels' chunks are passed over.

Chunks: PNG, third edition (W3C), section 11.3. ``Raw profile type …`` texts: ImageMagick's way, still written by many.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import BinaryIO

from PIL.ExifTags import Base

from smarty_async.archive.outputs.metadata.parts import Parts

__all__ = ["read_png"]

_MOST_CHUNKS = 200_000
_LARGEST_CHUNK = 4 << 20
_LARGEST_INFLATED = 8 << 20

_INCHES = 0.0254
"""An inch in metres."""

_EXIF_TIME = "%Y:%m:%d %H:%M:%S"
_APP1_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_KEYWORD = "XML:com.adobe.xmp"

_TAGS = {
    "Title": Base.ImageDescription,
    "Description": Base.ImageDescription,
    "Author": Base.Artist,
    "Copyright": Base.Copyright,
    "Software": Base.Software,
    "Creation Time": Base.DateTime,
}
"""Where EXIF keeps what PNG's own keywords say; the later of two has precedence."""


class PngError(ValueError):
    """A chunk is malformed."""


def read_png(stream: BinaryIO, parts: Parts) -> None:
    """Read the metadata of the PNG in `stream` into `parts`.

    Args:
        stream: seekable.
        parts: where what is found goes; what is malformed is left out there.
    """
    texts: dict[str, str] = {}
    readers: dict[bytes, Callable[[bytes], None]] = {
        b"eXIf": parts.set_exif,
        b"iCCP": lambda data: parts.set_icc(_inflate(data.partition(b"\0")[2][1:])),
        b"pHYs": lambda data: _read_density(data, parts),
        b"tEXt": lambda data: texts.update(_text(data)),
        b"zTXt": lambda data: texts.update(_compressed_text(data)),
        b"iTXt": lambda data: texts.update(_international_text(data)),
    }
    for kind, data in _chunks(stream, {b"IHDR", *readers}, parts):
        try:
            if kind == b"IHDR":
                width, height = struct.unpack(">II", data[:8])
                parts.size = width, height
            else:
                readers[kind](data)
        except (ValueError, struct.error, zlib.error) as error:
            parts.leave_out(f"PNG's {kind.decode()}", error)
    _take_texts(texts, parts)


def _chunks(stream: BinaryIO, wanted: set[bytes], parts: Parts) -> Iterator[tuple[bytes, bytes]]:
    stream.seek(8)
    for _ in range(_MOST_CHUNKS):
        head = stream.read(8)
        size, kind = int.from_bytes(head[:4]), head[4:]
        if len(head) < 8 or kind == b"IEND":  # noqa: PLR2004 - size and kind
            return
        if kind not in wanted:
            stream.seek(size + 4, 1)
            continue
        if size > _LARGEST_CHUNK:
            parts.warn(f"PNG's {kind.decode()} left out: {size:,} bytes")
            stream.seek(size + 4, 1)
            continue
        data, checksum = stream.read(size), stream.read(4)
        if zlib.crc32(kind + data) == int.from_bytes(checksum):
            yield kind, data
        else:
            parts.leave_out(f"PNG's {kind.decode()}", "its checksum is wrong")


def _read_density(data: bytes, parts: Parts) -> None:
    across, down, unit = struct.unpack(">IIB", data)
    parts.set_density(across, down, _INCHES if unit == 1 else None)


def _text(data: bytes) -> dict[str, str]:
    keyword, _, text = data.partition(b"\0")
    return {keyword.decode("latin-1"): text.decode("latin-1")}


def _compressed_text(data: bytes) -> dict[str, str]:
    keyword, _, rest = data.partition(b"\0")
    return {keyword.decode("latin-1"): _inflate(rest[1:]).decode("latin-1")}


def _international_text(data: bytes) -> dict[str, str]:
    keyword, _, rest = data.partition(b"\0")
    compressed = rest[:1] == b"\x01"
    text = rest[2:].split(b"\0", 2)[-1]
    return {keyword.decode("latin-1"): (_inflate(text) if compressed else text).decode()}


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    result = inflater.decompress(data, _LARGEST_INFLATED)
    if inflater.unconsumed_tail:
        raise PngError(f"over {_LARGEST_INFLATED:,} bytes")
    return result


def _take_texts(texts: dict[str, str], parts: Parts) -> None:
    """Hand each text to the part that it belongs to."""
    profiles: dict[str, Callable[[bytes], None]] = {
        "exif": parts.set_exif,
        "app1": lambda data: _take_app1(data, parts),
        "xmp": parts.set_xmp,
        "iptc": parts.set_iptc,
        "8bim": parts.set_iptc,
        "icc": parts.set_icc,
        "icm": parts.set_icc,
    }
    fields: dict[int, str] = {}
    for keyword, text in texts.items():
        if keyword == _XMP_KEYWORD:
            parts.set_xmp(text.encode())
        elif keyword == "Comment":
            parts.set_comment(text.encode())
        elif keyword.startswith("Raw profile type "):
            take = profiles.get(keyword.rpartition(" ")[2].lower())
            if take:
                _take_profile(keyword, text, take, parts)
        elif keyword not in _TAGS:
            parts.warn(f"PNG's text {keyword[:79]!r} left out: EXIF has no place for it")
    for keyword, tag in _TAGS.items():
        text = texts.get(keyword, "").strip("\0")
        if tag == Base.DateTime:
            text = _exif_time(text)
        if text:
            fields[tag] = text
    parts.add_texts(fields)


def _take_profile(keyword: str, text: str, take: Callable[[bytes], None], parts: Parts) -> None:
    """Decode ImageMagick's spelling: a name, a length in bytes, hexadecimal digits in lines."""
    match = re.fullmatch(r"\s*(\w+)\s+(\d+)\s+([0-9a-fA-F\s]*)", text)
    try:
        data = bytes.fromhex(match[3]) if match else b""
    except ValueError:
        data = b""
    if not match or not data or len(data) != int(match[2]):
        parts.leave_out(f"PNG's {keyword!r}", "it is no profile")
    else:
        take(data)


def _take_app1(data: bytes, parts: Parts) -> None:
    """Take what a JPEG's APP1 segment holds: XMP or EXIF."""
    xmp = data.removeprefix(_APP1_XMP)
    if len(xmp) < len(data):
        parts.set_xmp(xmp)
    else:
        parts.set_exif(data)


def _exif_time(text: str) -> str:
    """A time as EXIF writes it; empty when `text` holds none."""
    if re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", text):
        return text
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text.strip()).strftime(_EXIF_TIME)
        except (ValueError, TypeError):
            continue
    return ""
