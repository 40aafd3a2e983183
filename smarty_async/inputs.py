"""One photo as a caller hands it in, made ready to be sent."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import msgspec
from PIL import Image
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import PngInfo

from smarty_async.archive.outputs.metadata.copier import SentPhoto
from smarty_async.archive.outputs.metadata.read import DESCRIPTIVE
from smarty_async.archive.paths import display_path
from smarty_async.archive.photos.convert import converted
from smarty_async.archive.photos.identify import (
    Orientation,
    decode,
    decoding,
    orientation_in_fields,
    orientation_of,
    silenced,
)
from smarty_async.archive.photos.probe import Probed, probe
from smarty_async.archive.photos.reader import FileBody, PhotoData, open_unchanged
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits, PathLike
from smarty_async.transport.body import Body, MemoryBody

__all__ = ["AsyncReadable", "InputPhoto", "PhotoInput", "WholeInput", "name_of", "read_input", "read_whole"]

_MOST_DPI = 1 << 16
"""Pixels an inch; more is no resolution."""
_WHITE = 255
"""Of 8 bits."""


class AsyncReadable(Protocol):
    """An asynchronous file: Starlette's ``UploadFile``, an open `aiofiles` file."""

    def read(self) -> Awaitable[bytes]:
        """All bytes that are left."""
        ...


WholeInput = PathLike | bytes | Image.Image
PhotoInput = WholeInput | bytearray | memoryview | BinaryIO | AsyncReadable


def name_of(photo: PhotoInput) -> str:
    """The photo's name in error messages: its path, the name of an uploaded or open file, else nothing."""
    if isinstance(photo, str | os.PathLike):
        return display_path(os.fsdecode(photo))
    name = getattr(photo, "filename", None) or getattr(photo, "name", None)
    return display_path(name) if isinstance(name, str) else ""


class InputPhoto(msgspec.Struct, frozen=True):
    """One photo, ready to be sent.

    Attributes:
        body: what is sent.
        sent: what outputs are made of.
    """

    body: Body
    sent: SentPhoto


async def read_whole(photo: PhotoInput) -> WholeInput:
    """The photo, as bytes where it is a file object or a buffer: how long its `read` takes is the caller's.

    Args:
        photo: a path, the bytes of an image file, a binary file object, an asynchronous one, or a Pillow image.

    Raises:
        TypeError: it is none of these.
    """
    return photo if isinstance(photo, str | os.PathLike | Image.Image) else await _bytes_of(photo)


async def read_input(photo: WholeInput, limits: Limits) -> InputPhoto:
    """Make `photo` something that the service takes; of a file with several pages, the first.

    Args:
        photo: a path, the bytes of an image file, or a Pillow image.
        limits: what one request may carry.

    Raises:
        PhotoRejected: it cannot be sent.
    """
    if isinstance(photo, str | os.PathLike):
        return await asyncio.to_thread(_from_file, os.fsdecode(photo), limits)
    if isinstance(photo, Image.Image):
        return await asyncio.to_thread(_from_picture, photo, limits)
    return await asyncio.to_thread(_from_bytes, photo, limits)


async def _bytes_of(photo: bytes | bytearray | memoryview | BinaryIO | AsyncReadable) -> bytes:
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    read = getattr(photo, "read", None)
    if read is None:
        raise TypeError(f"a photo is a path, bytes, a file object or a Pillow image, not {type(photo).__name__}")
    data = await read() if inspect.iscoroutinefunction(read) else await asyncio.to_thread(read)
    if inspect.isawaitable(data):
        data = await data
    if not isinstance(data, bytes | bytearray):
        raise TypeError(f"the file must be opened in binary mode: read() gave {type(data).__name__}")
    return bytes(data)


def _from_picture(picture: Image.Image, limits: Limits) -> InputPhoto:
    """Encode `picture` upright, as PNG or else as JPEG, of as many pixels."""
    pixels = picture.width * picture.height
    if not pixels:
        raise PhotoRejected("the picture has no pixels", type="empty")
    if pixels > limits.max_pixels:
        raise _too_large(picture, f"{limits.max_pixels:,} pixels")
    try:
        with silenced(), decoding(picture):
            _decode(picture)
            made = converted(
                picture.copy(),  # its `info` is the caller's
                size=picture.size,
                orientation=_orientation_of(picture),
                lossy=False,
                limits=msgspec.structs.replace(limits, max_dimensions=None),
                fit=True,
            )
            metadata = _metadata_of(picture)
    except OSError as error:
        raise PhotoRejected(f"the picture cannot be read: {error.strerror or error}", type="unreadable") from error
    if made.width * made.height < pixels:
        raise _too_large(picture, f"{limits.max_image_bytes:,} bytes an image")
    return InputPhoto(
        MemoryBody(made.data, made.content_type),
        SentPhoto(photo=metadata, sent=made.data, to_srgb=made.to_srgb),
    )


