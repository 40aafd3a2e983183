"""Pictures that Pillow does not read, or not rightly: camera raw files, pages of TIFF files, JPEG XL.

LibRaw develops camera raw files at the size of the sensor; tifffile and imagecodecs decode the rest. All of them belong
to the extra ``formats`` and are imported where they are used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO

from PIL import Image

from smarty_async.archive.photos.convert import flattened, upright
from smarty_async.archive.photos.damage import SHORTEST_RUN, holds_zeros, zero_filled
from smarty_async.archive.photos.identify import (
    check_pixels,
    decode,
    missing_extra,
    mute_libtiff,
    open_image,
    whole_bytes,
)
from smarty_async.archive.photos.memory_budget import DECODING
from smarty_async.archive.photos.pages import ImageDirectory, Tag
from smarty_async.errors import PhotoRejected

__all__ = ["Loader", "decode_stream", "decode_tiff", "decoded_page", "decoding_whole", "develop", "sensor_size"]

Loader = Callable[[float], AbstractContextManager[Image.Image]]
"""Decodes a picture, given by what its sides will be multiplied at least; holds its memory for the block."""


_RAW_BYTES_PER_PIXEL = 20
"""Memory of developing: the sensor's data, four 16-bit channels, the result, and Pillow's copy."""

_LYING = (5, 6)
"""Values of LibRaw's flip that exchange width and height."""


def _described_raw(name: str) -> str:
    """A raw file of the format `name`, in words that follow "it is"."""
    article = "an" if name[:1] in "AEFILMNORSX" else "a"
    return "a camera raw file" if name == "camera" else f"{article} {name} raw file"


def sensor_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Width and height of the picture that `develop` gives, in pixels.

    Raises:
        PhotoRejected: as `develop` does.
        OSError: the file cannot be read.
    """
    with DECODING.acquire(whole_bytes(stream)), _opened(stream, name) as raw:
        size = raw.sizes
        return (size.height, size.width) if size.flip in _LYING else (size.width, size.height)


@contextmanager
def develop(stream: BinaryIO, name: str, scale: float = 1.0) -> Generator[Image.Image]:
    """The picture of the sensor, upright, 8 bits, sRGB, with the camera's white balance. Never the preview.

    Its memory is held for the block.

    Raises:
        PhotoRejected: with type ``raw`` when the extra is not installed, or LibRaw does not know the camera; with
            type ``truncated``, ``damaged`` or ``too_large``.
        OSError: the file cannot be read.
    """
    del scale
    file_bytes = whole_bytes(stream)
    with DECODING.acquire(file_bytes), _opened(stream, name) as raw:
        width, height = raw.sizes.raw_width, raw.sizes.raw_height
    check_pixels(width, height)
    with DECODING.acquire(file_bytes + width * height * _RAW_BYTES_PER_PIXEL), _opened(stream, name) as raw:
        _check_rows(raw.raw_image)
        yield _developed(raw.postprocess(use_camera_wb=True, output_bps=8))


@contextmanager
def _opened(stream: BinaryIO, name: str) -> Generator[Any]:
    try:
        import rawpy  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra(_described_raw(name), kind="raw") from None
    stream.seek(0)
    try:
        with rawpy.imread(stream) as raw:
            yield raw
    except rawpy.LibRawFileUnsupportedError as error:
        raise PhotoRejected(
            f"it is {_described_raw(name)} of a camera that LibRaw does not know", type="raw"
        ) from error
    except rawpy.LibRawIOError as error:
        raise PhotoRejected(f"it is {_described_raw(name)}, incomplete: copy it again", type="truncated") from error
    except rawpy.LibRawError as error:
        raise PhotoRejected(f"it is {_described_raw(name)}, and cannot be developed: {error}", type="raw") from error


def _check_rows(sensor: Any) -> None:
    """A sensor's rows are never all zero, for its black is above zero, unless all of them are."""
    if sensor is not None and sensor.any() and not sensor[-8:].any():
        raise PhotoRejected("the file is damaged: its last rows are missing: copy it again", type="damaged")


def _developed(pixels: Any) -> Image.Image:
    height, width, samples = pixels.shape
    return Image.frombytes("L" if samples == 1 else "RGB", (width, height), pixels.tobytes())


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

_INVERSE = {6: 8, 8: 6}
"""The orientations that another one undoes; all others undo themselves."""

_BYTES_PER_PIXEL = 16
"""Memory of converting a pixel, whatever it takes in the file."""
_WHOLE_BYTES_PER_PIXEL = 24
"""Memory of decoding a pixel by imagecodecs and converting it."""

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


