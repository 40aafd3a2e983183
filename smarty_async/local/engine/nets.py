"""Neural networks, each read from its files when it is first needed, and then kept."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.resources import as_file, files
from os import cpu_count
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["CORES", "Net", "Planes", "workers"]

# Imported by name: the wheel says nothing of its types.
ncnn: Any = import_module("ncnn")

CORES: Final = cpu_count() or 1

Planes = NDArray[np.float32]
"""C×H×W; most networks take and give red, green and blue from 0 to 1."""


class Net(msgspec.Struct, frozen=True, kw_only=True):
    """Where a network is, and what its ends are called.

    Attributes:
        package: the package its files are in.
        file: their path there, without the endings ``.param`` and ``.bin``.
        entry: the blob that takes the picture.
        end: the blob that gives it.
    """

    package: str
    file: str
    entry: str
    end: str

    def __call__(self, planes: Planes) -> Planes:
        """What the network makes of `planes`; may be called from any thread, and lets others run meanwhile."""
        extractor = _loaded(self).create_extractor()
        # Memory of its own for every run: a network's common store grows with each new size of tile. It goes back
        # while nothing else in Python runs, which tiles of 128 pixels keep under 10 ms.
        memory, workspace = ncnn.UnlockedPoolAllocator(), ncnn.UnlockedPoolAllocator()
        extractor.set_blob_allocator(memory)
        extractor.set_workspace_allocator(workspace)
        # ncnn.Mat looks into the array's memory: it has to stay until the network has run.
        planes = np.ascontiguousarray(planes, np.float32)
        extractor.input(self.entry, ncnn.Mat(planes))
        _, made = extractor.extract(self.end)
        result = np.array(made, np.float32)
        # In this order: what lies in the memory goes before it.
        del made, extractor
        memory.clear()
        workspace.clear()
        return result


@cache
def _loaded(net: Net) -> Any:
    loaded = ncnn.Net()
    # Tiles are shared out among the cores already; so each is one core's.
    loaded.opt.num_threads = 1
    loaded.opt.use_vulkan_compute = False
    place = files(net.package)
    with as_file(place / f"{net.file}.param") as param, as_file(place / f"{net.file}.bin") as weights:
        if loaded.load_param(str(param)) or loaded.load_model(str(weights)):
            raise RuntimeError(f"the network {net.file} cannot be read")
    return loaded


@cache
def workers() -> Executor:
    """The threads in which networks run, as many as there are cores, however many photos are worked on."""
    return ThreadPoolExecutor(CORES, thread_name_prefix="net")
