"""Scratches, dust and folds: a network finds them, a second one improves what they are filled with.

Both are trained by `training/scratches`; docs/engine.md says on what, and what they gain.
"""

from __future__ import annotations

from typing import Final, TypeVar, cast

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.lines import joined
from smarty_async.local.engine.lines import log_odds as lines_log_odds
from smarty_async.local.engine.nets import Net, to_pixels, to_planes
from smarty_async.local.engine.protocol import check_wanted
from smarty_async.local.engine.tiles import Pixels

__all__ = [
    "AGAINST",
    "FOR",
    "MEASURES",
    "SQUARED",
    "Pieces",
    "damage_mask",
    "fill",
    "likelihood",
    "log_odds",
    "measured",
    "repaired",
]

Mask = NDArray[np.bool_]
Plane = NDArray[np.float32]
_Kind = TypeVar("_Kind", np.uint8, np.float32)
Picture = NDArray[np.float32]
"""H×W×3, red green blue, 0…1."""

_FINDER: Final = Net(package=f"{__package__}.weights", file="scratches", entry="in0", end="out0")
_FILLER: Final = Net(package=f"{__package__}.weights", file="fill", entry="in0", end="out0")

_SIDE: Final = 1024
"""Pixels of the longer side to which larger photos are reduced, as they are in training."""

_LEAST: Final = 48
"""Pixels of the shorter side, at least: in smaller pictures nothing is searched."""

_STEP: Final = 32
"""The sides of a network's input are multiples of this."""

_LEVELS: Final = 6
"""Halvings of the picture in `_filled`: holes of up to 64 pixels are filled."""

_LIKELY: Final = 0.5
_SURE: Final = 0.9
"""The likelihood from which a pixel belongs to a piece of damage, and that the surest pixel of a piece reaches."""

_CELL: Final = 64
"""Pixels of the cells of the grid by whose lines pieces are cut."""

_CERTAIN: Final = 0.95
"""The likelihood from which, in a damaged photo, a pixel and its neighbours are damage whatever piece they are of."""

MEASURES: Final = ("sure", "likely", "area", "length", "width", "difference", "lighter", "steady", "colour")
"""What is measured of a piece: see `measured`."""

SQUARED: Final = (0, 1, 3, 5, 7)
"""The measures whose squares count as well."""

_WEIGHTS: Final = (
    *(0.109,),
    *(0.218, 0.524, -0.436, 0.401, -0.332, -0.092, 0.554, -0.519, -0.126),
    *(0.050, 0.035, 0.010, 0.037, 0.354),
)
"""Logistic regression: a constant, a weight for each of `MEASURES`, and for the square of each of `SQUARED`; fitted by
`training/scratches/evaluate.py`."""

AGAINST: Final = -0.5
FOR: Final = 2.0
"""Log odds that a piece contributes to the evidence of a photo, at least and at most."""

_ENOUGH: Final = 0.85
"""Evidence from which a photo counts as damaged: log odds of a piece times its length in shorter sides, summed. Pieces
that are rather a part of the scene count against it: where there are many of them, the scene is one of lines."""

_AGREED: Final = 0.3
"""The evidence that lines as a whole must give as well: their log odds, from 0 to `_LINE_FOR`, times their lengths."""

_LINE_FOR: Final = 4.0

_ALONE: Final = 1.78
"""The sum of a line's log odds and the logarithm of its length from which it is filled in a photo that does not count
as damaged; `training/scratches/evaluate.py` prints it."""

_ALMOST: Final = 1.0
"""The log odds from which lines beside such a one are filled, too."""

_CALM: Final = 4.0
"""Gray levels by which all brightness is taken to vary."""

_COLOURFUL: Final = 40.0
"""Gray levels between the channels: the unit of colour."""

_SUREST: Final = 1 - 1 / 510
"""Likelihoods count as at most so much, and as at least the rest to 1."""


def repaired(picture: Pixels) -> Pixels:
    """The picture with scratches, dust and folds filled; `picture` itself when there are too few to be sure.

    Args:
        picture: H×W×3 uint8.

    Raises:
        Abandoned: the client has disconnected.
    """
    scale = min(1.0, _SIDE / max(picture.shape[:2]))
    if min(picture.shape[:2]) * scale < _LEAST:
        return picture
    small = picture if scale == 1 else _reduced(picture, scale)
    mask = damage_mask(small)
    if mask is None:
        return picture
    check_wanted()
    filled = fill(small, mask)
    return filled if small is picture else _patched(picture, filled, mask)


