"""Camera raw files, developed at the size of the sensor by LibRaw (the extra ``formats``)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, BinaryIO

from PIL import Image

from smarty_async.archive.photos.formats import missing_extra
from smarty_async.archive.photos.identify import check_pixels
from smarty_async.archive.photos.pixel_budget import DECODING
from smarty_async.errors import PhotoRejected

__all__ = ["described", "develop", "sensor_size"]

_BYTES_PER_PIXEL = 20
"""Memory of developing: the sensor's data, four 16-bit channels, the result, and Pillow's copy."""

_LYING = (5, 6)
"""Values of LibRaw's flip that exchange width and height."""


def described(name: str) -> str:
    """A raw file of the format `name`, in words that follow "it is"."""
    article = "an" if name[:1] in "AEFILMNORSX" else "a"
    return "a camera raw file" if name == "camera" else f"{article} {name} raw file"


def sensor_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Width and height of the picture that `develop` gives, in pixels.

    Raises:
        PhotoRejected: as `develop` does.
        OSError: the file cannot be read.
    """
    with _opened(stream, name) as raw:
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
    with _opened(stream, name) as raw:
        size = raw.sizes
        check_pixels(size.raw_width, size.raw_height)
        with DECODING.acquire(size.raw_width * size.raw_height, _BYTES_PER_PIXEL):
            _check_rows(raw.raw_image)
            yield _image(raw.postprocess(use_camera_wb=True, output_bps=8))


@contextmanager
def _opened(stream: BinaryIO, name: str) -> Generator[Any]:
    try:
        import rawpy  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra(described(name), kind="raw") from None
    stream.seek(0)
    try:
        with rawpy.imread(stream) as raw:
            yield raw
    except rawpy.LibRawFileUnsupportedError as error:
        raise PhotoRejected(f"it is {described(name)} of a camera that LibRaw does not know", type="raw") from error
    except rawpy.LibRawIOError as error:
        raise PhotoRejected(f"it is {described(name)} that breaks off: copy it again", type="truncated") from error
    except rawpy.LibRawError as error:
        raise PhotoRejected(f"it is {described(name)}, and cannot be developed: {error}", type="raw") from error


def _check_rows(sensor: Any) -> None:
    """A sensor's rows are never all zero, for its black is above zero, unless all of them are."""
    if sensor is not None and sensor.any() and not sensor[-8:].any():
        raise PhotoRejected("the file is damaged: its last rows are missing: copy it again", type="damaged")


def _image(pixels: Any) -> Image.Image:
    height, width, samples = pixels.shape
    return Image.frombytes("L" if samples == 1 else "RGB", (width, height), pixels.tobytes())
