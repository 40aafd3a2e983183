"""Detection of scratches and dust on a print by their shape, and inpainting of them."""

from __future__ import annotations

from functools import cache
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.tiles import Pixels

__all__ = ["damage_mask", "fill"]

Mask = NDArray[np.bool_]

_ASTRAY: Final = 8.0
"""Pixels by which other pieces of a scratch may be off its line."""

_CALM: Final = 3.0
"""Mean gray level of small bright detail, above which surroundings are too busy to recognize a speck."""

_SPECK: Final = 90
"""Pixels of a speck, at most."""

_REACH: Final = 15
"""Pixels up and down over which a line is averaged, to distinguish it from grain."""

_THICK: Final = 6.0
"""Mean width of a scratch in pixels, at most."""

_STEADY: Final = 0.55
_LIKELY: Final = 1.3
_ASIDE: Final = 4
_RUN: Final = 9
_PLAIN: Final = 6.0
"""Along a scratch, brightness varies less than the scene beside it (4 pixels aside); along a line of the scene it
varies as much. A ratio of at most 0.55 makes a line a certain scratch; where there are certain ones, 1.3 is enough.
Variations of the scene count as 6 gray levels at least."""

_LONG: Final = 0.22
"""The part of the picture's height that a scratch spans, at least."""

_VERY_STEADY: Final = 0.35

_ENOUGH: Final = 3
_ENOUGH_VERY_STEADY: Final = 2
"""Certain scratches from which a photo counts as scratched: flagpoles and their shadows come in ones and twos. Of 119
clean photos, 3 were changed with these bounds; 6 with two certain scratches of any kind."""

_ANGLES_A_GROUP: Final = 3
"""Of the eleven angles, 4° apart, at which lines are searched; lines at angles of one group are not separated."""

_LEAST: Final = 24
"""Rows that a piece of a scratch spans, at least."""


class _Piece(msgspec.Struct, frozen=True):
    label: int
    height: int
    width: int
    thickness: float
    x: float
    y: float


def damage_mask(light: NDArray[np.uint8], noise: float) -> Mask | None:
    """Where scratches are, and dust; None when there are too few certain scratches.

    Args:
        light: the photo's lightness.
        noise: the standard deviation of its noise, in gray levels.
    """
    if min(light.shape) < 2 * _LEAST:
        return None
    labels, pieces = _traces(light, noise)
    lines = [_course(labels, piece, light) for piece in pieces if _is_long(piece, light.shape[0])]
    certain = sum(line.steadiness <= _STEADY for line in lines)
    very = sum(line.steadiness <= _VERY_STEADY for line in lines)
    if certain < _ENOUGH and very < _ENOUGH_VERY_STEADY:
        return None
    courses = [line for line in lines if line.steadiness <= _LIKELY]
    found = [piece for piece in pieces if any(course.goes_through(piece) for course in courses)]
    chosen = np.zeros(int(labels.max()) + 1, np.bool_)
    chosen[[piece.label for piece in found]] = True
    # np.take, unlike chosen[labels], releases the interpreter's lock.
    return np.take(chosen, labels) | _dust(light, noise)


class _Course(msgspec.Struct, frozen=True):
    """The straight line of a scratch.

    Attributes:
        slope: pixels to the right a row.
        start: its column in the first row.
        steadiness: variation of brightness along it, divided by that on both sides of it; small for a scratch.
    """

    slope: float
    start: float
    steadiness: float

    def goes_through(self, piece: _Piece) -> bool:
        return abs(piece.x - self.start - self.slope * piece.y) <= _ASTRAY


def _course(labels: NDArray[np.int32], piece: _Piece, light: NDArray[np.uint8]) -> _Course:
    ys, xs = np.nonzero(labels == piece.label)
    slope, start = np.polyfit(ys, xs, 1)
    rows, firsts = np.unique(ys, return_index=True)
    lasts = np.append(firsts[1:], ys.size) - 1
    own = np.maximum.reduceat(light[ys, xs], firsts)
    around = cv2.blur(light, (3, 3)).astype(np.float32)
    left = around[rows, np.maximum(xs[firsts] - _ASIDE, 0)]
    right = around[rows, np.minimum(xs[lasts] + _ASIDE, light.shape[1] - 1)]
    steadiness = _unrest(own) / max(_unrest(left + right) / 2, _PLAIN)
    return _Course(float(slope), float(start), steadiness)


def _unrest(along: NDArray[np.generic]) -> float:
    """How much brightness varies along a line, apart from grain."""
    return float(np.convolve(along, np.full(_RUN, 1 / _RUN), "valid").std())


def _is_long(piece: _Piece, rows: int) -> bool:
    return piece.height >= max(_LONG * rows, 2 * _LEAST) and piece.width <= 0.3 * piece.height


