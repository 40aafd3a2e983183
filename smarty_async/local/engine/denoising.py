"""Learned denoising, told how much noise there is: FFDNet (Zhang, Zuo, Zhang, 2018)."""

from __future__ import annotations

from typing import Final

import numpy as np

from smarty_async.local.engine.nets import CORES, Net, Planes, workers
from smarty_async.local.engine.tiles import Frame, Pixels, tiled
from smarty_async.local.engine.waifu import to_pixels, to_planes

__all__ = ["denoise"]

_NET: Final = Net(package=f"{__package__}.weights", file="ffdnet_color", entry="data", end="output")

_MARGIN: Final = 24
"""Twelve convolutions of 3×3 at half the size look no further."""

_FRAME: Final = Frame(margin=_MARGIN, step=2, largest=192, ahead=CORES)


def denoise(picture: Pixels, sigma: float) -> Pixels:
    """The picture without noise of the standard deviation `sigma`, in gray levels.

    Raises:
        Abandoned: nobody wants it any more.
    """

    def work(tile: Pixels) -> Pixels:
        quarters = _unshuffled(to_planes(tile))
        level = np.full((1, *quarters.shape[1:]), sigma / 255, np.float32)
        made = _shuffled(_NET(np.concatenate([quarters, level])))
        return to_pixels(made[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN])

    return tiled(picture, work, frame=_FRAME, pool=workers())


def _unshuffled(planes: Planes) -> Planes:
    """Every 2×2 pixels as four channels of half the size."""
    channels, height, width = planes.shape
    cells = planes.reshape(channels, height // 2, 2, width // 2, 2)
    return cells.transpose(0, 2, 4, 1, 3).reshape(channels * 4, height // 2, width // 2)


def _shuffled(quarters: Planes) -> Planes:
    channels, height, width = quarters.shape
    cells = quarters.reshape(channels // 4, 2, 2, height, width)
    return cells.transpose(0, 3, 1, 4, 2).reshape(channels // 4, height * 2, width * 2)