def _described_page(directory: ImageDirectory) -> str:
    """The layout of a page, in words that follow "it is"."""
    kind = _PHOTOMETRICS.get(directory.photometric, f"of photometric interpretation {directory.photometric}")
    form = _FORMATS.get(directory.first(Tag.SAMPLE_FORMAT, 1), "")
    planar = "planar " if directory.planar else ""
    alpha = " with extra samples" if Tag.EXTRA_SAMPLES in directory.numbers else ""
    packed = f", compression {directory.compression}" if directory.compression not in _PILLOW_COMPRESSIONS else ""
    return f"a TIFF of {directory.bits[0]}-bit {planar}{form}{kind}{alpha}{packed}"


def _pillow_reads(page: ImageDirectory) -> bool:
    """Whether Pillow's pixels of this layout are right; the tests compare them with tifffile's."""
    bits, extras = page.bits, page.numbers.get(Tag.EXTRA_SAMPLES, ())
    if (
        page.index is None
        or (page.big and page.order == ">")  # Pillow takes it for a classic one
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
def decoded_page(stream: BinaryIO, page: ImageDirectory, scale: float = 1.0) -> Generator[Image.Image]:
    """The pixels of a page as they are stored, not turned. Their memory is held for the block.

    Raises:
        PhotoRejected: with type ``unsupported``, ``truncated``, ``not_an_image`` or ``too_large``.
        OSError: the file cannot be read.
    """
    del scale
    check_pixels(*page.size)
    width, height = page.size
    pixel_bytes = _BYTES_PER_PIXEL + page.samples * ((max(page.bits) + 7) // 8)
    # Pillow reads what is no file of the system whole.
    with DECODING.acquire(width * height * pixel_bytes + whole_bytes(stream)):
        yield _decoded(stream, page)


def _decoded(stream: BinaryIO, page: ImageDirectory) -> Image.Image:
    if not _pillow_reads(page):
        return decode_tiff(stream, page, what=_described_page(page))
    try:
        return _by_pillow(stream, page)
    except PhotoRejected as error:
        if error.type == "truncated" and page.compression == _OLD_JPEG:  # a format with as many readings as writers
            raise PhotoRejected(f"it is {_described_page(page)}, packed by old JPEG", type="unsupported") from error
        raise


def _by_pillow(stream: BinaryIO, page: ImageDirectory) -> Image.Image:
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
    """The picture as it is stored; Pillow has turned it upright."""
    stored = upright(image, _INVERSE.get(orientation, orientation))
    stored.info = image.info
    return stored


Array = Any
"""A NumPy array; NumPy is not imported before it is needed."""

_SCALES = (1.0, 255.0, 65535.0)
"""What white may be in a picture of real numbers."""

_OVERSHOOT = 1.5
"""How far real numbers may go beyond white: resampling and highlights do."""

_SIGNED = 0.125
"""How far signed integers may go below zero where that is black."""

_ROWS_BYTES = 1 << 24
"""Bytes of real numbers that are converted at a time."""

_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}
"""Samples of a pixel that are colours, by photometric interpretation."""

_WHITE_IS_ZERO, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = 0, 3, 5, 6, 8, 9
_JPEG = 7
_ASSOCIATED, _UNASSOCIATED = 1, 2
_OTHER_INKS = 2

_CODEC_OPTIONS: dict[str, dict[str, int]] = {"jpeg": {}, "jpegxl": {"index": 0}}
"""What codecs are called with besides: of several pictures in a file, the first one is decoded."""

_MORE_INPUT = "NEED_MORE_INPUT"
"""What libjxl says of a file that breaks off."""


def decode_tiff(stream: BinaryIO, directory: ImageDirectory, *, what: str) -> Image.Image:
    """The picture of `directory`, as Pillow's mode L, RGB, CMYK, LAB, LA or RGBA with 8 bits a sample.

    Integer samples are scaled by their bits, or by the tag MaxSampleValue; of signed ones zero is black, unless they go
    down to their lowest values. Real numbers have no white of their own:
    it is taken for 1, 255 or 65535, the smallest that 2/3 of the largest sample does not exceed; where samples are
    negative or larger still, the smallest becomes black and the largest white.

    Args:
        stream: the file.
        directory: of the picture.
        what: the picture, in words that follow "it is".

    Raises:
        PhotoRejected: with type ``unsupported`` when the extra is not installed or does not read it either, with
            type ``truncated`` when the data break off.
    """
    photometric = directory.photometric
    if photometric not in _COLORS or (photometric == _CMYK and directory.first(Tag.INK_SET, 1) == _OTHER_INKS):
        raise PhotoRejected(f"it is {what}, whose colours are not known", type="unsupported")
    if photometric == _YCBCR and directory.compression != _JPEG:
        raise PhotoRejected(f"it is {what}, which cannot be read", type="unsupported")
    pixels, extras, profile = _read(stream, directory, what)
    maximum = directory.first(Tag.MAX_SAMPLE)
    if photometric == _PALETTE:
        picture = _from_palette(pixels[..., 0], directory)
    else:
        colors = _COLORS[photometric]
        if pixels.shape[2] < colors:
            raise PhotoRejected(f"it is {what} with {pixels.shape[2]} samples a pixel", type="unsupported")
        bits = directory.bits[0]
        if photometric in (_LAB, _ICC_LAB):
            picture = _lab(pixels[..., :3], bits, is_icc=photometric == _ICC_LAB)
        else:
            picture = _to_bytes(pixels[..., :colors], bits, maximum)
            if photometric == _WHITE_IS_ZERO:
                picture = 255 - picture
        alpha = next((at for at, kind in enumerate(extras) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
        if alpha is not None and colors + alpha < pixels.shape[2]:
            opacity = _to_bytes(pixels[..., colors + alpha : colors + alpha + 1], bits, maximum)
            return _with_alpha(picture, opacity, photometric, profile, associated=extras[alpha] == _ASSOCIATED)
    return _image(picture, photometric, profile)


def decode_stream(stream: BinaryIO, codec: str, *, what: str, bits: int | None = None) -> Image.Image:
    """All of a file, decoded by imagecodecs.

    Args:
        stream: the file.
        codec: ``jpeg`` (of any kind and depth) or ``jpegxl``.
        what: the picture, in words that follow "it is".
        bits: of a sample; None for all that the samples have in memory.

    Raises:
        PhotoRejected: with type ``unsupported``; ``truncated`` when the file breaks off; ``damaged`` when it cannot be
            decoded, and zeros stand in it.
    """
    try:
        import imagecodecs  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra(what, kind="unsupported") from None
    stream.seek(0)
    try:
        pixels = getattr(imagecodecs, f"{codec}_decode")(stream.read(), **_CODEC_OPTIONS[codec])
    except MemoryError:
        raise
    except Exception as error:  # codecs raise exceptions of any class for broken data
        if _MORE_INPUT in str(error):
            raise PhotoRejected("the file is incomplete: copy it again", type="truncated") from error
        if holds_zeros(stream, [(0, stream.seek(0, os.SEEK_END))], shortest=SHORTEST_RUN):
            raise zero_filled() from error
        raise PhotoRejected(f"it is {what}, and cannot be decoded: {_plain(error)}", type="unsupported") from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    bits = bits or 8 * int(pixels.dtype.itemsize)
    samples = pixels.shape[2]
    if codec == "jpeg" and samples == 4:  # noqa: PLR2004 - CMYK, and as Adobe stores it: inverted
        return _image(255 - _to_bytes(pixels, bits, 0), _CMYK, b"")
    colors = samples - (samples in (2, 4))
    picture = _to_bytes(pixels[..., :colors], bits, 0)
    if colors == samples:
        return _image(picture, colors, b"")
    return _with_alpha(picture, _to_bytes(pixels[..., -1:], bits, 0), 1, b"", associated=False)


def decoding_whole(
    stream: BinaryIO, codec: str, width: int, height: int, *, what: str, bits: int | None = None
) -> Loader:
    """What decodes all of a file by `decode_stream`, and holds its memory for the block."""

    @contextmanager
    def load(scale: float) -> Generator[Image.Image]:
        del scale
        check_pixels(width, height)
        with DECODING.acquire(width * height * _WHOLE_BYTES_PER_PIXEL + whole_bytes(stream)):
            yield decode_stream(stream, codec, what=what, bits=bits)

    return load


def _read(stream: BinaryIO, directory: ImageDirectory, what: str) -> tuple[Array, tuple[int, ...], bytes]:
    """Samples (H×W×S, as they are stored), the meanings of those that are no colours, the ICC profile."""
    try:
        import numpy as np  # noqa: PLC0415 - an extra
        import tifffile  # noqa: PLC0415
    except ImportError:
        raise missing_extra(what, kind="unsupported") from None
    stream.seek(0)
    try:
        with tifffile.TiffFile(stream) as tif:
            tif.filehandle.seek(directory.offset)
            page = tifffile.TiffPage(tif, directory.index or 0)
            pixels = np.asarray(page.asarray(maxworkers=1))
            axes, extras = page.axes, tuple(int(kind) for kind in page.extrasamples)
            profile: bytes = page.iccprofile or b""
    except MemoryError:
        raise
    except Exception as error:  # parsers and codecs raise exceptions of any class for broken data
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PhotoRejected(f"it is {what}, and cannot be decoded: {_plain(error)}", type="unsupported") from error
    if "S" not in axes:
        pixels = pixels[..., np.newaxis]
    elif axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels.reshape(pixels.shape[-3:]), extras, profile


def _plain(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def _to_bytes(samples: Array, bits: int, maximum: int) -> Array:
    """Samples scaled to 0…255, uint8."""
    import numpy as np  # noqa: PLC0415

    if samples.dtype == np.uint8 and bits == 8 and not 0 < maximum < 255:  # noqa: PLR2004
        return samples
    if samples.dtype.kind == "f":
        black, white = _range_of(samples)
    else:
        most = 2 ** (bits - (samples.dtype.kind == "i")) - 1
        black, white = 0.0, float(maximum if 1 < maximum < most else most)
        if samples.min(initial=0) < -_SIGNED * white:  # zero is in the middle
            black = -white - 1
    result = np.empty(samples.shape, np.uint8)
    rows = max(1, _ROWS_BYTES // max(1, 8 * samples[0].size))
    for top in range(0, len(samples), rows):
        part = np.nan_to_num(samples[top : top + rows].astype(np.float64), posinf=white, neginf=black)
        result[top : top + rows] = np.clip(np.rint((part - black) * (255 / (white - black))), 0, 255)
    return result


def _range_of(samples: Array) -> tuple[float, float]:
    """What is black and what is white in real numbers."""
    import numpy as np  # noqa: PLC0415

    finite = samples[np.isfinite(samples)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    for white in _SCALES:
        if high <= white * _OVERSHOOT and low >= -0.5 * white:
            return 0.0, white
    return (low, high) if high > low else (low, low + 1)


def _lab(samples: Array, bits: int, *, is_icc: bool) -> Array:
    """L*, a*, b* with 8 bits as TIFF's CIELab has them: L* from 0 to 255, a* and b* in two's complement."""
    import numpy as np  # noqa: PLC0415

    if bits not in (8, 16):
        raise PhotoRejected(f"it is a Lab TIFF with {bits} bits a sample", type="unsupported")
    if bits == 8:  # noqa: PLR2004
        lab = samples.astype(np.uint8)
        return np.concatenate([lab[..., :1], lab[..., 1:] ^ 0x80], -1) if is_icc else lab
    light = np.rint(samples[..., :1].astype(np.float64) / (65280 if is_icc else 65535) * 255)
    if is_icc:  # unsigned, 0x8000 is zero
        hues = np.rint(samples[..., 1:].astype(np.float64) / 256) - 128
    else:
        hues = np.rint(samples[..., 1:].astype(np.uint16).view(np.int16).astype(np.float64) / 256)
    hues = np.clip(hues, -128, 127).astype(np.int8).view(np.uint8)
    return np.concatenate([np.clip(light, 0, 255).astype(np.uint8), hues], -1)


def _from_palette(indexes: Array, directory: ImageDirectory) -> Array:
    import numpy as np  # noqa: PLC0415

    table = np.array(directory.numbers.get(Tag.COLOR_MAP, ()), np.float64)
    if not len(table) or len(table) % 3:
        raise PhotoRejected("it is a palette TIFF without its palette", type="unsupported")
    # Some writers store 8 bits where the format has 16 (libtiff's tools look for it the same way).
    scale = 255 / 65535 if table.max(initial=0) > 255 else 1  # noqa: PLR2004
    colors = np.rint(table.reshape(3, -1).T * scale).astype(np.uint8)
    return colors[np.minimum(indexes.astype(np.int64), len(colors) - 1)]


def _with_alpha(picture: Array, opacity: Array, photometric: int, profile: bytes, *, associated: bool) -> Image.Image:
    """`picture` laid on white."""
    import numpy as np  # noqa: PLC0415

    if associated and photometric not in (0, 1, 2):
        raise PhotoRejected("its colours are multiplied by its transparency", type="unsupported")
    if associated:
        wide = picture.astype(np.uint16) + (255 - opacity)
        return _image(np.minimum(wide, 255).astype(np.uint8), photometric, profile)
    image = _image(picture, photometric, profile)
    if opacity.min() == 255:  # noqa: PLR2004 - opaque
        return image
    flat = flattened(image)
    flat.putalpha(Image.fromarray(np.ascontiguousarray(opacity[..., 0])))
    flat.info = image.info if image.mode in ("L", "RGB") else {}
    return flat


def _image(picture: Array, photometric: int, profile: bytes) -> Image.Image:
    import numpy as np  # noqa: PLC0415

    height, width, samples = picture.shape
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[samples]
    if photometric in (_LAB, _ICC_LAB):
        mode = "LAB"
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(picture).tobytes())
    image.info = {"icc_profile": profile} if profile else {}
    return image
