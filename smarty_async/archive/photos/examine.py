"""What a file holds, whether it is whole, and whether the service may get it as it is.

Only a file whose pixels every decoder reads alike is sent as it is: JPEG with 8 bits a sample in gray or colour (no
CMYK), PNG (no 16-bit gray, nothing that shows through), and plain TIFF (`tiff.Directory.is_plain`) of one page.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, BinaryIO, cast

import msgspec
from PIL import Image
from PIL.ImageFile import ImageFile

from smarty_async.archive.photos import jpeg
from smarty_async.archive.photos.damage import (
    check_boxes,
    find_missing_rows,
    find_zero_tail,
    holds_zeros,
    is_zero_filled_segment,
    webp_data,
)
from smarty_async.archive.photos.formats import decode_stream, decoded_page, develop, sensor_size
from smarty_async.archive.photos.identify import (
    DECODING,
    PREFIX_BYTES,
    RAW_FORMATS,
    Orientation,
    check_pixels,
    decode,
    decoding,
    format_of,
    open_image,
    orientation_in,
    orientation_of,
)
from smarty_async.archive.photos.png import PngScan, rewritten, scan_png
from smarty_async.archive.photos.tiff import Directory, Tag, pictures, raw_name, read_directories
from smarty_async.errors import PhotoRejected

__all__ = ["Examined", "Loader", "examine"]

Loader = Callable[[float], AbstractContextManager[Image.Image]]
"""Decodes a picture, given by what its sides will be multiplied at least; holds its memory for the block."""

_LONGEST_RAW_READ = 1 << 26
"""Bytes of uncompressed rows that are looked through at a time."""


_WEBP_TAIL = 512
"""Bytes of zeros in which a lossy WebP ends only if its last rows are flat."""

_LONGEST_WEBP_TAIL = 1 / 3
"""Part of a lossy WebP that zeros are in no whole one; 0.22 where the fastest method packs a picture's black half."""

_FLAT = 16
"""Gray levels."""

_PCX_HEADER, _PCX_PALETTE = 128, 769
"""Bytes, at the beginning and at the end of a PCX file."""

_SHORT_TRAILER = 4096
"""Bytes: padding, and notes of cameras and programs."""

_BYTES_PER_PIXEL = 24
"""Memory of decoding a pixel by imagecodecs and converting it."""

