"""The images of one request, taken in as they come: in memory while they are little, in a file after that."""

from __future__ import annotations

import asyncio
import tempfile
from threading import Lock
from typing import IO, Final

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from smarty_async.local.contract import Limits, Refusal

__all__ = ["Upload"]

_PIECE: Final = 1 << 16
_META_BYTES: Final = 1_000_000
_FRAMES: Final = 1_000_000
"""Bytes a body may hold beside its one image: the parts' headers and `meta`."""

_IN_MEMORY: Final = 4_000_000
"""Bytes of images one request may hold in memory; the rest lies in its temporary file."""


class Upload:
    """What one request's form holds.

    Close it when the answer is written: the temporary file goes with it.

    Attributes:
        meta: the `meta` field's bytes, None when there was none.
        sizes: bytes of each file by the part's name, also of those too large to be kept.
    """

    def __init__(self, limits: Limits) -> None:
        self.meta: bytes | None = None
        self.sizes: dict[str, int] = {}
        self._limits = limits
        self._held: dict[str, bytes] = {}
        self._offsets: dict[str, int] = {}
        self._file: IO[bytes] | None = None
        self._lock = Lock()
        self._room = _IN_MEMORY
        self._closed = False

    async def receive(self, request: web.Request) -> None:
        """Take the whole form in.

        Raises:
            Refusal: 400, it is no form; 413, it is too large.
            ConnectionError: the client left.
        """
        if request.content_type != "multipart/form-data":
            raise Refusal(400, "request Content-Type isn't multipart/form-data")
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    raise Refusal(400, "nested multipart is not supported")
                await self._receive_part(request, part)
        except (AssertionError, ValueError, KeyError, RuntimeError, HttpProcessingError):
            # All that aiohttp's reader raises for a form that is torn or misspelled.
            raise Refusal(400, "could not parse multipart form") from None
        self._check_size(request)

    async def _receive_part(self, request: web.Request, part: BodyPartReader) -> None:
        name = part.name or ""
        if part.filename is None:  # an empty one is a file's all the same
            field = await self._read(request, part, _META_BYTES)
            if name == "meta":
                self.meta = field[0]
            return
        data, size = await self._read(request, part, self._limits.max_image_bytes)
        if name in self.sizes:  # as servers do, the first of a name is the one that counts
            return
        self.sizes[name] = size
        if len(self.sizes) > self._limits.max_images:
            raise Refusal(400, f"too many images: at most {self._limits.max_images}")
        if data:
            await self._keep(name, data)

    async def _read(self, request: web.Request, part: BodyPartReader, limit: int) -> tuple[bytes | None, int]:
        """A part's bytes, None in their place when they are more than `limit`, and how many they are."""
        pieces: list[bytes] = []
        size = 0
        while not part.at_eof():
            piece = await part.read_chunk(_PIECE)
            self._check_size(request)
            size += len(piece)
            if size <= limit:
                pieces.append(piece)
            else:
                pieces.clear()
        return (b"".join(pieces) if size <= limit else None), size

    def _check_size(self, request: web.Request) -> None:
        several, one = self._limits.max_request_bytes, self._limits.max_image_bytes + _FRAMES
        limit = several if len(self.sizes) > 1 else max(several, one)
        if (request.content_length or request.content.total_bytes) > limit:
            raise Refusal(413, f"request body too large: at most {several} bytes")

    async def _keep(self, name: str, data: bytes) -> None:
        if len(data) <= self._room:
            self._room -= len(data)
            self._held[name] = data
        else:
            await asyncio.to_thread(self._write, name, data)

    def _write(self, name: str, data: bytes) -> None:
        with self._lock:
            if self._closed:
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the upload
            self._offsets[name] = self._file.seek(0, 2)
            self._file.write(data)

    def read(self, name: str) -> bytes:
        """An image's bytes; blocks on the disk, and may be called from any thread.

        Raises:
            KeyError: there is no such image, or the upload was closed.
        """
        if name in self._held:
            return self._held[name]
        with self._lock:
            if self._file is None:
                raise KeyError(name)
            self._file.seek(self._offsets[name])
            return self._file.read(self.sizes[name])

    def close(self) -> None:
        """Let go of the images; the temporary file vanishes."""
        with self._lock:
            self._closed = True
            self._held = {}
            if self._file is not None:
                self._file.close()
                self._file = None
