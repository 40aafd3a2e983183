"""Neural networks, each read from its files when it is first needed, and then kept.

`cleaning`, made by `training.cleaning`, removes noise and JPEG damage.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.resources import as_file, files
from os import cpu_count
from typing import Any, Final, TypeGuard

import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.tiles import Frame, Pixels, tiled

__all__ = ["CORES", "UNKNOWN", "Net", "clean", "damage_level", "is_coarse", "net_threads", "to_pixels", "to_planes"]


# Imported by name: the wheel says nothing of its types.
ncnn: Any = import_module("ncnn")

CORES: Final = cpu_count() or 1

_Planes = NDArray[np.float32]
"""C×H×W; for most networks red, green and blue from 0 to 1."""


class Net(msgspec.Struct, frozen=True, kw_only=True):
    """Where a network is, and the names of its input and output.

    Attributes:
        package: the package its files are in.
        file: their path there, without the endings ``.param`` and ``.bin``.
        entry: name of the input blob.
        end: name of the output blob.
    """

    package: str
    file: str
    entry: str
    end: str

    def __call__(self, planes: _Planes) -> _Planes:
        """The network's output for `planes`; thread-safe, and other threads run meanwhile."""
        extractor = _loaded(self).create_extractor()
        # Each run has allocators of its own: those of a network grow with each new tile size. Freeing the memory holds
        # the interpreter's lock, for less than 10 ms with tiles of 128 pixels.
        memory, workspace = ncnn.UnlockedPoolAllocator(), ncnn.UnlockedPoolAllocator()
        extractor.set_blob_allocator(memory)
        extractor.set_workspace_allocator(workspace)
        # A copy: ncnn.Mat refers to the array's memory, and the first layer may work in place.
        planes = np.ascontiguousarray(planes, np.float32)
        extractor.input(self.entry, ncnn.Mat(planes).clone())
        _, made = extractor.extract(self.end)
        result = np.array(made, np.float32)
        # In this order: the blobs are in the allocators' memory.
        del made, extractor
        memory.clear()
        workspace.clear()
        return result


@cache
def _loaded(net: Net) -> Any:
    loaded = ncnn.Net()
    # One thread a tile: the tiles are spread over the cores.
    loaded.opt.num_threads = 1
    loaded.opt.use_vulkan_compute = False
    place = files(net.package)
    with as_file(place / f"{net.file}.param") as param, as_file(place / f"{net.file}.bin") as weights:
        if loaded.load_param(str(param)) or loaded.load_model(str(weights)):
            raise RuntimeError(f"the network {net.file} cannot be read")
    return loaded


@cache
def net_threads() -> Executor:
    """The threads in which networks run: one for each core, shared by all photos."""
    return ThreadPoolExecutor(CORES, thread_name_prefix="net")


def to_planes(pixels: Pixels) -> _Planes:
    """`pixels` as a network's input: C×H×W, 0 to 1."""
    return pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def to_pixels(planes: _Planes) -> Pixels:
    """A network's output as pixels: H×W×C uint8."""
    return np.rint(np.clip(planes.transpose(1, 2, 0), 0, 1) * 255).astype(np.uint8)


_CLEANING: Final = Net(package=f"{__package__}.weights", file="cleaning", entry="in0", end="out0")

_CLEAN_MARGIN: Final = 32
"""Pixels; the network's reach is 46, but the outermost hardly matter."""

# Half of the network works on blocks of 4×4 pixels: all tiles begin at a multiple of 4.
_CLEAN: Final = Frame(margin=_CLEAN_MARGIN, step=4, largest=256, ahead=CORES)

_FINE: Final = 25
_SHARE: Final = 0.75
"""JPEG quality above which, where no noise is known of, this share of the network's change is made: the texture of a
carpet looks like noise that JPEG has gone over. With all of it, 1 of 42 photos came back 0.7 dB worse than it went in;
with the share none does, and the mean is 0.07 dB less."""

UNKNOWN: Final = 0
"""The quality of strong JPEG damage that is not the file's own: an earlier JPEG left it."""

_COARSE: Final = 65
"""JPEG quality up to which a photo is cleaned."""


def is_coarse(quality: int | None) -> TypeGuard[int]:
    """Whether JPEG damage of this quality, or `UNKNOWN`, is strong enough to clean the photo of it; None: no JPEG."""
    return quality is not None and quality <= _COARSE


def damage_level(quality: int | None) -> float:
    """The level of JPEG damage at a quality, as the networks take it; 0 for no JPEG and for `UNKNOWN`."""
    return (100 - quality) / 100 if quality else 0.0


def clean(picture: Pixels, *, noise: float = 0.0, quality: int | None = None) -> Pixels:
    """The picture without noise and JPEG damage.

    Args:
        picture: H×W×3 uint8.
        noise: the noise level, in gray levels, as `noise_level` measures it; 0 for none.
        quality: the JPEG quality it was saved with, `UNKNOWN`, or None for no JPEG damage.

    Raises:
        Abandoned: the client has disconnected.
    """
    share = _SHARE if quality is not None and quality > _FINE and not noise else 1.0
    maps = np.array([noise / 255, damage_level(quality), float(quality == UNKNOWN)], np.float32)

    def work(tile: Pixels) -> Pixels:
        quarters = _unshuffled(to_planes(tile))
        spread = np.broadcast_to(maps[:, None, None], (len(maps), *quarters.shape[1:]))
        change = _CLEANING(np.concatenate([quarters, spread]))
        change *= share
        made = _shuffled(quarters + change)
        return to_pixels(made[:, _CLEAN_MARGIN:-_CLEAN_MARGIN, _CLEAN_MARGIN:-_CLEAN_MARGIN])

    return tiled(picture, work, frame=_CLEAN, pool=net_threads())


def _unshuffled(planes: _Planes) -> _Planes:
    """Space to depth: each 2×2 pixels as four channels of half the size."""
    channels, height, width = planes.shape
    cells = planes.reshape(channels, height // 2, 2, width // 2, 2)
    return cells.transpose(0, 2, 4, 1, 3).reshape(channels * 4, height // 2, width // 2)


def _shuffled(quarters: _Planes) -> _Planes:
    channels, height, width = quarters.shape
    cells = quarters.reshape(channels // 4, 2, 2, height, width)
    return cells.transpose(0, 3, 1, 4, 2).reshape(channels // 4, height * 2, width * 2)