def damage_mask(picture: Pixels) -> Mask | None:
    """Where scratches, dust and folds are; None when there are too few to be sure.

    Args:
        picture: H×W×3 uint8, best with a longer side of 300 to 1024 pixels.
    """
    likely = likelihood(picture)
    pieces = measured(picture, likely)
    odds = log_odds(pieces)
    lines = joined(picture, pieces.labels, pieces.lengths, odds)
    of_lines = lines_log_odds(lines)
    chosen, certain = odds > 0, likely > _CERTAIN
    agreed = (np.clip(of_lines, 0, _LINE_FOR) * lines.lengths).sum() >= _AGREED
    if not agreed or (np.clip(odds, AGAINST, FOR) * pieces.lengths).sum() < _ENOUGH:
        # The photo does not count as damaged: only a line that is sure by itself is filled, with those almost as sure.
        alone = of_lines + np.log(lines.lengths) >= _ALONE
        if not alone.any():
            return None
        chosen, certain = (alone | (of_lines > _ALMOST))[lines.of], np.zeros_like(certain)
    found = np.take(np.concatenate([[False], chosen]), pieces.labels)
    return (_near(found) | _near(certain)) & (likely > _LIKELY)


def log_odds(pieces: Pieces) -> NDArray[np.float64]:
    """The log odds that each piece is damage: N."""
    weights, measures = np.array(_WEIGHTS), pieces.measures
    linear = weights[1 : 1 + len(MEASURES)]
    odds = weights[0] + measures @ linear + measures[:, SQUARED] ** 2 @ weights[1 + len(MEASURES) :]
    return np.asarray(odds, np.float64)


def likelihood(picture: Pixels) -> Plane:
    """How likely each pixel is damaged: H×W, 0…1.

    Args:
        picture: H×W×3 uint8.
    """
    height, width = picture.shape[:2]
    planes = to_planes(_padded(picture, _STEP))
    return _FINDER(planes)[0, :height, :width]


class Pieces(msgspec.Struct, frozen=True):
    """Connected pieces of what is likely damaged.

    Attributes:
        labels: H×W; the number of the pixel's piece, from 1; 0 where there is none.
        measures: N×9, a row for each piece.
        lengths: N, in shorter sides of the picture.
    """

    labels: NDArray[np.int32]
    measures: NDArray[np.float64]
    lengths: NDArray[np.float64]


def measured(picture: Pixels, likely: Plane) -> Pieces:
    """The pieces of what is likely damaged, and their `MEASURES`.

    These are the log odds of its surest pixel and of its mean likelihood; the logarithms of its area, of its length in
    shorter sides, of its mean width and of its difference from its surroundings in gray levels; 1 where it is lighter
    than these, -1 where it is darker; the logarithm of how much brightness varies in it, divided by how much it varies
    in the surroundings drawn over it; and its mean colourfulness.

    Args:
        picture: H×W×3 uint8.
        likely: H×W, 0…1.
    """
    sizes, labels, areas = _pieces(likely)
    if not len(areas):
        return Pieces(labels, np.zeros((0, len(MEASURES))), areas)
    at = np.flatnonzero(labels)
    owner, count = labels.ravel()[at], len(areas) + 1

    def mean(values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.bincount(owner, values, count)[1:] / areas

    def spread(values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.sqrt(np.maximum(mean(values.astype(np.float64) ** 2) - mean(values) ** 2, 0))

    own = picture.reshape(-1, 3)[at].astype(np.float64)
    around = _filled(_scaled(picture), _near(labels > 0, reach=1)).reshape(-1, 3)[at] * 255.0
    light, behind = own.mean(axis=1), around.mean(axis=1)
    surest = np.zeros(count)
    np.maximum.at(surest, owner, likely.ravel()[at])
    difference = mean(light) - mean(behind)
    lengths = sizes / min(likely.shape)
    rows = (
        _logit(surest[1:]),
        _logit(mean(likely.ravel()[at])),
        np.log(areas),
        np.log(lengths),
        np.log(areas / sizes),
        np.log1p(np.abs(difference)),
        np.sign(difference),
        np.log((spread(light) + _CALM) / (spread(behind) + _CALM)),
        mean(np.ptp(own, axis=1)) / _COLOURFUL,
    )
    return Pieces(labels, np.stack(rows, axis=1), lengths)


def _pieces(likely: Plane) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64]]:
    """The pieces that belong to one with a sure pixel: their lengths in pixels, their numbers, their areas."""
    parts = _components(likely > _LIKELY)[1]
    sure = np.zeros(int(parts.max()) + 1, np.bool_)
    sure[parts[likely > _SURE]] = True
    found = np.take(sure, parts)
    # Cut, so that lines that cross each other, or a line of the scene, are judged one by one.
    found[_CELL::_CELL] = False
    found[:, _CELL::_CELL] = False
    return _components(found)


