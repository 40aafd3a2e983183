"""The photographs for training: files of a folder, and the pictures made of them, in one flat array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Photographs", "Pixels", "paths"]

Pixels = NDArray[np.uint8]
"""H×W×3, red green blue."""


def paths(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files for training and those for validation: in a folder `val`, or every twelfth where there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
    held = [path for path in found if "val" in {part.lower() for part in path.relative_to(folder).parts}]
    held = held or found[::12]
    return [path for path in found if path not in set(held)], held


class Photographs:
    """Pictures in one flat array.

    Attributes:
        pixels: all pixels, N×3 uint8, picture after picture, row after row.
        starts: the first pixel of each picture.
        widths: of each picture.
        heights: of each picture.
        weights: how often each picture is drawn, relative to the others.
    """

    def __init__(self, pictures: Sequence[tuple[Pixels, float]]) -> None:
        """Join the pictures; with each comes its weight."""
        sizes = np.array([picture.shape[:2] for picture, _ in pictures], np.int64)
        self.heights, self.widths = sizes[:, 0], sizes[:, 1]
        self.starts = np.concatenate([[0], np.cumsum(self.heights * self.widths)[:-1]])
        self.weights = np.array([weight for _, weight in pictures], np.float32)
        self.pixels = np.concatenate([picture.reshape(-1, 3) for picture, _ in pictures])
