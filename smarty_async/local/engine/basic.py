"""The engine ``basic``: measures with Pillow alone what is wrong with a photo, and corrects that and nothing else."""

from __future__ import annotations

from typing import Final

import msgspec
from PIL import Image, ImageChops, ImageFilter, ImageOps

from smarty_async.local.engine.decoding import PixelBudget, check_enlarged, decode, encode, pixel_count
from smarty_async.local.engine.protocol import Improved
from smarty_async.local.memory import largest_output

__all__ = ["TONED", "BasicEngine", "Condition", "measure", "percentile"]


TONED: Final = "toned, not colourized"
"""The comment in every toned JPEG: the photo is toned in sepia, no colour of the scene is guessed."""

_FADED: Final = 190
"""Gray levels between the dark and bright ends of a photo, under which it has faded."""

_BLANK: Final = 8
"""Gray levels under which there is no contrast to stretch."""

_MOST_GAIN: Final = 4.0
"""The largest factor by which a channel is stretched: beyond it, JPEG's blocks become visible."""

_NOISY: Final = 8.0
_VERY_NOISY: Final = 24.0
"""Standard deviations of noise, in gray levels, from which a median filter of 3×3 and of 5×5 is applied."""

_SPECKLED: Final = 0.002
"""Share of pixels that stand out from smooth surroundings, from which a photo counts as specked or scratched; sharp
photos without damage stay under a third of it."""

_SHARPEN: Final = {"photo": 60, "art": 110}
"""Per cent of unsharp masking after enlarging; drawings tolerate more than faces."""


class BasicEngine:
    """Stretches faded photos, filters noise with a median, tones black-and-white photos, enlarges with Lanczos."""

    name = "basic"

    def __init__(self, *, toning: bool = True) -> None:
        """Make the engine.

        Args:
            toning: whether black-and-white photos get toned outputs, too.
        """
        self._toning = toning
        self._budget = PixelBudget()

    def improve(self, image: bytes, /) -> Improved:
        """Correct what is wrong with the photo; none of the outputs when nothing is.

        Raises:
            ItemRefused: it cannot be decoded, or is too large.
        """
        with self._budget.reserved(pixel_count(image)):
            return self._improved(decode(image))

    def _improved(self, photo: Image.Image) -> Improved:
        condition = measure(photo)
        mended = _mend(photo, condition)
        toned = condition.bw and self._toning
        return Improved(
            improved=encode(mended) if mended else None,
            colorized_improved=encode(_tone(mended), comment=TONED) if mended and toned else None,
            colorized=encode(_tone(photo), comment=TONED) if toned else None,
            bw=condition.bw,
        )

    def enlarge(self, image: bytes, /, *, factor: int, rtype: str) -> bytes:
        """Enlarge with Lanczos, and sharpen a little.

        Raises:
            ItemRefused: it cannot be decoded, or its enlargement would be too large.
        """
        most = largest_output() // factor**2
        with self._budget.reserved(pixel_count(image, max_pixels=most) * factor**2):
            photo = decode(image, max_pixels=most)
            check_enlarged(photo, factor)
            return encode(_enlarged(photo, factor, rtype))


def _enlarged(photo: Image.Image, factor: int, rtype: str) -> Image.Image:
    size = (photo.width * factor, photo.height * factor)
    large = photo.resize(size, Image.Resampling.LANCZOS)
    mask = ImageFilter.UnsharpMask(radius=factor * 0.6, percent=_SHARPEN[rtype], threshold=2)
    return _informed(large.filter(mask), photo)


def _mend(photo: Image.Image, condition: Condition) -> Image.Image | None:
    """The photo denoised and stretched as needed; None when it needs neither."""
    span = condition.high - condition.low
    faded = _BLANK <= span < _FADED
    # The noise as it will be after stretching.
    noise = condition.noise * (min(_MOST_GAIN, 255 / span) if faded else 1)
    noisy = noise >= _NOISY or condition.specks >= _SPECKLED
    if not (faded or noisy):
        return None
    mended = photo
    if noisy:
        mended = mended.filter(ImageFilter.MedianFilter(5 if noise >= _VERY_NOISY else 3))
    if faded:
        mended = _stretch(mended)
    return _informed(mended, photo)


