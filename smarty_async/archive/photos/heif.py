"""Whether a HEIC, HEIF or AVIF file is whole: by its boxes (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from smarty_async.archive.photos.damage import is_zero_filled_segment
from smarty_async.errors import PhotoRejected

__all__ = ["check_boxes"]

_MOST_BOXES = 10_000

_TAIL = 1024
"""Bytes of zeros: EXIF may come last, and cameras fill theirs up."""


def check_boxes(stream: BinaryIO) -> None:
    """Make sure that no box goes on past the file's end, and that the data of the pictures do not end in zeros.

    libheif decodes missing data as gray without a word. Costs one short read a box; there are about five.

    Raises:
        PhotoRejected: with type ``truncated`` or ``damaged``.
        OSError: the file cannot be read.
    """
    size = stream.seek(0, os.SEEK_END)
    at, data = 0, list[tuple[int, int]]()
    for _ in range(_MOST_BOXES):
        stream.seek(at)
        head = stream.read(16)
        if len(head) < 8:  # noqa: PLR2004 - length and name
            break
        length, kind = struct.unpack_from(">L4s", head)
        if length == 1 and len(head) == 16:  # noqa: PLR2004 - the length is 64 bits
            length = int.from_bytes(head[8:])
        elif length == 0 and kind != bytes(4):  # up to the file's end
            length = size - at
        if length < 8:  # noqa: PLR2004 - no box
            if head[:8] == bytes(8) and data:
                break  # padding
            raise PhotoRejected(f"the file is damaged: no box begins at byte {at:,}: copy it again", type="damaged")
        if at + length > size:
            raise PhotoRejected("the file breaks off: copy it again", type="truncated")
        if kind == b"mdat":
            data.append((at, length))
        at += length
    if is_zero_filled_segment(stream, data, tail=_TAIL):
        raise PhotoRejected("the file is damaged: its data end in zeros: copy it again", type="damaged")
