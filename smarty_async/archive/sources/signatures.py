"""How files of pictures begin. Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["SIGNATURE_BYTES", "has_photo_signature"]

SIGNATURE_BYTES: Final = 16
"""How many bytes `has_photo_signature` looks at."""

_SIGNATURES: Final = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF87a", b"GIF89a", b"8BPS",
    b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL ", b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR",
    b"\0MRM", b"FOVb",
)  # fmt: skip
"""How files of these formats begin. Two-byte signatures are left out: a text may begin with them as well."""

_ISO_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
"""What follows ``ftyp`` in pictures; in videos it is another word."""


def has_photo_signature(beginning: bytes) -> bool:
    """Whether a file that begins with `beginning` (`SIGNATURE_BYTES` of it) may be a picture."""
    if beginning.startswith(_SIGNATURES):
        return True
    if beginning[4:8] == b"ftyp":
        return beginning[8:12] in _ISO_BRANDS
    return beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP"
