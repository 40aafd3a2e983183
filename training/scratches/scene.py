"""Thin things that belong to the scene: wires, masts, blinds, railings, blades of grass, rain, letters, joints, twigs.

Drawn onto photographs without a mask, they teach the network what to leave alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

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


def _harbour(dice: Generator, cover: Plane) -> None:
    """Ships beside each other: masts of different heights on hulls, stays from their tops, yards across."""
    height, width = cover.shape
    base, distance, thickness = dice.uniform(0.4, 1.0) * height, dice.uniform(8, 60), dice.uniform(1, 3.5)
    tallest, hulls = dice.uniform(0.2, 0.9) * height, dice.random() < 0.6
    for x in np.arange(dice.uniform(0, distance), width, distance):
        foot = np.array([x + dice.normal(0, distance / 4), base + dice.normal(0, 4)])
        top = foot + np.array([dice.normal(0, 0.02) * tallest, -tallest * dice.uniform(0.3, 1)])
        _line(cover, np.stack([foot, top]), thickness * dice.uniform(0.6, 1.3))
        for side in (-1, 1):
            if dice.random() < 0.5:
                stay = foot + np.array([side * dice.uniform(0.1, 0.4) * tallest, 0])
                _line(cover, np.stack([top, stay]), 1)
        if dice.random() < 0.4:
            yard, half = top + (foot - top) * dice.uniform(0.1, 0.5), np.array([dice.uniform(0.05, 0.2) * tallest, 0])
            _line(cover, np.stack([yard - half, yard + half]), max(1, thickness * 0.6))
        if hulls:
            length = dice.uniform(0.5, 1.5) * distance
            hull = np.array([[-length, 0], [length, 0], [0.7 * length, 0.25 * length], [-0.7 * length, 0.25 * length]])
            cv2.fillConvexPoly(cover, np.rint((foot + hull) * 8).astype(np.int32), 1.0, cv2.LINE_AA, 3)


def _boards(dice: Generator, cover: Plane) -> None:
    """Boards or plates, each a little lighter or darker than the next, with dark joints between."""
    height, width = cover.shape
    angle = dice.choice([0.0, np.pi / 2]) + dice.normal(0, 0.15)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    distance, half = dice.uniform(14, 160), 1.5 * max(width, height)
    thickness, tint = dice.uniform(1, 4), dice.uniform(0, 0.3)
    middle = dice.uniform(0.2, 0.8, 2) * (width, height)
    count = int(half / distance) + 1
    places = [distance * (number + dice.normal(0, 0.05)) for number in range(-count, count + 1)]
    for start, end in pairwise(places):
        corners = [middle + across * at + along * side for at, side in ((start, -half), (start, half))]
        corners += [middle + across * at + along * side for at, side in ((end, half), (end, -half))]
        fixed = np.rint(np.stack(corners) * 8).astype(np.int32)
        cv2.fillConvexPoly(cover, fixed, float(tint * dice.random()), cv2.LINE_AA, 3)
    for at in places:
        _line(cover, np.stack([middle + across * at - along * half, middle + across * at + along * half]), thickness)


def _outlines(dice: Generator, cover: Plane) -> None:
    """Shapes with a rim: the sides of the line differ, as at roofs, table tops and picture frames."""
    height, width = cover.shape
    for _ in range(dice.integers(1, 4)):
        points = dice.uniform(-0.3, 1.3, (int(dice.integers(3, 6)), 2)) * (width, height)
        hull = cv2.convexHull(np.rint(points * 8).astype(np.int32))
        cv2.fillConvexPoly(cover, hull, float(dice.uniform(0.05, 0.5)), cv2.LINE_AA, 3)
        cv2.polylines(cover, [hull], True, 1.0, int(dice.integers(1, 5)), cv2.LINE_AA, 3)


def _prints(dice: Generator, cover: Plane) -> None:
    """Rows of marks: prints in snow or sand, stones, rivets, birds on a wire, leaves."""
    height, width = cover.shape
    size, distance = dice.uniform(1, 6), dice.uniform(6, 26)
    for _ in range(dice.integers(1, 5)):
        at, angle = dice.uniform(0, 1, 2) * (width, height), dice.uniform(0, 2 * np.pi)
        for number in range(dice.integers(5, 60)):
            angle += dice.normal(0, 0.12)
            step = np.array([np.cos(angle), np.sin(angle)])
            at = at + distance * step * dice.uniform(0.7, 1.3)
            beside = at + np.array([-step[1], step[0]]) * size * (1 if number % 2 else -1)
            axes = np.maximum(1, np.array([size * dice.uniform(0.7, 1.3), size * dice.uniform(0.3, 0.8)]))
            box = (tuple(beside.tolist()), tuple((2 * axes).tolist()), float(np.degrees(angle)))
            cv2.ellipse(cover, box, 1.0, -1, cv2.LINE_AA)


def _twigs(dice: Generator, cover: Plane) -> None:
    """A bare tree: branches that part into ever thinner ones."""
    height, width = cover.shape
    start = dice.uniform(0, 1, 2) * (width, height)
    ends = [(start, dice.uniform(0, 2 * np.pi), dice.uniform(0.15, 0.4) * height, dice.uniform(2, 9))]
    for _ in range(90):
        if not ends:
            break
        at, angle, length, thickness = ends.pop(0)
        path = [at]
        for _ in range(5):
            angle += dice.normal(0, 0.15)
            path.append(path[-1] + length / 5 * np.array([np.cos(angle), np.sin(angle)]))
        _line(cover, np.stack(path), thickness)
        if length > 10:
            for turn in (-1, 1) if dice.random() < 0.9 else (0,):
                bent = angle + turn * dice.uniform(0.2, 0.7)
                ends.append((path[-1], bent, length * dice.uniform(0.55, 0.9), thickness * 0.65))


KINDS: tuple[Callable[[Generator, Plane], None], ...] = (
    _wires,
    _masts,
    _blinds,
    _railing,
    _grass,
    _rain,
    _letters,
    _edges,
    _harbour,
    _harbour,
    _boards,
    _outlines,
    _prints,
    _twigs,
)
"""The kinds of thin things; each draws onto a cover."""
