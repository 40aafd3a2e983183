"""A look into one photo: is it an image, is it whole, is it within the limits, must it be converted?

Only a file whose pixels every decoder reads alike is sent as it is: JPEG with 8 bits a sample in gray or colour (no
CMYK), PNG (no 16-bit gray, nothing that shows through, no gamma of its own), and plain TIFF
(`pages.ImageDirectory.is_plain`) of one page.

Everything here blocks; run it in a thread. A JPEG, PNG or TIFF that can be sent as it is is not decoded. Its bytes are
read once: a JPEG's up to the end of its picture (1.1 ms a megabyte; decoding takes 60), a PNG's for their checksums
(0.8 ms a megabyte; 60), a TIFF's where they are uncompressed (0.3 ms a megabyte; 3). It is decoded when something looks
wrong, when it has transparency, and of course when it is converted.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

import msgspec

from smarty_async.archive.photos.convert import (
    SHORTEST_SIDE,
    converted,
    incomplete,
    scale_to_fit,
    unusual_gamma,
    way_to_fit,
    with_end,
)
from smarty_async.archive.photos.damage import check_boxes, check_rows, check_tiff, check_webp, without_zero_tail
from smarty_async.archive.photos.formats import (
    Loader,
    decoded_page,
    decoding_whole,
    develop,
    sensor_size,
)
from smarty_async.archive.photos.identify import (
    PREFIX_BYTES,
    RAW_FORMATS,
    Orientation,
    check_pixels,
    decode,
    decoding,
    format_of,
    loaded,
    open_image,
    opened,
    orientation_in,
    orientation_of,
    silenced,
)
from smarty_async.archive.photos.jpeg import (
    JPEG_START,
    JpegError,
    JpegHeader,
    JpegSource,
    JpegTruncated,
    SegmentKind,
    find_jpeg_extent,
    read_header,
)
from smarty_async.archive.photos.jpegxl import check_colors, decoded_size, original_jpeg
from smarty_async.archive.photos.pages import ImageDirectory, Tag, pictures, raw_name, read_directories
from smarty_async.archive.photos.png import PngScan, rewritten, scan_png
from smarty_async.archive.photos.reader import PhotoData, WholeFile, WholeFileStream, open_for_parsing, unreadable
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits

__all__ = ["LARGEST_DECODED", "Examined", "Probed", "examine", "parsing", "probe"]

LARGEST_DECODED = 500_000_000
"""Files over this are never converted, in bytes."""

_PIECE_BYTES = 1 << 20
_SHORT_TRAILER = 4096
"""Bytes: padding, and notes of cameras and programs."""
_MOST_KEPT, _MOST_SEGMENTS_KEPT = 8192, 100
"""Bytes of a JPEG's metadata, and its segments, that are kept from when it is probed until it has outputs."""


