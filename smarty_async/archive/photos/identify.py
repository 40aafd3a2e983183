"""Identify a picture and open it: its format by the first bytes, its header, and the memory that decoding it takes.

Image libraries say nothing on the terminal meanwhile (`silenced`): Pillow warns of odd EXIF and large dimensions,
tifffile logs each tag that it does not understand. What is worth knowing about a photo is in its result; a warning
would be noise, or an exception under ``-W error``.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import struct
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, Any, BinaryIO

from PIL import Image, _imaging
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from smarty_async.archive.photos.boxes import jpeg2000_profile
from smarty_async.archive.photos.memory_budget import DECODING
from smarty_async.archive.photos.named_colors import named_profile
from smarty_async.archive.photos.tiff import first_orientation
from smarty_async.errors import PhotoRejected

__all__ = [
    "PREFIX_BYTES",
    "RAW_FORMATS",
    "Orientation",
    "check_pixels",
    "decode",
    "decoding",
    "dimensions",
    "format_of",
    "loaded",
    "missing_extra",
    "mute_libtiff",
    "open_image",
    "opened",
    "orientation_in",
    "orientation_in_fields",
    "orientation_of",
    "silenced",
    "swaps_axes",
    "whole_bytes",
    "xmp_orientation",
]


_MOST_PIXELS = 250_000_000
"""Pixels of a picture that is decoded in full; 1 GB of memory as Pillow keeps RGB."""

Orientation = int
"""The EXIF orientation of a picture: 1 is upright, 6 has to be turned clockwise by 90° …"""

_ORIENTATION_TAG = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')

_READ_WHOLE = frozenset(("AVIF", "HEIF", "WEBP"))
"""Formats whose decoders read a file whole when they open it."""

_ALPHA_BYTES, _OPAQUE_BYTES = 16, 8
"""Memory of decoding and converting a pixel, with and without transparency, in bytes."""


class _Jpeg(JpegImageFile):
    """A JPEG as Pillow opens it, without the resolution in its EXIF, which is not needed; broken EXIF would warn."""

    def _read_dpi_from_exif(self) -> None:
        pass


def _heif(stream: IO[bytes], name: str) -> ImageFile:
    """A HEIF file; the decoder is used here only and not registered with Pillow, which others may be using."""
    try:
        from pillow_heif import HeifImageFile  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra("a HEIC picture", kind="heic") from None
    opener: Callable[[IO[bytes], str], ImageFile] = HeifImageFile
    return opener(stream, name)


def _jpeg2000(stream: BinaryIO, name: str) -> ImageFile:
    """A JPEG 2000 file with the profile of its colours."""
    image = Jpeg2KImageFile(stream, name)
    if profile := jpeg2000_profile(stream):
        image.info["icc_profile"] = profile
    return image


# Pillow's own opener for JPEG would go on into the other pictures of a file that holds several.
_OPENERS: dict[str, Callable[[BinaryIO, str], ImageFile]] = {"JPEG": _Jpeg, "HEIF": _heif, "JPEG2000": _jpeg2000}


def open_image(name: str, stream: BinaryIO) -> ImageFile:
    """Read the header of the picture in `stream`.

    Not `Image.open`, which warns of large pictures, or raises, before their dimensions are known.

    Raises:
        PhotoRejected: with type ``not_an_image``, ``truncated``, ``too_large``, ``unsupported`` for colours that are
            not converted, or ``heic`` without its decoder.
        OSError: the file cannot be read.
    """
    Image.init()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    opener = _OPENERS.get(name) or (Image.OPEN[name][0] if name in Image.OPEN else None)
    if opener is None:  # AVIF is in Pillow from 11.3 on
        raise missing_extra(f"an {name} picture", kind="heic")
    try:
        image = opener(stream, "")
        if name in ("HEIF", "AVIF") and "icc_profile" not in image.info and (profile := named_profile(stream)):
            image.info["icc_profile"] = profile
    except PhotoRejected:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoRejected(f"its dimensions are too large: {error}", type="too_large") from error
    except Exception as error:  # parsers raise exceptions of any class for broken data
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if "support not installed" in str(error):
            raise PhotoRejected(f"this Pillow cannot read {name}: {_INSTALL_FORMATS}", type="heic") from error
        if stream.tell() >= size and name not in ("BMP", "PPM", "PCX", "SGI"):  # signatures of two bytes
            raise PhotoRejected(f"the {name} file ends in its header: copy it again", type="truncated") from error
        raise PhotoRejected(f"its {name} header cannot be read", type="not_an_image") from error
    if image.width < 1 or image.height < 1:
        raise PhotoRejected(f"its {name} header tells of no pixels", type="not_an_image")
    return image


def dimensions(stream: BinaryIO) -> tuple[int, int]:
    """Width and height of the image in `stream`, however large; raises as `open_image` does."""
    stream.seek(0)
    with silenced():
        return open_image(format_of(stream.read(PREFIX_BYTES)), stream).size


def orientation_of(image: Image.Image) -> Orientation:
    """How the picture lies, by its EXIF; 1 where that is missing or broken."""
    if found := first_orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0")):
        return found
    with suppress(Exception):  # broken EXIF spoils no picture
        # Not the method of a PNG, which decodes it to look behind its pixels.
        return orientation_in_fields(Image.Image.getexif(image))
    return 1


def orientation_in(exif: bytes, xmp: bytes = b"") -> Orientation:
    """The orientation in an EXIF block, else in an XMP packet; 1 where it is missing or broken."""
    if found := first_orientation(exif):
        return found
    with silenced(), suppress(Exception):  # as above
        fields = Image.Exif()
        fields.load(exif)
        if _ORIENTATION_TAG in fields:
            return orientation_in_fields(fields)
    return xmp_orientation(xmp) or 1


def xmp_orientation(packet: bytes) -> Orientation | None:
    """The orientation in an XMP packet, None where there is none; found where Pillow looks for it, too."""
    found = _XMP_ORIENTATION.search(packet)
    return int(found[1]) if found else None


def orientation_in_fields(exif: Image.Exif) -> Orientation:
    """The orientation in the fields of an EXIF block; 1 where it is missing or none of the eight."""
    value = exif.get(_ORIENTATION_TAG, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1  # noqa: PLR2004 - EXIF knows eight


def swaps_axes(orientation: Orientation) -> bool:
    """Whether a picture that lies so is shown with its width and height swapped."""
    return orientation >= 5  # noqa: PLR2004 - 5 to 8 mirror along, or turn by, a quarter


def check_pixels(width: int, height: int) -> None:
    """Make sure that a picture is not too large to be decoded in full."""
    if width * height > _MOST_PIXELS:
        raise PhotoRejected(
            f"{width}×{height} pixels are more than can be decoded: {_MOST_PIXELS:,} pixels in all", type="too_large"
        )


@contextmanager
def decoding(image: Image.Image) -> Generator[None, None, None]:
    """Hold the memory that decoding and converting `image`, which is not decoded yet, takes; waits for it."""
    with DECODING.acquire(_pixel_bytes(image, kept=0)):
        yield


def _pixel_bytes(image: Image.Image, *, kept: int) -> int:
    """Memory of decoding and converting `image`, in bytes.

    Args:
        image: not decoded yet; a JPEG whose draft mode is set counts as small as it will be.
        kept: pixels of what the decoder has to keep besides.
    """
    check_pixels(*image.size)
    cost = _ALPHA_BYTES if image.has_transparency_data else _OPAQUE_BYTES
    return (image.width * image.height + kept) * cost


@contextmanager
def opened(stream: BinaryIO, name: str) -> Generator[ImageFile]:
    """`open_image`; for the block, holds the memory of a file that its decoder reads whole. Nothing is decoded in it.

    A block must not wait for more memory while it holds some: two of them would wait for each other.
    """
    with DECODING.acquire(whole_bytes(stream) if name in _READ_WHOLE else 0):
        yield open_image(name, stream)


def whole_bytes(stream: BinaryIO) -> int:
    """Memory of a decoder that reads the file in `stream` whole, in bytes: it keeps a copy of what it is given."""
    return 2 * stream.seek(0, os.SEEK_END)


def decode(image: Image.Image) -> None:
    """Decode `image`, in place; within `decoding`.

    Raises:
        PhotoRejected: with type ``truncated``, or ``too_large`` for the memory there is.
        OSError: the file cannot be read.
    """
    try:
        image.load()
    except (MemoryError, Image.DecompressionBombError) as error:
        raise PhotoRejected("decoding it takes more memory than there is", type="too_large") from error
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PhotoRejected(f"the file is incomplete or damaged: {error}: copy it again", type="truncated") from error


@contextmanager
def loaded(stream: BinaryIO, name: str, scale: float = 1.0) -> Generator[Image.Image]:
    """The picture in `stream`, decoded by Pillow; holds its memory for the block.

    Args:
        stream: seekable.
        name: of the format.
        scale: what its sides will be multiplied by at least: a JPEG is decoded smaller where that is enough.

    Raises:
        PhotoRejected: as `open_image` and `decode` do.
        OSError: the file cannot be read.
    """
    with opened(stream, name) as image:
        kept = image.width * image.height if image.info.get("progressive") else 0
        _draft(image, name, scale)
        wanted = _pixel_bytes(image, kept=kept) + (whole_bytes(stream) if name in _READ_WHOLE else 0)
        del image  # it may hold the file
    with DECODING.acquire(wanted):
        image = open_image(name, stream)
        _draft(image, name, scale)
        decode(image)
        yield image


def _draft(image: ImageFile, name: str, scale: float) -> None:
    """Have a JPEG decoded smaller, where its sides are multiplied by `scale` at least."""
    if name == "JPEG" and scale < 1:
        image.draft(image.mode, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))


_INSTALL_FORMATS = "pip install 'smarty_async[formats]'"
"""The command that installs the decoders of the formats that Pillow does not read."""

PREFIX_BYTES = 64
"""Bytes from which a file's format is known."""

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

