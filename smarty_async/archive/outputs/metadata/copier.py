"""Copies the metadata of a photo into its outputs, without decoding them. Blocking.

The source's metadata becomes segments (`metadata_segments`), which `splice` puts in front of an output's own; the
orientation is the one under which the output shows upright.
"""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import msgspec

from smarty_async.archive.outputs.metadata.exif import (
    Geometry,
    correct_exif,
    minimal_exif,
    short_exif,
)
from smarty_async.archive.outputs.metadata.orientation import find_orientation
from smarty_async.archive.outputs.metadata.parts import SourceMetadata, jpeg_metadata
from smarty_async.archive.outputs.metadata.profiles import color_profile, icc_segments, photoshop_segments
from smarty_async.archive.outputs.metadata.read import read_metadata
from smarty_async.archive.outputs.metadata.xmp import XmpError, correct_xmp, xmp_segments
from smarty_async.archive.photos.identify import xmp_orientation
from smarty_async.archive.photos.jpeg import LARGEST_PAYLOAD, JpegError, JpegHeader, SegmentKind, read_header, segment
from smarty_async.archive.photos.reader import PhotoData, open_for_parsing
from smarty_async.archive.photos.tiff import TiffError, first_orientation
from smarty_async.errors import DiskError

__all__ = [
    "MetadataCopier",
    "MetadataSegments",
    "SentPhoto",
    "metadata_segments",
    "set_modified",
    "splice",
    "splice_bytes",
    "stripped_segments",
    "tagged_orientation",
]


_COPY = ".new"
"""What is added to the name of an output for its copy."""


