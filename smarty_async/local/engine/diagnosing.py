"""Measures of the defects of a photo, which decide about each step. docs/engine.md explains every bound."""

from __future__ import annotations

from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.tiles import Pixels

__all__ = [
    "Ends",
    "blockiness",
    "blur",
    "ends",
    "has_own_colour",
    "is_bw",
    "is_faded",
    "is_plain",
    "is_soft",
    "levels",
    "light_of",
    "noise_level",
]

Plane = NDArray[np.float32]

_LAPLACIAN: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Zero on plains and slopes, so that noise remains: J. Immerkær, "Fast Noise Variance Estimation", 1996."""

_BLOCK: Final = 16
_NOISY: Final = 5.0
_MOST_NOISE: Final = 75.0
_WHITE: Final = 0.95
_WHITE_IN_JPEG: Final = 1.25

_PLAIN: Final = 0.75
_ALIKE: Final = (0.07, 14.0)
_PLAIN_SIDE: Final = 512
"""The share of a page, a drawing or a night sky that has one colour: 0.76 and more there, 0.73 and less in 506 photos.
Channels may differ by a share of the range of lightness, by so many gray levels at most. Of larger pictures, so many
rows or columns of pixels are looked at."""

_DRAWN: Final = 0.5
"""The share of the pixels with exactly one colour, from which there is no noise: text and lines in black and white."""

_EVEN: Final = 0.3
"""The share of the pixels between black and white that are exactly like the one beside them, from which there is no
noise: 0.03 and less in 71 photos in which noise is found, 0.48 and more in screenshots, also as JPEG."""

_FADED_SPAN: Final = 190
_LIFTED_BLACK: Final = 35
_LOST_WHITE: Final = 240
_PALE_SPAN: Final = 110
_STILL_BLACK: Final = 20
_BLANK: Final = 8
_FEWEST: Final = 28
"""Pixels on the shorter side under which nothing is said of fading: so few show a small part of a scene's range."""

_AREAS: Final = 8
_SAME: Final = 0.25
"""The spread of the means of 8×8 areas, as a share of the spread of all pixels: up to 0.15 in walls, meadows and the
like, 0.37 and more in other photos. Fading does not change it."""

_BW: Final = 0.045
_LEAST_COLOUR: Final = 1.1
"""Chroma (Lab) that lightness does not explain, under which a photo is black-and-white: as a share of the range of
lightness, because fading reduces both, and at least 1.1, which JPEG and noise leave in a faded gray photo."""

_CAST: Final = 0.16
"""Difference between the channels' blacks, and between their whites, as a share of the range, from which each channel
is stretched by itself. Measured on 44 photos faded in 7 ways: 25.4 dB, against 24.3 dB with this always done."""

_LEFT: Final = (1.0, 1.15)
"""What is left of the colour when each channel is stretched by itself, divided by what is left when all share their
ends: up to the first, the tint was a cast; from the second, it is the scene's own, and a false one would be added.
Measured on 58 photos faded in 9 ways: 25.9 dB, against 25.7 dB without these and the next bounds."""

_OWN_BLACK: Final = (60.0, 80.0)
"""Gray levels between the channels' blacks: up to the first after fading, from the second in a scene of one colour."""

_OWN_WHITE: Final = (1.7, 1.9)
"""The lightest channel's white, divided by the darkest one's: up to the first after fading, from the second it is the
colour of the light or of the things, as of a sunset, under water, or of a flower that fills the picture."""

_KEPT_BLACK: Final = (10.0, 25.0)
"""The darkest channel's black: up to the first, that channel still has its black and has not faded; dyes that faded
leave at least the second in all three, also below their noise."""

_AGREEING: Final = (0.0, 0.5)
"""The cosine between the tints of black and of white: up to the first, they have different colours, as of a gray dress
before a pink wall, and not one cast; from the second they agree."""

_GRAY: Final = 0.03
_CAST_SIDE: Final = 128
"""Colour that counts as hardly any, as a share of the range; the longer side of the photo in which it is measured."""

