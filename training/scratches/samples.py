"""Training samples: a crop of a photograph, aged, damaged and scanned, with the mask of its damage."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.scratches.damage import damage
from training.scratches.scene import thin_things

__all__ = ["sample"]

Pixels = NDArray[np.uint8]
Picture = NDArray[np.float32]
Plane = NDArray[np.float32]

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)


def sample(dice: Generator, photo: Pixels, *, side: int) -> tuple[Picture, Plane]:
    """One training pair: the picture (`side`×`side`×3, 0…1) and its mask (`side`×`side`, 0 or 1).

    A quarter has nothing damaged at all; two in five have thin things drawn in.
    """
    picture = _crop(dice, photo, side)
    if dice.random() < 0.4:
        picture = thin_things(dice, picture)
    picture = _aged(dice, picture)
    mask = np.zeros(picture.shape[:2], np.float32)
    if dice.random() < 0.75:
        canvas = damage(dice, picture)
        picture, mask = canvas.picture, canvas.mask
    if dice.random() < 0.15:
        picture = _margin(dice, picture, mask)
    return _scanned(dice, picture), mask


def _crop(dice: Generator, photo: Pixels, side: int) -> Picture:
    height, width = photo.shape[:2]
    wanted = int(side / dice.uniform(0.45, 1.0))
    size = min(wanted, height, width)
    top, left = dice.integers(0, height - size + 1), dice.integers(0, width - size + 1)
    cut = photo[top : top + size, left : left + size]
    method = cv2.INTER_AREA if size >= side else cv2.INTER_CUBIC
    picture = cv2.resize(cut, (side, side), interpolation=method).astype(np.float32) / 255
    if dice.random() < 0.5:
        picture = picture[:, ::-1]
    if dice.random() < 0.15:
        picture = np.rot90(picture, int(dice.integers(1, 4)))
    return np.ascontiguousarray(picture)


def _aged(dice: Generator, picture: Picture) -> Picture:
    if dice.random() < 0.5:
        picture = np.repeat((picture @ _GRAY)[..., None], 3, axis=2)
    if dice.random() < 0.5:
        low = dice.uniform(0, 0.4) * np.clip(1 + dice.normal(0, 0.15, 3), 0, 2)
        high = dice.uniform(0.65, 1) * np.clip(1 + dice.normal(0, 0.08, 3), 0.5, 1.2)
        picture = low + picture * (high - low)
    if dice.random() < 0.3:
        picture = np.clip(picture, 0, 1) ** dice.uniform(0.6, 1.6)
    return np.clip(picture, 0, 1).astype(np.float32)


def _margin(dice: Generator, picture: Picture, mask: Plane) -> Picture:
    """White paper or a black edge of the scanner at one to four sides; it is no damage."""
    side = picture.shape[0]
    colour = np.float32(dice.choice([0.02, 0.95])) + dice.normal(0, 0.02, 3).astype(np.float32)
    picture = picture.copy()
    for turn in np.nonzero(dice.random(4) < 0.6)[0]:
        wide = int(dice.integers(1, side // 6))
        np.rot90(picture, turn)[:wide] = np.clip(colour, 0, 1)
        np.rot90(mask, turn)[:wide] = 0
    return picture


def _scanned(dice: Generator, picture: Picture) -> Picture:
    if dice.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), dice.uniform(0.3, 1.0))
    if dice.random() < 0.6:
        channels = 1 if dice.random() < 0.6 else 3
        grain = dice.normal(0, abs(dice.normal(0, 0.035)), (*picture.shape[:2], channels))
        picture = picture + grain.astype(np.float32)
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if dice.random() < 0.4:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(dice.integers(40, 97))])
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR).reshape(pixels.shape)
    return pixels.astype(np.float32) / 255