class SentPhoto(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What outputs were made of.

    Attributes:
        photo: the photo, or a picture made of it that holds all its metadata: a path, a file's bytes, or what opens it.
        page: which picture of the file, from 1.
        sent: what was sent: the photo itself, or a picture made of it.
        orientation: the EXIF orientation of what was sent.
        to_srgb: whether what was sent was converted to sRGB, so that the photo's ICC profile does not fit the outputs.
        modified_ns: the photo's modification time in nanoseconds since 1970; None when it has none.
        header: what is in front of the photo's pixels; None when it is no JPEG, or has to be read again.
    """

    photo: PhotoData
    page: int = 1
    sent: PhotoData
    orientation: int = 1
    to_srgb: bool = False
    modified_ns: int | None = None
    header: JpegHeader | None = None


class MetadataCopier:
    """Copies the metadata of one photo into its outputs, without decoding or changing their pixels.

    Nothing here fails a photo: what cannot be read or written is left out, and `warnings` says so. An output that is
    no JPEG with a readable header stays as it is. Several threads may edit outputs at the same time: one mode's still
    arrives while another's is finished.

    Args:
        sent: what the outputs were made of.
        strip: leave personal metadata out instead; colours and orientation stay right.

    Attributes:
        warnings: what was left out, and why.
    """

    def __init__(self, sent: SentPhoto, *, strip: bool) -> None:
        self._sent = sent
        self._strip = strip
        self._latest_heads = b"", b""  # what the latest output began with, and what replaced it
        self._latest: tuple[object, MetadataSegments] | None = None  # what the latest segments depend on, and they
        self.warnings: list[str] = []

    def copy_to(self, output: str) -> int:
        """Rewrite the file `output` with the photo's metadata and modification time; its size in bytes then.

        Nothing knows of an output before it has its metadata, so that what breaks off here is a temporary file of no
        use.

        Raises:
            DiskError: the disk refuses.
        """
        try:
            with open_for_parsing(output) as stream:
                data = stream.getvalue() if isinstance(stream, io.BytesIO) else None
                large = data is None and self._copy_large(stream, output)
            if large:
                os.replace(f"{output}{_COPY}", output)  # noqa: PTH105 - a Path costs more than all else here
            if data is not None and (new := self.copied(data)) != data:
                with open(output, "wb") as file:  # noqa: PTH123 - a Path costs more than the opening
                    file.write(new)
            self.set_time(output)
            return os.stat(output).st_size  # noqa: PTH116 - likewise
        except OSError as error:
            raise DiskError.of(error, Path(output), "write") from None

    def _copy_large(self, stream: BinaryIO, output: str) -> bool:
        """Write a copy with the photo's metadata beside the output, which is not held in memory; False for none."""
        try:
            header = read_header(stream)
        except JpegError:
            return False
        segments = self._segments_for(header, output)
        if segments.data == b"".join(_replaced(stream, header, segments)):
            return False
        with open(f"{output}{_COPY}", "wb") as file:  # noqa: PTH123 - likewise
            splice(stream, file, header=header, segments=segments)
        return True

    def edited_start(self, start: Sequence[bytes]) -> list[bytes | memoryview] | None:
        """`start`, with which an output starts, with the photo's metadata; None when the output has to be complete.

        That is so where the start does not reach to its pixels, and where the orientation has to be found in them.
        """
        if self._sent.orientation != 1:
            return None
        try:
            edited = self.edited(start)
        except Exception:  # noqa: BLE001 - met again when the output is complete, it fails this photo, and no request
            return None
        return edited if edited[0] else None

    def set_time(self, output: str | int) -> None:
        """Give `output`, see `set_modified`, the photo's modification time, where it is kept and the disk takes it."""
        if self._sent.modified_ns is not None and not self._strip:
            set_modified(output, self._sent.modified_ns)

    def copied(self, output: bytes) -> bytes:
        """The JPEG file `output` with the photo's metadata."""
        return b"".join(self.edited([output]))

    def edited(self, output: Sequence[bytes]) -> list[bytes | memoryview]:
        """The JPEG file `output`, which is in pieces, with the photo's metadata; its pixels are not copied.

        Outputs of one answer mostly begin alike, up to their pixels: then their orientation is the same, too, unless it
        has to be found in the pixels.
        """
        looks_at_pixels = self._sent.orientation != 1
        first, rest = (b"".join(output), ()) if looks_at_pixels else (output[0], output[1:])
        head, new_head = self._latest_heads
        if looks_at_pixels or not head or not first.startswith(head):
            head, new_head = self._heads(first)
            if rest and not head:  # its header may be longer than the first piece
                first, rest = b"".join(output), ()
                head, new_head = self._heads(first)
            self._latest_heads = head, new_head
        return [new_head, memoryview(first)[len(head) :], *rest]

    def _heads(self, output: bytes) -> tuple[bytes, bytes]:
        """What `output` begins with, up to its pixels, and what replaces it; both are empty when it is no JPEG."""
        try:
            header = read_header(output)
        except JpegError:
            return b"", b""
        return output[: header.end], splice_bytes(
            output, header=header, segments=self._segments_for(header, output), end=header.end
        )

    def _segments_for(self, header: JpegHeader, output: str | bytes) -> MetadataSegments:
        """What carries the metadata in an output with this header; outputs of one answer mostly need the same."""
        own = header.payloads
        tagged = tagged_orientation(own) if SegmentKind.EXIF in own or SegmentKind.XMP in own else 1
        orientation = tagged if self._sent.orientation == 1 else self._found_orientation(output, tagged)
        parts = [own.get(kind) for kind in _DECISIVE]
        needs = (header.width, header.height, header.components, header.rgb, orientation, parts)
        latest = self._latest
        if latest is None or latest[0] != needs:
            make = stripped_segments if self._strip else metadata_segments
            self._latest = latest = needs, make(self._metadata, header, orientation=orientation)
            if latest[1].warnings:
                self._warn(latest[1].warnings)
        return latest[1]

    @cached_property
    def _metadata(self) -> SourceMetadata:
        try:
            if self._sent.header is not None:
                metadata = jpeg_metadata(self._sent.header)
            else:
                metadata = read_metadata(self._sent.photo, page=self._sent.page - 1)
        except OSError as error:
            self._warn([f"the photo's metadata cannot be read: {error.strerror or error}"])
            return SourceMetadata()
        if metadata.warnings:
            self._warn(metadata.warnings)
        return msgspec.structs.replace(metadata, icc=None) if self._sent.to_srgb else metadata

    def _found_orientation(self, output: str | bytes, tagged: int) -> int:
        """The orientation of an output of a photo that is not stored upright."""
        try:
            return find_orientation(
                self._sent.sent, output, source_orientation=self._sent.orientation, output_orientation=tagged
            )
        except OSError:  # the photo has gone since it was sent
            return tagged

    def _warn(self, warnings: tuple[str, ...] | list[str]) -> None:
        self.warnings += [warning for warning in warnings if warning not in self.warnings]


def _replaced(stream: BinaryIO, header: JpegHeader, segments: MetadataSegments) -> Iterator[bytes]:
    """The segments of an output that `segments` replace, as they are: often the same."""
    for found in header.segments:
        if found.kind in segments.replaces:
            stream.seek(found.start)
            yield stream.read(found.end - found.start)


_LARGEST_EXIF = LARGEST_PAYLOAD - 6
_LARGEST_DENSITY = 0xFFFF
_ASPECT_RATIO, _PIXELS_AN_INCH = 0, 1
_ICC_SPACES = {1: b"GRAY", 3: b"RGB "}
_DECISIVE = (SegmentKind.JFIF, SegmentKind.EXIF, SegmentKind.XMP, SegmentKind.ICC, SegmentKind.ADOBE)
"""Kinds of an output's own segments on which it depends what is put in."""
_PERSONAL = frozenset(
    (
        SegmentKind.EXIF,
        SegmentKind.XMP,
        SegmentKind.EXTENDED_XMP,
        SegmentKind.IPTC,
        SegmentKind.COMMENT,
        SegmentKind.APPLICATION,
    )
)


class MetadataSegments(msgspec.Struct, frozen=True, gc=False):
    """What is put behind the first two bytes of an output.

    Attributes:
        data: whole segments.
        replaces: the kinds of the output's own segments that they replace.
        warnings: what was left out, and why.
    """

    data: bytes
    replaces: frozenset[str]
    warnings: tuple[str, ...] = ()


_Own = Mapping[str, Sequence[bytes]]
"""What an output's own segments hold, by kind."""


def metadata_segments(metadata: SourceMetadata, output: JpegHeader, *, orientation: int) -> MetadataSegments:
    """What carries `metadata` in `output`.

    The output's own EXIF stays where the source has none; its own ICC profile stays in any case, for the service made
    the pixels. The source's profile is taken where the output has none and the profile is for as many components, or
    for gray and the output is in colour.

    Args:
        metadata: the source's. Without `SourceMetadata.icc` where the pixels were converted to another colour space.
        output: the output's header.
        orientation: the EXIF orientation (1…8) under which the output, as it is stored, shows upright.
    """
    own = output.payloads
    if metadata.is_empty and tagged_orientation(own) == orientation:
        if SegmentKind.JFIF not in own or output.segments[0].kind == SegmentKind.JFIF:
            return MetadataSegments(b"", frozenset())
        return MetadataSegments(_own_jfif(own), frozenset((SegmentKind.JFIF,)))
    geometry = Geometry(
        width=output.width,
        height=output.height,
        orientation=orientation,
        source_size=metadata.size,
        source_orientation=metadata.orientation,
    )
    found: dict[str, bytes] = {}
    warnings: list[str] = []
    if jfif := _jfif(metadata, output, own, geometry):
        found[SegmentKind.JFIF] = jfif
    if exif := _exif(metadata, own, geometry, warnings):
        found[SegmentKind.EXIF] = segment(SegmentKind.EXIF, exif)
    xmp = _xmp(metadata.xmp, geometry, warnings) if metadata.xmp else None
    if xmp:
        found[SegmentKind.XMP] = xmp_segments(xmp, metadata.extended_xmp)
    if metadata.icc and SegmentKind.ICC not in own and (icc := _fitting(metadata.icc, output, warnings)):
        found[SegmentKind.ICC] = icc_segments(icc)
    if metadata.iptc:
        found[SegmentKind.IPTC] = photoshop_segments(metadata.iptc)
    if metadata.comment:
        found[SegmentKind.COMMENT] = segment(SegmentKind.COMMENT, metadata.comment)
    replaces = {*found, SegmentKind.EXTENDED_XMP} if xmp else set(found)
    return MetadataSegments(b"".join(found.values()), frozenset(replaces), tuple(warnings))


def stripped_segments(metadata: SourceMetadata, output: JpegHeader, *, orientation: int) -> MetadataSegments:
    """What `output` needs to look right without metadata: a profile, the shape of its pixels, an orientation.

    Replaces everything else that the service put there. Arguments as for `metadata_segments`.
    """
    kept = SourceMetadata(
        icc=metadata.icc,
        aspect=_aspect(metadata),
        size=metadata.size,
        orientation=metadata.orientation,
    )
    left = {kind: payloads for kind, payloads in output.payloads.items() if kind not in _PERSONAL}
    needed = metadata_segments(kept, msgspec.structs.replace(output, payloads=left), orientation=orientation)
    return msgspec.structs.replace(needed, replaces=needed.replaces | _PERSONAL)


def tagged_orientation(own: _Own) -> int:
    """The orientation (1…8) that a JPEG's own EXIF, or else its XMP, gives it.

    Args:
        own: see `JpegHeader.payloads`.
    """
    found = first_orientation(own[SegmentKind.EXIF][0]) if SegmentKind.EXIF in own else 0
    return found or (xmp_orientation(own[SegmentKind.XMP][0]) if SegmentKind.XMP in own else 0) or 1


def _exif(metadata: SourceMetadata, own: _Own, geometry: Geometry, warnings: list[str]) -> bytes | None:
    """The source's block, else the output's own where it must change, else a minimal one with the orientation."""
    if metadata.exif and (corrected := _corrected(metadata.exif, geometry, warnings)):
        return corrected
    if tagged_orientation(own) == geometry.orientation:
        return None
    block = own[SegmentKind.EXIF][0] if SegmentKind.EXIF in own else b""
    return (block and _corrected(block, geometry, warnings)) or minimal_exif(geometry.orientation)


def _corrected(block: bytes, geometry: Geometry, warnings: list[str]) -> bytes | None:
    try:
        corrected, left_out = short_exif(correct_exif(block, geometry), _LARGEST_EXIF)
    except TiffError as error:
        warnings.append(f"EXIF left out, malformed: {error}")
        return None
    if left_out:
        warnings.append(f"EXIF over 64 KB: tags {', '.join(f'{tag:#06x}' for tag in left_out)} left out")
    return corrected


def _xmp(packet: bytes, geometry: Geometry, warnings: list[str]) -> bytes | None:
    try:
        return correct_xmp(packet, geometry)
    except XmpError as error:
        warnings.append(f"XMP left out, malformed: {error}")
        return None


def _jfif(metadata: SourceMetadata, output: JpegHeader, own: _Own, geometry: Geometry) -> bytes:
    """The segment that gives the source's physical size, else the output's own: it must be the first of all."""
    known = metadata.dpi or metadata.aspect
    if known and _takes_jfif(output, own):
        across, down = map(round, geometry.resolution(*known))
        if 0 < across <= _LARGEST_DENSITY and 0 < down <= _LARGEST_DENSITY:
            unit = _PIXELS_AN_INCH if metadata.dpi else _ASPECT_RATIO
            return segment(SegmentKind.JFIF, struct.pack(">HBHHBB", 0x0102, unit, across, down, 0, 0))
    return _own_jfif(own)


def _own_jfif(own: _Own) -> bytes:
    """The output's own segment; empty when it has none."""
    return segment(SegmentKind.JFIF, own[SegmentKind.JFIF][0]) if SegmentKind.JFIF in own else b""


def _takes_jfif(output: JpegHeader, own: _Own) -> bool:
    """Whether a JFIF segment leaves the colours as they are: decoders take it to mean YCbCr."""
    if SegmentKind.JFIF in own or output.components != 3:  # noqa: PLR2004 - colour
        return output.components in (1, 3)
    return own[SegmentKind.ADOBE][0][6:7] == b"\x01" if SegmentKind.ADOBE in own else not output.rgb


def _aspect(metadata: SourceMetadata) -> tuple[float, float] | None:
    """The density of pixels that are not square."""
    known = metadata.dpi or metadata.aspect
    return known if known and abs(known[0] - known[1]) > 0.01 * known[0] else None


def _fitting(profile: bytes, output: JpegHeader, warnings: list[str]) -> bytes | None:
    """The profile for as many components as the output has; gray that became colours keeps its shades."""
    space = profile[16:20]
    if space == _ICC_SPACES.get(output.components):
        return profile
    if output.components == 3 and (made := color_profile(profile)):  # noqa: PLR2004 - colour
        return made
    name = space.decode("latin-1").strip()
    warnings.append(f"ICC profile left out: it is for {name}, the output has {output.components} components")
    return None


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
    for start, end in _kept(header, segments, source.seek(0, io.SEEK_END)):
        for at in range(start, end, _COPY_BYTES):
            source.seek(at)
            destination.write(source.read(min(_COPY_BYTES, end - at)))


def splice_bytes(data: bytes, *, header: JpegHeader, segments: MetadataSegments, end: int | None = None) -> bytes:
    """As `splice`, in memory, of the file's first `end` bytes."""
    parts = _kept(header, segments, len(data) if end is None else end)
    return b"".join([b"\xff\xd8", segments.data, *[data[at:stop] for at, stop in parts]])


def _kept(header: JpegHeader, segments: MetadataSegments, end: int) -> list[tuple[int, int]]:
    """Begin and end of each part of a JPEG of `end` bytes that stays, behind its first two bytes."""
    parts: list[tuple[int, int]] = []
    at = 2
    for found in header.segments:
        if found.kind in segments.replaces:
            parts.append((at, found.start))
            at = found.end
    return [*parts, (at, end)]


def set_modified(output: str | Path | int, modified_ns: int) -> None:
    """Give `output`, which was written just now, a time of modification, if the disk takes it: FAT's begins in 1980.

    Args:
        output: a path, or an open file's descriptor where the system takes one (`os.supports_fd`).
        modified_ns: nanoseconds since 1970, as `os.stat_result.st_mtime_ns`; negative for earlier ones.
    """
    with suppress(OSError, OverflowError):
        os.utime(output, ns=(time.time_ns(), modified_ns))
