"""The metadata of a source."""

from __future__ import annotations

import msgspec

__all__ = ["SourceMetadata"]


class SourceMetadata(msgspec.Struct, frozen=True, kw_only=True):
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