class Probed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A photo that can be sent.

    Attributes:
        content_type: ``image/jpeg``, ``image/png`` or ``image/tiff``.
        size: bytes that will be sent.
        width: pixels, as they will be sent.
        height: pixels, as they will be sent.
        orientation: the EXIF orientation of what will be sent: 1 when it was converted, for then it is upright.
        file_size: bytes of the whole file, when it was probed.
        converted: the bytes to send instead of the file's; None when the file's first `size` bytes are sent.
        unpacked: whether `converted` is the JPEG that the file was made of without loss, with all metadata of the file.
        to_srgb: whether colours were converted to sRGB, so that the source's ICC profile does not fit the outputs.
        digest: SHA-256 of the whole source where all of it was read; else None: reading it for sending gives it.
        whole: the file, when all of it was read and it is sent as it is; None when it is large.
        header: what is in front of a JPEG's pixels, where its metadata are short: they need not be read again.
        pages: how many pictures the file holds; only a TIFF may hold more than one.
        warning: what the service may dislike in it, None when there is nothing.
    """

    content_type: str
    size: int
    width: int
    height: int
    orientation: Orientation = 1
    file_size: int = 0
    converted: bytes | None = None
    unpacked: bool = False
    to_srgb: bool = False
    digest: bytes | None = None
    whole: WholeFile | None = None
    header: JpegHeader | None = None
    pages: int = 1
    warning: str | None = None


def probe(photo: PhotoData, *, limits: Limits, fit: bool | None = False, page: int = 1) -> Probed:
    """Look into `photo`, and convert it where the service would not take it as it is.

    JPEG, PNG and plain TIFF of one page are sent as they are, less what follows their picture. Whatever else can be
    read is converted: to PNG when that is within the limit, else to JPEG. So are the pages of a multi-page TIFF, the
    first one too, for a service may take all pages or any.

    Args:
        photo: the path of a file, a file's bytes, or what opens it.
        limits: what the endpoint takes.
        fit: make smaller what is over the limits, instead of refusing or only warning; None: advise nobody to do so.
        page: which picture of a multi-page TIFF, from 1.

    Raises:
        PhotoRejected: its types: ``unreadable``, ``empty``, ``not_an_image``; ``truncated`` and
            ``damaged``, where a new copy helps; ``too_large``; ``animation``; ``raw`` and ``heic``, whose decoders
            are not installed, or do not know the camera; ``unsupported``, a layout that the installed decoders do
            not read; ``no_such_page``.
        DiskError: the system opens no more files.
    """
    with parsing(photo), open_for_parsing(photo) as stream:
        return _probed(stream, limits, fit=fit, page=page)


@contextmanager
def parsing(photo: PhotoData) -> Generator[None]:
    """The boundary around parsers of a `photo`: they raise our errors, whatever its file makes them raise.

    Raises:
        PhotoRejected: it is broken, or cannot be read.
        DiskError: see `unreadable`.
    """
    try:
        yield
    except PhotoRejected:
        raise
    except MemoryError:
        raise PhotoRejected("it takes more memory than there is", type="too_large") from None
    except OSError as error:
        raise unreadable(error) from error
    except Exception as error:
        # Parsers raise exceptions of any class for broken data.
        if isinstance(photo, str) and "\0" in photo:
            raise PhotoRejected("it cannot be read: its path holds a NUL", type="unreadable") from error
        reason = f"{type(error).__name__}: {error}"[:200]
        raise PhotoRejected(f"it cannot be understood ({reason})", type="not_an_image") from error


def _probed(stream: BinaryIO, limits: Limits, *, fit: bool | None, page: int) -> Probed:
    found = examine(stream, page=page)
    width, height = found.width, found.height
    size = found.replacement.seek(0, os.SEEK_END) if found.replacement else found.end
    too_many_pixels = width * height > limits.max_pixels
    over = limits.max_image_bytes is not None and size > limits.max_image_bytes
    shrinks = (too_many_pixels or fit) and scale_to_fit(width, height, limits) < 1
    if too_many_pixels and not (fit and shrinks):
        raise PhotoRejected(
            f"{width}×{height} pixels are over the limit of {limits.max_pixels:,} pixels{way_to_fit(fit)}",
            type="too_large",
        )
    if found.content_type is None or (fit and (over or shrinks)):
        with silenced():
            return _converted(stream, found, limits, fit=fit)
    if over:
        raise PhotoRejected(
            f"{size:,} bytes are over the limit of {limits.max_image_bytes:,} bytes an image{way_to_fit(fit)}",
            type="too_large",
        )
    if found.replacement:
        found.replacement.seek(0)
    return Probed(
        content_type=found.content_type,
        size=size,
        width=width,
        height=height,
        orientation=found.orientation,
        file_size=stream.seek(0, os.SEEK_END),
        converted=found.replacement.read(size) if found.replacement else None,
        unpacked=found.unpacked,
        digest=_digest(stream) if found.replacement else None,
        whole=stream.file if isinstance(stream, WholeFileStream) and not found.replacement else None,
        header=found.header,
        warning=_size_warning(width, height, limits),
    )


def _converted(stream: BinaryIO, found: Examined, limits: Limits, *, fit: bool | None) -> Probed:
    size = stream.seek(0, os.SEEK_END)
    _check_bytes(size)
    source = (found.width, found.height)
    with found.load(scale_to_fit(*source, limits) if fit else 1.0) as image:
        made = converted(
            image,
            size=source,
            orientation=found.orientation,
            lossy=found.content_type == "image/jpeg",
            limits=limits,
            fit=fit,
        )
    return Probed(
        content_type=made.content_type,
        size=len(made.data),
        width=made.width,
        height=made.height,
        file_size=size,
        converted=made.data,
        to_srgb=made.to_srgb,
        digest=_digest(stream),
        header=found.header,
        pages=found.pages,
        warning=_size_warning(made.width, made.height, limits),
    )


def _size_warning(width: int, height: int, limits: Limits) -> str | None:
    """What the service may dislike in these dimensions, None when nothing."""
    if limits.max_dimensions is None:
        return None
    long, short = max(limits.max_dimensions), min(limits.max_dimensions)
    if SHORTEST_SIDE <= min(width, height) <= short and max(width, height) <= long:
        return None
    message = f"{width}×{height} pixels are outside the service's {SHORTEST_SIDE}×{SHORTEST_SIDE} to {long}×{short}"
    return f"{message}: --fit makes it smaller" if scale_to_fit(width, height, limits) < 1 else message


def _digest(stream: BinaryIO) -> bytes:
    """SHA-256 of the whole file."""
    stream.seek(0)
    digest = hashlib.sha256()
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.digest()


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A picture in a file, found whole.

    Attributes:
        width: pixels, as they are stored.
        height: pixels, as they are stored.
        load: decodes it.
        orientation: how the stored pixels lie; 1 where the decoder turns them.
        content_type: under which it may be sent as it is; None when it has to be converted.
        end: bytes of the file that belong to the picture.
        replacement: the same picture in a sound file, where the file itself is not; its pixels are not touched.
        unpacked: whether `replacement` is the JPEG that the file was made of without loss.
        pages: pictures in the file.
        header: of a JPEG.
    """

    width: int
    height: int
    load: Loader
    orientation: Orientation = 1
    content_type: str | None = None
    end: int
    replacement: BinaryIO | None = None
    unpacked: bool = False
    pages: int = 1
    header: JpegHeader | None = None


