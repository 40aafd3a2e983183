"""Which lines in a photo are scratches and creases, and which belong to the scene.

Pieces of likely damage that continue each other are joined to lines, and a logistic regression judges each line as a
whole: a scratch keeps its colour and its width while what lies behind it changes, both of its sides look alike, and it
is lighter or darker than either.
"""

from __future__ import annotations

from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.tiles import Pixels

__all__ = ["MEASURES", "Lines", "joined", "log_odds", "terms"]

Rows = NDArray[np.float64]
Numbers = NDArray[np.int64]

MEASURES: Final = (
    *("lighter", "length", "odds", "width", "uneven", "ridge", "ridges", "steady", "spread"),
    *("sides", "bias", "bright", "margin", "ends", "others"),
)
"""What is measured of a line: see `joined`."""

_WEIGHTS: Final = (
    *(5.980,),
    *(-0.611, 0.038, 0.903, 0.029, 0.100, 0.361, 1.654, -1.316, -1.285),
    *(-0.518, 0.017, -6.465, -1.815, 0.662, 0.293),
    *(0.035, -0.049, 0.328, -1.339, 0.114, -6.466, 0.327, 0.118),
    *(0.141, -0.067, 6.927, -1.115, -0.023, 0.026),
)
"""Logistic regression: a constant, a weight for each of `MEASURES`, and for the square of each but the first; fitted by
`training/scratches/evaluate.py`."""

_THIN: Final = 2.5
_LEAST: Final = 6.0
"""Pieces that are so many times longer than wide, and of so many pixels, continue others."""

_NEAR: Final = (8.0, 24.0, 0.6)
"""Pixels between the ends of pieces that continue each other: always, at most, and as a share of the shorter piece."""

_ALONG: Final = 0.94
"""The cosine of the angle between pieces that continue each other, at least."""

_BESIDE: Final = 2.5
"""Pixels beyond a line's width at which its sides are looked at."""

_RIDGE: Final = 4.0
"""Gray levels by which a line differs from both of its sides, at least."""

_CALM: Final = 3.0
_ALIKE: Final = 2.0
"""Gray levels by which all brightness is taken to vary, and both sides to differ."""

_EDGE: Final = 3
_END: Final = 6
"""Pixels from the edges of the picture: what is nearer lies at the margin, and ends there."""


class Lines(msgspec.Struct, frozen=True):
    """Lines, of one or several pieces.

    Attributes:
        of: N; the number of each piece's line, from 0.
        measures: M×15, a row for each line.
        lengths: M, in shorter sides of the picture.
    """

    of: Numbers
    measures: Rows
    lengths: Rows


def log_odds(lines: Lines) -> Rows:
    """The log odds that each line is damage: M."""
    return np.asarray(terms(lines) @ np.array(_WEIGHTS), np.float64)


def terms(lines: Lines) -> Rows:
    """What the regression weighs: M×30: a 1, the measures, and the squares of all but the first."""
    measures = lines.measures
    return np.concatenate([np.ones((len(measures), 1)), measures, measures[:, 1:] ** 2], axis=1)


