"""Resampling as matrices: Pillow's own, read from what it does to the identity, and Gaussian blur."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["SHRINKING", "gaussian", "matrix", "shrinking_table"]

_PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "bilinear": Image.Resampling.BILINEAR,
}

SHRINKING: dict[str, float] = {
    "bicubic": 0.28,
    "lanczos": 0.19,
    "box": 0.24,
    "hamming": 0.04,
    "bilinear": 0.05,
    "plain cubic": 0.04,
    "gaussian 0.35": 0.04,
    "gaussian 0.45": 0.06,
    "gaussian 0.6": 0.04,
    "gaussian 0.8": 0.02,
}
"""How photographs are made smaller for training, and the share of each: mostly sharp, some a little blurred.

A Gaussian's number is its standard deviation in pixels of the small picture; `plain cubic` is OpenCV's, which does not
widen its kernel.
"""


def matrix(name: str, before: int, after: int) -> NDArray[np.float32]:
    """The `after` × `before` matrix that resamples a column of `before` pixels to `after`."""
    identity = np.eye(before, dtype=np.float32)
    if name == "plain cubic":
        return np.asarray(cv2.resize(identity, (before, after), interpolation=cv2.INTER_CUBIC), np.float32)
    if name.startswith("gaussian"):
        return gaussian(float(name.split()[1]), before, after)
    image = Image.fromarray(identity)
    return np.asarray(image.resize((before, after), _PILLOW[name]), np.float32)


def gaussian(deviation: float, before: int, after: int) -> NDArray[np.float32]:
    """The matrix that blurs, by `deviation` pixels of the result, and takes every n-th point."""
    factor = before / after
    centres = (np.arange(after)[:, None] + 0.5) * factor
    weights = np.exp(-((np.arange(before)[None] + 0.5 - centres) ** 2) / (2 * (deviation * factor) ** 2))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def shrinking_table(before: int, after: int) -> NDArray[np.float32]:
    """The matrices of `SHRINKING`, in its order: kinds × after × before."""
    return np.stack([matrix(name, before, after) for name in SHRINKING])
