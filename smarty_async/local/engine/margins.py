"""The margin of a scan: black scanner edges and white or tinted paper around the picture itself."""

from __future__ import annotations

from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.tiles import Pixels

__all__ = ["Box", "core", "picture_box"]

_DEEPEST: Final = 0.25
"""The share of a side's length that the margin at one edge takes at most."""

_DEEPEST_ALONE: Final = 0.16
"""The same where only one edge has a margin, because a plain sky or floor looks like one."""

_SAME: Final = 14
"""Gray levels by which a pixel's channel may differ from the margin's colour: scanner noise, JPEG."""

_PLAIN: Final = 0.97
"""The share of a line's pixels that must have the margin's colour."""

_DARK: Final = 56
_LIGHT: Final = 190
"""A margin is darker than the first gray level (a scanner's lid) or lighter than the second (paper)."""

_STEP: Final = 12
_STEPPING: Final = 0.75
"""Gray levels between a margin and the picture, and the share of the edge's pixels that must differ by more."""

_SOFT: Final = 3
"""Pixels over which the margin changes into the picture: blur, JPEG, an edge between two pixels."""

_GOES_ON: Final = 0.5
"""The share of an edge without a margin that must have the colour of one for the margin to go on there: it is the paper
of a page with text or of an instant photo, which all belongs together."""

_LAYERS: Final = 3
"""Nested margins, at most: a black lid, white paper, a dark frame."""

_LEAST: Final = 32
"""Pixels that each side of the picture keeps, at least."""


class Box(msgspec.Struct, frozen=True):
    """A rectangle in pixels: rows `top` to `bottom`, columns `left` to `right`, the ends not included."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, picture: Pixels) -> Pixels:
        """The rectangle's part of the picture, as a view."""
        return picture[self.top : self.bottom, self.left : self.right]

    def replaced(self, picture: Pixels, part: Pixels) -> Pixels:
        """A copy of the picture with `part` in the rectangle."""
        if part.shape == picture.shape:
            return part
        whole = picture.copy()
        whole[self.top : self.bottom, self.left : self.right] = part
        return whole


def core(picture: Pixels) -> Pixels:
    """A view of the picture without its outermost hundredth (at least 2 pixels), where remains of a margin are."""
    depth = max(2, min(picture.shape[:2]) // 100)
    return picture[depth:-depth, depth:-depth] if min(picture.shape[:2]) > _LEAST else picture


def picture_box(scan: Pixels) -> Box:
    """Where the picture is in the scan; all of it when there is no margin.

    A margin is a run of lines along an edge, all of one dark or light colour, that ends in a step along nearly the
    whole edge. A sky does not: it ends at a horizon, a roof or hills. A margin that goes on beside the picture, as the
    paper of a page does, is none: its parts would come back in two colours.

    Args:
        scan: H×W×3 uint8.
    """
    height, width = scan.shape[:2]
    depths = [0, 0, 0, 0]  # from the top, the left, the bottom, the right
    for _ in range(_LAYERS):
        before = list(depths)
        for side in range(4):
            depths[side] += _depth(_turned(scan, depths, side))
        if depths == before:
            break
    box = _bounded(depths, height, width)
    return Box(0, 0, height, width) if _goes_on(scan, box) else box


def _goes_on(scan: Pixels, box: Box) -> bool:
    """Whether an edge of the scan without a margin has the colour of a margin at another one."""
    height, width = scan.shape[:2]
    depths = (box.top, box.left, height - box.bottom, width - box.right)
    edges = (scan[0], scan[:, 0], scan[-1], scan[:, -1])
    insides = (slice(box.left, box.right), slice(box.top, box.bottom)) * 2
    colours = [np.median(edge, axis=0) for edge, depth in zip(edges, depths, strict=True) if depth]
    free = [edge[inside] for edge, inside, depth in zip(edges, insides, depths, strict=True) if not depth]
    return any(_share(edge, colour) > _GOES_ON for edge in free for colour in colours)


def _bounded(depths: list[int], height: int, width: int) -> Box:
    share = _DEEPEST_ALONE if sum(depth > 0 for depth in depths) == 1 else _DEEPEST
    lengths = (height, width, height, width)
    top, left, bottom, right = (
        depth if depth <= share * length else 0 for depth, length in zip(depths, lengths, strict=True)
    )
    if height - top - bottom < _LEAST or width - left - right < _LEAST:
        return Box(0, 0, height, width)
    return Box(top, left, height - bottom, width - right)


def _turned(scan: Pixels, depths: list[int], side: int) -> Pixels:
    """The picture inside the margins, turned so that the given side is on top."""
    height, width = scan.shape[:2]
    top, left, bottom, right = depths
    inside = scan[top : height - bottom, left : width - right]
    return (inside, inside.transpose(1, 0, 2), inside[::-1], inside[:, ::-1].transpose(1, 0, 2))[side]


def _depth(picture: Pixels) -> int:
    """The number of lines at the top that are a margin, with its soft edge."""
    deepest = int(_DEEPEST * picture.shape[0])
    if min(picture.shape[:2]) < 2 * _LEAST or not deepest:
        return 0
    colour = np.median(picture[0], axis=0)
    light = float(cv2.mean(colour.reshape(1, 1, 3).astype(np.float32))[0])
    if not (light <= _DARK or light >= _LIGHT):
        return 0
    for number in range(deepest + 1):
        if not _is_plain(picture[number], colour):
            return _edge(picture, number) if number else 0
    return 0


def _is_plain(line: NDArray[np.uint8], colour: NDArray[np.float64]) -> bool:
    return _share(line, colour) >= _PLAIN


def _share(line: NDArray[np.uint8], colour: NDArray[np.float64]) -> float:
    """The share of the line's pixels that have the colour."""
    return float((np.abs(line - colour).max(axis=1) <= _SAME).mean())


def _edge(picture: Pixels, depth: int) -> int:
    """Where the picture begins behind `depth` plain lines; 0 when there is no step along the whole edge."""
    last = picture[depth - 1].astype(np.int16)
    for line in range(depth, min(depth + _SOFT, picture.shape[0])):
        if float((np.abs(picture[line] - last).max(axis=1) > _STEP).mean()) >= _STEPPING:
            return line
    return 0
