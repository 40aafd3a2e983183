"""The kinds of small photographs that networks are measured with: how originals are reduced, and what comes then."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from training.photographs import Pixels

__all__ = ["KINDS", "Kind", "psnr"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way of making photographs smaller.

    Attributes:
        method: the filter of the reduction.
        blur: standard deviation of a Gaussian blur of the original, in its pixels.
        noise: standard deviation of noise in the small picture, in gray levels.
        quality: that of the JPEG which the small picture becomes, or None for no JPEG.
    """

    method: Image.Resampling = Image.Resampling.BICUBIC
    blur: float = 0.0
    noise: float = 0.0
    quality: int | None = None

    def original(self, photo: Pixels) -> Pixels:
        """What the enlarged picture is compared with: the photo, blurred where the kind says so."""
        if not self.blur:
            return photo
        return np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(self.blur)))

    def small(self, original: Pixels, *, factor: int) -> Image.Image:
        """The small picture; the sides of `original` are multiples of `factor`."""
        image = Image.fromarray(original)
        made = image.resize((image.width // factor, image.height // factor), self.method)
        if self.noise:
            noise = np.random.default_rng(5).normal(0, self.noise, (made.height, made.width, 3))
            made = Image.fromarray(np.rint(np.clip(np.asarray(made) + noise, 0, 255)).astype(np.uint8))
        if self.quality is not None:
            buffer = io.BytesIO()
            made.save(buffer, "JPEG", quality=self.quality)
            made = Image.open(buffer)
        return made


KINDS: dict[str, Kind] = {
    "bicubic": Kind(),
    "lanczos": Kind(method=Image.Resampling.LANCZOS),
    "box": Kind(method=Image.Resampling.BOX),
    "soft 1.0": Kind(blur=1.0),
    "soft 1.6": Kind(blur=1.6),
    "JPEG 95": Kind(quality=95),
    "JPEG 80": Kind(quality=80),
    "JPEG 50": Kind(quality=50),
    "soft 1.6, JPEG 90": Kind(blur=1.6, quality=90),
    "noise 3": Kind(noise=3.0),
}


def psnr(one: Pixels, other: Pixels) -> float:
    """How near two pictures are, in dB; beyond 78 dB there is no difference that counts."""
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-3)))