def _traces(light: NDArray[np.uint8], noise: float) -> tuple[NDArray[np.int32], list[_Piece]]:
    """Thin, upright, bright lines that stand out from their surroundings; the labels of their pixels, and the lines."""
    smooth = cv2.GaussianBlur(light, (0, 0), 0.6)
    across = cv2.morphologyEx(smooth, cv2.MORPH_TOPHAT, np.ones((1, 11), np.uint8))
    ridge = np.minimum(across, 60).astype(np.float32)
    usual = cv2.blur(ridge, (61, 61))
    along, lean = _along_lines(ridge)
    found = (along > np.maximum(10 + noise, 3 * usual)) & (ridge > np.maximum(8 + 1.5 * noise, 1.2 * usual))
    joined = _closed(found)
    labels, pieces = _labelled(joined)
    lines = [piece for piece in pieces if _is_line(piece)]
    single = np.zeros(len(pieces) + 1, np.bool_)
    single[[piece.label for piece in lines]] = True
    return _with_crossing_lines(labels, lines, (joined > 0) & ~np.take(single, labels), lean)


def _with_crossing_lines(
    labels: NDArray[np.int32], lines: list[_Piece], tangled: Mask, lean: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], list[_Piece]]:
    """The labels and lines, with those that cross each other in `tangled`, separated by their angles."""
    for group in range(int(lean.max()) + 1):
        more, pieces = _labelled(_closed(tangled & (lean == group)))
        offset = int(labels.max())
        lines = lines + [
            msgspec.structs.replace(piece, label=piece.label + offset) for piece in pieces if _is_line(piece)
        ]
        labels = np.where(more > 0, more + offset, labels)
    return labels.astype(np.int32), lines


def _closed(mask: Mask) -> NDArray[np.uint8]:
    """The mask with gaps of a few rows filled."""
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 1), np.uint8)), np.uint8)


def _along_lines(ridge: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The strongest mean along short lines through each pixel, and the group of angles it was found at."""
    best = np.full(ridge.shape, -1, np.float32)
    lean = np.zeros(ridge.shape, np.uint8)
    # One at a time: all eleven together would take 22 times the memory.
    for number, kernel in enumerate(_lines()):
        mean = cv2.filter2D(ridge, -1, kernel)
        better = mean > best
        best[better] = mean[better]
        lean[better] = number // _ANGLES_A_GROUP
    return best, lean


def _labelled(mask: NDArray[np.uint8]) -> tuple[NDArray[np.int32], list[_Piece]]:
    count, labels, stats, middles = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return np.asarray(labels, np.int32), [_piece(label, stats[label], middles[label]) for label in range(1, count)]


def _piece(label: int, stats: NDArray[np.int32], middle: NDArray[np.float64]) -> _Piece:
    height, width, area = (int(stats[at]) for at in (cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH, cv2.CC_STAT_AREA))
    return _Piece(label, height, width, area / height, float(middle[0]), float(middle[1]))


def _is_line(piece: _Piece) -> bool:
    return piece.height >= _LEAST and piece.thickness <= _THICK and piece.width <= piece.height / 2


@cache
def _lines() -> tuple[NDArray[np.float32], ...]:
    """Kernels of short lines, up to 20° from upright, to average along."""
    lines: list[NDArray[np.float32]] = []
    for degrees in range(-20, 21, 4):
        kernel = np.zeros((2 * _REACH + 1, 2 * _REACH + 1), np.float32)
        lean = _REACH * np.tan(np.radians(degrees))
        start, end = (round((_REACH - lean) * 8), 0), (round((_REACH + lean) * 8), _REACH * 16)
        cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_AA, 3)
        lines.append(kernel / kernel.sum())
    return tuple(lines)


def _dust(light: NDArray[np.uint8], noise: float) -> Mask:
    """Bright specks, as of bare paper, where the surroundings are smooth."""
    smooth = cv2.GaussianBlur(light, (0, 0), 0.6)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
    hat = cv2.morphologyEx(smooth, cv2.MORPH_TOPHAT, disc).astype(np.float32)
    busy = cv2.boxFilter(np.minimum(hat, 40), -1, (31, 31)) > _CALM + noise
    found = ((hat > 10 + 2 * noise) & ~busy).astype(np.uint8)
    _, found_labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    labels = np.asarray(found_labels, np.int32)
    bright = np.zeros(len(stats), np.bool_)
    # Brighter than everything around them, which the tips of petals and fur in the sun are not.
    ground = cv2.dilate(smooth.astype(np.float32) - hat, np.ones((13, 13), np.uint8))
    bright[np.unique(labels[(hat > 25 + 3 * noise) & (smooth > ground + 10 + 2 * noise)])] = True
    specks = bright & (stats[:, cv2.CC_STAT_AREA] <= _SPECK)
    specks[0] = False
    return np.take(specks, labels)


def fill(picture: Pixels, mask: Mask) -> Pixels:
    """The picture, inpainted where the mask is set: A. Telea, "An Image Inpainting Technique", 2004."""
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.inpaint(picture, wide, 3, cv2.INPAINT_TELEA), np.uint8)