_NOT_READ: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (rb"v/1\x01", "an OpenEXR picture"),
        (rb"#\?R(ADIANCE|GBE)", "a Radiance HDR picture"),
        (rb"II\xbc[\0\x01]", "a JPEG XR picture"),
        (rb"8BPS\0\x02", "a large Photoshop document (PSB)"),
        (rb"P7\s", "a PAM picture"),
        (rb"P[Ff]\s", "a PFM picture"),
        (rb"qoif", "a QOI picture"),
        (rb"DDS ", "a DDS picture"),
        (rb"icns", "an icon"),
        (rb"\0\0[\x01\x02]\0[^\0]\0", "an icon"),
    )
)
"""Pictures that are not read, by their first bytes."""

_NO_IMAGES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), words)
    for pattern, words in (
        (rb"%PDF", "a PDF document"),
        (rb"%!PS", "a PostScript document"),
        (rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head)", "a web page"),
        (rb"(\xef\xbb\xbf)?\s*<(svg|\?xml|!doctype)", "an XML document"),
        (rb"PK\x03\x04|Rar!|7z\xbc\xaf", "an archive"),
        (rb".{4}ftyp|.{4}(moov|mdat)|RIFF.{4}AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]", "a video"),
    )
)
"""First bytes of files that are named like photos but are not."""

