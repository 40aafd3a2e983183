"""Read and write the segments of a JPEG file in front of its pixels.

Layout: ITU-T T.81, annex B; JFIF: ITU-T T.871; EXIF: CIPA DC-008, section 4.7; XMP: XMP Specification, Part 3;
ICC: ICC.1:2022, annex B.4; the image resources of Photoshop, which hold IPTC data: Adobe Photoshop File Formats
Specification, "Image Resources Section".
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import count
from typing import BinaryIO

import msgspec

__all__ = [
    "LARGEST_PAYLOAD",
    "JpegError",
    "JpegHeader",
    "Kind",
    "PhotoshopError",
    "Segment",
    "descriptive_resources",
    "icc_segments",
    "iptc_resource",
    "join_extended_xmp",
    "photoshop_segments",
    "read_header",
    "segment",
    "xmp_segments",
]


LARGEST_PAYLOAD = 0xFFFF - 2
"""The most bytes that one segment holds."""

_MOST_HELD = 20 << 20
_MOST_SEGMENTS = 10_000

_EXTENSION_PART = 65_000
_REFERENCE = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    b'xmpNote:HasExtendedXMP="%s"/></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)
"""An XMP packet that holds nothing but the digest of its extension."""

_SOI, _SOS, _EOI, _COM, _APP0, _APP15 = 0xD8, 0xDA, 0xD9, 0xFE, 0xE0, 0xEF
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))


class JpegError(ValueError):
    """The file is no JPEG, or its segments are malformed."""


class Kind(StrEnum):
    """What a segment holds."""

    JFIF = "JFIF"
    EXIF = "EXIF"
    XMP = "XMP"
    EXTENDED_XMP = "extended XMP"
    ICC = "ICC"
    IPTC = "IPTC"
    ADOBE = "Adobe"
    COMMENT = "comment"
    APPLICATION = "application"
    FRAME = "frame"
    OTHER = "other"


_SIGNATURES = {
    Kind.JFIF: (0xE0, b"JFIF\0"),
    Kind.EXIF: (0xE1, b"Exif\0\0"),
    Kind.XMP: (0xE1, b"http://ns.adobe.com/xap/1.0/\0"),
    Kind.EXTENDED_XMP: (0xE1, b"http://ns.adobe.com/xmp/extension/\0"),
    Kind.ICC: (0xE2, b"ICC_PROFILE\0"),
    Kind.IPTC: (0xED, b"Photoshop 3.0\0"),
    Kind.ADOBE: (0xEE, b"Adobe"),
    Kind.COMMENT: (_COM, b""),
}


class Segment(msgspec.Struct, frozen=True):
    """One segment.

    Attributes:
        kind: what it holds.
        start: its first byte's position in the file, fill bytes included.
        end: the position behind it.
        payload: what follows its length and, where the kind has one, its signature; empty for other kinds.
    """

    kind: Kind
    start: int
    end: int
    payload: bytes = b""


class JpegHeader(msgspec.Struct, frozen=True):
    """What is in front of a JPEG's pixels.

    Attributes:
        segments: all from the file's second byte pair to the first scan.
        width: pixels.
        height: pixels.
        components: 1 for gray, 3 for colour, 4 for CMYK.
        rgb: whether the component identifiers say that the colours are stored as RGB.
        end: where the header of the first scan begins, behind its marker.
    """

    segments: tuple[Segment, ...]
    width: int
    height: int
    components: int
    rgb: bool = False
    end: int = 0

    def payload(self, kind: Kind) -> bytes | None:
        """What the first segment of `kind` holds, None when there is none."""
        return next((segment.payload for segment in self.segments if segment.kind is kind), None)

    def payloads(self, kind: Kind) -> list[bytes]:
        """What the segments of `kind` hold."""
        return [segment.payload for segment in self.segments if segment.kind is kind]

    @property
    def takes_jfif(self) -> bool:
        """Whether a JFIF segment leaves the colours as they are: decoders take it to mean YCbCr."""
        adobe = self.payload(Kind.ADOBE)
        if self.payload(Kind.JFIF) is not None or self.components != 3:  # noqa: PLR2004 - colour
            return self.components in (1, 3)
        return adobe[6:7] == b"\x01" if adobe is not None else not self.rgb


def read_header(stream: BinaryIO) -> JpegHeader:
    """Read the segments in front of the pixels.

    Raises:
        JpegError: they are malformed, or break off.
    """
    stream.seek(0)
    if stream.read(2) != b"\xff\xd8":
        raise JpegError("it does not begin as a JPEG")
    segments: list[Segment] = []
    frame = b""
    held = 0
    for found in _segments(stream):
        segments.append(found)
        held += len(found.payload)
        if found.kind is Kind.FRAME:
            frame = found.payload
        if held > _MOST_HELD or len(segments) > _MOST_SEGMENTS:
            raise JpegError("its segments are too many")
    if len(frame) < 6:  # noqa: PLR2004 - precision, height, width, components
        raise JpegError("it has no frame")
    height, width, components = struct.unpack(">HHB", frame[1:6])
    return JpegHeader(tuple(segments), width, height, components, frame[6:15:3] == b"RGB", stream.tell())


def _segments(stream: BinaryIO) -> Iterator[Segment]:
    """The segments up to the first scan, which is not among them."""
    while True:
        start = stream.tell()
        marker = _marker(stream)
        if marker == _SOS:
            return
        if marker in _STANDALONE:
            continue
        size = stream.read(2)
        if marker in (0, _SOI, _EOI) or len(size) < 2 or size < b"\0\2":  # noqa: PLR2004 - the length holds itself
            raise JpegError("its segments break off")
        end = stream.tell() + int.from_bytes(size) - 2
        yield _segment(stream, marker, start, end)
        stream.seek(end)


def _segment(stream: BinaryIO, marker: int, start: int, end: int) -> Segment:
    size = end - stream.tell()
    for kind, (number, signature) in _SIGNATURES.items():
        if marker == number:
            prefix = stream.read(min(len(signature), size))
            if prefix == signature:
                return Segment(kind, start, end, stream.read(size - len(signature)))
            stream.seek(-len(prefix), os.SEEK_CUR)
    if marker in _SOF:
        return Segment(Kind.FRAME, start, end, stream.read(size))
    return Segment(Kind.APPLICATION if _APP0 <= marker <= _APP15 else Kind.OTHER, start, end)


def _marker(stream: BinaryIO) -> int:
    """The next marker; fill bytes in front of it are passed over.

    Raises:
        JpegError: there is none.
    """
    byte = stream.read(1)
    if byte != b"\xff":
        raise JpegError("its segments break off")
    while byte == b"\xff":
        byte = stream.read(1)
    return byte[0] if byte else 0


def segment(kind: Kind, payload: bytes) -> bytes:
    """A segment that holds `payload`, at most `LARGEST_PAYLOAD` bytes with the signature of its kind."""
    marker, signature = _SIGNATURES[kind]
    return struct.pack(">BBH", 0xFF, marker, 2 + len(signature) + len(payload)) + signature + payload


def icc_segments(profile: bytes) -> bytes:
    """The segments that hold an ICC profile; at most 255 of them, about 16 MB."""
    parts = _split(profile, LARGEST_PAYLOAD - 14)
    return b"".join(segment(Kind.ICC, bytes((number, len(parts))) + part) for number, part in enumerate(parts, start=1))


def photoshop_segments(resources: bytes) -> bytes:
    """The segments that hold Photoshop image resources."""
    return b"".join(segment(Kind.IPTC, part) for part in _split(resources, LARGEST_PAYLOAD - 14))


def xmp_segments(packet: bytes, extension: bytes | None = None) -> bytes:
    """The segments that hold an XMP packet.

    Args:
        packet: one too long for a segment is moved into an extension.
        extension: what `packet` refers to as its extension.
    """
    if len(packet) > LARGEST_PAYLOAD - len(_SIGNATURES[Kind.XMP][1]):
        packet, extension = _REFERENCE % _digest(packet), packet
    extension = extension or b""
    return segment(Kind.XMP, packet) + b"".join(
        segment(Kind.EXTENDED_XMP, _digest(extension) + struct.pack(">II", len(extension), at) + part)
        for at, part in zip(count(0, _EXTENSION_PART), _split(extension, _EXTENSION_PART), strict=False)
    )


def join_extended_xmp(payloads: Iterable[bytes], digest: bytes) -> bytes | None:
    """The extension named `digest`, put together from segments; None when it is not whole.

    Args:
        payloads: of the segments that hold extensions.
        digest: its MD5, in hexadecimal.
    """
    parts = sorted((part[36:40], part[40:]) for part in payloads if part[:32] == digest)
    extension = b"".join(part for _, part in parts)
    return extension if extension and _digest(extension) == digest.upper() else None


def _digest(packet: bytes) -> bytes:
    return hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()


def _split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


_RESOURCE_SIGNATURES = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")
_IPTC = 0x0404
_DESCRIPTIVE = frozenset((_IPTC, 0x040A, 0x040B, 0x0425))
"""IPTC, copyright flag, URL, digest of the IPTC data."""


class PhotoshopError(ValueError):
    """The resources are malformed."""


def descriptive_resources(block: bytes) -> bytes | None:
    """The resources in `block` that describe the picture, None when there is none.

    Raises:
        PhotoshopError: it is malformed.
    """
    return b"".join(data for number, data in _resources(block) if number in _DESCRIPTIVE) or None


def iptc_resource(records: bytes) -> bytes:
    """IPTC `records` as an image resource."""
    return b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(records)) + records + bytes(len(records) % 2)


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while any(block[at : at + 4]):  # there may be zeros behind the last one
        start = at
        if block[at : at + 4] not in _RESOURCE_SIGNATURES:
            raise PhotoshopError(f"no image resource at byte {at:,}")
        at += 7 + (block[at + 6] if at + 6 < len(block) else 0)
        at += at % 2 != start % 2  # names are padded
        if at + 4 > len(block):
            raise PhotoshopError("it breaks off")
        at += 4 + int(struct.unpack_from(">I", block, at)[0])
        if at > len(block):
            raise PhotoshopError("it breaks off")
        number = int(struct.unpack_from(">H", block, start + 4)[0])
        data = block[start:at]
        yield number, data + bytes(len(data) % 2)
        at += len(data) % 2
