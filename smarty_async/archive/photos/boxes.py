"""The boxes that JPEG 2000, JPEG XL and ISO base media files are built of.

Layout: ISO/IEC 15444-1, annex I; ISO/IEC 14496-12, 4.2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Final

__all__ = ["boxes", "jpeg2000_profile"]

_MOST_BOXES: Final = 256
_LARGEST_PROFILE: Final = 4 << 20
_PROFILES: Final = (2, 3)
"""Methods of a colour specification that hold an ICC profile: a restricted one, and any."""


def boxes(stream: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box from `start` to `stop`."""
    for _ in range(_MOST_BOXES):
        stream.seek(start)
        head = stream.read(8)
        size, skipped = int.from_bytes(head[:4]), 8
        if size == 1:
            size, skipped = int.from_bytes(stream.read(8)), 16
        elif size == 0:  # up to the end
            size = stop - start
        if start + 8 > stop or size < skipped or start + size > stop:
            return
        yield head[4:], start + skipped, start + size
        start += size


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
