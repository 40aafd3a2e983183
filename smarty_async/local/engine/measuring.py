"""What is wrong with a photo, in numbers: how far it faded, how noisy it is, whether it has colour at all."""

from __future__ import annotations

from typing import Final

import msgspec
from PIL import Image, ImageChops, ImageFilter

__all__ = ["Condition", "measure", "percentile"]

_LAPLACIAN: Final = ImageFilter.Kernel((3, 3), (1, -2, 1, -2, 4, -2, 1, -2, 1), scale=1, offset=128)
"""Blind to plains and slopes, so what it leaves is noise: J. Immerkær, "Fast Noise Variance Estimation", 1996."""

_NOISE_GAIN: Final = 6.0 * 0.6745
"""From the median of that filter's absolute answer to the noise's standard deviation: the kernel's norm is 6."""

_ENDS: Final = 0.005
"""The share of pixels at either end of the range that does not count: a speck of light is no highlight."""


class Condition(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        low: the gray level (0 to 255) that all but the darkest pixels reach.
        high: the gray level that all but the brightest pixels stay under.
        noise: standard deviation of the noise, in gray levels.
        specks: the share of pixels (0 to 1) that stand out from calm surroundings.
        bw: whether there is but one tint in it, the paper's.
    """

    low: int
    high: int
    noise: float
    specks: float
    bw: bool


def measure(image: Image.Image) -> Condition:
    """Measure an ``L`` or ``RGB`` picture."""
    gray = image if image.mode == "L" else image.convert("L")
    histogram = gray.histogram()
    return Condition(
        low=percentile(histogram, _ENDS),
        high=percentile(histogram, 1 - _ENDS),
        noise=_noise(gray),
        specks=_specks(gray),
        bw=image.mode == "L" or _colourless(image),
    )


def percentile(histogram: list[int], share: float) -> int:
    """The level below or at which that `share` (0 to 1) of all pixels lie."""
    wanted = share * sum(histogram)
    seen = 0
    for level, count in enumerate(histogram):
        seen += count
        if seen >= wanted and seen:
            return level
    return len(histogram) - 1


def _noise(gray: Image.Image) -> float:
    """The median, not Immerkær's mean: edges answer strongly, and are few."""
    histogram = _inside(gray.filter(_LAPLACIAN)).histogram()
    strengths = [histogram[128]] + [histogram[128 - n] + histogram[128 + n] for n in range(1, 128)]
    return percentile(strengths, 0.5) / _NOISE_GAIN


def _specks(gray: Image.Image) -> float:
    """Specks and thin scratches vanish under a median: what then differs a lot, where all around is calm, was one.

    Foliage and roof tiles differ as much, but so do their surroundings.
    """
    difference = _inside(ImageChops.difference(gray, gray.filter(ImageFilter.MedianFilter(3))))
    unrest = difference.point([min(level, 24) for level in range(256)]).filter(ImageFilter.BoxBlur(4))
    calm = unrest.point([255] * 5 + [0] * 251)
    return sum(difference.histogram(calm)[48:]) / (difference.width * difference.height)


def _inside(image: Image.Image) -> Image.Image:
    """Without the frame of pixels a 3×3 filter cannot judge."""
    if min(image.size) < 3:  # noqa: PLR2004 - the filter's own size
        return image
    return image.crop((1, 1, image.width - 1, image.height - 1))


def _colourless(image: Image.Image) -> bool:
    """Whether hardly any pixel strays from the common tint; yellowed paper is still black-and-white."""
    small = image.copy()
    small.thumbnail((256, 256), Image.Resampling.BOX)  # averages the colour noise of film and JPEG away
    _, blue, red = small.convert("YCbCr").split()
    return all(_spread(channel.histogram()) <= 12 for channel in (blue, red))  # noqa: PLR2004 - of 255


def _spread(histogram: list[int]) -> int:
    return percentile(histogram, 0.99) - percentile(histogram, 0.01)
