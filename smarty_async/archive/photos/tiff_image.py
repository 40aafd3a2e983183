"""One page of a TIFF, decoded: by Pillow what it reads rightly, by tifffile the rest."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image

from smarty_async.archive.photos.identify import check_pixels, decode, open_image
from smarty_async.archive.photos.pixel_budget import DECODING
from smarty_async.archive.photos.samples import decode_tiff
from smarty_async.archive.photos.third_party import mute_libtiff
from smarty_async.archive.photos.tiff import Directory, Tag
from smarty_async.errors import PhotoRejected

__all__ = ["decoded_page", "described"]

_PHOTOMETRICS = {
    0: "gray (white is zero)",
    1: "gray",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
    9: "Lab",
}
_FORMATS = {2: "signed ", 3: "floating-point "}
_PILLOW_COMPRESSIONS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946))
"""None, fax, LZW, JPEG old and new, Deflate, PackBits: in every build of Pillow that has libtiff."""

_OLD_JPEG = 6

_TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What undoes an orientation."""

_BYTES_PER_PIXEL = 16
"""Memory of converting a pixel, whatever it takes in the file."""

_PLAIN_EXTRAS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,))
_EIGHTS = (8, 8, 8, 8)
_PILLOW_LAYOUTS: frozenset[tuple[int, tuple[int, ...], int, bool]] = frozenset(
    (photometric, bits, extras, planar)
    for photometric, layouts, extras, planar in (
        (0, ((1,), (2,), (4,), (8,)), 0, False),
        (1, ((1,), (2,), (4,), (8,), (16,)), 0, False),
        (1, (_EIGHTS[:2],), 1, False),
        (2, (_EIGHTS[:3], (16, 16, 16)), 0, False),
        (2, (_EIGHTS[:3],), 0, True),
        (2, (_EIGHTS,), 1, False),
        (3, ((1,), (2,), (4,), (8,)), 0, False),
        (5, (_EIGHTS,), 0, False),
        (6, (_EIGHTS[:3],), 0, False),
        (8, (_EIGHTS[:3],), 0, False),
    )
    for bits in layouts
)
"""Photometric interpretation, bits of the samples, how many of these are no colours, whether each has a plane."""


def described(directory: Directory) -> str:
    """The layout of a page, in words that follow "it is"."""
    kind = _PHOTOMETRICS.get(directory.photometric, f"of photometric interpretation {directory.photometric}")
    form = _FORMATS.get(directory.first(Tag.SAMPLE_FORMAT, 1), "")
    planar = "planar " if directory.planar else ""
    alpha = " with extra samples" if Tag.EXTRA_SAMPLES in directory.numbers else ""
    packed = f", compression {directory.compression}" if directory.compression not in _PILLOW_COMPRESSIONS else ""
    return f"a TIFF of {directory.bits[0]}-bit {planar}{form}{kind}{alpha}{packed}"


def _pillow_reads(page: Directory) -> bool:
    """Whether Pillow's pixels of this layout are right; the tests compare them with tifffile's."""
    bits, extras = page.bits, page.numbers.get(Tag.EXTRA_SAMPLES, ())
    if (
        page.index is None
        or page.compression not in _PILLOW_COMPRESSIONS
        or set(page.numbers.get(Tag.SAMPLE_FORMAT, (1,))) != {1}
        or page.first(Tag.PREDICTOR, 1) not in (1, 2)
        or page.first(Tag.MAX_SAMPLE, 2 ** bits[0] - 1) != 2 ** bits[0] - 1
        or (page.first(Tag.FILL_ORDER, 1) != 1 and bits != (1,))
        or page.first(Tag.INK_SET, 1) != 1
        or extras not in _PLAIN_EXTRAS
        or len(bits) != page.samples
    ):
        return False
    return (page.photometric, bits, len(extras), page.planar) in _PILLOW_LAYOUTS


@contextmanager
def decoded_page(stream: BinaryIO, page: Directory) -> Generator[Image.Image]:
    """The pixels of a page as they are stored, not turned. Their memory is held for the block.

    Raises:
        PhotoRejected: with type ``unsupported``, ``truncated``, ``not_an_image`` or ``too_large``.
        OSError: the file cannot be read.
    """
    check_pixels(*page.size)
    width, height = page.size
    with DECODING.acquire(width * height, _BYTES_PER_PIXEL + page.samples * ((max(page.bits) + 7) // 8)):
        yield _decoded(stream, page)


def _decoded(stream: BinaryIO, page: Directory) -> Image.Image:
    if not _pillow_reads(page):
        return decode_tiff(stream, page, what=described(page))
    try:
        return _by_pillow(stream, page)
    except PhotoRejected as error:
        if error.type == "truncated" and page.compression == _OLD_JPEG:  # a format with as many readings as writers
            raise PhotoRejected(f"it is {described(page)}, packed by old JPEG", type="unsupported") from error
        raise


def _by_pillow(stream: BinaryIO, page: Directory) -> Image.Image:
    mute_libtiff()
    image = open_image("TIFF", stream)
    if page.index:
        try:
            image.seek(page.index)
        except Exception as error:  # as in `open_image`
            raise PhotoRejected(f"its page {page.index + 1} cannot be read: {error}", type="not_an_image") from error
    decode(image)
    table = page.numbers.get(Tag.COLOR_MAP, ())
    if image.mode == "P" and table and max(table) <= 255 and len(table) % 3 == 0:  # noqa: PLR2004
        # Some writers store 8 bits where the format has 16; Pillow divides them away.
        third = len(table) // 3
        image.putpalette([table[at + plane * third] for at in range(third) for plane in range(3)])
    stored = _as_stored(image, page.first(Tag.ORIENTATION, 1))
    if stored.size != page.size:
        raise PhotoRejected("its tags contradict each other", type="not_an_image")
    return stored


def _as_stored(image: Image.Image, orientation: int) -> Image.Image:
    """The picture as it lies in the file; Pillow has turned it upright."""
    turned = _TURNED_BACK.get(orientation)
    if turned is None:
        return image
    stored = image.transpose(turned)
    stored.info = image.info
    return stored
