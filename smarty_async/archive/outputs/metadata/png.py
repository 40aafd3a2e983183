"""Read the metadata of a PNG file, chunk by chunk; the pixels' chunks are passed over.

Chunks: PNG, third edition (W3C), section 11.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import BinaryIO

from smarty_async.archive.outputs.metadata.parts import Parts
from smarty_async.archive.outputs.metadata.png_texts import PngTexts, inflate

__all__ = ["read_png"]

_MOST_CHUNKS = 200_000
_MOST_METADATA_CHUNKS = 256
_LARGEST_CHUNK = 4 << 20

_INCHES = 0.0254
"""An inch in metres."""


def read_png(stream: BinaryIO, parts: Parts) -> None:
    """Read the metadata of the PNG in `stream` into `parts`.

    Args:
        stream: seekable.
        parts: where what is found goes; what is malformed is left out there.
    """
    texts = PngTexts()
    readers: dict[bytes, Callable[[bytes], None]] = {
        b"IHDR": lambda data: _read_size(data, parts),
        b"eXIf": parts.set_exif,
        b"iCCP": lambda data: parts.set_icc(inflate(data.partition(b"\0")[2][1:])),
        b"pHYs": lambda data: _read_density(data, parts),
        **{kind: partial(texts.add, kind) for kind in (b"tEXt", b"zTXt", b"iTXt")},
    }
    for kind, data in _chunks(stream, readers, parts):
        try:
            readers[kind](data)
        except (ValueError, struct.error, zlib.error) as error:
            parts.leave_out(f"PNG's {kind.decode()}", error)
    texts.hand_to(parts)


def _chunks(stream: BinaryIO, wanted: Collection[bytes], parts: Parts) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of the chunks of the wanted kinds."""
    stream.seek(8)
    count = 0
    for _ in range(_MOST_CHUNKS):
        head = stream.read(8)
        size, kind = int.from_bytes(head[:4]), head[4:]
        if len(head) < 8 or kind == b"IEND" or count == _MOST_METADATA_CHUNKS:  # noqa: PLR2004 - size and kind
            return
        if kind not in wanted:
            stream.seek(size + 4, 1)
            continue
        count += 1
        if size > _LARGEST_CHUNK:
            parts.warn(f"PNG's {kind.decode()} left out: {size:,} bytes")
            stream.seek(size + 4, 1)
            continue
        data, checksum = stream.read(size), stream.read(4)
        if zlib.crc32(kind + data) == int.from_bytes(checksum):
            yield kind, data
        else:
            parts.leave_out(f"PNG's {kind.decode()}", "its checksum is wrong")


def _read_size(data: bytes, parts: Parts) -> None:
    width, height = struct.unpack(">II", data[:8])
    parts.size = width, height


def _read_density(data: bytes, parts: Parts) -> None:
    across, down, unit = struct.unpack(">IIB", data)
    parts.set_density(across, down, _INCHES if unit == 1 else None)
