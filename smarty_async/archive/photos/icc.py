"""Write ICC profiles. Layout: ICC.1:2022, sections 7 and 10."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

__all__ = ["fixed", "profile", "xyz"]


def profile(head: bytes, tags: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A profile; the same data are stored once.

    Args:
        head: the header behind its first field, the size: 124 bytes.
        tags: name and data of each tag.
    """
    start = 4 + len(head) + 4 + 12 * len(tags)
    body, places, table = b"", dict[bytes, int](), struct.pack(">I", len(tags))
    for name, data in tags:
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    return struct.pack(">I", start + len(body)) + head + table + body


def xyz(values: Iterable[float]) -> bytes:
    """The data of a tag with a colour."""
    return b"XYZ \0\0\0\0" + fixed(values)


def fixed(values: Iterable[float]) -> bytes:
    """Numbers with 16 bits behind the point."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