def _stretch(photo: Image.Image) -> Image.Image:
    """Each channel stretched to the whole range, which removes the colour cast of faded dyes."""
    histogram = photo.histogram()
    table: list[int] = []
    for start in range(0, len(histogram), 256):
        channel = histogram[start : start + 256]
        low, high = percentile(channel, 0.005), percentile(channel, 0.995)
        gain = min(_MOST_GAIN, 255 / max(1, high - low))
        # Where the gain is bounded, the channel is centred in the range.
        base = (255 - (high - low) * gain) / 2
        table += [max(0, min(255, round(base + (level - low) * gain))) for level in range(256)]
    return photo.point(table)


def _tone(photo: Image.Image) -> Image.Image:
    """Sepia: black stays black, white becomes old paper."""
    gray = ImageOps.grayscale(photo)
    return ImageOps.colorize(gray, black="#000000", mid="#8a6f52", white="#fff4e0")


def _informed(image: Image.Image, source: Image.Image) -> Image.Image:
    image.info = dict(source.info)
    return image


_LAPLACIAN: Final = ImageFilter.Kernel((3, 3), (1, -2, 1, -2, 4, -2, 1, -2, 1), scale=1, offset=128)
"""Zero on plains and slopes, so that noise remains: J. Immerkær, "Fast Noise Variance Estimation", 1996."""

_NOISE_GAIN: Final = 6.0 * 0.6745
"""The median of that filter's absolute response to noise of standard deviation 1; the kernel's norm is 6."""

_ENDS: Final = 0.005
"""Share of the darkest and of the brightest pixels that is ignored."""


class Condition(msgspec.Struct, frozen=True):
    """The measured defects of a photo.

    Attributes:
        low: the gray level (0 to 255) that all but the darkest pixels reach.
        high: the gray level that all but the brightest pixels stay under.
        noise: standard deviation of the noise, in gray levels.
        specks: the share of pixels (0 to 1) that stand out from smooth surroundings.
        bw: whether it has no colour but a tint of its paper.
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
    """The lowest level that at least `share` (0 to 1) of all pixels do not exceed."""
    wanted = share * sum(histogram)
    seen = 0
    for level, count in enumerate(histogram):
        seen += count
        if seen >= wanted and seen:
            return level
    return len(histogram) - 1


def _noise(gray: Image.Image) -> float:
    """The noise by the median, not by Immerkær's mean, which the few strong edges would raise."""
    histogram = _inside(gray.filter(_LAPLACIAN)).histogram()
    strengths = [histogram[128]] + [histogram[128 - n] + histogram[128 + n] for n in range(1, 128)]
    return percentile(strengths, 0.5) / _NOISE_GAIN


def _specks(gray: Image.Image) -> float:
    """The share of pixels that a median filter changes much in smooth surroundings: specks and thin scratches.

    Foliage and roof tiles change as much, but so do their surroundings.
    """
    difference = _inside(ImageChops.difference(gray, gray.filter(ImageFilter.MedianFilter(3))))
    unrest = difference.point([min(level, 24) for level in range(256)]).filter(ImageFilter.BoxBlur(4))
    calm = unrest.point([255] * 5 + [0] * 251)
    return sum(difference.histogram(calm)[48:]) / (difference.width * difference.height)


def _inside(image: Image.Image) -> Image.Image:
    """The picture without the outermost pixels, where a 3×3 filter has no valid result."""
    if min(image.size) < 3:  # noqa: PLR2004 - the filter's own size
        return image
    return image.crop((1, 1, image.width - 1, image.height - 1))


def _colourless(image: Image.Image) -> bool:
    """Whether nearly all pixels have the same tint: a photo on yellowed paper is black-and-white, too."""
    small = image.copy()
    small.thumbnail((256, 256), Image.Resampling.BOX)  # averages out the colour noise of film and JPEG
    _, blue, red = small.convert("YCbCr").split()
    return all(_spread(channel.histogram()) <= 12 for channel in (blue, red))  # noqa: PLR2004 - of 255


def _spread(histogram: list[int]) -> int:
    return percentile(histogram, 0.99) - percentile(histogram, 0.01)
