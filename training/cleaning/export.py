"""From PyTorch's weights to ncnn's files, in 16 bits: `python -m training.cleaning.export WEIGHTS FOLDER`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from training.cleaning.net import MAPS, CleaningNet

__all__ = ["export"]


def export(weights: Path, folder: Path) -> tuple[Path, Path]:
    """Write `cleaning.param` and `cleaning.bin` to `folder`; input blob `in0`, output blob `out0`.

    Raises:
        CalledProcessError: pnnx failed.
    """
    net = CleaningNet()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    traced = torch.jit.trace(net.eval(), torch.rand(1, 12 + MAPS, 128, 128))
    script = folder / "cleaning.ts"
    traced.save(str(script))
    pnnx = Path(sys.executable).parent / "pnnx"
    shapes = [f"inputshape=[1,{12 + MAPS},128,128]", f"inputshape2=[1,{12 + MAPS},160,96]", "fp16=1"]
    command = [pnnx, script.name, *shapes]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - our own
    made = folder / "cleaning.param", folder / "cleaning.bin"
    for path in made:
        (folder / f"cleaning.ncnn{path.suffix}").replace(path)
    return made


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