def _components(mask: Mask) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64]]:
    """The diagonals of connected pieces, the pieces' numbers, and their areas, both in pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = stats[1:].astype(np.float64)
    diagonals = np.hypot(found[:, cv2.CC_STAT_WIDTH], found[:, cv2.CC_STAT_HEIGHT])
    return diagonals, np.asarray(labels, np.int32), found[:, cv2.CC_STAT_AREA]


def _logit(share: NDArray[np.float64]) -> NDArray[np.float64]:
    share = np.clip(share, 1 - _SUREST, _SUREST)
    return np.asarray(np.log(share / (1 - share)), np.float64)


def fill(picture: Pixels, mask: Mask) -> Pixels:
    """The picture, filled where the mask is set, and one pixel around.

    Args:
        picture: H×W×3 uint8.
        mask: H×W.
    """
    height, width = picture.shape[:2]
    whole = _padded(picture, 2**_LEVELS)
    hole = _padded(_near(mask, reach=1).astype(np.uint8), 2**_LEVELS)
    start, seen = _filled(_scaled(whole), hole > 0), to_planes(whole)
    planes = np.concatenate([start.transpose(2, 0, 1), seen, hole[None].astype(np.float32)])
    made = to_pixels(start.transpose(2, 0, 1) + _FILLER(planes))
    return np.ascontiguousarray(np.where(hole[..., None] > 0, made, whole)[:height, :width])


def _filled(picture: Picture, hole: Mask) -> Picture:
    """The picture, with the means of ever wider surroundings in its holes."""
    height, width = hole.shape
    known = _padded((~hole).astype(np.float32), 2**_LEVELS)
    levels = [(_padded(picture, 2**_LEVELS) * known[..., None], known)]
    for _ in range(_LEVELS):
        total, weight = levels[-1]
        levels.append((_halved(total), _halved(weight)))
    filled = levels[-1][0] / (levels[-1][1][..., None] + 1e-6)
    for total, weight in reversed(levels[:-1]):
        share = weight[..., None]
        above = cv2.resize(filled, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        filled = np.where(share > 0, total / np.maximum(share, 1e-6), above)
    return np.asarray(filled[:height, :width], np.float32)


def _halved(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)


def _reduced(picture: Pixels, scale: float) -> Pixels:
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _scaled(picture: Pixels) -> Picture:
    return picture.astype(np.float32) / np.float32(255)


def _near(mask: Mask, *, reach: int = 2) -> Mask:
    """The mask, wider by `reach` pixels on all sides."""
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), square) > 0, np.bool_)


def _padded(picture: NDArray[_Kind], step: int) -> NDArray[_Kind]:
    """The picture, mirrored at the right and the bottom up to sides that are multiples of `step`."""
    height, width = picture.shape[:2]
    return cast(
        "NDArray[_Kind]",
        cv2.copyMakeBorder(picture, 0, -height % step, 0, -width % step, cv2.BORDER_REFLECT_101),
    )


def _patched(picture: Pixels, filled: Pixels, mask: Mask) -> Pixels:
    """A copy of the picture with what a smaller one was filled with."""
    size = (picture.shape[1], picture.shape[0])
    share = cv2.resize(_near(mask, reach=1).astype(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_LINEAR)
    at = share > 0
    part = share[at, None] / np.float32(255)
    patch = cv2.resize(filled, size, interpolation=cv2.INTER_CUBIC)[at]
    patched = picture.copy()
    patched[at] = np.rint(picture[at] * (1 - part) + patch * part)
    return patched
