"""Photos as bug reports of archives, scanners and phones describe them, and services that answer with pictures."""

from __future__ import annotations

import base64
import io
import struct
import warnings
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random

from PIL import Image, ImageChops, ImageOps

from support.fake_service import KINDS, Answer, Request, items
from support.metadata_samples import scene
from support.pictures import encoded, opened

__all__ = [
    "CAMERA",
    "answering",
    "camera_exif",
    "difference",
    "dng",
    "enlarging",
    "exact_scene",
    "honouring_exif",
    "ignoring_exif",
    "keeping_exif",
    "motion_photo",
    "names_in",
    "png_with_text",
    "stored_as",
    "strip_tiff",
    "tiff_layouts",
    "twice",
    "zeros_from",
]

CAMERA = "ACME"
"""The maker that `camera_exif` names."""

_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


# services that answer with pictures


def answering(picture_of: Callable[[bytes], bytes]) -> Callable[[Request], Answer]:
    """A service whose only output for an image is the JPEG that `picture_of` makes of it.

    What goes wrong in there is a complaint, and fails the test.
    """

    def answer(request: Request) -> Answer:
        try:
            with warnings.catch_warnings(action="ignore"):  # what Pillow thinks of broken EXIF
                return items({name: _outputs(picture_of(image)) for name, image in request.images.items()})
        except Exception as error:  # noqa: BLE001 - it would be an outage, which is asked again for long
            request.service.complaints.append(repr(error))
            return items({name: {"status": 1, "error": repr(error)} for name in request.images})

    return answer


def _outputs(jpeg: bytes) -> Mapping[str, Mapping[str, object]]:
    text = base64.b64encode(jpeg).decode()
    kinds = {mode: dict.fromkeys(of_mode) for mode, of_mode in KINDS.items()}
    return {"improve": kinds["improve"] | {"improved": text}, "resolution": kinds["resolution"] | {"resolved": text}}


def honouring_exif(image: bytes) -> bytes:
    """The picture upright, without metadata, as a service that minds EXIF answers."""
    return encoded(_upright(opened(image)), quality=95)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (SyntaxError, struct.error):  # EXIF that nobody can read
        return picture.convert("RGB")


def ignoring_exif(image: bytes) -> bytes:
    """The pixels as they are stored, without metadata: a photo on its side stays on its side."""
    plain = Image.new("RGB", (picture := opened(image)).size)
    plain.paste(picture.convert("RGB"))
    return encoded(plain, quality=95)


def keeping_exif(image: bytes) -> bytes:
    """The pixels as they are stored, with the EXIF orientation that says so."""
    picture, exif = opened(image), Image.Exif()
    exif[0x0112] = picture.getexif().get(0x0112, 1)
    return encoded(picture.convert("RGB"), quality=95, exif=exif)


def enlarging(factor: int) -> Callable[[bytes], bytes]:
    """The upright picture so many times larger, without metadata."""

    def enlarged(image: bytes) -> bytes:
        picture = _upright(opened(image))
        return encoded(picture.resize((picture.width * factor, picture.height * factor)), quality=95)

    return enlarged


# looks at pictures


def exact_scene(width: int = 60, height: int = 40) -> Image.Image:
    """An asymmetric scene that is quick to write in any layout."""
    return scene(width, height)


def stored_as(image: Image.Image, orientation: int) -> Image.Image:
    """The pixels of an upright picture as a camera stores them under `orientation`."""
    return image.transpose(_STORED[orientation]) if orientation in _STORED else image.copy()


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures of one size, in gray levels; the channel that differs most counts."""
    assert one.size == other.size, (one.size, other.size)
    means = [
        sum(level * count for level, count in enumerate(channel.histogram())) / (one.width * one.height)
        for channel in ImageChops.difference(one.convert("RGB"), other.convert("RGB")).split()
    ]
    return max(means)


# what cameras and scanners write


def camera_exif(orientation: int = 1) -> Image.Exif:
    """A camera's EXIF: maker, model, dates, photographer, caption, position."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132], exif[0x0112] = CAMERA, "Camera 9", "1987:06:05 04:03:02", orientation
    exif[0x013B], exif[0x010E] = "the photographer", "Summer at the lake"
    exif.get_ifd(0x8769)[36867] = "1987:06:05 04:03:02"
    exif.get_ifd(0x8825).update({1: "N", 2: (55.0, 45.0, 0.0), 3: "E", 4: (37.0, 37.0, 0.0)})
    return exif


