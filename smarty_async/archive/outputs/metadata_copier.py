"""Gives outputs the metadata of their photo, and the orientation under which they show upright. Blocking."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import msgspec

from smarty_async.archive.outputs.metadata import (
    JpegError,
    JpegHeader,
    MetadataSegments,
    SourceMetadata,
    metadata_segments,
    read_header,
    read_metadata,
    set_modified,
    splice,
    splice_bytes,
    stripped_segments,
    tagged_orientation,
)
from smarty_async.archive.outputs.orientation import find_orientation
from smarty_async.errors import DiskError

__all__ = ["MetadataCopier", "SentPhoto"]


class SentPhoto(msgspec.Struct, frozen=True, kw_only=True):
    """What outputs were made of.

    Attributes:
        photo: the photo: its path, or its file's bytes.
        page: which picture of the file, from 1.
        sent: what was sent: the photo itself, or a picture made of it.
        orientation: the EXIF orientation of what was sent.
        to_srgb: whether what was sent was converted to sRGB, so that the photo's ICC profile does not fit the outputs.
        modified_ns: the photo's modification time in nanoseconds since 1970; None when it has none.
    """

    photo: str | bytes
    page: int = 1
    sent: str | bytes
    orientation: int = 1
    to_srgb: bool = False
    modified_ns: int | None = None


class MetadataCopier:
    """Copies the metadata of one photo into its outputs, without decoding or changing their pixels.

    Nothing here fails a photo: what cannot be read or written is left out, and `warnings` says so. An output that is
    no JPEG with a readable header stays as it is.

    Args:
        sent: what the outputs were made of.
        strip: leave personal metadata out instead; colours and orientation stay right.

    Attributes:
        warnings: what was left out, and why.
    """

    def __init__(self, sent: SentPhoto, *, strip: bool) -> None:
        self._sent = sent
        self._strip = strip
        self.warnings: list[str] = []

    def copy_to(self, output: str) -> int:
        """Rewrite the file `output` with the photo's metadata and modification time; its size in bytes then.

        Raises:
            DiskError: the disk refuses.
        """
        try:
            with open(output, "rb") as stream:  # noqa: PTH123 - a Path for each output costs more than its opening
                segments = self._segments(stream, lambda: output)
                if segments is not None:
                    header, insert = segments
                    with open(f"{output}.new", "wb") as copy:  # noqa: PTH123 - likewise
                        splice(stream, copy, header=header, segments=insert)
                    os.replace(f"{output}.new", output)  # noqa: PTH105 - likewise
            if self._sent.modified_ns is not None and not self._strip:
                set_modified(output, self._sent.modified_ns)
            return os.stat(output).st_size  # noqa: PTH116 - likewise
        except OSError as error:
            raise DiskError.of(error, Path(output), "write") from None

    def copied(self, output: bytes) -> bytes:
        """The JPEG file `output` with the photo's metadata."""
        segments = self._segments(io.BytesIO(output), lambda: output)
        return output if segments is None else splice_bytes(output, header=segments[0], segments=segments[1])

    def _segments(
        self, stream: BinaryIO, output: Callable[[], str | bytes]
    ) -> tuple[JpegHeader, MetadataSegments] | None:
        """The header of an output and the segments to insert; None when it stays as it is."""
        try:
            header = read_header(stream)
        except JpegError:
            return None
        make = stripped_segments if self._strip else metadata_segments
        segments = make(self._metadata, header, orientation=self._orientation(header, output()))
        self._warn(segments.warnings)
        return (header, segments) if segments.data != _replaced(stream, header, segments) else None

    @cached_property
    def _metadata(self) -> SourceMetadata:
        try:
            metadata = read_metadata(self._sent.photo, page=self._sent.page - 1)
        except OSError as error:
            self._warn([f"the photo's metadata cannot be read: {error.strerror or error}"])
            return SourceMetadata()
        self._warn(metadata.warnings)
        return msgspec.structs.replace(metadata, icc=None) if self._sent.to_srgb else metadata

    def _orientation(self, header: JpegHeader, output: str | bytes) -> int:
        tagged = tagged_orientation(header)
        if self._sent.orientation == 1:
            return tagged
        try:
            return find_orientation(
                self._sent.sent, output, source_orientation=self._sent.orientation, output_orientation=tagged
            )
        except OSError:  # the photo has gone since it was sent
            return tagged

    def _warn(self, warnings: tuple[str, ...] | list[str]) -> None:
        self.warnings += [warning for warning in warnings if warning not in self.warnings]


def _replaced(stream: BinaryIO, header: JpegHeader, segments: MetadataSegments) -> bytes:
    """The segments of an output that `segments` stand in for, as they are: often the same."""
    replaced: list[bytes] = []
    for found in header.segments:
        if found.kind in segments.replaces:
            stream.seek(found.start)
            replaced.append(stream.read(found.end - found.start))
    return b"".join(replaced)
