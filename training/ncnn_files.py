"""From a network of PyTorch's to ncnn's files, through pnnx, in 16 bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

__all__ = ["write_ncnn"]


def write_ncnn(net: nn.Module, folder: Path, name: str, *, channels: int, side: int) -> tuple[Path, Path]:
    """Write `NAME.param` and `NAME.bin`; input blob `in0`, output blobs `out0` and so on.

    Args:
        net: the network, with its weights.
        folder: where the files go.
        name: of the files.
        channels: of the network's input.
        side: of an input that the network takes; it takes others, too.

    Raises:
        CalledProcessError: pnnx failed.
    """
    script = folder / f"{name}.ts"
    traced = torch.jit.trace(net.eval(), torch.rand(1, channels, side, side))  # type: ignore[no-untyped-call]
    traced.save(str(script))
    other = f"{side * 5 // 4},{side * 3 // 4}"  # so that no size is taken for the only one
    shapes = [f"inputshape=[1,{channels},{side},{side}]", f"inputshape2=[1,{channels},{other}]", "fp16=1"]
    pnnx = Path(sys.executable).parent / "pnnx"
    subprocess.run([pnnx, script.name, *shapes], cwd=folder, check=True, capture_output=True)  # noqa: S603 - our own
    made = folder / f"{name}.param", folder / f"{name}.bin"
    for path in made:
        (folder / f"{name}.ncnn{path.suffix}").replace(path)
    for rest in (*folder.glob(f"{name}.pnnx.*"), *folder.glob(f"{name}_*.py"), script):
        rest.unlink()
    return made