def _decode(picture: Image.Image) -> None:
    """Decode `picture`, which may only have been opened; refuse what would not be sent as it looks."""
    try:
        decode(picture)
    except PhotoRejected as error:
        if not isinstance(error.__cause__, AssertionError | AttributeError | ValueError):  # what Pillow raises then
            raise
        closed = "the picture, or the file that it is read from, is closed or damaged"
        raise PhotoRejected(closed, type="unreadable") from error
    if picture.mode == "I" and cast("tuple[int, int]", picture.getextrema())[1] <= _WHITE:
        raise PhotoRejected(
            f"the picture has mode I, and no value over {_WHITE} of 65,535: convert it to mode L", type="unsupported"
        )


def _orientation_of(picture: Image.Image) -> Orientation:
    """How `picture` lies: by the EXIF that a program can change, which may be another than that of its file."""
    with suppress(Exception):  # as below
        return orientation_in_fields(Image.Image.getexif(picture))
    return orientation_of(picture)


def _too_large(picture: Image.Image, limit: str) -> PhotoRejected:
    return PhotoRejected(
        f"{picture.width}×{picture.height} pixels are over the limit of {limit}: make the picture smaller",
        type="too_large",
    )


def _metadata_of(picture: Image.Image) -> bytes:
    """A blank PNG with the size of `picture` and its EXIF, XMP, ICC profile and resolution."""
    info: dict[str, Any] = {str(name): value for name, value in picture.info.items() if isinstance(value, bytes)}
    options = {"icc_profile": info.get("icc_profile"), "exif": info.get("exif") or _exif_of(picture)}
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", info.get("xmp", b"").decode(errors="replace"))
    with suppress(KeyError, TypeError, ValueError):  # `info` may hold anything
        across, down = map(float, picture.info["dpi"])
        if 1 < across < _MOST_DPI and 1 < down < _MOST_DPI:  # Pillow gives 1 for a TIFF without
            options["dpi"] = across, down
    buffer = io.BytesIO()
    Image.new("1", picture.size).save(buffer, "PNG", pnginfo=texts, **options)
    return buffer.getvalue()


def _exif_of(picture: Image.Image) -> bytes:
    """What Pillow keeps elsewhere than in `info`: a TIFF's fields, less those that say how its pixels are stored."""
    kept = Image.Exif()
    with suppress(Exception):  # broken EXIF spoils no picture
        kept.load(picture.getexif().tobytes())
        for tag in {*kept} - {*DESCRIPTIVE, IFD.Exif, IFD.GPSInfo}:
            del kept[tag]
        return kept.tobytes()
    return b""


def _from_bytes(data: bytes, limits: Limits) -> InputPhoto:
    probed = probe(data, limits=limits, fit=None)
    sent = probed.converted or data[: probed.size]
    return InputPhoto(MemoryBody(sent, probed.content_type), _sent_photo(data, sent, probed))


def _from_file(path: str, limits: Limits) -> InputPhoto:
    version: str | None = None
    with suppress(OSError, ValueError):  # the probe reports what is wrong with it
        version = str(Path(path).stat().st_mtime_ns)
    probed = probe(path, limits=limits, fit=None)
    photo = partial(open_unchanged, path, size=probed.file_size, version=version or "")
    if probed.converted is not None:
        return InputPhoto(
            MemoryBody(probed.converted, probed.content_type), _sent_photo(photo, probed.converted, probed)
        )
    body = FileBody(
        path,
        size=probed.size,
        version=version,
        content_type=probed.content_type,
        file_size=probed.file_size,
    )
    return InputPhoto(body, _sent_photo(photo, photo, probed))


def _sent_photo(photo: PhotoData, sent: PhotoData, probed: Probed) -> SentPhoto:
    return SentPhoto(
        photo=sent if probed.unpacked else photo,
        sent=sent,
        orientation=probed.orientation,
        to_srgb=probed.to_srgb,
        header=probed.header,
    )
