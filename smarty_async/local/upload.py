"""The images of one request, received as they arrive: in memory while they are small, in a file after that."""

from __future__ import annotations

import asyncio
import tempfile
from threading import Lock
from typing import Final

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from smarty_async.local.contract import Limits, Refusal

__all__ = ["Upload"]

_PIECE: Final = 1 << 16
_META_BYTES: Final = 1_000_000
_OVERHEAD: Final = 1_000_000
"""Bytes that a body may hold beside its one image: the parts' headers and `meta`."""

_IN_MEMORY: Final = 4_000_000
"""Bytes of images that one request may hold in memory; when they are more, all go to its temporary file."""


class Upload:
    """The form of one request.

    Close it when the answer is written; that deletes its temporary file.

    Attributes:
        meta: the `meta` field's bytes, None when there is none.
        sizes: bytes of each file by the part's name, also of those that are too large to be kept.
    """

    def __init__(self, limits: Limits) -> None:
        self.meta: bytes | None = None
        self.sizes: dict[str, int] = {}
        self._limits = limits
        self._images = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed in `close`
        self._end = 0  # of the images in it, in bytes
        self._offsets: dict[str, int] = {}
        self._lock = Lock()

    async def receive(self, request: web.Request) -> None:
        """Receive the whole form.

        Raises:
            Refusal: 400, it is no form; 413, it is too large; 415, it is compressed.
            ConnectionError: the client disconnected.
        """
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":  # photos are compressed already, and the limits are on what is received
            raise Refusal(415, f"request Content-Encoding {encoding} isn't supported: send the form as it is")
        if request.content_type != "multipart/form-data":
            raise Refusal(400, "request Content-Type isn't multipart/form-data")
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    raise Refusal(400, "nested multipart is not supported")
                await self._receive_part(request, part)
        except (AssertionError, ValueError, KeyError, RuntimeError, HttpProcessingError):
            # What aiohttp's reader raises for a form that is cut off or malformed.
            raise Refusal(400, "could not parse multipart form") from None
        self._check_size(request)

    async def _receive_part(self, request: web.Request, part: BodyPartReader) -> None:
        name = part.name or ""
        if part.filename is None:  # an empty file name makes it a file, too
            field = await self._receive_field(request, part)
            if name == "meta":
                self.meta = field
            return
        offset, size = self._end, await self._receive_file(request, part)
        if name in self.sizes:  # the first part of a name counts, as on most servers
            self._end = offset
            return
        self.sizes[name] = size
        self._offsets[name] = offset
        if len(self.sizes) > self._limits.max_images:
            raise Refusal(400, f"too many images: at most {self._limits.max_images}")

    async def _receive_field(self, request: web.Request, part: BodyPartReader) -> bytes | None:
        """Receive a field; None when it is too long."""
        field = bytearray()
        while not part.at_eof():
            field += await part.read_chunk(_PIECE)
            self._check_size(request)
            del field[_META_BYTES + 1 :]
        return bytes(field) if len(field) <= _META_BYTES else None

    async def _receive_file(self, request: web.Request, part: BodyPartReader) -> int:
        """Receive a file into `_images`, up to the limit; return its bytes."""
        offset, size, limit = self._end, 0, self._limits.image_bytes
        while not part.at_eof():
            piece = await part.read_chunk(_PIECE)
            self._check_size(request)
            size += len(piece)
            if size <= limit:
                await self._write(piece)
        if size > limit:
            self._end = offset
        return size

    def _check_size(self, request: web.Request) -> None:
        several, one = self._limits.max_request_bytes, self._limits.image_bytes + _OVERHEAD
        if several is None:
            return
        limit = several if len(self.sizes) > 1 else max(several, one)
        if (request.content_length or request.content.total_bytes) > limit:
            raise Refusal(413, f"request body too large: at most {several} bytes")

    async def _write(self, piece: bytes) -> None:
        if self._end + len(piece) <= _IN_MEMORY:
            self._write_at(self._end, piece)
        else:
            await asyncio.to_thread(self._write_at, self._end, piece)
        self._end += len(piece)

    def _write_at(self, offset: int, piece: bytes) -> None:
        with self._lock:
            if not self._images.closed:
                self._images.seek(offset)
                self._images.write(piece)

    def read(self, name: str) -> bytes:
        """Return an image's bytes. Blocks on the disk; may be called from any thread.

        Raises:
            KeyError: there is no such image, or the upload is closed.
        """
        with self._lock:
            if self._images.closed:
                raise KeyError(name)
            self._images.seek(self._offsets[name])
            return self._images.read(self.sizes[name])

    def close(self) -> None:
        """Delete the images."""
        with self._lock:
            self._images.close()