_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I": 16}
"""Bits of a pixel in a file, by mode of Pillow; the samples of the others have 8."""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A picture in a file, found whole.

    Attributes:
        format: ``JPEG``, ``PNG``, ``TIFF``, ``HEIF``, ``DNG`` …
        width: pixels, as they are stored.
        height: pixels, as they are stored.
        load: decodes it.
        orientation: how the stored pixels lie; 1 where the decoder turns them.
        content_type: under which it may be sent as it is; None when it has to be converted.
        end: bytes of the file that belong to the picture.
        replacement: the same picture in a sound file, where the file itself is not; its pixels are not touched.
        pages: pictures in the file.
    """

    format: str
    width: int
    height: int
    load: Loader
    orientation: Orientation = 1
    content_type: str | None = None
    end: int
    replacement: bytes | None = None
    pages: int = 1


def examine(stream: BinaryIO, *, page: int = 1) -> Examined:
    """Find out what is in `stream`.

    Args:
        stream: seekable; kept open as long as `Examined.load` is to be called.
        page: which picture of a multi-page TIFF, from 1.

    Raises:
        PhotoRejected: with type ``empty``, ``not_an_image``, ``truncated``, ``damaged``, ``animation``, ``raw``,
            ``heic``, ``unsupported``, ``too_large`` or ``no_such_page``.
        OSError: the file cannot be read.
    """
    size = stream.seek(0, os.SEEK_END)
    if not size:
        raise PhotoRejected("it is empty: 0 bytes", type="empty")
    stream.seek(0)
    prefix = stream.read(PREFIX_BYTES)
    name = format_of(prefix)
    directories: list[Directory] = []
    if name == "TIFF":
        directories = read_directories(stream)
        name = raw_name(directories) or name
    if name == "TIFF":
        return _examine_tiff(stream, size, directories, page)
    if page != 1:
        raise PhotoRejected(f"it has one page, and page {page} was asked for", type="no_such_page")
    if name in RAW_FORMATS:
        width, height = sensor_size(stream, name)
        return Examined(format=name, width=width, height=height, load=partial(develop, stream, name), end=size)
    special = {"JPEG": _examine_jpeg, "PNG": _examine_png, "JXL": _examine_jxl}.get(name)
    return special(stream, size) if special else _examine_other(stream, size, name, prefix)


def _examine_jpeg(stream: BinaryIO, size: int) -> Examined:
    frame = jpeg.read_frame(stream)
    if frame is not None and not frame.is_common:
        return _examine_rare_jpeg(stream, size, frame)
    image = open_image("JPEG", stream)
    end, replacement = jpeg.check_whole(stream, size, image)
    source = io.BytesIO(replacement) if replacement else stream
    return Examined(
        format="JPEG",
        width=image.width,
        height=image.height,
        load=partial(_loaded_jpeg, source),
        orientation=orientation_of(image),
        content_type="image/jpeg" if image.mode in ("L", "RGB") else None,
        end=_with_short_trailer(end, size),
        replacement=replacement,
    )


def _examine_rare_jpeg(stream: BinaryIO, size: int, frame: jpeg.Frame) -> Examined:
    if jpeg.find_end(stream) is None:
        raise PhotoRejected("the file is incomplete: copy it again", type="truncated")
    decoder = partial(decode_stream, stream, "jpeg", what=jpeg.described(frame), bits=frame.bits)
    return Examined(
        format="JPEG",
        width=frame.width,
        height=frame.height,
        load=_whole(frame.width, frame.height, decoder),
        orientation=orientation_in(jpeg.read_exif(stream)),
        end=size,
    )


def _with_short_trailer(end: int, size: int) -> int:
    """Where what is sent ends: a few bytes behind the picture go with it, the video of a motion photo does not."""
    return size if size - end <= _SHORT_TRAILER else end


@contextmanager
def _loaded_jpeg(stream: BinaryIO, scale: float) -> Generator[Image.Image]:
    image = open_image("JPEG", stream)
    kept = image.width * image.height if image.info.get("progressive") else 0
    if scale < 1:
        image.draft(image.mode, (round(image.width * scale), round(image.height * scale)))
    with decoding(image, extra_pixels=kept):
        decode(image)
        yield image


def _examine_png(stream: BinaryIO, size: int) -> Examined:
    scan = scan_png(stream)
    if scan.frames > 1:
        raise _animation("PNG", scan.frames)
    replacement = None if scan.sendable else rewritten(scan, stream)
    source = io.BytesIO(replacement) if replacement else stream
    image = open_image("PNG", source)
    if scan.end is None:  # the pixels may be there nevertheless
        with decoding(image):
            decode(image)
        image = open_image("PNG", source)
    return Examined(
        format="PNG",
        width=image.width,
        height=image.height,
        load=partial(_loaded, source, "PNG"),
        orientation=_png_orientation(scan, stream, image),
        content_type="image/png" if _png_is_plain(scan, source) else None,
        end=_with_short_trailer(scan.end or size, size),
        replacement=replacement,
    )


def _png_orientation(scan: PngScan, stream: BinaryIO, image: ImageFile) -> Orientation:
    data = scan.read(b"eXIf", stream)  # which may come behind the pixels
    if data:
        image.info["exif"] = data
    return orientation_of(image)


def _png_is_plain(scan: PngScan, stream: BinaryIO) -> bool:
    """Whether it looks alike with and without transparency, and has no 16-bit gray, which many decoders cut off."""
    if scan.depth == 16 and scan.color_type in (0, 4):  # noqa: PLR2004 - bits
        return False
    if not scan.transparent:
        return True
    image = open_image("PNG", stream)
    with decoding(image):
        decode(image)
        alpha = image.convert("RGBA").getchannel("A").getextrema()
    return alpha == (255, 255)


def _examine_tiff(stream: BinaryIO, size: int, directories: list[Directory], page: int) -> Examined:
    pages = pictures(directories)
    if not 1 <= page <= len(pages):
        raise PhotoRejected(f"it has {len(pages)} pages, and page {page} was asked for", type="no_such_page")
    one = pages[page - 1]
    load = partial(_loaded_page, stream, one)
    _check_tiff_data(stream, size, one, load)
    orientation = one.first(Tag.ORIENTATION, 1)
    return Examined(
        format="TIFF",
        width=one.size[0],
        height=one.size[1],
        load=load,
        orientation=orientation if 1 <= orientation <= 8 else 1,  # noqa: PLR2004 - TIFF knows eight
        content_type="image/tiff" if one.is_plain and len(pages) == 1 else None,
        end=size,
        pages=len(pages),
    )


def _check_tiff_data(stream: BinaryIO, size: int, page: Directory, load: Loader) -> None:
    segments = page.segments
    if not segments:  # it does not say how long its data are
        with load(1.0):
            return
    if max(offset + length for offset, length in segments) > size:
        raise PhotoRejected("the file is incomplete: copy it again", type="truncated")
    if page.compression != 1:
        damaged = is_zero_filled_segment(stream, segments, tail=page.longest_zero_tail)
    else:
        damaged = any(find_missing_rows(rows, page.row_bytes) is not None for rows in _batches(stream, segments))
    if damaged:
        raise _zero_filled()


def _batches(stream: BinaryIO, segments: list[tuple[int, int]]) -> Iterator[bytes]:
    """The data of the segments, some at a time."""
    parts, length = list[bytes](), 0
    for offset, size in segments:
        stream.seek(offset)
        parts.append(stream.read(size))
        length += size
        if length >= _LONGEST_RAW_READ:
            yield b"".join(parts)
            parts, length = [], 0
    yield b"".join(parts)


@contextmanager
def _loaded_page(stream: BinaryIO, page: Directory, scale: float) -> Generator[Image.Image]:
    del scale
    with decoded_page(stream, page) as image:
        yield image


def _examine_jxl(stream: BinaryIO, size: int) -> Examined:
    decoder = partial(decode_stream, stream, "jpegxl", what="a JPEG XL picture")
    picture = decoder()
    return Examined(
        format="JXL",
        width=picture.width,
        height=picture.height,
        load=_whole(picture.width, picture.height, decoder),
        end=size,
    )


def _whole(width: int, height: int, decoder: Callable[[], Image.Image]) -> Loader:
    """Decodes all of a file by imagecodecs."""

    @contextmanager
    def load(scale: float) -> Generator[Image.Image]:
        del scale
        check_pixels(width, height)
        with DECODING.acquire(width * height, _BYTES_PER_PIXEL):
            yield decoder()

    return load


def _examine_other(stream: BinaryIO, size: int, name: str, prefix: bytes) -> Examined:
    if name in ("HEIF", "AVIF"):
        check_boxes(stream)
        if prefix[8:12] in (b"msf1", b"hevc", b"hevx", b"avis"):
            raise _animation("HEIF" if name == "HEIF" else name)
    elif name in ("GIF", "JPEG2000"):
        stream = _without_zero_tail(stream, size)
    image = open_image(name, stream)
    if name in ("GIF", "WEBP") and getattr(image, "is_animated", False):
        raise _animation(name)
    if _is_zero_filled_webp(stream) if name == "WEBP" else _has_missing_rows(image, stream, size):
        raise _zero_filled()
    return Examined(
        format=name,
        width=image.width,
        height=image.height,
        load=partial(_loaded, stream, name),
        # libheif turns the picture as its boxes say; what EXIF says of it is the same, or not meant (ISO/IEC 23008-12).
        orientation=1 if name == "HEIF" else orientation_of(image),
        end=size,
    )


def _animation(name: str, frames: int | None = None) -> PhotoRejected:
    of = f" of {frames} frames" if frames else ""
    return PhotoRejected(f"it is an animation{of} ({name}), not a photo", type="animation")


def _zero_filled() -> PhotoRejected:
    return PhotoRejected(
        "the file is damaged: zeros stand where the data of its pixels should be: copy it again", type="damaged"
    )


def _without_zero_tail(stream: BinaryIO, size: int) -> BinaryIO:
    """The file up to the zeros at its end: when these were data, its decoder says now that it breaks off."""
    tail = find_zero_tail(stream)
    if tail is None:
        return stream
    stream.seek(0)
    return io.BytesIO(stream.read(min(tail + 8, size)))


def _is_zero_filled_webp(stream: BinaryIO) -> bool:
    """Whether zeros stand in for the data of a WebP picture.

    Lossless ones hold none in a row. Lossy ones end in many where nothing is to be seen in the last rows: those of a
    picture whose data are missing go on with the shades of the rows before them.
    """
    for kind, (offset, length) in webp_data(stream):
        if kind == b"VP8L" and holds_zeros(stream, [(offset, length)]):
            return True
        if kind == b"VP8 " and is_zero_filled_segment(stream, [(offset, length)], tail=_WEBP_TAIL):
            longest = int(length * _LONGEST_WEBP_TAIL)
            return is_zero_filled_segment(stream, [(offset, length)], tail=longest) or not _ends_flat(stream)
    return False


def _ends_flat(stream: BinaryIO) -> bool:
    with _loaded(stream, "WEBP", 1.0) as image:
        low, high = image.crop((0, image.height - 1, *image.size)).convert("L").getextrema()
    return cast("float", high) - cast("float", low) <= _FLAT


def _has_missing_rows(image: ImageFile, stream: BinaryIO, size: int) -> bool:
    """`find_missing_rows` where a format keeps its rows uncompressed."""
    if image.format == "PCX":  # its runs have at most 63 bytes
        return holds_zeros(stream, [(_PCX_HEADER, size - _PCX_HEADER - _PCX_PALETTE * (image.mode == "P"))])
    if image.format not in ("BMP", "PPM", "SGI", "PSD", "TGA"):
        return False
    for codec, _, offset, arguments in image.tile:
        if codec != "raw":
            continue
        stated: Any = arguments[1] if isinstance(arguments, tuple) and len(arguments) > 1 else 0
        bands = 1 if len(image.tile) > 1 else Image.getmodebands(image.mode)
        bits = _BITS.get(image.mode) or 8 * bands
        stride = stated if isinstance(stated, int) and stated > 0 else (image.width * bits + 7) // 8
        stream.seek(offset)
        rows = stream.read(min(stride * image.height, size))
        if find_missing_rows(rows, stride) is not None:
            return True
    return False


@contextmanager
def _loaded(stream: BinaryIO, name: str, scale: float) -> Generator[Image.Image]:
    del scale
    image = open_image(name, stream)
    with decoding(image):
        decode(image)
        yield image
