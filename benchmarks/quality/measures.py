"""How alike two pictures are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.damage import Array


def psnr(one: Array, other: Array) -> float:
    """The peak signal to noise ratio over all channels, in dB; 100 for the same."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 100.0 if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(one: Array, other: Array) -> float:
    """Structural similarity of the lightness, 1 for the same (Wang and others, 2004; Gaussian window of 1.5)."""
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in (one, other))

    def mean(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        return cv2.GaussianBlur(plane, (11, 11), 1.5).astype(np.float64, copy=False)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(likeness.mean())
