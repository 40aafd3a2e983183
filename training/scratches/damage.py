"""Damage as it is on old prints and slides, drawn onto clean photographs together with its mask.

Colours are fractions 0…1, lengths are pixels. The benchmark's damage (`benchmarks/quality/damage.py`) shares no code
with this module and stays unseen in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = [
    "KINDS",
    "Canvas",
    "Colour",
    "Layer",
    "any_colour",
    "damage",
    "damage_of",
    "dirt",
    "dust",
    "fold",
    "hairs",
    "paper",
    "parallel_scratches",
    "scratches",
]

Plane = NDArray[np.float32]
"""H×W, 0…1."""

Picture = NDArray[np.float32]
"""H×W×3, red green blue, 0…1."""

Points = NDArray[np.float64]
"""N×2, x and y in pixels."""

Colour = Callable[[Generator], NDArray[np.float64]]
"""Draws a colour, 3 fractions."""

_VISIBLE = 0.035
"""A change of colour from which a pixel counts as damaged."""

_FINE = 2
"""Lines are drawn this many times larger and reduced, for widths of less than a pixel."""


class Canvas:
    """A picture and what of it is damaged.

    Attributes:
        picture: the picture, changed in place.
        mask: 1 where it is damaged, else 0.
        colour: draws the colour of scratches, dust and hairs.
    """

    def __init__(self, picture: Picture, mask: Plane, colour: Colour | None = None) -> None:
        self.picture, self.mask, self.colour = picture, mask, colour or any_colour

    def lay(self, cover: Plane, colour: NDArray[np.float64], strength: float) -> None:
        """Blend `colour` into the picture where `cover` is, and mark what visibly changed."""
        x, y, width, height = cv2.boundingRect((cover > 0).view(np.uint8))
        if not width:
            return
        box = np.s_[y : y + height, x : x + width]
        share = cover[box] * np.float32(strength)
        before = self.picture[box]
        after = before + (colour.astype(np.float32) - before) * share[..., None]
        changed = (np.abs(after - before).max(axis=2) > _VISIBLE) & (share > 0.12)
        self.picture[box] = after
        self.mask[box] = np.maximum(self.mask[box], changed)

    def shade(self, factor: Plane) -> None:
        """Multiply the picture: uneven light is no damage that can be filled."""
        self.picture *= factor[..., None]


Layer = Callable[[Generator, Canvas], None]
"""Draws one kind of damage."""


def damage(dice: Generator, picture: Picture) -> Canvas:
    """A copy of the picture with some kinds of damage; now and then with none."""
    canvas = Canvas(picture.copy(), np.zeros(picture.shape[:2], np.float32))
    for chance, layer in KINDS:
        if dice.random() < chance:
            layer(dice, canvas)
    np.clip(canvas.picture, 0, 1, out=canvas.picture)
    return canvas


def damage_of(dice: Generator, picture: Picture, layers: Sequence[Layer], colour: Colour) -> Canvas:
    """A copy of the picture with the given kinds of damage."""
    canvas = Canvas(picture.copy(), np.zeros(picture.shape[:2], np.float32), colour)
    for layer in layers:
        layer(dice, canvas)
    np.clip(canvas.picture, 0, 1, out=canvas.picture)
    return canvas


def scratches(dice: Generator, canvas: Canvas) -> None:
    """Up to about ten lines of any length, angle and bend."""
    colour = canvas.colour(dice)
    for _ in range(1 + dice.poisson(dice.choice([0.5, 2.0, 5.0]))):
        if dice.random() < 0.3:
            colour = canvas.colour(dice)
        cover = _stroke(dice, canvas, _path(dice, *canvas.mask.shape), _log_uniform(dice, 0.6, 6.0))
        canvas.lay(cover, colour, dice.uniform(0.3, 1.0))


def parallel_scratches(dice: Generator, canvas: Canvas) -> None:
    """What a film gets in a projector or a scanner: long straight lines along one side."""
    height, width = canvas.mask.shape
    colour, lies = canvas.colour(dice), dice.random() < 0.3
    for _ in range(dice.integers(1, 7)):
        length = dice.uniform(0.3, 1.2) * (width if lies else height)
        along = np.linspace(0, length, 24) + dice.uniform(-0.1, 0.7) * (width if lies else height)
        across = dice.uniform(0, height if lies else width) + dice.normal(0, 0.12) * (along - along[0])
        across = across + np.cumsum(dice.normal(0, dice.uniform(0, 0.8), along.size))
        path = np.stack([along, across] if lies else [across, along], axis=1)
        canvas.lay(_stroke(dice, canvas, path, _log_uniform(dice, 0.7, 4.0)), colour, dice.uniform(0.35, 1.0))


def hairs(dice: Generator, canvas: Canvas) -> None:
    """Short lint, strongly bent."""
    height, width = canvas.mask.shape
    for _ in range(1 + dice.poisson(2.0)):
        count = int(dice.integers(8, 34))
        angle = dice.uniform(0, 2 * np.pi) + np.cumsum(dice.normal(0, 0.2, count))
        start = dice.uniform(0, 1, 2) * (width, height)
        path = start + 2 * np.cumsum(np.stack([np.cos(angle), np.sin(angle)], axis=1), axis=0)
        canvas.lay(_stroke(dice, canvas, path, dice.uniform(0.6, 1.8)), canvas.colour(dice), dice.uniform(0.5, 1.0))


def dust(dice: Generator, canvas: Canvas) -> None:
    """Specks of one colour."""
    colour = canvas.colour(dice)
    area = canvas.mask.size / 192**2
    for _ in range(1 + dice.poisson(area * dice.choice([3.0, 10.0, 22.0]))):
        canvas.lay(_blob(dice, canvas, _log_uniform(dice, 0.7, 4.0)), colour, dice.uniform(0.55, 1.0))


def _lost_emulsion(dice: Generator, canvas: Canvas) -> None:
    """Pieces of the picture layer that came off."""
    for _ in range(dice.integers(1, 4)):
        canvas.lay(_blob(dice, canvas, dice.uniform(4, 14)), paper(dice), dice.uniform(0.8, 1.0))


def fold(dice: Generator, canvas: Canvas) -> None:
    """A crack across the print, flakes along it, and light that falls differently beside it."""
    height, width = canvas.mask.shape
    angle = dice.choice([0.0, np.pi / 2]) + dice.normal(0, 0.25)
    reach = 1.6 * max(height, width)
    steps = np.linspace(-0.5, 0.5, 120) * reach
    wander = np.cumsum(dice.normal(0, dice.uniform(0.1, 0.6), steps.size))
    middle = dice.uniform(0.1, 0.9, 2) * (width, height)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    path = middle + steps[:, None] * along + wander[:, None] * across
    if dice.random() < 0.7:
        shadow = np.zeros(canvas.mask.shape, np.float32)
        beside = path + across * dice.uniform(-6, 6)
        cv2.polylines(shadow, [_fixed(beside)], False, 1.0, int(dice.integers(3, 18)), cv2.LINE_AA, 3)
        shadow = cv2.GaussianBlur(shadow, (0, 0), dice.uniform(1.5, 6))
        canvas.shade(1 - shadow * np.float32(dice.uniform(-0.15, 0.4)))
    colour = paper(dice) if dice.random() < 0.75 else canvas.colour(dice)
    canvas.lay(_stroke(dice, canvas, path, _log_uniform(dice, 0.8, 4.0)), colour, dice.uniform(0.45, 1.0))
    flakes = np.zeros(canvas.mask.shape, np.float32)
    for at in np.nonzero(dice.random(steps.size) < dice.uniform(0, 0.35))[0]:
        _polygon(dice, flakes, path[at] + dice.normal(0, 1.5, 2), _log_uniform(dice, 0.8, 5.0))
    canvas.lay(flakes, colour, 0.95)


def _path(dice: Generator, height: int, width: int) -> Points:
    """The course of one scratch: straight, bent, wandering or curled, from a few pixels to all across."""
    length = _log_uniform(dice, 25, 1.3 * max(height, width))
    count = max(8, int(length / 4))
    angle = dice.uniform(0, 2 * np.pi) if dice.random() < 0.7 else np.pi / 2 + dice.normal(0, 0.12)
    kind = dice.choice(4, p=(0.4, 0.3, 0.2, 0.1))
    if kind == 0:
        turn = np.cumsum(dice.normal(0, 0.005, count))
    elif kind == 1:
        turn = np.linspace(0, dice.normal(0, 0.9), count)
    elif kind == 2:
        turn = np.cumsum(dice.normal(0, dice.uniform(0.02, 0.1), count))
    else:
        turn = np.linspace(0, dice.normal(0, 4), count) + np.cumsum(dice.normal(0, 0.06, count))
    start = dice.uniform(-0.1, 1.1, 2) * (width, height)
    heading = np.stack([np.cos(angle + turn), np.sin(angle + turn)], axis=1)
    return start + (length / count) * np.cumsum(heading, axis=0)


def _stroke(dice: Generator, canvas: Canvas, path: Points, width: float) -> Plane:
    """How much of each pixel one line covers; its width and strength vary along it, and it may have gaps."""
    height, wide = canvas.mask.shape
    fine = np.zeros((height * _FINE, wide * _FINE), np.float32)
    count = len(path)
    widths = np.clip(width * (1 + 0.3 * _wave(dice, count)), 0.5, None) * _FINE
    strengths = np.clip(1 - dice.uniform(0, 0.35) * np.abs(_wave(dice, count)), 0.2, 1)
    if dice.random() < 0.3:
        gaps = _wave(dice, count)
        strengths[gaps < np.quantile(gaps, dice.uniform(0.05, 0.45))] = 0
    corners = _fixed(path * _FINE)
    thicknesses = np.maximum(1, np.floor(widths + dice.random(count)).astype(int))
    for at in np.nonzero(strengths[:-1])[0]:
        start, end = corners[at].tolist(), corners[at + 1].tolist()
        cv2.line(fine, start, end, float(strengths[at]), int(thicknesses[at]), cv2.LINE_AA, 3)
    return np.clip(cv2.resize(fine, (wide, height), interpolation=cv2.INTER_AREA), 0, 1)


def _blob(dice: Generator, canvas: Canvas, size: float) -> Plane:
    cover = np.zeros(canvas.mask.shape, np.float32)
    height, width = cover.shape
    _polygon(dice, cover, dice.uniform(0, 1, 2) * (width, height), size)
    return cover


def _polygon(dice: Generator, cover: Plane, middle: NDArray[np.float64], size: float) -> None:
    corners = int(dice.integers(5, 13))
    angles = np.sort(dice.uniform(0, 2 * np.pi, corners))
    radii = size * dice.uniform(0.4, 1.2, corners)
    points = middle + np.stack([np.cos(angles), np.sin(angles) * dice.uniform(0.4, 1)], axis=1) * radii[:, None]
    cv2.fillPoly(cover, [_fixed(points)], 1.0, cv2.LINE_AA, 3)


def _wave(dice: Generator, count: int) -> NDArray[np.float64]:
    """Smooth noise of deviation 1."""
    knots = max(3, count // 8)
    coarse = dice.normal(0, 1, knots)
    return np.interp(np.linspace(0, knots - 1, count), np.arange(knots), coarse)


def any_colour(dice: Generator) -> NDArray[np.float64]:
    """Mostly of paper, often of dirt, else of glue, or one layer of dye gone."""
    kind = dice.choice(4, p=(0.58, 0.3, 0.07, 0.05))
    if kind == 0:
        return paper(dice)
    if kind == 1:
        return dirt(dice)
    if kind == 2:
        return np.clip(np.array([0.55, 0.45, 0.3]) * dice.uniform(0.6, 1.5), 0, 1)
    return dice.uniform(0, 1, 3)  # one layer of dye gone


def dirt(dice: Generator) -> NDArray[np.float64]:
    """Of dirt, or of a scratch on a negative: dark."""
    return np.clip(np.array([0.1, 0.08, 0.07]) * dice.uniform(0, 2.2) + dice.normal(0, 0.01, 3), 0, 1)


def paper(dice: Generator) -> NDArray[np.float64]:
    """Of paper: bright."""
    return np.clip(np.array([0.96, 0.94, 0.9]) * dice.uniform(0.82, 1.04) + dice.normal(0, 0.02, 3), 0, 1)


def _log_uniform(dice: Generator, low: float, high: float) -> float:
    return float(np.exp(dice.uniform(np.log(low), np.log(high))))


def _fixed(points: Points) -> NDArray[np.int32]:
    """Points as OpenCV takes them with a shift of 3 bits."""
    return np.rint(points * 8).astype(np.int32)


KINDS: tuple[tuple[float, Layer], ...] = (
    (0.75, scratches),
    (0.2, parallel_scratches),
    (0.3, hairs),
    (0.5, dust),
    (0.15, _lost_emulsion),
    (0.3, fold),
)
"""The kinds of damage, and how often a picture has each."""
