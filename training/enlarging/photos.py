"""The photographs for training and validation: files of a folder, each at several sizes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["SIDES", "Photos", "Pixels", "held_out", "paths"]

Pixels = NDArray[np.uint8]
"""H×W×3, red green blue."""

SIDES = (1200, 840, 560)
"""Pixels of the longer side of a photo's copies: reduced, it is sharper, and its own JPEG damage is gone."""

_LEAST = 256
"""Pixels that the shorter side has at least: a training sample has to fit."""

_HELD_SIDE, _HELD = 640, 48
"""The longer side of photos for validation, and how many there are at most."""


def paths(pack: Path) -> tuple[list[Path], list[Path]]:
    """The files for training and those for validation, which are in a folder `val`, or every twelfth where none is."""
    found = sorted(path for path in pack.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
    held = [path for path in found if "val" in {part.lower() for part in path.relative_to(pack).parts}]
    held = held or found[::12]
    return [path for path in found if path not in set(held)], held


class Photos:
    """Photographs for training in one flat array, each at the sizes of `SIDES` that it has.

    Attributes:
        pixels: all pixels, N×3 uint8, picture after picture, row after row.
        starts: the first pixel of each picture.
        widths: of each picture.
        heights: of each picture.
        weights: how often each picture is drawn: a photo as often as it has pixels.
    """

    def __init__(self, files: list[Path], *, workers: int = 1) -> None:
        """Read the files."""
        with ThreadPoolExecutor(workers) as pool:
            copies = list(pool.map(_copies, files))
        pictures = [(picture, of_one[0].size / len(of_one)) for of_one in copies for picture in of_one]
        sizes = np.array([picture.shape[:2] for picture, _ in pictures], np.int64)
        self.heights, self.widths = sizes[:, 0], sizes[:, 1]
        self.starts = np.concatenate([[0], np.cumsum(self.heights * self.widths)[:-1]])
        self.weights = np.array([weight for _, weight in pictures], np.float32) / 1e6
        self.pixels = np.concatenate([picture.reshape(-1, 3) for picture, _ in pictures])


def held_out(files: list[Path], *, workers: int = 1) -> list[Pixels]:
    """The photographs for validation, reduced, with sides that are multiples of 8."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(_held, files[:: max(1, len(files) // _HELD)][:_HELD]))


def _copies(path: Path) -> list[Pixels]:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    sides = [min(SIDES[0], max(image.size)), *(side for side in SIDES[1:] if side < max(image.size))]
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