_TINT: Final = 45.0

_INK: Final = 25.0
_LAMP: Final = 36.0
_BLUE: Final = -4.0
"""Chroma (Lab) of black from which it is coloured ink, that of white from which it is coloured light, and b of the mean
tint up to which it is blue: 20 and less, 36 and less, and -3 and more, in yellowed and reddened prints and in sepia."""

_TONED: Final = 1.3
"""How far the tint of middle tones may lie from the mean of those of black and of white (Lab): 0.2 and less in yellowed
and reddened paper, 1.25 and less where JPEG of quality 75 and more has quantized it; in the median 2.6 and more in
sepia, selenium, blue and green toning, which tint the silver."""

_LEAST_TINT: Final = 6.0
"""Chroma (Lab) of black from which a tint may be the scene's own."""

_PAPER: Final = 0.93
"""The chroma of white, divided by that of black, up to which such a tint is the scene's own: 0.9 and less in many beige
scenes; 0.98 and more on red paper, 1.1 and more on yellow or pink paper, which tints white more than black."""

_SPOT: Final = 0.16
_LEAST_SPOT: Final = 6.0
"""Chroma that lightness does not explain, from which a two-hundredth of the pixels has its own colour: as a share
of the range of lightness, and at least; 0.12 and less in prints with noise of 10 gray levels, or JPEG of quality 30."""

_SIDE: Final = 256
"""Pixels of the longer side to which a photo is reduced to measure its tones."""

_SMALL_SIDE: Final = 128
"""The same where noise of 6 to 10 gray levels, or JPEG of quality 70, must leave no colour; small areas and a strong
tone lose some of theirs, too."""

_SMOOTH: Final = 3.0
"""Standard deviation, in pixels of the reduced photo, of the blur that removes the chroma of noise and JPEG."""

_SOFT_EDGES: Final = 90

_SOFT: Final = 0.45
"""The energy of fourth differences, divided by that of second differences: of 62 photos made smaller by 2, 0.37 to 0.61
(one in ten below 0.45) with a bicubic filter, 0.42 to 0.69 with a box, 0.24 to 0.46 where they were blurred before."""


def light_of(photo: Pixels) -> NDArray[np.uint8]:
    """The luminance of an H×W×3 photo, H×W."""
    return np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), np.uint8)


class Ends(msgspec.Struct, frozen=True):
    """The gray levels between which all but a hundredth of the pixels lie."""

    low: float
    high: float

    @property
    def span(self) -> float:
        """How many levels there are between them."""
        return self.high - self.low


def ends(plane: NDArray[np.uint8]) -> Ends:
    """The ends of one channel."""
    low, high = np.percentile(plane, (0.5, 99.5))
    return Ends(float(low), float(high))


def levels(picture: Pixels, *, own_colour: bool = False) -> tuple[Ends, Ends, Ends]:
    """Black and white point of red, green and blue.

    Dyes that faded unevenly tint both black and white; then each channel has its own ends. Where black or white is
    neutral, the difference is the scene's own colour, and all channels share their ends; so they do where the tint is
    no cast of faded dyes, and where ends of their own would add colour instead of removing it. In between, the two are
    mixed.

    Args:
        picture: H×W×3 uint8.
        own_colour: whether its tint is known to be its own.
    """
    own = [ends(picture[..., channel]) for channel in range(3)]
    lows, highs = [channel.low for channel in own], [channel.high for channel in own]
    common = Ends(min(lows), max(highs))
    share = 0.0 if own_colour else _cast(np.array(lows), np.array(highs))
    if share:
        share *= _falling(_colour_left(picture, own, common), _LEFT)

    def mixed(channel: Ends) -> Ends:
        low = share * channel.low + (1 - share) * common.low
        return Ends(low, share * channel.high + (1 - share) * common.high)

    return mixed(own[0]), mixed(own[1]), mixed(own[2])


