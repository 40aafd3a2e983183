"""The photographs for training and validation: files of a folder, each at several sizes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from training.photographs import Photographs, Pixels

__all__ = ["SIDES", "held_out", "read"]

SIDES = (1600, 1200, 840, 560)
"""Pixels of the longer side of a photo's copies: reduced, it is sharper, and its own JPEG damage is gone."""

_REDUCED, _SHARE = 1200, 0.9
"""From this longer side on, photographs of a pack are reduced already; others are used at this share of their size at
most."""

_APART = 0.9
"""The largest copy is joined by those of `SIDES` that are smaller than this share of it."""

_LEAST = 320
"""Pixels that the shorter side has at least: a training sample has to fit."""

_HELD_SIDE, _HELD = 640, 20
"""The longer side of photos for validation, and how many there are at most."""


def read(files: list[Path], *, workers: int = 1) -> Photographs:
    """Photographs for training, each at the sizes of `SIDES` that it has; one is drawn as often as it has pixels."""
    with ThreadPoolExecutor(workers) as pool:
        copies = list(pool.map(_copies, files))
    return Photographs([(picture, found[0].size / 1e6 / len(found)) for found in copies for picture in found])


def held_out(files: list[Path], *, workers: int = 1) -> list[Pixels]:
    """The photographs for validation, reduced, with sides that are multiples of 8."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(_held, files[:: max(1, len(files) // _HELD)][:_HELD]))


def _copies(path: Path) -> list[Pixels]:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    longest = max(image.size)
    longest = min(SIDES[0], longest if longest >= _REDUCED else round(longest * _SHARE))
    sides = [longest, *(side for side in SIDES if side < longest * _APART)]
    made = [_reduced(image, side) for side in sides]
    return [picture for picture in made if min(picture.shape[:2]) >= _LEAST]


def _held(path: Path) -> Pixels:
    with Image.open(path) as opened:
        picture = _reduced(opened.convert("RGB"), _HELD_SIDE)
    height, width = (side // 8 * 8 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _reduced(image: Image.Image, side: int) -> Pixels:
    scale = min(1.0, side / max(image.size))
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS), np.uint8)