_TARGA = struct.Struct("<xBB4xB4xHHBB")
"""The header of a TGA: whether it has a map of colours, its kind, bits of an entry, width, height, bits, flags."""

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
        PhotoRejected: with type ``not_an_image``; ``unsupported`` when it is a picture that is not read; ``damaged``
            when it begins with zeros.
    """
    for signature, name in _SIGNATURES:
        if signature.match(prefix):
            return name
    if prefix[4:8] == b"ftyp" and (found := _isobmff_name(prefix)):
        return found
    _reject_known(prefix)
    Image.init()
    padded = prefix.ljust(16, b"\0")
    for name in _OTHERS:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        if accept is not None and accept(padded) is True:
            return name
    if _is_targa(prefix):
        return "TGA"
    raise PhotoRejected("it is not an image in a format that can be read", type="not_an_image")


def _reject_known(prefix: bytes) -> None:
    """Reject, by its name, what is known not to be read."""
    for signature, words in _NOT_READ:
        if signature.match(prefix):
            raise PhotoRejected(f"it is {words}, which cannot be read: save it as JPEG or PNG", type="unsupported")
    for signature, words in _NO_IMAGES:
        if signature.match(prefix):
            raise PhotoRejected(f"it is {words}, not an image", type="not_an_image")
    if not any(prefix):
        raise PhotoRejected("the file is damaged: it begins with zeros: copy it again", type="damaged")


def _is_targa(prefix: bytes) -> bool:
    """Whether a file begins as a Truevision TGA does, which has no signature (TGA FFS 2.0, 1989)."""
    if len(prefix) < _TARGA.size:
        return False
    mapped, kind, entry, width, height, depth, flags = _TARGA.unpack_from(prefix)
    if mapped:
        fits = kind in (1, 9) and entry in (15, 16, 24, 32) and depth == 8  # noqa: PLR2004 - bits
    else:
        fits = kind in (2, 3, 10, 11) and not any(prefix[3:8]) and depth in (8, 16, 24, 32)
    return fits and mapped <= 1 and min(width, height) > 0 and not flags & 0xC0 and flags & 15 <= 8  # noqa: PLR2004


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
    return PhotoRejected(f"it is {what}, and the decoder is not installed: {_INSTALL_FORMATS}", type=kind)


_LIBRARIES = ("PIL", "pillow_heif", "rawpy", "tifffile", "imagecodecs", "numpy")
_MODULES = rf"({'|'.join(_LIBRARIES)}|smarty_async\.archive\.photos)(\.|$)"

_lock = threading.Lock()
_active = 0
_filters: list[Any] = []
_here = threading.local()


@contextmanager
def silenced() -> Generator[None, None, None]:
    """Ignore warnings of image libraries, and what they log in this thread, during the block.

    Not `warnings.catch_warnings`: that one saves and restores the filters of the whole process, and two threads
    that leave it in another order than they entered it leave the wrong ones behind. Here the first block adds one
    filter, limited to the modules of these libraries, and the last one takes it away.
    """
    _enter()
    depth = getattr(_here, "depth", 0)
    _here.depth = depth + 1
    try:
        yield
    finally:
        _here.depth = depth
        _leave()


def _enter() -> None:
    global _active  # noqa: PLW0603 - one count for the process
    with _lock:
        _active += 1
        if _active == 1:
            warnings.filterwarnings("ignore", module=_MODULES)
            _filters.append(warnings.filters[0])


def _leave() -> None:
    global _active  # noqa: PLW0603 - as above
    with _lock:
        _active -= 1
        if _active == 0:
            with suppress(ValueError):  # the filters were reset in the block
                warnings.filters.remove(_filters.pop())  # type: ignore[attr-defined]


@cache
def mute_libtiff() -> None:
    """Keep the libtiff inside Pillow from printing what it dislikes in a file; Pillow gets its error codes anyway.

    Once for the process. Where the library hides its functions (Windows), it goes on printing.
    """
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(_imaging.__file__)  # looks in the libraries that it loads, too
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)


class _DropInProbe(logging.Filter):
    """Drops the records of threads that are inside `silenced`; those of others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not getattr(_here, "depth", 0)


for _name in ("tifffile", "pillow_heif", "rawpy", "PIL.TiffImagePlugin", "PIL.PngImagePlugin", "PIL.Image"):
    logging.getLogger(_name).addFilter(_DropInProbe())