def strip_tiff(
    size: tuple[int, int],
    strips: list[bytes],
    *,
    photometric: int,
    samples: int,
    bits: int,
    sample_format: int = 1,
    planar: int = 1,
    extra: int | None = None,
    order: str = "<",
    big: bool = False,
) -> bytes:
    """An uncompressed TIFF, classic or BigTIFF, with one strip, or one for each plane."""
    width, height = size
    tags = [(256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * samples), (259, 3, [1]), (262, 3, [photometric])]
    tags += [(273, 4, [0] * len(strips)), (277, 3, [samples]), (278, 3, [height]), (279, 4, [*map(len, strips)])]
    tags += [(284, 3, [planar]), *([(338, 3, [extra])] if extra is not None else [])]
    tags.append((339, 3, [sample_format] * samples))
    offset, room, head = ("Q", 8, 16) if big else ("I", 4, 8)
    data_at = head + (8 if big else 2) + (20 if big else 12) * len(tags) + room
    lengths = {tag: len(values) * (2 if kind == 3 else 4) for tag, kind, values in tags}
    start = data_at + sum(length for length in lengths.values() if length > room)
    beside, entries = b"", b""
    for tag, kind, values in tags:
        numbers = [start + sum(map(len, strips[:place])) for place in range(len(strips))] if tag == 273 else values
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > room:
            beside, packed = beside + packed, struct.pack(order + offset, data_at + len(beside))
        entries += struct.pack(order + "HH" + offset, tag, kind, len(numbers)) + packed.ljust(room, b"\0")
    mark = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    head_bytes = mark + (struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8))
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return head_bytes + count + entries + bytes(room) + beside + b"".join(strips)


def _sixteen(levels: Iterable[int]) -> bytes:
    """Samples of 16 bits, the same in either byte order: 257 times each level."""
    return bytes(byte for level in levels for byte in (level, level))


def tiff_layouts(image: Image.Image) -> dict[str, bytes]:
    """The picture in layouts that decoders take for another one, or do not know."""
    rgb, gray, cmyk = image.tobytes(), image.convert("L").tobytes(), image.convert("CMYK").tobytes()
    planes = [channel.tobytes() for channel in image.split()]
    full, size = b"\xff" * len(gray), image.size
    inverse = bytes(255 - level for level in gray)
    return {
        "planar16.tif": strip_tiff(size, [*map(_sixteen, planes)], photometric=2, samples=3, bits=16, planar=2),
        "planar8.tif": strip_tiff(size, planes, photometric=2, samples=3, bits=8, planar=2),
        "planar16 big-endian.tif": strip_tiff(
            size, [*map(_sixteen, planes)], photometric=2, samples=3, bits=16, planar=2, order=">"
        ),
        "rgb16.tif": strip_tiff(size, [_sixteen(rgb)], photometric=2, samples=3, bits=16),
        "rgb16 big.tif": strip_tiff(size, [_sixteen(rgb)], photometric=2, samples=3, bits=16, big=True),
        "white is zero 16.tif": strip_tiff(size, [_sixteen(inverse)], photometric=0, samples=1, bits=16),
        "white is zero 8.tif": strip_tiff(size, [inverse], photometric=0, samples=1, bits=8),
        "gray16.tif": strip_tiff(size, [_sixteen(gray)], photometric=1, samples=1, bits=16),
        "gray float.tif": strip_tiff(size, [_floats(gray)], photometric=1, samples=1, bits=32, sample_format=3),
        "gray float big-endian.tif": strip_tiff(
            size, [_floats(gray, order=">")], photometric=1, samples=1, bits=32, sample_format=3, order=">"
        ),
        "rgb float.tif": strip_tiff(size, [_floats(rgb)], photometric=2, samples=3, bits=32, sample_format=3),
        "gray alpha 16.tif": strip_tiff(
            size, [_sixteen(_interleaved(gray, full))], photometric=1, samples=2, bits=16, extra=2
        ),
        "rgb alpha 16.tif": strip_tiff(
            size, [_sixteen(_interleaved(*planes, full))], photometric=2, samples=4, bits=16, extra=2
        ),
        "cmyk.tif": strip_tiff(size, [cmyk], photometric=5, samples=4, bits=8),
        "cmyk alpha.tif": strip_tiff(
            size,
            [_interleaved(*(cmyk[channel::4] for channel in range(4)), full)],
            photometric=5,
            samples=5,
            bits=8,
            extra=2,
        ),
    }


