"""Correct an XMP packet for an output, without changing anything else in it, and put it into segments.

The packet is edited as text: parsing it and writing it again would lose its formatting, its padding and whatever a
namespace of its own means. Format: ISO 16684-1; in JPEG: XMP Specification, Part 3, 1.1.3.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from xml.parsers.expat import ExpatError, ParserCreate  # entities are refused below

from smarty_async.archive.outputs.metadata.exif import Geometry
from smarty_async.archive.photos.jpeg import LARGEST_PAYLOAD, SegmentKind, segment

__all__ = [
    "XmpError",
    "check_xmp",
    "correct_xmp",
    "extension_digest",
    "join_extended_xmp",
    "without_extension",
    "xmp_segments",
]

_TIFF = b"http://ns.adobe.com/tiff/1.0/"
_EXIF = b"http://ns.adobe.com/exif/1.0/"
_XMP = b"http://ns.adobe.com/xap/1.0/"
_CAMERA = b"http://ns.google.com/photos/1.0/camera/"
_NOTE = b"http://ns.adobe.com/xmp/note/"

_TRAILER = b"<?xpacket end"
_NUMBER = re.compile(rb"\d{1,9}(\.\d{1,9}|/[1-9]\d{0,8})?")
_MOST_PREFIXES = 4
_CORRECTED = re.compile(
    rb":(?:Thumbnails|Orientation|ImageWidth|ImageLength|[XY]Resolution|Pixel[XY]Dimension|MicroVideo|MotionPhoto)\b"
)
"""What is corrected in a packet."""

_LARGEST_PACKET = LARGEST_PAYLOAD - 29
_EXTENSION_PART = 65_000
_REFERENCE = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    b'xmpNote:HasExtendedXMP="%s"/></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)
"""An XMP packet that holds nothing but the digest of its extension."""


class XmpError(ValueError):
    """The packet is malformed."""


def check_xmp(packet: bytes) -> bytes:
    """`packet` in UTF-8, once it is known to be well-formed.

    Raises:
        XmpError: it is malformed, or declares entities.
    """
    packet = _as_utf8(packet).strip(b"\0")
    parser = ParserCreate()
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(packet, True)  # noqa: FBT003 - expat takes no keywords
    except (ExpatError, LookupError, ValueError) as error:  # LookupError: it names an encoding that does not exist
        raise XmpError(str(error)) from error
    if b"RDF" not in packet:
        raise XmpError("it holds no RDF")
    return packet


def correct_xmp(packet: bytes, geometry: Geometry) -> bytes:
    """`packet`, its orientation, size and resolution being the output's, without thumbnails and padding.

    Raises:
        XmpError: it has become malformed: what looks like an element is in a comment, say.
    """
    body, trailer, rest = packet.rpartition(_TRAILER)
    packet = body.rstrip() + trailer + rest if trailer else packet
    if not _CORRECTED.search(packet):
        return packet
    packet = _without(packet, _XMP, b"Thumbnails")
    for namespace, name, value in (
        (_TIFF, b"Orientation", geometry.orientation),
        (_TIFF, b"ImageWidth", geometry.width),
        (_TIFF, b"ImageLength", geometry.height),
        (_EXIF, b"PixelXDimension", geometry.width),
        (_EXIF, b"PixelYDimension", geometry.height),
        (_CAMERA, b"MicroVideo", 0),  # the output has no video behind it
        (_CAMERA, b"MotionPhoto", 0),
    ):
        packet = _replaced(packet, namespace, name, b"%d" % value)
    return check_xmp(_with_resolution(packet, geometry))


def extension_digest(packet: bytes) -> bytes | None:
    """The digest by which `packet` refers to its extension, None when it has none."""
    return _value(packet, _NOTE, b"HasExtendedXMP")


def without_extension(packet: bytes) -> bytes:
    """`packet`, referring to no extension."""
    for prefix in _prefixes(packet, _NOTE):
        word = re.escape(prefix) + b":HasExtendedXMP"
        packet = re.sub(rb"\s" + word + rb"\s*=\s*(\"[^\"]*\"|'[^']*')", b"", packet)
    return _without(packet, _NOTE, b"HasExtendedXMP")


def xmp_segments(packet: bytes, extension: bytes | None = None) -> bytes:
    """The segments that hold an XMP packet.

    Args:
        packet: one too long for a segment is moved into an extension.
        extension: what `packet` refers to as its extension.
    """
    if len(packet) > _LARGEST_PACKET:
        packet, extension = _REFERENCE % _digest(packet), packet
    extension = extension or b""
    return segment(SegmentKind.XMP, packet) + b"".join(
        segment(
            SegmentKind.EXTENDED_XMP,
            _digest(extension) + struct.pack(">II", len(extension), at) + extension[at : at + _EXTENSION_PART],
        )
        for at in range(0, len(extension), _EXTENSION_PART)
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


def _with_resolution(packet: bytes, geometry: Geometry) -> bytes:
    names = (b"XResolution", b"YResolution")
    texts = [_value(packet, _TIFF, name) or b"" for name in names]
    if not all(_NUMBER.fullmatch(text) for text in texts):
        return packet
    values = [float(Fraction(text.decode())) for text in texts]
    if geometry.turned or geometry.scale != (1.0, 1.0):
        for name, value in zip(names, geometry.resolution(*values), strict=True):
            packet = _replaced(packet, _TIFF, name, b"%d/1000" % round(value * 1000))
    return packet


def _properties(packet: bytes, namespace: bytes, name: bytes) -> Iterator[re.Pattern[bytes]]:
    """What finds the property `name` where it is written as an attribute, and as an element."""
    for prefix in _prefixes(packet, namespace):
        word = re.escape(prefix) + b":" + name
        yield re.compile(rb"(\s" + word + rb"\s*=\s*[\"'])([^\"'<]*)")
        yield re.compile(rb"(<" + word + rb"\s*>)([^<]*)")


def _value(packet: bytes, namespace: bytes, name: bytes) -> bytes | None:
    found = (pattern.search(packet) for pattern in _properties(packet, namespace, name))
    return next((match[2].strip() for match in found if match), None)


def _replaced(packet: bytes, namespace: bytes, name: bytes, value: bytes) -> bytes:
    """`packet` with the value of the property `name` replaced wherever it is written."""
    for pattern in _properties(packet, namespace, name):
        packet = pattern.sub(lambda match: match[1] + value, packet)
    return packet


def _without(packet: bytes, namespace: bytes, name: bytes) -> bytes:
    """`packet` without the elements `name`."""
    for prefix in _prefixes(packet, namespace):
        word = prefix + b":" + name
        kept: list[bytes] = []
        at = 0
        for start in re.finditer(rb"<" + re.escape(word) + rb"[\s>]", packet):
            if start.start() < at:
                continue
            end = packet.find(b"</" + word, start.end())
            end = packet.find(b">", end) if end >= 0 else end
            if end < 0:
                break
            kept.append(packet[at : start.start()])
            at = end + 1
        packet = b"".join((*kept, packet[at:]))
    return packet


def _prefixes(packet: bytes, namespace: bytes) -> list[bytes]:
    """The prefixes of `namespace`."""
    if namespace not in packet:
        return []
    found = re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(namespace) + rb"[\"']", packet)
    return list(dict.fromkeys(found))[:_MOST_PREFIXES]


def _as_utf8(packet: bytes) -> bytes:
    for mark, encoding in (
        (b"\xff\xfe\0\0", "utf-32"),
        (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if packet.startswith(mark):
            try:
                return packet.decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise XmpError(str(error)) from error
    return packet.removeprefix(b"\xef\xbb\xbf")


def _refuse_entity(*_: object) -> None:
    raise XmpError("it declares entities")
