"""One photo as a caller hands it in, made ready to be sent."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import msgspec

from smarty_async.archive.outputs.metadata.copier import SentPhoto
from smarty_async.archive.paths import display_path
from smarty_async.archive.photos.probe import Probed, probe
from smarty_async.archive.photos.reader import FileBody
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits, PathLike
from smarty_async.transport.body import Body, MemoryBody

__all__ = ["AsyncReadable", "InputPhoto", "PhotoInput", "Picture", "name_of", "read_input"]


class AsyncReadable(Protocol):
    """An asynchronous file: Starlette's ``UploadFile``, an open `aiofiles` file."""

    def read(self) -> Awaitable[bytes]:
        """All bytes that are left."""
        ...


@runtime_checkable
class Picture(Protocol):
    """A Pillow image."""

    def save(self, fp: Any, format: str | None = None) -> None:  # noqa: A002 - Pillow's own name
        """Encode it into `fp`."""
        ...

    def convert(self, mode: str) -> Any:
        """The same picture in another mode."""
        ...


PhotoInput = PathLike | bytes | bytearray | memoryview | BinaryIO | AsyncReadable | Picture


def name_of(photo: PhotoInput) -> str:
    """The photo's name in error messages: its path, the name of an uploaded or open file, else nothing."""
    if isinstance(photo, str | os.PathLike):
        return display_path(os.fspath(photo))
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


async def read_input(photo: PhotoInput, limits: Limits) -> InputPhoto:
    """Read `photo` and make it something that the service takes; of a file with several pages, the first.

    Args:
        photo: a path, the bytes of an image file, a binary file object, an asynchronous one, or a Pillow image.
        limits: what one request may carry.

    Raises:
        PhotoRejected: it cannot be sent.
        TypeError: it is none of these.
    """
    if isinstance(photo, str | os.PathLike):
        return await asyncio.to_thread(_from_file, os.fspath(photo), limits)
    data = await _bytes_of(photo)
    return await asyncio.to_thread(_from_bytes, data, limits)


async def _bytes_of(photo: bytes | bytearray | memoryview | BinaryIO | AsyncReadable | Picture) -> bytes:
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, Picture):
        return await asyncio.to_thread(_encoded, photo)
    read = getattr(photo, "read", None)
    if read is None:
        raise TypeError(f"a photo is a path, bytes, a file object or a Pillow image, not {type(photo).__name__}")
    data = await read() if inspect.iscoroutinefunction(read) else await asyncio.to_thread(read)
    if inspect.isawaitable(data):
        data = await data
    if not isinstance(data, bytes):
        raise TypeError(f"the file must be opened in binary mode: read() gave {type(data).__name__}")
    return data


def _encoded(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    try:
        picture.save(buffer, "PNG")
    # Of a kind that no PNG holds, or without pixels; older versions of Pillow raise SystemError then.
    except (OSError, ValueError, SystemError) as error:
        raise PhotoRejected(f"the picture cannot be written as a PNG: {error}", type="unsupported") from error
    return buffer.getvalue()


def _from_bytes(data: bytes, limits: Limits) -> InputPhoto:
    probed = probe(data, limits=limits)
    sent = probed.converted or data[: probed.size]
    return InputPhoto(MemoryBody(sent, probed.content_type), _sent_photo(data, sent, probed))


def _from_file(path: str, limits: Limits) -> InputPhoto:
    version: str | None = None
    with suppress(OSError, ValueError):  # the probe reports what is wrong with it
        version = str(Path(path).stat().st_mtime_ns)
    probed = probe(path, limits=limits)
    if probed.converted is not None:
        return InputPhoto(
            MemoryBody(probed.converted, probed.content_type), _sent_photo(path, probed.converted, probed)
        )
    body = FileBody(
        path,
        size=probed.size,
        version=version,
        content_type=probed.content_type,
        file_size=probed.file_size,
    )
    return InputPhoto(body, _sent_photo(path, path, probed))


def _sent_photo(photo: str | bytes, sent: str | bytes, probed: Probed) -> SentPhoto:
    return SentPhoto(
        photo=photo, sent=sent, orientation=probed.orientation, to_srgb=probed.to_srgb, header=probed.header
    )
