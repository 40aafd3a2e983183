"""The metadata of a source, its parts, each checked as it is read, and those of a JPEG."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from smarty_async.archive.outputs.metadata.exif import ExifSummary, exif_with, read_exif
from smarty_async.archive.outputs.metadata.profiles import (
    PhotoshopError,
    descriptive_resources,
    iptc_resource,
    with_iptc,
)
from smarty_async.archive.outputs.metadata.xmp import (
    XmpError,
    check_xmp,
    extension_digest,
    join_extended_xmp,
    without_extension,
)
from smarty_async.archive.photos.identify import xmp_orientation
from smarty_async.archive.photos.jpeg import JpegHeader, SegmentKind
from smarty_async.archive.photos.tiff import TiffError

__all__ = ["Parts", "SourceMetadata", "jpeg_metadata"]


class SourceMetadata(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is carried from a source into its outputs.

    Attributes:
        exif: an EXIF block that begins with the TIFF header.
        xmp: an XMP packet in UTF-8.
        extended_xmp: what the packet refers to as its extension.
        iptc: Photoshop image resources that hold IPTC data.
        icc: an ICC profile.
        comment: text in the source's own encoding, UTF-8 where the format says so.
        dpi: horizontal and vertical resolution of the pixels as stored, in pixels an inch.
        aspect: horizontal and vertical density of the pixels as stored, where only their ratio is known and is not 1.
        orientation: EXIF orientation, 1…8.
        size: width and height as stored, in pixels; None when they are not known.
        warnings: what was left out, and why.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    extended_xmp: bytes | None = None
    iptc: bytes | None = None
    icc: bytes | None = None
    comment: bytes | None = None
    dpi: tuple[float, float] | None = None
    aspect: tuple[float, float] | None = None
    orientation: int = 1
    size: tuple[int, int] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to put into outputs."""
        return not (self.exif or self.xmp or self.iptc or self.icc or self.comment or self.dpi or self.aspect)


_LARGEST_EXIF = 8 << 20
_LARGEST_XMP = 1 << 20
_LARGEST_ICC = 4 << 20
_LARGEST_IPTC = 1 << 20
_LARGEST_COMMENT = 0xFFFF - 2

_MOST_WARNINGS = 20

_IPTC_RECORD = b"\x1c"

_JFIF_UNITS = {1: 1.0, 2: 2.54}
"""Inches of the units of a JFIF segment's densities."""

_ICC_HEADER = 132
"""An ICC profile's header and the number of its tags, in bytes."""


