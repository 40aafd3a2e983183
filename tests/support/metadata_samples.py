"""Pictures and metadata to test with, put together by hand where no encoder would write them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from PIL import Image, ImageCms, ImageDraw

from support.pictures import encoded

MAKER_NOTE = b"ACME\0" + bytes(range(256)) * 2
CAPTION = "Summer at the lake"
TAKEN = "1987:06:05 04:03:02"

XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    b' xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    b' t:Orientation="6" GCamera:MicroVideo="1" xmp:Rating="4">'
    b"<t:XResolution>600/1</t:XResolution><t:YResolution>300/1</t:YResolution>"
    b"<exif:PixelXDimension>300</exif:PixelXDimension><exif:PixelYDimension>200</exif:PixelYDimension>"
    b"<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/4AAQ</rdf:li></rdf:Alt></xmp:Thumbnails>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>" + b" " * 2000 + b'<?xpacket end="w"?>'
)

IPTC = b"\x1c\x02\x78\0\x12" + CAPTION.encode()
"""One record: the caption."""


def scene(width: int = 300, height: int = 200) -> Image.Image:
    """A picture that differs from all its seven transpositions."""
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 5, height // 5), fill=(230, 30, 30))
    draw.ellipse((width // 2, height // 3, width - 8, 5 * height // 6), fill=(225, 190, 150))
    draw.line((0, height, width // 3, height // 3), fill=(255, 255, 255), width=5)
    return image


def exif_block(
    orientation: int | None = 1, *, order: str = "<", thumbnail: bytes = b"", maker: bytes = MAKER_NOTE
) -> bytes:
    """An EXIF block as a camera writes it, the thumbnail last."""
    exif = {
        36867: ascii_value(TAKEN),
        0x927C: (7, len(maker), maker),
        0xA002: (4, 1, struct.pack(order + "I", 300)),
        0xA003: (3, 1, struct.pack(order + "H", 200)),
        0x9214: (3, 4, struct.pack(order + "4H", 10, 20, 30, 40)),
    }
    gps = {1: ascii_value("N"), 2: (5, 3, struct.pack(order + "6I", 55, 1, 45, 1, 0, 1))}
    root = {
        0x010E: ascii_value(CAPTION),
        0x010F: ascii_value("ACME"),
        0x011A: (5, 1, struct.pack(order + "II", 600, 1)),
        0x011B: (5, 1, struct.pack(order + "II", 300, 1)),
        0x0128: (3, 1, struct.pack(order + "H", 2)),
    }
    if orientation is not None:
        root[0x0112] = (3, 1, struct.pack(order + "H", orientation))
    return tiff_block(root, {0x8769: exif, 0x8825: gps}, order=order, thumbnail=thumbnail)


Values = Mapping[int, tuple[int, int, bytes]]
"""Type, count and bytes of a directory's fields, by tag."""


def ascii_value(text: str) -> tuple[int, int, bytes]:
    return 2, len(text) + 1, text.encode() + b"\0"


def tiff_block(root: Values, children: Mapping[int, Values], *, order: str = "<", thumbnail: bytes = b"") -> bytes:
    """A TIFF structure: the first directory, its children, a second directory with a thumbnail."""
    data = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8))
    pointers: dict[int, tuple[int, int, bytes]] = {tag: (4, 1, bytes(4)) for tag in children}
    _append(data, {**root, **pointers}, order)
    entries = sorted({**root, **pointers})
    for tag, child in children.items():
        place = 10 + 12 * entries.index(tag) + 8
        data[place : place + 4] = struct.pack(order + "I", len(data))
        _append(data, child, order)
    if thumbnail:
        place = 10 + 12 * len(entries)
        data[place : place + 4] = struct.pack(order + "I", len(data))
        start = len(data) + 2 + 2 * 12 + 4
        second = {
            0x201: (4, 1, struct.pack(order + "I", start)),
            0x202: (4, 1, struct.pack(order + "I", len(thumbnail))),
        }
        _append(data, second, order)
        data += thumbnail
    return bytes(data)


def _append(data: bytearray, values: Values, order: str) -> None:
    start = len(data)
    data += struct.pack(order + "H", len(values)) + bytes(12 * len(values) + 4)
    for number, tag in enumerate(sorted(values)):
        kind, count, value = values[tag]
        room = value.ljust(4, b"\0")
        if len(value) > 4:
            room = struct.pack(order + "I", len(data))
            data += value + bytes(len(value) % 2)
        place = start + 2 + 12 * number
        data[place : place + 12] = struct.pack(order + "HHI", tag, kind, count) + room


def icc_profile(size: int = 3144, space: bytes = b"RGB ") -> bytes:
    """A profile of this size in bytes: its header, and noise that does not compress."""
    head = bytearray(132)
    head[0:4], head[16:20], head[36:40] = struct.pack(">I", size), space, b"acsp"
    return bytes(head) + bytes((7 * at * at + at // 251) & 255 for at in range(size - 132))


@cache
def srgb_profile() -> bytes:
    """A profile that decoders accept; it holds the second in which it was made."""
    return ImageCms.ImageCmsProfile(cast("Any", ImageCms).createProfile("sRGB")).tobytes()


def jpeg_with(*segments: tuple[int, bytes], image: Image.Image | None = None) -> bytes:
    """A JPEG with segments of the given markers behind its first two bytes."""
    data = encoded(image or scene())
    parts = [struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload for marker, payload in segments]
    return data[:2] + b"".join(parts) + data[2:]


def exif_segment(block: bytes) -> tuple[int, bytes]:
    return 0xE1, b"Exif\0\0" + block


def xmp_segment(packet: bytes) -> tuple[int, bytes]:
    return 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet


def photoshop_resource(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


def iptc_segment(*, thumbnail: bytes = b"\xff\xd8stale") -> tuple[int, bytes]:
    resources = photoshop_resource(0x040C, thumbnail) + photoshop_resource(0x0404, IPTC)
    return 0xED, b"Photoshop 3.0\0" + resources


def png_with(*chunks: tuple[bytes, bytes], behind: bool = False) -> bytes:
    """A PNG with chunks behind its header, or behind its pixels."""
    data = encoded(scene(), "PNG")
    written = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    at = len(data) - 12 if behind else 33
    return data[:at] + written + data[at:]


def box(kind: bytes, *content: bytes) -> bytes:
    """A box as MP4 and CR3 are built of."""
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8) + kind + body


def canon_raw(*directories: tuple[bytes, bytes]) -> bytes:
    """A CR3 without pixels, with Canon's box of directories."""
    uuid = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    inner = b"".join(box(kind, block) for kind, block in directories)
    large = struct.pack(">I", 1) + b"uuid" + struct.pack(">Q", 16 + 16 + len(inner)) + uuid + inner
    return (
        box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", bytes(16)), large) + box(b"mdat", bytes(99))
    )


def jpeg_2000_with_profile(image: Image.Image, profile: bytes, *, method: int = 2) -> bytes:
    """A JPEG 2000 file whose colours are specified by an ICC profile, as method 2 and 3 mean it."""
    data = encoded(image, "JPEG2000")
    enumerated = box(b"colr", b"\1\0\0\0\0\0\x10")
    specified = box(b"colr", bytes((method, 0, 0)), profile)
    head = data.index(b"jp2h") - 4
    size = int.from_bytes(data[head : head + 4])
    inner = data[head + 8 : head + size].replace(enumerated, specified)
    assert specified in inner
    return data[:head] + box(b"jp2h", inner) + data[head + size :]
