"""Scratches, dust and folds: a network finds them, and another improves what they are filled with.

Both are trained by `training/scratches`, as that of `pieces.py`; docs/engine.md says on what, and what they gain.
"""

from __future__ import annotations

from typing import Final, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.lines import joined
from smarty_async.local.engine.nets import Net, to_pixels, to_planes
from smarty_async.local.engine.pieces import LIKELY, Pieces, judged, located
from smarty_async.local.engine.protocol import check_wanted
from smarty_async.local.engine.tiles import Pixels

__all__ = ["damage_mask", "fill", "likelihood", "repaired"]

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

_THICKEST: Final = 30.0
"""Pixels across, at most, of what is likely damaged, with what lies around it: 27 and less in damage of every kind, of
which the network finds none that is broader than about 12 itself; 34 and more in the far shore of a lake."""

_AGAINST: Final = -2.0
_FOR: Final = 4.0
"""Log odds that a piece contributes to the evidence of a photo, at least and at most."""

_ENOUGH: Final = 1.4
"""Evidence from which a photo counts as damaged: log odds of a piece times its length in shorter sides, summed. Pieces
that are rather a part of the scene count against it: where there are many of them, the scene is one of lines. Those of
a long line that is not damage by itself do not count for it."""

_PLENTY: Final = 3.0
"""Evidence with that of all lines from which these need no sure one beside them."""

_SURE: Final = 3.8
"""The sum of a line's log odds and half of the logarithm of its length in shorter sides, from which it is damage also
in a photo that does not count as damaged."""

_LONG: Final = 0.12
"""The length in shorter sides from which the pieces of a line are judged as one."""

_LINE: Final = 1.0
_ALONE: Final = 2.0
"""The log odds from which a line is damage beside a sure one or with plenty of evidence, and without these."""

_CERTAIN: Final = 0.95
_DOUBTFUL: Final = -1.0
"""The likelihood from which, in a damaged photo, a pixel is damage also where its piece or line has lower odds, and the
odds that these need."""


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
    likely = _without_bands(likelihood(picture))
    pieces = located(likely)
    own = judged(picture, likely, pieces)
    lines = joined(pieces, own)
    is_long, of_lines = (lines.lengths > _LONG)[lines.of], lines.odds[lines.of]
    evidence = np.clip(own, _AGAINST, _FOR) * pieces.lengths
    is_sure = evidence.sum() >= _PLENTY or bool((lines.odds + np.log(lines.lengths) / 2 >= _SURE).any())
    odds = np.where(is_long, of_lines, own)
    chosen = odds > np.where(is_long, _LINE if is_sure else _ALONE, 0)
    if np.where(is_long & ~chosen, np.minimum(evidence, 0), evidence).sum() >= _ENOUGH:
        certain = (likely > _CERTAIN) & _of_pieces(odds > _DOUBTFUL, pieces)
    elif is_sure:
        chosen, certain = of_lines > _LINE, np.zeros(likely.shape, np.bool_)
    else:
        return None
    return (_near(_of_pieces(chosen, pieces)) | _near(certain)) & (likely > LIKELY)


def _without_bands(likely: Plane) -> Plane:
    """What is likely damaged, without what is too thick for a scratch or a fold, and all that it is joined to."""
    found = np.pad(likely > LIKELY, 1).astype(np.uint8)
    thick = cv2.distanceTransform(found, cv2.DIST_L2, cv2.DIST_MASK_5) > _THICKEST / 2
    if not thick.any():
        return likely
    _, parts = cv2.connectedComponents(found)
    return np.where(np.isin(parts, parts[thick])[1:-1, 1:-1], np.float32(0), likely)


def _of_pieces(chosen: Mask, pieces: Pieces) -> Mask:
    """Where the chosen pieces are: H×W."""
    return np.take(np.concatenate([[False], chosen]), pieces.labels)


def likelihood(picture: Pixels) -> Plane:
    """How likely each pixel is damaged: H×W, 0…1.

    Args:
        picture: H×W×3 uint8.
    """
    height, width = picture.shape[:2]
    planes = to_planes(_padded(picture, _STEP))
    return _FINDER(planes)[0, :height, :width]


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