def _interleaved(*channels: bytes) -> bytes:
    return bytes(byte for pixel in zip(*channels, strict=True) for byte in pixel)


def _floats(levels: bytes, *, order: str = "<") -> bytes:
    values = array("f", (level / 255 for level in levels))
    return struct.pack(f"{order}{len(values)}f", *values)


def dng(width: int = 320, height: int = 240) -> bytes:
    """A camera's raw file: a preview of 80×54 pixels first, then the sensor's own, brighter to the right."""
    preview = scene(80, 54).tobytes()
    row = struct.pack(f"<{width}H", *(400 + 3000 * column // width for column in range(width)))
    sensor = row * height
    first = [(254, 4, 1, 1), (256, 3, 1, 80), (257, 3, 1, 54), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2)]
    first += [(273, 4, 1, 0), (277, 3, 1, 3), (278, 3, 1, 54), (279, 4, 1, len(preview)), (330, 4, 1, 0)]
    first.append((50706, 1, 4, 0x401))
    second = [(254, 4, 1, 0), (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 16), (259, 3, 1, 1)]
    second += [(262, 3, 1, 32803), (273, 4, 1, 0), (277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, len(sensor))]
    second_at = 8 + 2 + 12 * len(first) + 4
    bits_at = second_at + 2 + 12 * len(second) + 4
    preview_at = bits_at + 6
    places = [{258: bits_at, 273: preview_at, 330: second_at}, {273: preview_at + len(preview)}]
    data = b"II*\0" + struct.pack("<I", 8)
    for entries, place in zip((first, second), places, strict=True):
        fields = (struct.pack("<HHII", tag, kind, count, place.get(tag, value)) for tag, kind, count, value in entries)
        data += struct.pack("<H", len(entries)) + b"".join(fields) + bytes(4)
    return data + struct.pack("<3H", 8, 8, 8) + preview + sensor


def motion_photo(photo: bytes, *, video: int) -> bytes:
    """A phone's picture with so many bytes of video behind its end."""
    return photo + b"\0\0\0\x18ftypmp42" + Random(0).randbytes(video)  # noqa: S311 - a video, not secrets


def png_with_gamma(picture: Image.Image, gamma: float, *, mode: str) -> bytes:
    """A picture in sRGB (2.2 is near enough) stored with another gamma, which a chunk tells of."""
    toned = picture.point([round(255 * (sample / 255) ** (2.2 * gamma)) for sample in range(256)] * len(picture.mode))
    if mode == "P":
        toned = toned.quantize(256, dither=Image.Dither.NONE)
    elif mode == "I;16":
        toned = toned.convert("I").point(lambda sample: sample * 257).convert("I;16")
    png = encoded(toned if mode in ("P", "I;16") else toned.convert(mode), "PNG")
    body = b"gAMA" + struct.pack(">I", round(gamma * 100_000))
    return png[:33] + struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


def png_with_text(png: bytes, *, length: int, behind: bool) -> bytes:
    """A PNG with a compressed text of `length` bytes before or behind its pixels."""
    body = b"prompt\0\0" + zlib.compress(b"x" * length)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    at = len(png) - 12 if behind else 33
    return png[:at] + chunk + png[at:]


def zeros_from(data: bytes, part: float) -> bytes:
    """A file as a broken copy left it: as long as it should be, zeros from that part on."""
    kept = int(len(data) * part)
    return data[:kept] + bytes(len(data) - kept)


def twice(image: Image.Image, kind: str) -> bytes:
    """A file with two pictures: an animation, or a TIFF of two pages."""
    buffer = io.BytesIO()
    image.save(buffer, kind, save_all=True, append_images=[ImageOps.invert(image)])
    return buffer.getvalue()


def names_in(folder: Path) -> set[str]:
    """Every file under `folder`, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
