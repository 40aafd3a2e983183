"""A chunk's frames and exact length: ``multipart/form-data`` (RFC 7578) without the images' bytes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from smarty_async.options import ModeSpec
from smarty_async.wire.messages import encode_meta, item_name

__all__ = ["FRAME_BYTES", "TAIL_BYTES", "Image", "Multipart"]

_SUFFIXES: Final = {"image/jpeg": "jpg", "image/png": "png", "image/tiff": "tif"}

FRAME_BYTES: Final = 256
"""What one image adds to a body beyond its own bytes, at most: its frame and its entry in the meta."""
TAIL_BYTES: Final = 512
"""What a body holds beside its images and their frames, at most."""


class Image(msgspec.Struct, frozen=True):
    """What the frame of one image tells.

    Attributes:
        content_type: ``image/jpeg`` or the real type.
        size: bytes.
    """

    content_type: str
    size: int


class Multipart:
    """The body of one request: the images in order, then the meta.

    Attributes:
        content_type: the request's header, boundary included.
        length: bytes of the whole body.
    """

    def __init__(self, images: Sequence[Image], specs: Sequence[ModeSpec], *, boundary: str | None = None) -> None:
        # 128 random bits: no image holds them, so none needs to be searched for them.
        boundary = boundary or f"smarty-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        names = [item_name(number) for number in range(len(images))]
        # A filename must be there, or the part is a plain field; an empty one is no file to some parsers.
        self._heads = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
            f'filename="{name}.{_SUFFIXES.get(image.content_type, "bin")}"\r\n'
            f"Content-Type: {image.content_type}\r\n\r\n".encode()
            for name, image in zip(names, images, strict=True)
        ]
        # No Content-Type: some of Go's form readers (1.10, golang/go#24041) take a part that has one for a file.
        self._tail = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="meta"\r\n\r\n'.encode()
            + encode_meta(names, specs)
            + f"\r\n--{boundary}--\r\n".encode()
        )
        frames = sum(map(len, self._heads)) + 2 * len(images) + len(self._tail)
        self.length = frames + sum(image.size for image in images)

    def frames(self) -> Iterator[bytes | int]:
        """The body in order: bytes as they are, and for each image its number."""
        lead = b""
        for number, head in enumerate(self._heads):
            yield lead + head
            yield number
            lead = b"\r\n"
        yield lead + self._tail
