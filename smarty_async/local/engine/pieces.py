"""Pieces of likely damage: a network judges each with what surrounds it.

`training/scratches` trains it; docs/engine.md says on what.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.nets import Net
from smarty_async.local.engine.tiles import Pixels

__all__ = ["HEIGHT", "LIKELY", "WIDTH", "Pieces", "Shapes", "judged", "located", "patches"]

Mask = NDArray[np.bool_]
Plane = NDArray[np.float32]
Rows = NDArray[np.float64]
Points = NDArray[np.complex128]
"""Places in a picture: x + 1j·y, in pixels."""

_JUDGE: Final = Net(package=f"{__package__}.weights", file="pieces", entry="in0", end="out0")

WIDTH: Final = 64
HEIGHT: Final = 32
"""Pixels of a patch, along its piece and across it."""

LIKELY: Final = 0.5
_SURE: Final = 0.9
"""The likelihood from which a pixel belongs to a piece of damage, and that the surest pixel of a piece reaches."""

_CELL: Final = 64
"""Pixels of the cells of the grid by whose lines pieces are cut."""

_AT_ONCE: Final = 512
"""Patches that are cut in one call: OpenCV's pictures have fewer than 32,768 rows."""


class Shapes(msgspec.Struct, frozen=True):
    """How N pieces lie in the picture.

    Attributes:
        middles: N points.
        normals: N; the unit vectors across.
        ends: 2×N points.
        lengths: N, in pixels.
        widths: N, in pixels.
    """

    middles: Points
    normals: Points
    ends: Points
    lengths: Rows
    widths: Rows


class Pieces(msgspec.Struct, frozen=True):
    """Connected pieces of what is likely damaged.

    Attributes:
        labels: H×W; the number of the pixel's piece, from 1; 0 where there is none.
        lengths: N, in shorter sides of the picture.
        shapes: of N pieces.
    """

    labels: NDArray[np.int32]
    lengths: Rows
    shapes: Shapes


def located(likely: Plane) -> Pieces:
    """The pieces that belong to one with a sure pixel.

    Args:
        likely: H×W, 0…1.
    """
    parts = _components(likely > LIKELY)[1]
    sure = np.zeros(int(parts.max()) + 1, np.bool_)
    sure[parts[likely > _SURE]] = True
    found = np.take(sure, parts)
    # Cut, so that lines that cross each other, or a line of the scene, are judged one by one.
    found[_CELL::_CELL] = False
    found[:, _CELL::_CELL] = False
    diagonals, labels = _components(found)
    return Pieces(labels, diagonals / min(likely.shape), _shapes(labels, len(diagonals)))


def _components(mask: Mask) -> tuple[Rows, NDArray[np.int32]]:
    """The diagonals of connected pieces in pixels, and the pieces' numbers."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = stats[1:].astype(np.float64)
    return np.hypot(found[:, cv2.CC_STAT_WIDTH], found[:, cv2.CC_STAT_HEIGHT]), np.asarray(labels, np.int32)


def _shapes(labels: NDArray[np.int32], count: int) -> Shapes:
    at = np.flatnonzero(labels)
    piece = labels.ravel()[at].astype(np.int64) - 1
    places = at % labels.shape[1] + 1j * (at // labels.shape[1])
    areas = np.bincount(piece, minlength=count)
    middles = _sums(piece, places, count) / areas
    offsets = places - middles[piece]
    directions = np.exp(0.5j * np.angle(_sums(piece, offsets**2, count)))
    along = (offsets * directions[piece].conj()).real
    first, last = np.zeros(count), np.zeros(count)
    np.minimum.at(first, piece, along)
    np.maximum.at(last, piece, along)
    lengths = last - first + 1
    return Shapes(middles, 1j * directions, middles + np.stack([first, last]) * directions, lengths, areas / lengths)


def _sums(owner: NDArray[np.int64], values: Points, count: int) -> Points:
    real, imaginary = (np.bincount(owner, part, count) for part in (values.real, values.imag))
    return np.asarray(real + 1j * imaginary, np.complex128)


def judged(picture: Pixels, likely: Plane, pieces: Pieces) -> Rows:
    """The log odds that each piece is damage: N.

    Args:
        picture: H×W×3 uint8.
        likely: H×W, 0…1.
        pieces: `located` in it.
    """
    cut = patches(picture, likely, pieces.shapes)
    return np.array([_JUDGE(patch.astype(np.float32) / np.float32(255)).item() for patch in cut], np.float64)


def patches(picture: Pixels, likely: Plane, shapes: Shapes) -> Iterator[NDArray[np.uint8]]:
    """For each piece what surrounds it, turned so that it lies level: 4×`HEIGHT`×`WIDTH`.

    The planes are red, green, blue, and the likelihood of damage times 255.

    Args:
        picture: H×W×3 uint8.
        likely: H×W, 0…1.
        shapes: of N pieces.
    """
    planes = np.dstack([picture, np.rint(likely * 255).astype(np.uint8)])
    along = np.arange(WIDTH) - (WIDTH - 1) / 2
    across = np.arange(HEIGHT)[:, None] - (HEIGHT - 1) / 2
    for first in range(0, len(shapes.middles), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        middles, normals = shapes.middles[some, None, None], shapes.normals[some, None, None]
        at = (middles - 1j * normals * along + normals * across).reshape(-1, WIDTH)
        x, y = at.real.astype(np.float32), at.imag.astype(np.float32)
        cut = np.asarray(cv2.remap(planes, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        yield from cut.reshape(-1, HEIGHT, WIDTH, 4).transpose(0, 3, 1, 2)