def examine(stream: BinaryIO, *, page: int = 1) -> Examined:
    """Find out what is in `stream`, and whether it is whole.

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
    if page == 1 and prefix.startswith(JPEG_START):
        return _examine_jpeg(stream, size)
    name = format_of(prefix)
    with silenced():
        return _examine(stream, size, name, prefix, page)


def _examine(stream: BinaryIO, size: int, name: str, prefix: bytes, page: int) -> Examined:
    directories: list[ImageDirectory] = []
    if name == "TIFF":
        directories = read_directories(stream)
        name = raw_name(directories) or name
    if name == "TIFF":
        return _examine_tiff(stream, size, directories, page)
    if page != 1:
        raise PhotoRejected(f"it has one page, and page {page} was asked for", type="no_such_page")
    if name == "PNG":
        return _examine_png(stream, size)
    _check_bytes(size)
    if name in RAW_FORMATS:
        width, height = sensor_size(stream, name)
        return Examined(width=width, height=height, load=partial(develop, stream, name), end=size)
    if name == "JXL":
        return _examine_jpeg_xl(stream, size)
    return _examine_other(stream, size, name, prefix)


def _examine_jpeg(stream: BinaryIO, size: int) -> Examined:
    source = stream.getvalue() if isinstance(stream, io.BytesIO) else stream
    header = _jpeg_header(source)
    extent = find_jpeg_extent(source, header)
    if extent.hole is not None:
        raise PhotoRejected(
            f"the file is damaged: zeros stand in for its data from byte {extent.hole:,} on: copy it again",
            type="damaged",
        )
    replacement, is_common = None, header.is_common
    if is_common:
        replacement = None if extent.end else _with_end(stream, size, progressive=header.is_progressive)
        load: Loader = partial(loaded, replacement or stream, "JPEG")
    elif extent.end is None:
        raise incomplete()
    else:
        load = decoding_whole(stream, "jpeg", header.width, header.height, what=header.described(), bits=header.bits)
    exif, xmp = header.payloads.get(SegmentKind.EXIF), header.payloads.get(SegmentKind.XMP)
    return Examined(
        width=header.width,
        height=header.height,
        load=load,
        orientation=orientation_in(exif[0] if exif else b"", xmp[0] if xmp else b"") if exif or xmp else 1,
        content_type="image/jpeg" if is_common and header.components in (1, 3) else None,
        end=_with_short_trailer(extent.end or size, size) if is_common else size,
        replacement=replacement,
        header=header if header.held <= _MOST_KEPT and len(header.segments) <= _MOST_SEGMENTS_KEPT else None,
    )


def _jpeg_header(source: JpegSource) -> JpegHeader:
    try:
        header = read_header(source)
    except JpegTruncated:
        raise PhotoRejected("the JPEG file ends in its header: copy it again", type="truncated") from None
    except JpegError as error:
        raise PhotoRejected(f"its JPEG header cannot be read: {error}", type="not_an_image") from None
    if header.components not in (1, 3, 4) or not (header.width and header.height and header.sound):
        raise PhotoRejected("its JPEG header cannot be read", type="not_an_image")
    return header


def _with_end(stream: BinaryIO, size: int, *, progressive: bool) -> BinaryIO | None:
    """See `with_end`; None also where the file is sound."""
    if size > LARGEST_DECODED:
        raise PhotoRejected(f"the file has no end within {size:,} bytes", type="truncated")
    return with_end(stream, progressive=progressive)


def _examine_png(stream: BinaryIO, size: int) -> Examined:
    scan = scan_png(stream)
    if scan.frames > 1:
        raise _animation("PNG", scan.frames)
    replacement = None if scan.sendable else _rewritten(scan, stream, size)
    source = replacement or stream
    try:
        image = open_image("PNG", source)
    except PhotoRejected:  # for a chunk that others pass over, say
        source = replacement = _rewritten(scan.without_notes(), stream, size)
        image = open_image("PNG", source)
    if scan.end is None:  # the pixels may be there nevertheless
        with decoding(image):
            decode(image)
        image = open_image("PNG", source)
    if exif := scan.read(b"eXIf", stream):  # which may come behind the pixels
        image.info["exif"] = exif
    return Examined(
        width=image.width,
        height=image.height,
        load=partial(loaded, source, "PNG"),
        orientation=orientation_of(image),
        content_type="image/png" if unusual_gamma(image) is None and _png_is_plain(scan, source) else None,
        end=_with_short_trailer(scan.end or size, size),
        replacement=replacement,
    )


def _rewritten(scan: PngScan, stream: BinaryIO, size: int) -> BinaryIO:
    _check_bytes(size)
    return rewritten(scan, stream)


def _examine_jpeg_xl(stream: BinaryIO, size: int) -> Examined:
    if jpeg := original_jpeg(stream):
        found = _examine_jpeg(io.BytesIO(jpeg), len(jpeg))
        replacement = found.replacement or io.BytesIO(jpeg[: found.end])
        return msgspec.structs.replace(found, replacement=replacement, unpacked=True)
    width, height = decoded_size(stream)
    check_colors(stream)
    load = decoding_whole(stream, "jpegxl", width, height, what="a JPEG XL picture")
    return Examined(width=width, height=height, load=load, end=size)


def _check_bytes(size: int) -> None:
    if size > LARGEST_DECODED:
        raise PhotoRejected(f"{size:,} bytes are too many to be converted", type="too_large")


def _examine_tiff(stream: BinaryIO, size: int, directories: list[ImageDirectory], page: int) -> Examined:
    pages = pictures(directories)
    if not 1 <= page <= len(pages):
        raise PhotoRejected(f"it has {len(pages)} pages, and page {page} was asked for", type="no_such_page")
    one = pages[page - 1]
    load = partial(decoded_page, stream, one)
    is_sendable = one.is_plain and len(pages) == 1
    if not is_sendable:
        _check_bytes(size)
        check_pixels(*one.size)
    if one.segments:
        check_tiff(stream, one, size)
    else:  # it does not say how long its data are
        with load(1.0):
            pass
    orientation = one.first(Tag.ORIENTATION, 1)
    return Examined(
        width=one.size[0],
        height=one.size[1],
        load=load,
        orientation=orientation if 1 <= orientation <= 8 else 1,  # noqa: PLR2004 - TIFF knows eight
        content_type="image/tiff" if is_sendable else None,
        end=size,
        pages=len(pages),
    )


def _examine_other(stream: BinaryIO, size: int, name: str, prefix: bytes) -> Examined:
    if name in ("HEIF", "AVIF"):
        check_boxes(stream)
        if prefix[8:12] in (b"msf1", b"hevc", b"hevx", b"avis"):
            raise _animation(name)
    elif name in ("GIF", "JPEG2000"):
        stream = without_zero_tail(stream)
    with opened(stream, name) as image:
        if name in ("GIF", "WEBP") and getattr(image, "is_animated", False):
            raise _animation(name)
        check_pixels(*image.size)
        check_rows(stream, image, size)
        found = Examined(
            width=image.width,
            height=image.height,
            load=partial(loaded, stream, name),
            # libheif turns the picture as its boxes say; what EXIF says is the same, or not meant (ISO/IEC 23008-12).
            orientation=1 if name == "HEIF" else orientation_of(image),
            end=size,
        )
        del image  # it may hold the file
    if name == "WEBP":
        check_webp(stream)
    return found


def _with_short_trailer(end: int, size: int) -> int:
    """Where what is sent ends: a few bytes behind the picture go with it, the video of a motion photo does not."""
    return size if size - end <= _SHORT_TRAILER else end


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


def _animation(name: str, frames: int | None = None) -> PhotoRejected:
    of = f" of {frames} frames" if frames else ""
    return PhotoRejected(f"it is an animation{of} ({name}), not a photo", type="animation")
