"""The segments that carry a source's metadata in an output."""

from __future__ import annotations

import struct

import msgspec

from smarty_async.archive.outputs.metadata.exif import correct_exif, minimal_exif, read_exif, short_exif
from smarty_async.archive.outputs.metadata.geometry import Geometry
from smarty_async.archive.outputs.metadata.jpeg import (
    LARGEST_PAYLOAD,
    JpegHeader,
    Kind,
    icc_segments,
    photoshop_segments,
    segment,
    xmp_segments,
)
from smarty_async.archive.outputs.metadata.source_metadata import SourceMetadata
from smarty_async.archive.outputs.metadata.tiff import TiffError
from smarty_async.archive.outputs.metadata.xmp import XmpError, correct_xmp, read_xmp_orientation

__all__ = ["MetadataSegments", "metadata_segments", "stripped_segments", "tagged_orientation"]

_LARGEST_EXIF = LARGEST_PAYLOAD - 6
_LARGEST_DENSITY = 0xFFFF
_ASPECT_RATIO, _PIXELS_AN_INCH = 0, 1
_ICC_SPACES = {1: b"GRAY", 3: b"RGB "}
_PERSONAL = frozenset((Kind.EXIF, Kind.XMP, Kind.EXTENDED_XMP, Kind.IPTC, Kind.COMMENT, Kind.APPLICATION))


class MetadataSegments(msgspec.Struct, frozen=True):
    """What is put behind the first two bytes of an output.

    Attributes:
        data: whole segments.
        replaces: the kinds of the output's own segments that they stand in for.
        warnings: what was left out, and why.
    """

    data: bytes
    replaces: frozenset[Kind]
    warnings: tuple[str, ...] = ()


def metadata_segments(metadata: SourceMetadata, output: JpegHeader, *, orientation: int) -> MetadataSegments:
    """What carries `metadata` in `output`.

    The output's own EXIF stays where the source has none; its own ICC profile stays in any case, for the service made
    the pixels. The source's profile is taken where the output has none and the profile is for as many components.

    Args:
        metadata: the source's. Without `SourceMetadata.icc` where the pixels were converted to another colour space.
        output: the output's header.
        orientation: the EXIF orientation (1…8) under which the output, as it is stored, shows upright.
    """
    geometry = _geometry(metadata, output, orientation)
    found: dict[Kind, bytes] = {}
    warnings: list[str] = []
    jfif = _jfif(metadata, output, geometry)
    if jfif:
        found[Kind.JFIF] = jfif
    exif = _exif(metadata, output, geometry, warnings)
    if exif:
        found[Kind.EXIF] = segment(Kind.EXIF, exif)
    xmp = _xmp(metadata, geometry, warnings)
    if xmp:
        found[Kind.XMP] = xmp_segments(xmp, metadata.extended_xmp)
    if metadata.icc and output.payload(Kind.ICC) is None and _profile_fits(metadata.icc, output, warnings):
        found[Kind.ICC] = icc_segments(metadata.icc)
    if metadata.iptc:
        found[Kind.IPTC] = photoshop_segments(metadata.iptc)
    if metadata.comment:
        found[Kind.COMMENT] = segment(Kind.COMMENT, metadata.comment)
    replaces = {*found, Kind.EXTENDED_XMP} if xmp else set(found)
    return MetadataSegments(b"".join(found.values()), frozenset(replaces), tuple(warnings))


def stripped_segments(metadata: SourceMetadata, output: JpegHeader, *, orientation: int) -> MetadataSegments:
    """What `output` needs to look right when it shall carry no metadata: a profile, the pixels' shape, an orientation.

    Stands in for everything else that the service put there. Arguments as for `metadata_segments`.
    """
    kept = SourceMetadata(
        icc=metadata.icc,
        aspect=_aspect(metadata),
        size=metadata.size,
        orientation=metadata.orientation,
    )
    bare = msgspec.structs.replace(
        output, segments=tuple(found for found in output.segments if found.kind not in _PERSONAL)
    )
    needed = metadata_segments(kept, bare, orientation=orientation)
    return msgspec.structs.replace(needed, replaces=needed.replaces | _PERSONAL)


def tagged_orientation(output: JpegHeader) -> int:
    """The orientation (1…8) that a JPEG's own EXIF, or else its XMP, gives it."""
    try:
        found = read_exif(output.payload(Kind.EXIF) or b"").orientation
    except TiffError:
        found = None
    return found or read_xmp_orientation(output.payload(Kind.XMP) or b"") or 1


def _geometry(metadata: SourceMetadata, output: JpegHeader, orientation: int) -> Geometry:
    return Geometry(
        width=output.width,
        height=output.height,
        orientation=orientation,
        source_size=metadata.size,
        source_orientation=metadata.orientation,
    )


def _exif(metadata: SourceMetadata, output: JpegHeader, geometry: Geometry, warnings: list[str]) -> bytes | None:
    """The source's block, else the output's own where it must change, else as little as tells the orientation."""
    own = output.payload(Kind.EXIF) if tagged_orientation(output) != geometry.orientation else None
    for block in (metadata.exif, own):
        if not block:
            continue
        try:
            corrected, left_out = short_exif(correct_exif(block, geometry), _LARGEST_EXIF)
        except TiffError as error:
            warnings.append(f"EXIF left out, malformed: {error}")
        else:
            if left_out:
                warnings.append(f"EXIF over 64 KB: tags {', '.join(f'{tag:#06x}' for tag in left_out)} left out")
            return corrected
    return minimal_exif(geometry.orientation) if tagged_orientation(output) != geometry.orientation else None


def _xmp(metadata: SourceMetadata, geometry: Geometry, warnings: list[str]) -> bytes | None:
    try:
        return correct_xmp(metadata.xmp, geometry) if metadata.xmp else None
    except XmpError as error:
        warnings.append(f"XMP left out, malformed: {error}")
        return None


def _jfif(metadata: SourceMetadata, output: JpegHeader, geometry: Geometry) -> bytes | None:
    """The segment that gives the source's physical size, else the output's own: it must be the first of all."""
    own = output.payload(Kind.JFIF)
    known = metadata.dpi or metadata.aspect
    if known and output.takes_jfif:
        across, down = map(round, geometry.resolution(*known))
        if 0 < across <= _LARGEST_DENSITY and 0 < down <= _LARGEST_DENSITY:
            unit = _PIXELS_AN_INCH if metadata.dpi else _ASPECT_RATIO
            return segment(Kind.JFIF, struct.pack(">HBHHBB", 0x0102, unit, across, down, 0, 0))
    return None if own is None else segment(Kind.JFIF, own)


def _aspect(metadata: SourceMetadata) -> tuple[float, float] | None:
    """The density of pixels that are not square."""
    known = metadata.dpi or metadata.aspect
    return known if known and abs(known[0] - known[1]) > 0.01 * known[0] else None


def _profile_fits(profile: bytes, output: JpegHeader, warnings: list[str]) -> bool:
    space = profile[16:20]
    if space == _ICC_SPACES.get(output.components):
        return True
    name = space.decode("latin-1").strip()
    warnings.append(f"ICC profile left out: it is for {name}, the output has {output.components} components")
    return False