def _cast(lows: NDArray[np.float64], highs: NDArray[np.float64]) -> float:
    """How far the blacks and whites of the three channels have the tint of faded dyes: 0 (not at all) to 1."""
    span = max(1.0, float(highs.max() - lows.min()))
    strong = min(1.0, min(float(np.ptp(lows)), float(np.ptp(highs))) / span / _CAST)
    white = _falling(float(highs.max()) / max(1.0, float(highs.min())), _OWN_WHITE)
    black = _falling(float(np.ptp(lows)), _OWN_BLACK) * (1 - _falling(float(lows.min()), _KEPT_BLACK))
    return strong * white * black * (1 - _falling(_cosine(lows - lows.mean(), highs - highs.mean()), _AGREEING))


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The cosine of the angle between two vectors; 1 where one has no length."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 1.0


def _falling(value: float, bounds: tuple[float, float]) -> float:
    """1 up to the first bound, 0 from the second, and in between what lies on the line."""
    return float(np.interp(value, bounds, (1.0, 0.0)))


def _colour_left(picture: Pixels, own: list[Ends], common: Ends) -> float:
    """The colour that ends of each channel's own leave, divided by the colour that common ends leave.

    Means of logarithms, so that what was gray and gets a colour counts as much as what had one.
    """
    small = _reduced(picture, _CAST_SIDE).astype(np.float32)

    def colour(channels: list[Ends]) -> float:
        lows = np.array([channel.low for channel in channels])
        spans = np.array([max(1.0, channel.span) for channel in channels])
        return float(np.log(np.ptp((small - lows) / spans, axis=2) + _GRAY).mean())

    return float(np.exp(colour(own) - colour([common] * 3)))


def is_faded(picture: Pixels) -> bool:
    """Whether black and white have both become gray. A dark photo still has black, a drawing still has white.

    A scene of one colour is dark in one channel only, as under water or in a meadow: there, black is still there.
    """
    if min(picture.shape[:2]) < _FEWEST:
        return False
    light = light_of(picture)
    found = ends(light)
    lost = found.low >= _LIFTED_BLACK or (found.span < _PALE_SPAN and found.low > _STILL_BLACK)
    pale = lost and found.high <= _LOST_WHITE and _BLANK <= found.span < _FADED_SPAN
    return pale and not _is_wall(light) and _darkest(picture) > _KEPT_BLACK[0]


def _darkest(picture: Pixels) -> float:
    """The black of the channel in which it is darkest."""
    return min(ends(picture[..., channel]).low for channel in range(3))


def _is_wall(light: NDArray[np.uint8]) -> bool:
    """Whether all areas are alike, as of brick or gravel: such a scene has no black and no white to lose."""
    areas = cv2.resize(light, (_AREAS, _AREAS), interpolation=cv2.INTER_AREA)
    return float(areas.std()) < _SAME * float(light.std())


def is_plain(picture: Pixels) -> bool:
    """Whether most of it is the paper of a page or drawing, or a night sky: there, lines and specks are the scene."""
    share, most = _ALIKE
    return _ground(picture, within=min(most, share * ends(light_of(picture)).span)) >= _PLAIN


