"""The boxes that JPEG 2000, JPEG XL and ISO base media files are built of.

Layout: ISO/IEC 15444-1, annex I; ISO/IEC 14496-12, 4.2.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final

from smarty_async.errors import PhotoRejected

__all__ = ["boxes", "checked_boxes", "jpeg2000_profile"]

_MOST_BOXES: Final = 10_000
_LARGEST_PROFILE: Final = 4 << 20
_PROFILES: Final = (2, 3)
"""Methods of a colour specification that hold an ICC profile: a restricted one, and any."""


def boxes(stream: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box from `start` to `stop`, up to the first that is damaged."""
    with suppress(PhotoRejected):
        yield from checked_boxes(stream, start, stop)


def checked_boxes(stream: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box from `start` to `stop`.

    Raises:
        PhotoRejected: with type ``damaged`` where no box begins, ``truncated`` where one goes on past `stop`.
    """
    for number in range(_MOST_BOXES):
        stream.seek(start)
        head, skipped = stream.read(max(0, min(16, stop - start))), 8
        if len(head) < 8:  # noqa: PLR2004 - length and kind
            return
        length, kind = struct.unpack_from(">L4s", head)
        if length == 1 and len(head) == 16:  # noqa: PLR2004 - the length is 64 bits
            length, skipped = int.from_bytes(head[8:]), 16
        elif length == 0 and kind != bytes(4):  # up to the end
            length = stop - start
        if length < skipped:
            if head[:8] == bytes(8) and number > 1:
                return  # padding
            raise PhotoRejected(f"the file is damaged: no box begins at byte {start:,}: copy it again", type="damaged")
        if start + length > stop:
            raise PhotoRejected("the file is incomplete: copy it again", type="truncated")
        yield kind, start + skipped, start + length
        start += length


def jpeg2000_profile(stream: BinaryIO) -> bytes | None:
    """The ICC profile of a JPEG 2000 file, which Pillow does not read; None when it has none."""
    for kind, start, stop in boxes(stream, 0, stream.seek(0, os.SEEK_END)):
        if kind != b"jp2h":
            continue
        for inner, begin, end in boxes(stream, start, stop):
            if inner == b"colr" and end - begin <= _LARGEST_PROFILE:
                stream.seek(begin)
                content = stream.read(end - begin)
                if content[:1] and content[0] in _PROFILES:
                    return content[3:]
    return None
