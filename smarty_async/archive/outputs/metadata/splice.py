"""Exchange the metadata of a JPEG without decoding it."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from smarty_async.archive.outputs.metadata.jpeg import JpegHeader, read_header
from smarty_async.archive.outputs.metadata.output_segments import MetadataSegments

__all__ = ["set_modified", "splice", "splice_bytes"]

_COPY_BYTES = 1 << 20


def splice(source: BinaryIO, destination: BinaryIO, *, header: JpegHeader, segments: MetadataSegments) -> None:
    """Copy a JPEG with its metadata exchanged; all else is copied as it is, 1 MiB at a time.

    Args:
        source: a seekable JPEG.
        destination: where the copy is written.
        header: that of `source`.
        segments: what is put in, and what is left out for it.
    """
    destination.write(b"\xff\xd8" + segments.data)
    at = 2
    for found in header.segments:
        if found.kind in segments.replaces:
            _copy(source, destination, at, found.start)
            at = found.end
    source.seek(at)
    shutil.copyfileobj(source, destination, _COPY_BYTES)


def splice_bytes(data: bytes, *, header: JpegHeader | None = None, segments: MetadataSegments) -> bytes:
    """As `splice`, in memory.

    Raises:
        JpegError: `header` is None and that of `data` is malformed.
    """
    source, copy = io.BytesIO(data), io.BytesIO()
    splice(source, copy, header=header or read_header(source), segments=segments)
    return copy.getvalue()


def set_modified(output: str | Path | int, modified_ns: int) -> bool:
    """Give `output` a time of modification, its time of access being kept.

    Args:
        output: a path, or an open file's descriptor where the system takes one (`os.supports_fd`).
        modified_ns: nanoseconds since 1970, as `os.stat_result.st_mtime_ns`; negative for earlier ones.

    Returns:
        Whether the disk takes it: FAT knows no time before 1980.
    """
    try:
        os.utime(output, ns=(os.stat(output).st_atime_ns, modified_ns))  # noqa: PTH116 - a descriptor has no Path
    except (OSError, OverflowError):
        return False
    return True


def _copy(source: BinaryIO, destination: BinaryIO, start: int, end: int) -> None:
    source.seek(start)
    while start < end:
        part = source.read(min(_COPY_BYTES, end - start))
        if not part:
            return
        destination.write(part)
        start += len(part)