def _ground(picture: Pixels, *, within: float) -> float:
    """The share of the pixels that have the most frequent colour."""
    step = -(-max(picture.shape[:2]) // _PLAIN_SIDE)
    seen = picture[::step, ::step].reshape(-1, 3)
    bins = (seen >> 3).astype(np.int32) @ np.array([1024, 32, 1], np.int32)
    colour = np.median(seen[bins == np.bincount(bins).argmax()], axis=0)
    return float((np.abs(seen - colour).max(axis=1) <= within).mean())


def noise_level(picture: Pixels, *, gain: float = 1.0, after_jpeg: bool = False) -> float:
    """The noise level to denoise with, in gray levels; 0 when there is too little, or when it is texture.

    The mean of the channels is measured. For independent noise in each channel, √3 times its standard deviation is that
    of a channel; for film grain, which is the same in all channels, the denoiser needs this factor as well.

    Args:
        picture: what to measure.
        gain: the factor by which it will be stretched; the noise is compared with its bound after that.
        after_jpeg: whether it was a JPEG of low quality, which removes the fine part of the noise.
    """
    if min(picture.shape[:2]) < 2 * _BLOCK or _ground(picture, within=0) >= _DRAWN or _even(picture) >= _EVEN:
        return 0.0
    mean = cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32)).astype(np.float32)
    level = _calm_deviation(mean)
    # Averaging 2×2 pixels halves noise, but not texture such as grass or gravel.
    half = cv2.resize(mean, (mean.shape[1] // 2, mean.shape[0] // 2), interpolation=cv2.INTER_AREA)
    white = _calm_deviation(half.astype(np.float32)) < level * (_WHITE_IN_JPEG if after_jpeg else _WHITE)
    level *= 3**0.5
    return min(level, _MOST_NOISE) if white and level * gain >= _NOISY else 0.0


def _even(picture: Pixels) -> float:
    """The share of the pixels that are exactly like the one beside them; what is black or white is left out."""
    seen = picture[:: -(-picture.shape[0] // _PLAIN_SIDE)]
    between = np.any((seen[:, 1:] > 0) & (seen[:, 1:] < 255), axis=2)  # noqa: PLR2004 - white
    alike = np.all(seen[:, 1:] == seen[:, :-1], axis=2)
    return float(alike[between].mean()) if between.any() else 0.0


def _calm_deviation(plane: Plane) -> float:
    """The standard deviation of noise, as the 25th percentile over the blocks: there it is least mixed with texture."""
    strength = _block_means(np.abs(cv2.filter2D(plane, -1, _LAPLACIAN))) * ((np.pi / 2) ** 0.5 / 6)
    light = _block_means(plane)
    # Clipped pixels hold no noise.
    usable = strength[(light > 12) & (light < 243)]  # noqa: PLR2004 - gray levels
    return float(np.percentile(usable if usable.size > strength.size / 10 else strength, 25))


def _block_means(plane: Plane) -> Plane:
    rows, columns = (side // _BLOCK for side in plane.shape[:2])
    whole = plane[: rows * _BLOCK, : columns * _BLOCK]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)


def blockiness(light: NDArray[np.uint8]) -> float:
    """Roughness at the lines of JPEG's 8×8 grid, divided by that between them; about 1 without a grid."""
    return (_grid(light) + _grid(light.T)) / 2


def _grid(light: NDArray[np.uint8]) -> float:
    if min(light.shape) < 4 * 8:
        return 1.0
    plane = light.astype(np.int16)
    third = np.abs(plane[:, 3:] - 3 * plane[:, 2:-1] + 3 * plane[:, 1:-2] - plane[:, :-3])
    means = [float(np.minimum(third[:, phase::8], 30).mean()) for phase in range(8)]
    return means[6] / (float(np.median(means)) + 0.3)


def blur(light: NDArray[np.uint8]) -> float:
    """Blur of the sharpest edges, as a standard deviation in pixels; 0 when there are too few edges.

    Blurring an edge again reduces its slope less, the more blurred it is: Zhuo and Sim, "Defocus map estimation", 2011.
    """
    plane = light.astype(np.float32)
    slope, again = _slope(plane), _slope(cv2.GaussianBlur(plane, (0, 0), 1.0).astype(np.float32))
    strong = slope > np.percentile(slope, _SOFT_EDGES)
    tops = strong & (slope >= cv2.dilate(slope, np.ones((9, 9), np.uint8))) & (slope > 4 * _BLOCK)
    if np.count_nonzero(tops) < 32:  # noqa: PLR2004 - too few to judge by
        return 0.0
    ratio = float(np.median(slope[tops] / np.maximum(again[tops], 1)))
    return float(1 / max(ratio**2 - 1, 1e-3) ** 0.5)


def is_soft(light: NDArray[np.uint8]) -> bool:
    """Whether there is little detail as fine as the pixels, as in a photo that was blurred, or enlarged."""
    fine = _energy(light, np.array([[1, -4, 6, -4, 1]], np.float32) / np.float32(16))
    return fine < _SOFT * _energy(light, np.array([[1, -2, 1]], np.float32) / np.float32(4))


def _energy(light: NDArray[np.uint8], across: Plane) -> float:
    """The sum of the squared differences across and down."""
    return sum(cv2.norm(cv2.filter2D(light, cv2.CV_32F, kernel), cv2.NORM_L2SQR) for kernel in (across, across.T))


def _slope(plane: Plane) -> Plane:
    return cv2.magnitude(cv2.Sobel(plane, -1, 1, 0), cv2.Sobel(plane, -1, 0, 1)).astype(np.float32)


def _reduced(picture: Pixels, side: int) -> Pixels:
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


class _Tones(msgspec.Struct, frozen=True):
    """How colour follows lightness, in Lab: a and b fitted as quadratic functions of it.

    Attributes:
        low: the lightness of black.
        high: the lightness of white.
        tint: the mean of a and b.
        black: the chroma of black.
        white: the chroma of white.
        bend: how far the tint of middle tones is from the mean of the tints of black and of white.
        rest: the chroma that is left at each pixel.
    """

    low: float
    high: float
    tint: Plane
    black: float
    white: float
    bend: float
    rest: Plane


def _tones(picture: Pixels, side: int = _SIDE) -> _Tones:
    small = cv2.GaussianBlur(_reduced(picture, side).astype(np.float32) / 255, (0, 0), _SMOOTH)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2Lab).reshape(-1, 3)
    light = lab[:, 0]
    known = np.stack([np.ones_like(light), light, light**2], axis=1)
    fit, *_ = np.linalg.lstsq(known, lab[:, 1:], rcond=None)
    rest = np.linalg.norm(lab[:, 1:] - known @ fit, axis=1)
    low, high = (float(level) for level in np.percentile(light, (0.5, 99.5)))
    black, middle, white = (np.array([1, level, level**2]) @ fit for level in (low, (low + high) / 2, high))
    return _Tones(
        low=low,
        high=high,
        tint=lab[:, 1:].mean(axis=0),
        black=float(np.linalg.norm(black)),
        white=float(np.linalg.norm(white)),
        bend=float(np.linalg.norm(middle - (black + white) / 2)),
        rest=rest,
    )


def is_bw(picture: Pixels) -> bool:
    """Whether colour follows from lightness alone, as in black-and-white prints, also yellowed ones.

    In Lab, a and b are fitted as quadratic functions of lightness; the residual is the photo's own colour. It is
    compared with the range of lightness, because a faded colour photo has little of both.
    """
    return any(_is_bw(_tones(picture, side)) for side in (_SIDE, _SMALL_SIDE))


def _is_bw(tones: _Tones) -> bool:
    # A strong uniform colour is no tint of paper or silver.
    tint = float(np.linalg.norm(tones.tint))
    bound = max(_LEAST_COLOUR, _BW * (tones.high - tones.low))
    return tint < _TINT and float(np.percentile(tones.rest, 95)) < bound


def has_own_colour(picture: Pixels) -> bool:
    """Whether a photo for which `is_bw` holds has colour that is no tint of paper or silver.

    Coloured ink, as of stamps; coloured light; the blue of a cyanotype; beige and the like of all things, which unlike
    paper tint black more than white; the tone of sepia and the like, which is in the silver and so strongest in middle
    tones; a small area that was coloured by hand.
    """
    tones = _tones(picture)
    spot = max(_LEAST_SPOT, _SPOT * (tones.high - tones.low))
    strong = tones.black > _INK or tones.white > _LAMP or float(tones.tint[1]) < _BLUE
    of_things = tones.black > _LEAST_TINT and tones.white < _PAPER * tones.black
    return strong or of_things or tones.bend > _TONED or float(np.percentile(tones.rest, 99.5)) > spot
