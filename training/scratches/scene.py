"""Thin things that belong to the scene: wires, masts, blinds, railings, blades of grass, rain, letters.

Drawn onto photographs without a mask, they teach the network what to leave alone.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["KINDS"]

Plane = NDArray[np.float32]
"""H×W, 0…1."""


def _line(cover: Plane, points: NDArray[np.float64], thickness: float) -> None:
    fixed = [np.rint(points * 8).astype(np.int32)]
    cv2.polylines(cover, fixed, False, 1.0, max(1, round(thickness)), cv2.LINE_AA, 3)


def _wires(dice: Generator, cover: Plane) -> None:
    """Two to six sagging lines that run side by side from edge to edge."""
    height, width = cover.shape
    x = np.linspace(-5, width + 5, 30)
    start, slope, sag = dice.uniform(0, height), dice.normal(0, 0.35), dice.uniform(0, 0.25) * height
    distance, thickness = dice.uniform(4, 28), dice.uniform(1, 2.6)
    for number in range(dice.integers(2, 7)):
        y = start + number * distance * (1 + dice.normal(0, 0.08)) + slope * x - sag * (1 - (2 * x / width - 1) ** 2)
        _line(cover, np.stack([x, y], axis=1), thickness)


def _masts(dice: Generator, cover: Plane) -> None:
    """Poles, legs of tripods, branches: they taper or stand on something, and often cross each other."""
    height, width = cover.shape
    foot = dice.uniform(0, 1, 2) * (width, height)
    for _ in range(dice.integers(1, 5)):
        angle = -np.pi / 2 + dice.normal(0, 0.35)
        length = dice.uniform(0.3, 1) * height
        top = foot + length * np.array([np.cos(angle), np.sin(angle)])
        thickness = dice.uniform(1, 7)
        for part in range(6):
            ends = np.stack([foot + (top - foot) * part / 6, foot + (top - foot) * (part + 1) / 6])
            _line(cover, ends, thickness * (1 - 0.1 * part))
        foot = foot + np.array([dice.normal(0, width / 8), 0]) if dice.random() < 0.5 else foot
    if dice.random() < 0.6:
        cv2.rectangle(cover, (0, int(foot[1])), (width, height), 1.0, -1)


def _blinds(dice: Generator, cover: Plane) -> None:
    """Many straight lines at one distance: blinds, boards, tiles, stairs, fabric."""
    height, width = cover.shape
    angle = dice.choice([0.0, np.pi / 2]) + dice.normal(0, 0.2)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    distance = dice.uniform(4, 34)
    thickness = dice.uniform(1, max(1.5, distance / 3))
    middle = np.array([width, height]) * dice.uniform(0.2, 0.8, 2)
    half = dice.uniform(0.3, 1.2) * max(width, height)
    count, spread = int(dice.integers(4, 20)), dice.normal(0, 0.012)
    for number in range(count):
        at = middle + across * distance * (number - count / 2)
        lean = along + across * spread * (number - count / 2)
        _line(cover, np.stack([at - lean * half, at + lean * half]), thickness)


def _railing(dice: Generator, cover: Plane) -> None:
    """Bars between two rails, window frames."""
    height, width = cover.shape
    top, tall = dice.uniform(0, 0.8) * height, dice.uniform(0.15, 0.7) * height
    distance, thickness = dice.uniform(6, 40), dice.uniform(1, 5)
    lean = dice.normal(0, 0.15)
    for x in np.arange(dice.uniform(0, distance), width, distance):
        _line(cover, np.array([[x, top + lean * x], [x, top + tall + lean * x]]), thickness)
    for y in (top, top + tall):
        _line(cover, np.array([[0, y], [width, y + lean * width]]), thickness * 1.5)


def _grass(dice: Generator, cover: Plane) -> None:
    """Bent blades or hair that grow from one place in one direction."""
    height, width = cover.shape
    root, lean = dice.uniform(0.4, 1.1) * height, dice.normal(0, 0.3)
    for _ in range(dice.integers(15, 70)):
        length, bend = dice.uniform(12, 70), dice.normal(lean, 0.3)
        t = np.linspace(0, 1, 8)
        x = dice.uniform(0, width) + bend * length * t**2
        y = root + dice.normal(0, 0.15) * height - length * t
        _line(cover, np.stack([x, y], axis=1), dice.uniform(1, 2.5))


def _rain(dice: Generator, cover: Plane) -> None:
    """Many short strokes in one direction; or drops, stars, lights."""
    height, width = cover.shape
    angle, length = np.pi / 2 + dice.normal(0, 0.2), dice.uniform(0, 30)
    step = np.array([np.cos(angle), np.sin(angle)]) * length
    thickness = dice.uniform(1, 2.2)
    for _ in range(dice.integers(40, 160)):
        start = dice.uniform(0, 1, 2) * (width, height)
        _line(cover, np.stack([start, start + step * dice.uniform(0.6, 1.2)]), thickness)


def _letters(dice: Generator, cover: Plane) -> None:
    height, width = cover.shape
    text = "".join(dice.choice(list("ABCDEFGHIKLMNOPRSTUVWXYZabcdefghiklmnoprst0123456789 "), dice.integers(3, 14)))
    page = np.zeros(cover.shape, np.uint8)  # letters are drawn in 8 bits only
    for row in range(dice.integers(1, 5)):
        place = (int(dice.uniform(-0.1, 0.6) * width), int(dice.uniform(0.1, 1) * height) + 16 * row)
        size, thickness = dice.uniform(0.3, 1.6), int(dice.integers(1, 4))
        cv2.putText(page, text, place, int(dice.integers(0, 8)), size, 255, thickness, cv2.LINE_AA)
    np.maximum(cover, page.astype(np.float32) / 255, out=cover)


def _edges(dice: Generator, cover: Plane) -> None:
    """Flat shapes: their edges are long and straight, but have two different sides."""
    height, width = cover.shape
    for _ in range(dice.integers(1, 4)):
        points = dice.uniform(-0.3, 1.3, (int(dice.integers(3, 6)), 2)) * (width, height)
        hull = cv2.convexHull(np.rint(points * 8).astype(np.int32))
        cv2.fillConvexPoly(cover, hull, 1.0, cv2.LINE_AA, 3)


KINDS: tuple[Callable[[Generator, Plane], None], ...] = (
    _wires,
    _masts,
    _blinds,
    _railing,
    _grass,
    _rain,
    _letters,
    _edges,
)
"""The kinds of thin things; each draws onto a cover."""
