"""Request body in ``multipart/form-data`` (RFC 7578): its length and everything but the images' bytes."""

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
"""Bytes that one image adds to a body beside its own, at most: part header and entry in the meta."""
TAIL_BYTES: Final = 512
"""Bytes of a body beside its images and their part headers, at most."""


class Image(msgspec.Struct, frozen=True):
    """What the part header of one image needs.

    Attributes:
        content_type: ``image/jpeg`` or the real type.
        size: bytes of the image.
    """

    content_type: str
    size: int


class Multipart:
    """The body of one request: the images in order, then the meta.

    Attributes:
        content_type: value of the request's ``Content-Type``, with the boundary.
        length: bytes of the whole body.
    """

    def __init__(self, images: Sequence[Image], specs: Sequence[ModeSpec], *, boundary: str | None = None) -> None:
        # 128 random bits do not occur in an image, so the images are not searched for the boundary.
        boundary = boundary or f"smarty-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        names = [item_name(number) for number in range(len(images))]
        # A part without a filename is a plain field, and some parsers take an empty one for none.
        self._heads = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
            f'filename="{name}.{_SUFFIXES.get(image.content_type, "bin")}"\r\n'
            f"Content-Type: {image.content_type}\r\n\r\n".encode()
            for name, image in zip(names, images, strict=True)
        ]
        # No Content-Type: Go 1.10's form reader takes a part that has one for a file (golang/go#24041).
        self._tail = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="meta"\r\n\r\n'.encode()
            + encode_meta(names, specs)
            + f"\r\n--{boundary}--\r\n".encode()
        )
        frames = sum(map(len, self._heads)) + 2 * len(images) + len(self._tail)
        self.length = frames + sum(image.size for image in images)

    def frames(self) -> Iterator[bytes | int]:
        """Yield the body in order: bytes to send, and the number of each image where its bytes belong."""
        lead = b""
        for number, head in enumerate(self._heads):
            yield lead + head
            yield number
            lead = b"\r\n"
        yield lead + self._tail
