"""Pieces of likely damage that continue each other are one line, which is a scratch or a part of the scene."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.pieces import Pieces, Shapes

__all__ = ["Lines", "joined"]

Rows = NDArray[np.float64]
Numbers = NDArray[np.int64]

_THIN: Final = 2.5
_LEAST: Final = 6.0
"""Pieces that are so many times longer than wide, and of so many pixels, continue others."""

_NEAR: Final = (8.0, 24.0, 0.6)
"""Pixels between the ends of pieces that continue each other: always, at most, and as a share of the shorter piece."""

_ALONG: Final = 0.94
"""The cosine of the angle between pieces that continue each other, at least."""


class Lines(msgspec.Struct, frozen=True):
    """Lines, of one or several pieces.

    Attributes:
        of: N; the number of each piece's line, from 0.
        odds: M; the log odds that each line is damage: the mean of its pieces' odds, weighted by their lengths.
        lengths: M, in shorter sides of the picture.
    """

    of: Numbers
    odds: Rows
    lengths: Rows


def joined(pieces: Pieces, odds: Rows) -> Lines:
    """Join pieces of likely damage to lines.

    Args:
        pieces: N.
        odds: N, the log odds that each piece is damage.
    """
    if not len(odds):
        return Lines(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    of = _groups(_continuing(pieces.shapes))
    lengths = np.asarray(np.bincount(of, pieces.lengths), np.float64)
    return Lines(of, np.asarray(np.bincount(of, odds * pieces.lengths) / lengths, np.float64), lengths)


def _continuing(shapes: Shapes) -> tuple[Numbers, Numbers, int]:
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
