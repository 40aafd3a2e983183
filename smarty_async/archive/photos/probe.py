"""A look into one photo: is it an image, is it whole, is it within the limits, must it be converted?

Everything here blocks; run it in a thread. A JPEG, PNG or TIFF that can be sent as it is is not decoded. Its bytes are
read once: a JPEG's up to the end of its picture (1.1 ms a megabyte; decoding takes 60), a PNG's for their checksums
(0.8 ms a megabyte; 60), a TIFF's where they are uncompressed (0.3 ms a megabyte; 3). It is decoded when something looks
wrong, when it has transparency, and of course when it is converted.
"""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

import msgspec

from smarty_async.archive.photos.convert import SHORTEST_SIDE, converted, scale_to_fit
from smarty_async.archive.photos.examine import Examined, examine
from smarty_async.archive.photos.identify import Orientation, silenced
from smarty_async.archive.photos.reader import PhotoData, WholeFile, WholeFileStream, open_for_parsing
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits

__all__ = ["LARGEST_DECODED", "Probed", "probe"]

LARGEST_DECODED = 500_000_000
"""Files over this are never converted, in bytes."""


_PIECE_BYTES = 1 << 20


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """A photo that can be sent.

    Attributes:
        content_type: ``image/jpeg``, ``image/png`` or ``image/tiff``.
        size: bytes that will be sent.
        width: pixels, as they will be sent.
        height: pixels, as they will be sent.
        orientation: the EXIF orientation of what will be sent: 1 when it was converted, for then it is upright.
        file_size: bytes of the whole file, when it was probed.
        source_format: ``JPEG``, ``PNG``, ``TIFF``, ``HEIF``, ``DNG`` …
        source_width: pixels in the file, as they are stored.
        source_height: pixels in the file, as they are stored.
        source_orientation: the EXIF orientation of the file; 1 for HEIF and raw files, whose decoders turn them.
        converted: the bytes to send instead of the file's; None when the file's first `size` bytes are sent.
        to_srgb: whether colours were converted to sRGB, so that the source's ICC profile does not fit the outputs.
        digest: SHA-256 of the whole source when there are `converted` bytes, else None: reading it for sending
            gives it.
        whole: the file, when all of it was read and it is sent as it is; None when it is large.
        page: which picture of the file it is, from 1.
        pages: how many pictures the file holds; only a TIFF may hold more than one.
        warning: what the service may dislike in it, None when there is nothing.
    """

    content_type: str
    size: int
    width: int
    height: int
    orientation: Orientation = 1
    file_size: int = 0
    source_format: str = ""
    source_width: int = 0
    source_height: int = 0
    source_orientation: Orientation = 1
    converted: bytes | None = None
    to_srgb: bool = False
    digest: bytes | None = None
    whole: WholeFile | None = None
    page: int = 1
    pages: int = 1
    warning: str | None = None


def probe(photo: PhotoData, *, limits: Limits, fit: bool = False, page: int = 1) -> Probed:
    """Look into `photo`, and convert it where the service would not take it as it is.

    JPEG, PNG and plain TIFF of one page are sent as they are, less what follows their picture. Whatever else can be
    read is converted: to PNG when that is within the limit, else to JPEG. So are the pages of a multi-page TIFF, the
    first one too, for a service may take all pages or any.

    Args:
        photo: the path of a file, a file's bytes, or what opens it.
        limits: what the endpoint takes.
        fit: make smaller what is over the limits on bytes or dimensions, instead of refusing or only warning.
        page: which picture of a multi-page TIFF, from 1.

    Raises:
        PhotoRejected: nothing else. Its types: ``unreadable``, ``empty``, ``not_an_image``; ``truncated`` and
            ``damaged``, where a new copy helps; ``too_large``; ``animation``; ``raw`` and ``heic``, whose decoders
            are not installed, or do not know the camera; ``unsupported``, a layout that the installed decoders do
            not read; ``no_such_page``.
    """
    try:
        with silenced(), open_for_parsing(photo) as stream:
            return _probed(stream, limits, fit=fit, page=page)
    except PhotoRejected:
        raise
    except MemoryError:
        raise PhotoRejected("it takes more memory than there is", type="too_large") from None
    except OSError as error:
        raise PhotoRejected(f"it cannot be read: {error.strerror or error}", type="unreadable") from error
    except Exception as error:
        # Parsers raise exceptions of any class for broken data.
        if isinstance(photo, str) and "\0" in photo:
            raise PhotoRejected("it cannot be read: its path holds a NUL", type="unreadable") from error
        reason = f"{type(error).__name__}: {error}"[:200]
        raise PhotoRejected(f"it cannot be understood ({reason})", type="not_an_image") from error


def _probed(stream: BinaryIO, limits: Limits, *, fit: bool, page: int) -> Probed:
    found = examine(stream, page=page)
    size = len(found.replacement) if found.replacement else found.end
    too_many_pixels = found.width * found.height > limits.max_pixels
    over = limits.max_image_bytes is not None and size > limits.max_image_bytes
    shrinks = scale_to_fit(found.width, found.height, limits) < 1
    if too_many_pixels and not (fit and shrinks):
        way_out = "they cannot be made smaller" if fit else "add --fit to send a smaller copy"
        raise PhotoRejected(
            f"{found.width}×{found.height} pixels are over the limit of {limits.max_pixels:,} pixels: {way_out}",
            type="too_large",
        )
    if found.content_type is None or (fit and (over or shrinks)):
        return _converted(stream, found, limits, fit=fit, page=page)
    if over:
        raise PhotoRejected(
            f"{size:,} bytes are over the limit of {limits.max_image_bytes:,} bytes an image: "
            "add --fit to send a smaller copy",
            type="too_large",
        )
    return Probed(
        content_type=found.content_type,
        size=size,
        width=found.width,
        height=found.height,
        orientation=found.orientation,
        file_size=_size(stream),
        source_format=found.format,
        source_width=found.width,
        source_height=found.height,
        source_orientation=found.orientation,
        converted=found.replacement,
        digest=_digest(stream) if found.replacement else None,
        whole=stream.file if isinstance(stream, WholeFileStream) and not found.replacement else None,
        warning=_warning(found.width, found.height, limits),
    )


def _converted(stream: BinaryIO, found: Examined, limits: Limits, *, fit: bool, page: int) -> Probed:
    if (size := _size(stream)) > LARGEST_DECODED:
        raise PhotoRejected(f"{size:,} bytes are too many to be converted", type="too_large")
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
        file_size=_size(stream),
        source_format=found.format,
        source_width=found.width,
        source_height=found.height,
        source_orientation=found.orientation,
        converted=made.data,
        to_srgb=made.to_srgb,
        digest=_digest(stream),
        page=page,
        pages=found.pages,
        warning=_warning(made.width, made.height, limits),
    )


def _size(stream: BinaryIO) -> int:
    return stream.seek(0, io.SEEK_END)


def _digest(stream: BinaryIO) -> bytes:
    """SHA-256 of the whole file."""
    stream.seek(0)
    digest = hashlib.sha256()
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.digest()


def _warning(width: int, height: int, limits: Limits) -> str | None:
    """What is wrong with the dimensions, None when nothing is."""
    if limits.max_dimensions is None:
        return None
    long, short = max(limits.max_dimensions), min(limits.max_dimensions)
    message = f"{width}×{height} pixels are outside the service's {SHORTEST_SIDE}×{SHORTEST_SIDE} to {long}×{short}"
    if min(width, height) < SHORTEST_SIDE:
        return message
    if max(width, height) > long or min(width, height) > short:
        return f"{message}: --fit makes it smaller"
    return None