def joined(picture: Pixels, labels: NDArray[np.int32], lengths: Rows, odds: Rows) -> Lines:
    """Join pieces of likely damage to lines, and measure these.

    The measures are 1 for lines that are lighter than their sides, and -1 for darker ones; the logarithm of the length
    in shorter sides; the mean of the pieces' log odds; of the pieces' widths, the mean logarithm and its deviation; the
    logarithm of the difference from the more similar side, and the share of pixels in which there is one; how much the
    brightness varies along the line, divided by how much it varies along its sides, and by itself, both as logarithms;
    the logarithms of the difference between both sides, in the mean of the pixels, and of the means; the brightness;
    the share that lies along the picture's edge, and the ends there; and the logarithm of what speaks for damage
    elsewhere.

    Args:
        picture: H×W×3 uint8.
        labels: H×W; the number of the pixel's piece, from 1; 0 where there is none.
        lengths: N, of the pieces, in shorter sides of the picture.
        odds: N, the log odds that each piece is damage.
    """
    if not len(lengths):
        return Lines(np.zeros(0, np.int64), np.zeros((0, len(MEASURES))), lengths)
    at = np.flatnonzero(labels)
    piece = labels.ravel()[at].astype(np.int64) - 1
    places = at % labels.shape[1] + 1j * (at // labels.shape[1])
    shapes = _shapes(places, piece, len(lengths))
    of = _groups(_continuing(shapes))
    totals = np.asarray(np.bincount(of, lengths), np.float64)
    width = np.log(shapes.widths)

    def mean(values: Rows) -> Rows:
        return np.asarray(np.bincount(of, values * lengths) / totals, np.float64)

    support = np.clip(odds, 0, 2) * lengths
    others = support.sum() - np.bincount(of, support)
    across = (shapes.normals * (shapes.widths + _BESIDE))[piece]
    sign, *looks = _looks(_profile(picture, labels > 0, places, across), of[piece])
    uneven = np.sqrt(np.maximum(0, mean(width**2) - mean(width) ** 2))
    edges = _edges(places, of[piece], labels.shape)
    rows = (sign, np.log(totals), mean(odds), mean(width), uneven, *looks, *edges, np.log(np.maximum(0, others) + 0.05))
    return Lines(of, np.stack(rows, axis=1), totals)


class _Shapes(msgspec.Struct, frozen=True):
    """Of N pieces the middles, the unit vectors across, both ends (2×N), as complex numbers; lengths and widths."""

    middles: NDArray[np.complex128]
    normals: NDArray[np.complex128]
    ends: NDArray[np.complex128]
    lengths: Rows
    widths: Rows


def _shapes(places: NDArray[np.complex128], piece: Numbers, count: int) -> _Shapes:
    areas = np.bincount(piece, minlength=count)
    middles = _sums(piece, places) / areas
    offsets = places - middles[piece]
    directions = np.exp(0.5j * np.angle(_sums(piece, offsets**2)))
    along = (offsets * directions[piece].conj()).real
    first, last = np.zeros(count), np.zeros(count)
    np.minimum.at(first, piece, along)
    np.maximum.at(last, piece, along)
    lengths = last - first + 1
    ends = middles + np.stack([first, last]) * directions
    return _Shapes(middles, 1j * directions, ends, lengths, areas / lengths)


def _sums(owner: Numbers, values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return np.asarray(np.bincount(owner, values.real) + 1j * np.bincount(owner, values.imag), np.complex128)


def _continuing(shapes: _Shapes) -> tuple[Numbers, Numbers, int]:
    """The pairs of pieces that continue each other, and the number of pieces."""
    thin = np.flatnonzero((shapes.lengths > _THIN * shapes.widths) & (shapes.lengths >= _LEAST))
    lengths, ends, normals = shapes.lengths[thin], shapes.ends[:, thin], shapes.normals[thin]
    gaps = np.full((len(thin), len(thin)), np.inf)
    for own in ends:
        for other in ends:
            np.minimum(gaps, np.abs(own[:, None] - other), out=gaps)
    always, most, share = _NEAR
    near = gaps < np.clip(share * np.minimum(lengths[:, None], lengths), always, most)
    first, second = np.nonzero(np.triu(near, 1))
    between = shapes.middles[thin[first]] - shapes.middles[thin[second]]
    between /= np.abs(between) + 1e-9
    across = [(a * b.conj()).imag for a, b in ((normals[first], between), (normals[second], between))]
    turned = (normals[first] * normals[second].conj()).real
    along = np.abs(np.stack([*across, turned])).min(axis=0) > _ALONG
    return thin[first[along]], thin[second[along]], len(shapes.lengths)


def _groups(pairs: tuple[Numbers, Numbers, int]) -> Numbers:
    """For each piece the number of the group of all that are connected by pairs, from 0."""
    first, second, count = pairs
    groups = np.arange(count)
    while True:
        least = groups.copy()
        np.minimum.at(least, first, groups[second])
        np.minimum.at(least, second, groups[first])
        least = least[least]
        if (least == groups).all():
            return np.asarray(np.unique(groups, return_inverse=True)[1], np.int64)
        groups = least


class _Profile(msgspec.Struct, frozen=True):
    """Gray levels of pixels, and on both sides of their lines; 1 where both sides are free of likely damage, else 0."""

    own: Rows
    left: Rows
    right: Rows
    free: Rows


def _profile(
    picture: Pixels, likely: NDArray[np.bool_], places: NDArray[np.complex128], across: NDArray[np.complex128]
) -> _Profile:
    gray = cv2.transform(picture, np.full((1, 3), 1 / 3, np.float32))
    smooth = cv2.blur(gray, (3, 3)).astype(np.float64)
    height, width = gray.shape
    sides, free = list[Rows](), np.ones(len(places))
    for beside in (places + across, places - across):
        x = np.clip(np.rint(beside.real), 0, width - 1).astype(np.int64)
        y = np.clip(np.rint(beside.imag), 0, height - 1).astype(np.int64)
        sides.append(np.asarray(smooth[y, x], np.float64))
        free *= ~likely[y, x]
    own = gray[places.imag.astype(np.int64), places.real.astype(np.int64)].astype(np.float64)
    left, right = sides
    return _Profile(own, left, right, free)


def _looks(profile: _Profile, line: Numbers) -> tuple[Rows, ...]:
    """How lines look beside what lies at both of their sides: `lighter`, and the measures from `ridge` to `bright`."""
    own, left, right, free = profile.own, profile.left, profile.right, profile.free
    areas = np.bincount(line)
    seen = np.bincount(line, free) + 1e-6

    def mean(values: Rows) -> Rows:
        return np.asarray(np.bincount(line, values * free) / seen, np.float64)

    def whole(values: Rows) -> Rows:
        return np.asarray(np.bincount(line, values) / areas, np.float64)

    behind = (left + right) / 2
    lighter = np.where(mean(own - behind) < 0, -1.0, 1.0)
    ridge = np.minimum(lighter[line] * (own - left), lighter[line] * (own - right))
    spread = np.sqrt(np.maximum(0, whole(own**2) - whole(own) ** 2)) + _CALM
    spread_behind = np.sqrt(np.maximum(0, mean(behind**2) - mean(behind) ** 2)) + _CALM
    return (
        lighter,
        np.log1p(np.maximum(0, mean(ridge))),
        mean((ridge > _RIDGE).astype(np.float64)),
        np.log(spread / spread_behind),
        np.log(spread),
        np.log(mean(np.abs(left - right)) + _ALIKE),
        np.log(np.abs(mean(left - right)) + _ALIKE),
        whole(own) / 255,
    )


def _edges(places: NDArray[np.complex128], line: Numbers, shape: tuple[int, ...]) -> tuple[Rows, Rows]:
    """The share of each line that lies along the edges of the picture, and how many of its two halves reach them."""
    far = np.minimum(
        np.minimum(places.real, shape[1] - 1 - places.real), np.minimum(places.imag, shape[0] - 1 - places.imag)
    )
    areas = np.bincount(line)
    offsets = places - (_sums(line, places) / areas)[line]
    along = (offsets * np.exp(-0.5j * np.angle(_sums(line, offsets**2)))[line]).real
    ends = np.zeros((2, len(areas)))
    for half, side in zip(ends, (along < 0, along > 0), strict=True):
        np.maximum.at(half, line, (side & (far < _END)).astype(np.float64))
    return np.bincount(line, far < _EDGE) / areas, ends.sum(axis=0)
