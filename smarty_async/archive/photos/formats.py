"""Which format a file has, by its first bytes."""

from __future__ import annotations

import re

from PIL import Image

from smarty_async.errors import PhotoRejected

__all__ = ["INSTALL_FORMATS", "PREFIX_BYTES", "RAW_FORMATS", "format_of", "missing_extra"]

INSTALL_FORMATS = "pip install 'smarty_async[formats]'"
"""The command that installs the decoders of the formats that Pillow does not read."""

PREFIX_BYTES = 64
"""Bytes that tell a file's format."""

_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"\xff\xd8\xff", "JPEG"),
        (rb"\x89PNG\r\n\x1a\n", "PNG"),
        # Camera raw files; those that are TIFF by structure are found by their tags (raw_tiff_name).
        (rb"II\*\0.{4}CR\x02", "CR2"),
        (rb"II\*\0.{4}IIII|MM\0\*.{4}MMMM|IIII\xd4\0\0\0|MMMM\0\0\0\xd4", "IIQ"),
        (rb"IIU\0", "RW2"),
        (rb"IIR[OS]|MMOR", "ORF"),
        (rb"FUJIFILMCCD-RAW", "RAF"),
        (rb"\0MRM", "MRW"),
        (rb"FOVb", "X3F"),
        (rb"II\x1a\0\0\0HEAPCCDR", "CRW"),
        (rb".{4}ftypcrx ", "CR3"),
        (rb"II[*+]\0|MM\0[*+]", "TIFF"),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
        (rb"GIF8[79]a", "GIF"),
        (rb"RIFF.{4}WEBP", "WEBP"),
    )
)

_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))

# What Pillow reads besides, with decoders that run no other program.
_OTHERS = ("JPEG2000", "PSD", "BMP", "PPM", "PCX", "SGI")

RAW_FORMATS = frozenset(
    {"3FR", "ARW", "CR2", "CR3", "CRW", "DCR", "DNG", "ERF", "IIQ", "MEF", "MOS"}
    | {"MRW", "NEF", "ORF", "PEF", "RAF", "RW2", "RWL", "SRW", "X3F", "camera"}
)
"""Names of camera raw formats; ``camera`` where the maker is not known."""


def format_of(prefix: bytes) -> str:
    """The name of the format that begins with `prefix`: Pillow's, or the usual suffix of a camera's raw format.

    Args:
        prefix: the first `PREFIX_BYTES` bytes of a file, or all of a shorter one.

    Raises:
        PhotoRejected: with type ``not_an_image``.
    """
    for signature, name in _SIGNATURES:
        if signature.match(prefix):
            return name
    if prefix[4:8] == b"ftyp" and (found := _isobmff_name(prefix)):
        return found
    Image.init()
    padded = prefix.ljust(16, b"\0")
    for name in _OTHERS:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        if accept is not None and accept(padded) is True:
            return name
    raise PhotoRejected("it is not an image in a format that can be read", type="not_an_image")


def _isobmff_name(prefix: bytes) -> str | None:
    """The image format of an ISO base media file, None for videos (ISO/IEC 14496-12, the box ``ftyp``)."""
    end = min(int.from_bytes(prefix[:4]), len(prefix))
    brands = [prefix[8:12], *(prefix[at : at + 4] for at in range(16, end - 3, 4))]
    if _AVIF_BRANDS.intersection(brands):
        return "AVIF"
    return "HEIF" if _HEIF_BRANDS.intersection(brands) else None


def missing_extra(what: str, *, kind: str) -> PhotoRejected:
    """The rejection of a photo whose decoder is not installed.

    Args:
        what: the photo, in words that follow "it is".
        kind: the error's type.
    """
    return PhotoRejected(f"it is {what}, and the decoder is not installed: {INSTALL_FORMATS}", type=kind)
