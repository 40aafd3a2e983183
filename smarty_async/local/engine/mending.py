"""Corrections that need no network: contrast for what faded, sharpness for what is a little blurred."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.diagnosing import Ends
from smarty_async.local.engine.tiles import Pixels

__all__ = ["gain_for", "sharpen", "stretch"]

_MOST_GAIN: Final = 4.0
"""How far a channel is stretched at most: past that, JPEG's blocks show."""

_BLACK: Final = 5
_WHITE: Final = 247
"""Where a channel's ends go: few photos fill the whole range."""


def gain_for(channel: Ends) -> float:
    """How many times more contrast a channel is given."""
    return min(_MOST_GAIN, (_WHITE - _BLACK) / max(1.0, channel.span))


def stretch(picture: Pixels, channels: tuple[Ends, Ends, Ends]) -> Pixels:
    """Each channel over the whole range.

    Args:
        picture: H×W×3 uint8.
        channels: where the black and the white of red, green and blue lie.
    """
    planes = [np.take(_curve(channels[number]), picture[..., number]) for number in range(3)]
    return np.stack(planes, axis=2)


def _curve(channel: Ends) -> NDArray[np.uint8]:
    gain = gain_for(channel)
    # What the bound on the gain leaves free of the range is shared by both ends.
    base = (_BLACK + _WHITE - channel.span * gain) / 2
    levels = base + (np.arange(256) - channel.low) * gain
    return np.asarray(np.rint(np.clip(levels, 0, 255)), np.uint8)


def sharpen(picture: Pixels, blur: float) -> Pixels:
    """A little of what a blur of the deviation `blur`, in pixels, took."""
    soft = cv2.GaussianBlur(picture, (0, 0), blur)
    return np.asarray(cv2.addWeighted(picture, 2.0, soft, -1.0, 0), np.uint8)
