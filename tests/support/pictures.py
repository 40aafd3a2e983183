"""Small pictures made for tests: the same arguments give the same bytes, with nothing but Pillow."""

from __future__ import annotations

import io
import zlib
from functools import lru_cache
from random import Random
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFilter

_LONGEST_NOTE = 65_537
"""Bytes of the longest segment of a JPEG, with its marker."""


class CountingStream(io.BytesIO):
    """Knows how many bytes were read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def scene(width: int = 64, height: int = 48, *, seed: int = 0) -> Image.Image:
    """A colourful scene with the whole range from black to white and soft edges: nothing to restore in it."""
    return _scene(width, height, seed).copy()


@lru_cache(maxsize=32)
def _scene(width: int, height: int, seed: int) -> Image.Image:
    dice = Random(seed)  # noqa: S311 - pictures, not secrets
    ramps = [Image.linear_gradient("L").rotate(90 * dice.randrange(4)).resize((width, height)) for _ in "RGB"]
    image = Image.merge("RGB", ramps)
    draw = ImageDraw.Draw(image)
    for colour in [(0, 0, 0), (255, 255, 255), *((dice.randrange(256),) * 2 + (40,) for _ in range(4))]:
        x, y = dice.randrange(width * 2 // 3), dice.randrange(height * 2 // 3)
        draw.ellipse((x, y, x + width // 3, y + height // 3), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(1))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


def heic(image: Image.Image, **options: Any) -> bytes:
    """The picture as a HEIC file's bytes; without the extra the test is skipped."""
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    quick = {"preset": "ultrafast"}  # of x265: the default takes five times as long
    pillow_heif.from_pillow(image).save(buffer, quality=90, enc_params=quick, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    """A file's bytes as a picture, wholly decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@lru_cache(maxsize=1000)
def jpeg(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    """A good photo; another `seed` is another photo."""
    return encoded(scene(width, height, seed=seed))


@lru_cache(maxsize=1000)
def png(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    return encoded(scene(width, height, seed=seed), "PNG")


@lru_cache(maxsize=100)
def tiff(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    return encoded(scene(width, height, seed=seed), "TIFF")


@lru_cache(maxsize=100)
def webp(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    """Of a format the service does not take."""
    return encoded(scene(width, height, seed=seed), "WEBP", quality=90)


@lru_cache(maxsize=100)
def gray(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    """A good black-and-white photo, stored in colour as a scan would be."""
    return encoded(scene(width, height, seed=seed).convert("L").convert("RGB"))


@lru_cache(maxsize=100)
def faded(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    """A photo that lost its blacks and whites: values 90 to 170 only."""
    return encoded(scene(width, height, seed=seed).point(lambda value: 90 + value * 80 // 255))


def noisy(width: int = 128, height: int = 96, *, seed: int = 0, amplitude: int = 50) -> bytes:
    """A photo with even noise of ± `amplitude` gray levels."""
    return encoded(with_noise(scene(width, height, seed=seed), amplitude=amplitude, seed=seed))


def with_noise(image: Image.Image, *, amplitude: int = 50, seed: int = 0) -> Image.Image:
    """The RGB `image` with even noise of ± `amplitude` gray levels, each channel its own."""
    dice = Random(seed)  # noqa: S311 - pictures, not secrets
    grains = Image.frombytes("RGB", image.size, dice.randbytes(image.width * image.height * 3))
    around_gray = grains.point(lambda value: 128 + (value - 128) * amplitude // 128)
    return ImageChops.add(image, around_gray, scale=1, offset=-128)


def heavy(size: int, *, seed: int = 0) -> bytes:
    """A valid JPEG of exactly `size` bytes: a small photo, and notes in its header as cameras leave them.

    `size` is at least 4 bytes more than the photo has.
    """
    photo, dice = jpeg(seed=seed), Random(seed)  # noqa: S311 - pictures, not secrets
    left, notes = size - len(photo), list[bytes]()
    while left:
        length = left if left <= _LONGEST_NOTE else min(_LONGEST_NOTE, left - 4)  # the rest holds a segment's header
        notes.append(b"\xff\xec" + (length - 2).to_bytes(2, "big") + dice.randbytes(length - 4))
        left -= length
    return b"".join((photo[:2], *notes, photo[2:]))


def cut(data: bytes, *, keep: float = 0.5) -> bytes:
    """The file as a broken download left it: its first `keep` part."""
    return data[: int(len(data) * keep)]


def huge(width: int = 20_000, height: int = 20_000) -> bytes:
    """A PNG of a few bytes that says it is enormous: a decompression bomb's header."""
    small = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes(small[24:29])
    small[12:29] = header
    small[29:33] = _crc(header)
    return bytes(small)


def _crc(chunk: bytes) -> bytes:
    return zlib.crc32(chunk).to_bytes(4, "big")
