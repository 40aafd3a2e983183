"""Read the metadata of a PNG.

Chunks and keywords: PNG, third edition (W3C), section 11.3; ``Raw profile type …``: metadata of other formats, spelt as
text the way ImageMagick does.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import islice, takewhile
from typing import BinaryIO

from PIL.ExifTags import Base

from smarty_async.archive.outputs.metadata.parts import Parts
from smarty_async.archive.photos.png import chunks, international_text, read_chunk

__all__ = ["read_png"]


_MOST_CHUNKS = 200_000
_MOST_METADATA_CHUNKS = 256
_LARGEST_CHUNK = 4 << 20

_INCHES = 0.0254
"""An inch in metres."""


def read_png(stream: BinaryIO, parts: Parts) -> None:
    """Read the metadata of the PNG in `stream` into `parts`; its pixels are skipped."""
    texts = _PngTexts()
    readers: dict[bytes, Callable[[bytes], None]] = {
        b"IHDR": lambda data: _read_size(data, parts),
        b"eXIf": parts.set_exif,
        b"iCCP": lambda data: parts.set_icc(_inflate(data.partition(b"\0")[2][1:])),
        b"pHYs": lambda data: _read_density(data, parts),
        **{kind: partial(texts.add, kind) for kind in (b"tEXt", b"zTXt", b"iTXt")},
    }
    wanted = ((kind, at, size) for kind, at, size in _up_to_end(chunks(stream)) if kind in readers)
    for kind, at, size in islice(wanted, _MOST_METADATA_CHUNKS):
        name = f"PNG's {kind.decode()}"
        if size > _LARGEST_CHUNK:
            parts.warn(f"{name} left out: {size:,} bytes")
            continue
        data, sound = read_chunk(stream, kind, at, size, most=_LARGEST_CHUNK)
        if not sound:
            parts.leave_out(name, "its checksum is wrong")
            continue
        try:
            readers[kind](data)
        except (ValueError, struct.error, zlib.error) as error:
            parts.leave_out(name, error)
    texts.hand_to(parts)


def _up_to_end(found: Iterator[tuple[bytes, int, int]]) -> Iterator[tuple[bytes, int, int]]:
    return takewhile(lambda chunk: chunk[0] != b"IEND", islice(found, _MOST_CHUNKS))


def _read_size(data: bytes, parts: Parts) -> None:
    width, height = struct.unpack(">II", data[:8])
    parts.size = width, height


def _read_density(data: bytes, parts: Parts) -> None:
    across, down, unit = struct.unpack(">IIB", data)
    parts.set_density(across, down, _INCHES if unit == 1 else None)


_LARGEST_INFLATED = 4 << 20

_PNG_XMP = "XML:com.adobe.xmp"
_COMMENT = "Comment"
_APP1_XMP = b"http://ns.adobe.com/xap/1.0/\0"

_TAGS = {
    "Title": Base.ImageDescription,
    "Description": Base.ImageDescription,
    "Author": Base.Artist,
    "Copyright": Base.Copyright,
    "Software": Base.Software,
    "Creation Time": Base.DateTime,
}
"""Where EXIF keeps what PNG's own keywords say. A title beside a description becomes the document's name."""

_PROFILES: dict[str, Callable[[Parts, bytes], None]] = {
    "Raw profile type exif": Parts.set_exif,
    "Raw profile type APP1": lambda parts, data: _take_app1(data, parts),
    "Raw profile type xmp": Parts.set_xmp,
    "Raw profile type iptc": Parts.set_iptc,
    "Raw profile type 8bim": Parts.set_iptc,
    "Raw profile type icc": Parts.set_icc,
    "Raw profile type icm": Parts.set_icc,
}


class _PngTexts:
    """Gathers the texts that have a place in other formats; of two under one keyword the first."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._left_out: list[str] = []

    def add(self, kind: bytes, data: bytes) -> None:
        """Add the text of a chunk of this kind.

        Raises:
            ValueError: it is malformed.
            zlib.error: likewise.
        """
        name, _, rest = data.partition(b"\0")
        keyword = name.decode("latin-1")
        if keyword not in _TAGS and keyword not in _PROFILES and keyword not in (_PNG_XMP, _COMMENT):
            self._left_out.append(keyword)
        elif keyword not in self._texts:
            self._texts[keyword] = _TEXTS[kind](rest)

    def hand_to(self, parts: Parts) -> None:
        """Hand each text to the part that it belongs to."""
        for keyword, take in _PROFILES.items():
            if keyword in self._texts:
                _take_profile(keyword, self._texts[keyword], partial(take, parts), parts)
        parts.set_xmp(self._texts.get(_PNG_XMP, "").encode())
        parts.set_comment(self._texts.get(_COMMENT, "").encode())
        parts.add_texts(self._fields())
        if self._left_out:
            names = ", ".join(keyword[:79] for keyword in self._left_out[:8])
            parts.warn(f"PNG's texts left out, EXIF has no place for them: {names}")

    def _fields(self) -> dict[int, str]:
        fields: dict[int, str] = {}
        for keyword, tag in _TAGS.items():
            text = found = self._texts.get(keyword, "").replace("\0", "")
            if tag == Base.DateTime:
                text = _exif_time(found)
            if text:
                fields[tag] = text
            elif found:
                self._left_out.append(keyword)
        if "Title" in self._texts and fields.get(Base.ImageDescription) != self._texts["Title"]:
            fields[Base.DocumentName] = self._texts["Title"].replace("\0", "")
        return fields


def _inflate(data: bytes) -> bytes:
    """Decompress `data`, to at most 4 MiB.

    Raises:
        ValueError: it is more.
        zlib.error: it is malformed.
    """
    inflater = zlib.decompressobj()
    result = inflater.decompress(data, _LARGEST_INFLATED)
    if inflater.unconsumed_tail:
        raise ValueError(f"over {_LARGEST_INFLATED:,} bytes")
    return result


def _international_text(rest: bytes) -> str:
    is_packed, text = international_text(rest)
    return (_inflate(text) if is_packed else text).decode()


_TEXTS: dict[bytes, Callable[[bytes], str]] = {
    b"tEXt": lambda rest: rest.decode("latin-1"),
    b"zTXt": lambda rest: _inflate(rest[1:]).decode("latin-1"),
    b"iTXt": _international_text,
}


def _take_profile(keyword: str, text: str, take: Callable[[bytes], None], parts: Parts) -> None:
    """Decode ImageMagick's spelling: a line with a name, a length in bytes, hexadecimal digits in lines."""
    try:
        _, rest = text.strip().split("\n", 1)
        length, digits = rest.split(None, 1)
        data = bytes.fromhex(digits)
        if len(data) != int(length):
            data = b""
    except ValueError:
        data = b""
    if data:
        take(data)
    else:
        parts.leave_out(f"PNG's {keyword!r}", "it is not a profile")


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
            time = parse(text.strip())
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return f"{time.year:04}:{time:%m:%d %H:%M:%S}"  # strftime writes the year 900 with three digits
    return ""
