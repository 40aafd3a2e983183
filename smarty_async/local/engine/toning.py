"""Colour for black-and-white photos: the door is open for a colourizer, and a toner stands in it."""

from __future__ import annotations

from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.basic import TONED
from smarty_async.local.engine.tiles import Pixels

__all__ = ["Colourist", "Toner"]

Curve = tuple[tuple[int, int, int], ...]
"""Colours for black, the middle and white; those between are drawn straight."""

_SEPIA: Final[Curve] = ((18, 12, 8), (141, 112, 82), (255, 244, 224))
_DUOTONE: Final[Curve] = ((10, 14, 26), (112, 110, 116), (255, 246, 230))
"""Night keeps its blue: sepia would turn it to brown fog."""

_DARK: Final = 85
"""The median gray level under which a photo is dark."""


class Colourist(Protocol):
    """Gives a black-and-white photo colour."""

    @property
    def comment(self) -> str:
        """What its JPEGs say of how the colour came about."""
        ...  # protocol

    def __call__(self, picture: Pixels, /) -> Pixels:
        """The photo in colour."""
        ...  # protocol


class Toner:
    """Lays tones over the photo by its own lightness; no colour of the scene is guessed."""

    comment = TONED

    def __call__(self, picture: Pixels, /) -> Pixels:
        """Sepia; a dark photo in two tones, cold and warm."""
        light = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
        curve = _DUOTONE if np.median(light) < _DARK else _SEPIA
        return np.take(_table(curve), light, axis=0)


def _table(curve: Curve) -> NDArray[np.uint8]:
    levels = np.arange(256)
    channels = [np.interp(levels, (0, 128, 255), channel) for channel in zip(*curve, strict=True)]
    return np.asarray(np.rint(np.stack(channels, axis=1)), np.uint8)