class Parts:
    """Gathers the parts; one that is malformed or too large is left out with a warning.

    Attributes:
        size: see `SourceMetadata`.
        dpi: see `SourceMetadata`.
        orientation: see `SourceMetadata`; None takes what EXIF says, else XMP, as Pillow does.
    """

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None
        self.dpi: tuple[float, float] | None = None
        self.orientation: int | None = None
        self._aspect: tuple[float, float] | None = None
        self._exif: bytes | None = None
        self._summary = ExifSummary()
        self._xmp: bytes | None = None
        self._extended_xmp: bytes | None = None
        self._iptc: bytes | None = None
        self._icc: bytes | None = None
        self._comment: bytes | None = None
        self._warnings: list[str] = []

    def warn(self, warning: str) -> None:
        """Say what was left out, and why."""
        if len(self._warnings) < _MOST_WARNINGS:
            self._warnings.append(warning)

    def leave_out(self, part: str, reason: object) -> None:
        """Say that `part` was left out because it is malformed."""
        self.warn(f"{part} left out, malformed: {reason}")

    def set_exif(self, block: bytes | None) -> None:
        """Set the EXIF block; the first one counts."""
        block = (block or b"").removeprefix(b"Exif\0\0")
        if self._exif is not None or not self._fits("EXIF", block, _LARGEST_EXIF):
            return
        try:
            self._summary = read_exif(block)
        except TiffError as error:
            self.leave_out("EXIF", error)
        else:
            self._exif = block

    def add_texts(self, texts: Mapping[int, str]) -> None:
        """Add texts to the EXIF block, by tag."""
        if texts:
            self._exif = exif_with(self._exif, texts)

    def set_xmp(self, packet: bytes | None) -> None:
        """Set the XMP packet; the first one counts."""
        if self._xmp is None and packet and self._fits("XMP", packet, _LARGEST_XMP):
            try:
                self._xmp = check_xmp(packet)
            except XmpError as error:
                self.leave_out("XMP", error)

    def set_extended_xmp(self, find: Callable[[bytes], bytes | None]) -> None:
        """Take over the extension that the XMP packet names by its digest; `find` returns that of a digest."""
        digest = extension_digest(self._xmp or b"")
        extension = find(digest) if digest else None
        if extension and len(extension) <= _LARGEST_XMP:
            self._extended_xmp = extension
        else:
            self.warn("extended XMP left out: " + ("too large" if extension else "not whole"))

    def set_iptc(self, resources: bytes | None) -> None:
        """Set the Photoshop image resources, or the bare IPTC records that one of them holds."""
        if resources and resources.startswith(_IPTC_RECORD):
            resources = iptc_resource(resources)
        if resources and self._fits("IPTC", resources, 32 * _LARGEST_IPTC):
            try:
                kept = descriptive_resources(resources)
            except PhotoshopError as error:
                self.leave_out("IPTC", error)
            else:
                self._iptc = kept if kept and self._fits("IPTC", kept, _LARGEST_IPTC) else None

    def set_iptc_records(self, records: bytes, resources: bytes | None) -> None:
        """Set bare IPTC records, and Photoshop image resources, whose own IPTC records do not count beside them."""
        if not (resources and records.startswith(_IPTC_RECORD)):
            self.set_iptc(resources or records)
            return
        try:
            resources = with_iptc(resources, records)
        except PhotoshopError as error:
            self.leave_out("Photoshop's image resources", error)
            resources = records
        self.set_iptc(resources)

    def set_icc(self, profile: bytes | None) -> None:
        """Set the ICC profile; padding behind it is cut off."""
        if not profile or not self._fits("ICC profile", profile, _LARGEST_ICC):
            return
        size = int.from_bytes(profile[:4])
        if not _ICC_HEADER <= size <= len(profile) or profile[36:40] != b"acsp":
            self.leave_out("ICC profile", f"{len(profile):,} bytes")
        else:
            self._icc = profile[:size]

    def set_comment(self, text: bytes | None) -> None:
        """Set the comment."""
        if text and self._fits("comment", text, _LARGEST_COMMENT):
            self._comment = text

    def set_density(self, across: float, down: float, inches: float | None) -> None:
        """Set the density of the pixels.

        Args:
            across: pixels a unit along a row.
            down: pixels a unit along a column.
            inches: how many units are an inch; None when the unit is not known.
        """
        if not (0 < across < 1e6 and 0 < down < 1e6):  # noqa: PLR2004 - more is damage
            return
        if inches is not None:
            self.dpi = across * inches, down * inches
        elif across != down:
            self._aspect = across, down

    def metadata(self) -> SourceMetadata:
        """All that was read."""
        orientation = self.orientation or self._summary.orientation
        if self.size and not self.dpi and self._summary.resolution:
            self.set_density(*self._summary.resolution, self._summary.inches)
        return SourceMetadata(
            exif=self._exif,
            xmp=without_extension(self._xmp) if self._xmp and not self._extended_xmp else self._xmp,
            extended_xmp=self._extended_xmp,
            iptc=self._iptc,
            icc=self._icc,
            comment=self._comment,
            dpi=self.dpi,
            aspect=self._aspect,
            orientation=orientation or (xmp_orientation(self._xmp) if self._xmp else None) or 1,
            size=self.size,
            warnings=tuple(self._warnings),
        )

    def _fits(self, part: str, data: bytes, most: int) -> bool:
        if len(data) > most:
            self.warn(f"{part} left out: {len(data):,} bytes")
        return 0 < len(data) <= most

    def add_jpeg(self, header: JpegHeader) -> None:
        """Add what the segments of a JPEG hold."""
        self.size = header.width, header.height
        found = header.payloads
        if SegmentKind.EXIF in found:
            self.set_exif(found[SegmentKind.EXIF][0])
        if SegmentKind.XMP in found:
            self.set_xmp(found[SegmentKind.XMP][0])
        if SegmentKind.EXTENDED_XMP in found:
            self.set_extended_xmp(lambda digest: join_extended_xmp(found[SegmentKind.EXTENDED_XMP], digest))
        if SegmentKind.IPTC in found:
            self.set_iptc(b"".join(found[SegmentKind.IPTC]))
        if SegmentKind.ICC in found:
            # The number of a part is its first byte; how many there are is the second one.
            self.set_icc(b"".join(part[2:] for part in sorted(found[SegmentKind.ICC], key=lambda part: part[:1])))
        if SegmentKind.COMMENT in found:
            self.set_comment(found[SegmentKind.COMMENT][0])
        jfif = found[SegmentKind.JFIF][0] if SegmentKind.JFIF in found else b""
        if len(jfif) >= 7:  # noqa: PLR2004 - version, unit, two densities
            across, down = int.from_bytes(jfif[3:5]), int.from_bytes(jfif[5:7])
            self.set_density(across, down, _JFIF_UNITS.get(jfif[2]))


def jpeg_metadata(header: JpegHeader) -> SourceMetadata:
    """What a JPEG holds besides its pixels. A part that is malformed is left out, with a warning that says so."""
    parts = Parts()
    try:
        parts.add_jpeg(header)
    except Exception as error:  # noqa: BLE001 - parsers raise exceptions of any class for broken data
        parts.leave_out("metadata", error)
    return parts.metadata()
