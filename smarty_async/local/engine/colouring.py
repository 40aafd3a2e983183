"""Colour for black-and-white photos: toning by default, or a network in an ONNX file of the user's own."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from smarty_async.errors import ConfigurationError
from smarty_async.local.engine.basic import TONED
from smarty_async.local.engine.diagnosing import light_of
from smarty_async.local.engine.nets import CORES
from smarty_async.local.engine.tiles import Pixels

__all__ = ["Colourist", "OnnxColourist", "Toner"]

Curve = tuple[tuple[int, int, int], ...]
"""Colours for black, middle gray and white; others are interpolated."""

_SEPIA: Final[Curve] = ((18, 12, 8), (141, 112, 82), (255, 244, 224))
_DUOTONE: Final[Curve] = ((10, 14, 26), (112, 110, 116), (255, 246, 230))
"""For dark photos, which sepia would make brown."""

_DARK: Final = 85
"""The median gray level under which a photo is dark."""

_FREE_SIDE: Final = 512
"""Pixels of the longer side of the input, for a network that takes any size."""

_MULTIPLE: Final = 32
"""The sides of that input are multiples of this, because networks with several levels halve them repeatedly."""

_TRIED: Final = 64
"""Pixels of each side of the picture that such a network is tried with when it is loaded."""


class Colourist(Protocol):
    """Gives a black-and-white photo colour."""

    @property
    def comment(self) -> str:
        """The comment in its JPEG files, which says where the colour comes from; ASCII."""
        ...  # protocol

    def __call__(self, picture: Pixels, /) -> Pixels:
        """The photo in colour, H×W×3 uint8."""
        ...  # protocol


class Toner:
    """Tones the photo by its own lightness; no colour of the scene is guessed."""

    comment = TONED

    def __call__(self, picture: Pixels, /) -> Pixels:
        """Sepia; a dark photo in two tones, cold and warm."""
        light = light_of(picture)
        curve = _DUOTONE if np.median(light) < _DARK else _SEPIA
        return np.take(_table(curve), light, axis=0)


def _table(curve: Curve) -> NDArray[np.uint8]:
    levels = np.arange(256)
    channels = [np.interp(levels, (0, 128, 255), channel) for channel in zip(*curve, strict=True)]
    return np.asarray(np.rint(np.stack(channels, axis=1)), np.uint8)


class OnnxColourist:
    """A network in an ONNX file, run by ONNX Runtime on the processor.

    It takes one float32 input, 1×1×H×W or 1×3×H×W: the photo's gray levels, 0…1, once or three times; H and W may be
    fixed. It gives one float32 output with the same H and W: 1×2×H×W, a and b of CIE Lab, or 1×3×H×W, red, green and
    blue, 0…1. Only the colour of its output is used, at the photo's own lightness.
    """

    def __init__(self, path: Path) -> None:
        """Load the network and try it once.

        Raises:
            ConfigurationError: the file cannot be read, or is no network of this kind.
        """
        self._path = path
        self._session = _session(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise self._unfit(f"it has {len(inputs)} inputs and {len(outputs)} outputs, not one of each")
        if inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4 or inputs[0].shape[1] not in (1, 3):  # noqa: PLR2004
            raise self._unfit(f"its input is {inputs[0].type} of {inputs[0].shape}, not float32 of 1×1×H×W or 1×3×H×W")
        self._input: str = inputs[0].name
        self._channels: int = inputs[0].shape[1]
        self._size = tuple(side if isinstance(side, int) else None for side in inputs[0].shape[2:])
        self._try()

    @property
    def comment(self) -> str:
        """Says that the colours are guessed, and by which file."""
        name = self._path.name.encode("ascii", "replace").decode()
        return f"colours guessed by {name}"

    def __call__(self, picture: Pixels, /) -> Pixels:
        """The photo in the network's colours."""
        height, width = picture.shape[:2]
        light = light_of(picture)
        small = cv2.resize(light, self._size_for(height, width), interpolation=cv2.INTER_AREA)
        colours = cv2.resize(self._colours(np.asarray(small, np.uint8)), (width, height))
        lab = cv2.cvtColor(cv2.cvtColor(light, cv2.COLOR_GRAY2RGB).astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        lab[..., 1:] = colours
        return np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1) * 255).astype(np.uint8)

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        """Width and height of the network's input."""
        scale = min(1.0, _FREE_SIDE / max(height, width))
        free = (max(1, round(side * scale / _MULTIPLE)) * _MULTIPLE for side in (height, width))
        rows, columns = (fixed or side for fixed, side in zip(self._size, free, strict=True))
        return columns, rows

    def _colours(self, light: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's a and b of Lab, H×W×2, for gray levels H×W."""
        planes = np.repeat(light[None, None].astype(np.float32) / 255, self._channels, axis=1)
        (made,) = self._session.run(None, {self._input: planes})
        channels = np.ascontiguousarray(made[0].transpose(1, 2, 0), np.float32)
        if channels.shape[2] == 2:  # noqa: PLR2004 - a and b
            return channels
        return np.ascontiguousarray(cv2.cvtColor(np.clip(channels, 0, 1), cv2.COLOR_RGB2Lab)[..., 1:], np.float32)

    def _try(self) -> None:
        rows, columns = (side or _TRIED for side in self._size)
        ramp = np.linspace(0, 255, rows * columns, dtype=np.float32).reshape(rows, columns).astype(np.uint8)
        planes = np.repeat(ramp[None, None].astype(np.float32) / 255, self._channels, axis=1)
        try:
            (made,) = self._session.run(None, {self._input: planes})
        except Exception as error:
            # ONNX Runtime raises exceptions of its own classes and of RuntimeError.
            raise self._unfit(f"it fails at a picture of {columns}×{rows}: {error}") from error
        if made.shape not in ((1, 2, rows, columns), (1, 3, rows, columns)) or made.dtype != np.float32:
            raise self._unfit(f"its output is {made.dtype} of {made.shape}, not float32 of 1×2×H×W or 1×3×H×W")
        if not np.isfinite(made).all():
            raise self._unfit("its output is not finite")

    def _unfit(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path} cannot be used as a colourist: {reason}")


def _session(path: Path) -> Any:
    # In the extra `onnx`; imported by name, because it has no types.
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime raises exceptions of its own classes, which it does not export.
        raise ConfigurationError(f"{path} cannot be used as a colourist: {error}") from error
