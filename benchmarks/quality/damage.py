"""What time and bad scanners do to pictures: the same seed does the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.uint8]
Damage = Callable[[Array], Array]


def noise(deviation: float, *, spread: float = 0.0, seed: int = 1) -> Damage:
    """Each channel's own, as sensors make it; blurred by `spread` pixels, as cameras and scanners leave it."""

    def spoil(image: Array) -> Array:
        drawn = np.random.default_rng(seed).normal(0, deviation, image.shape)
        if spread:
            drawn = cv2.GaussianBlur(drawn, (0, 0), spread).astype(np.float64)
            drawn *= deviation / drawn.std()
        return _rounded(image + drawn)

    return spoil


def grain(deviation: float, *, seed: int = 2) -> Damage:
    """The same in all channels, as film makes it."""
    return lambda image: _rounded(image + np.random.default_rng(seed).normal(0, deviation, (*image.shape[:2], 1)))


def jpeg(quality: int) -> Damage:
    """Saved with that quality."""

    def spoil(image: Array) -> Array:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    return spoil


def fade(black: tuple[int, int, int], white: tuple[int, int, int]) -> Damage:
    """Dyes that went: black and white became the given colours."""
    low, high = np.array(black), np.array(white)
    return lambda image: _rounded(low + image * ((high - low) / 255))


def contrast(share: float) -> Damage:
    """Contrast reduced to `share` of what it was, and the middle a little lighter; colour fades as much."""
    return lambda image: _rounded(130 + (image.astype(np.float64) - 128) * share)


def border(pixels: int, colour: tuple[int, int, int]) -> Damage:
    """A margin of one colour at all four sides: a scanner's lid, or paper."""
    return lambda image: np.asarray(
        cv2.copyMakeBorder(image, pixels, pixels, pixels, pixels, cv2.BORDER_CONSTANT, value=colour), np.uint8
    )


def inside(pixels: int) -> Damage:
    """What is left without a margin of so many pixels."""
    return lambda image: np.ascontiguousarray(image[pixels:-pixels, pixels:-pixels])


def blur(deviation: float) -> Damage:
    """Out of focus, by so many pixels."""
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), deviation), np.uint8)


PAPER = (247, 242, 232)
DIRT = (15, 13, 12)


def scratch(
    count: int, *, specks: int = 40, seed: int = 3, angle: float = 0.0, colour: tuple[int, int, int] = PAPER
) -> Damage:
    """Scratches that wander a little, `angle` degrees from upright, and specks of dust."""

    def spoil(image: Array) -> Array:
        dice, spoilt = np.random.default_rng(seed), image.copy()
        height, width = image.shape[:2]
        for _ in range(count):
            steps = np.arange(0, dice.uniform(0.4, 1.0) * height, 4)
            xs = dice.uniform(0, width) + dice.normal(0, 0.1) * steps + np.cumsum(dice.normal(0, 0.15, steps.size))
            points = _turned(np.stack([xs, dice.uniform(-0.1, 0.4) * height + steps], axis=1), angle, height, width)
            layer = _drawn(image, partial(_line, points=points, thickness=int(dice.integers(1, 3))))
            spoilt = _over(spoilt, layer, float(dice.uniform(0.5, 0.95)), colour)
        for _ in range(specks):
            middle = (int(dice.integers(0, width)) * 8, int(dice.integers(0, height)) * 8)
            radius = int(dice.uniform(6, 20))
            layer = _drawn(image, partial(_speck, middle=middle, radius=radius))
            spoilt = _over(spoilt, layer, 0.9, colour)
        return spoilt

    return spoil


def _drawn(image: Array, draw: Callable[[Array], object]) -> NDArray[np.float64]:
    mask = np.zeros(image.shape[:2], np.uint8)
    draw(mask)
    return mask[..., None] / 255


def _line(mask: Array, points: NDArray[np.float64], thickness: int) -> None:
    cv2.polylines(mask, [np.rint(points * 8).astype(np.int32)], isClosed=False, color=255, thickness=thickness,
                  lineType=cv2.LINE_AA, shift=3)  # fmt: skip


def _speck(mask: Array, middle: tuple[int, int], radius: int) -> None:
    cv2.circle(mask, middle, radius, color=255, thickness=-1, lineType=cv2.LINE_AA, shift=3)


def _over(image: Array, layer: NDArray[np.float64], strength: float, colour: tuple[int, int, int]) -> Array:
    return _rounded(image * (1 - layer * strength) + np.array(colour) * layer * strength)


def _turned(points: NDArray[np.float64], angle: float, height: int, width: int) -> NDArray[np.float64]:
    turn, middle = np.radians(angle), np.array((width / 2, height / 2))
    matrix = np.array(((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))))
    return np.asarray((points - middle) @ matrix + middle)


def crease(at: float, *, seed: int = 4) -> Damage:
    """A fold from side to side, `at` a share of the height: a crack with a shadow beside it."""

    def spoil(image: Array) -> Array:
        height, width = image.shape[:2]
        xs = np.linspace(0, width, 160)
        ys = at * height + 0.08 * xs + np.cumsum(np.random.default_rng(seed).normal(0, 0.35, xs.size))
        shadow = _drawn(image, lambda mask: _line(mask, np.stack([xs, ys + 5], axis=1), 9))
        dark = cv2.GaussianBlur(shadow, (0, 0), 2.5)[..., None]
        crack = _drawn(image, lambda mask: _line(mask, np.stack([xs, ys], axis=1), 2))
        return _over(_rounded(image * (1 - 0.35 * dark)), crack, 0.85, PAPER)

    return spoil


def gray(image: Array) -> Array:
    """Without colours."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def smaller(factor: int) -> Damage:
    """So many times smaller on each side."""
    return lambda image: np.asarray(
        Image.fromarray(image).resize((image.shape[1] // factor, image.shape[0] // factor), Image.Resampling.BICUBIC)
    )


def after(*damages: Damage) -> Damage:
    """One after the other."""

    def spoil(image: Array) -> Array:
        for damage in damages:
            image = damage(image)
        return image

    return spoil


def _rounded(values: NDArray[np.float64]) -> Array:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
