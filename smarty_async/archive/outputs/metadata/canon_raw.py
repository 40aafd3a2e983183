"""Read the metadata of Canon's RAW files (CR3), which are built of boxes as MP4 is.

A box of Canon's own holds the directories of an EXIF block, each as a TIFF structure by itself:
https://github.com/lclevy/canon_cr3.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO
from uuid import UUID

import msgspec
from PIL.ExifTags import IFD

from smarty_async.archive.outputs.metadata.parts import Parts
from smarty_async.archive.outputs.metadata.tiff import Directory, TiffError, TiffReader, build
from smarty_async.archive.outputs.metadata.tiff_file import descriptive_fields

__all__ = ["read_canon_raw"]

_CANON = UUID("85c0b687-820f-11e0-8111-f4ce462b6a48").bytes
_DIRECTORIES = {b"CMT2": IFD.Exif, b"CMT4": IFD.GPSInfo}
_MOST_BOXES = 256
_LARGEST_BOX = 1 << 20


def read_canon_raw(stream: BinaryIO, parts: Parts) -> None:
    """Read the metadata of the CR3 in `stream` into `parts`; the maker note (CMT3) is left out.

    Args:
        stream: seekable.
        parts: where what is found goes.

    Raises:
        TiffError: it is malformed.
    """
    end = stream.seek(0, io.SEEK_END)
    for kind, start, stop in _boxes(stream, 0, end):
        if kind == b"moov":
            for inner, begin, finish in _boxes(stream, start, stop):
                stream.seek(begin)
                if inner == b"uuid" and stream.read(16) == _CANON:
                    _read_directories(stream, begin + 16, finish, parts)
                    return


def _read_directories(stream: BinaryIO, start: int, stop: int, parts: Parts) -> None:
    root, order = Directory({}), ""
    for kind, begin, finish in _boxes(stream, start, stop):
        if kind not in (b"CMT1", *_DIRECTORIES):
            continue
        stream.seek(begin)
        reader = TiffReader(io.BytesIO(stream.read(min(finish - begin, _LARGEST_BOX))))
        directory = reader.directory(reader.first)
        if kind == b"CMT1":
            order = reader.order
            root = msgspec.structs.replace(root, fields=descriptive_fields(directory))
        elif reader.order == order:
            root.children[_DIRECTORIES[kind]] = directory
    if not order:
        raise TiffError("it has no directory")
    parts.set_exif(build(root, order))


def _boxes(stream: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box from `start` to `stop`."""
    for _ in range(_MOST_BOXES):
        stream.seek(start)
        head = stream.read(8)
        size, skipped = int.from_bytes(head[:4]), 8
        if size == 1:
            size, skipped = int.from_bytes(stream.read(8)), 16
        if start + 8 > stop or size < skipped or start + size > stop:
            return
        yield head[4:], start + skipped, start + size
        start += size
