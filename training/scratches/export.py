"""From PyTorch's weights to ncnn's files, through pnnx, in 16 bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from training.scratches.net import DamageNet

__all__ = ["export"]


class _Likely(nn.Module):
    def __init__(self, net: DamageNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.net(x))


def export(weights: Path, folder: Path) -> tuple[Path, Path]:
    """Write `scratches.param` and `scratches.bin` to `folder`; input blob `in0`, output blob `out0`.

    Raises:
        CalledProcessError: pnnx failed.
    """
    net = DamageNet()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    traced = torch.jit.trace(_Likely(net.eval()), torch.rand(1, 3, 256, 256))
    script = folder / "scratches.ts"
    traced.save(str(script))
    pnnx = Path(sys.executable).parent / "pnnx"
    shapes = ["inputshape=[1,3,256,256]", "inputshape2=[1,3,320,192]", "fp16=1"]
    command = [pnnx, script.name, *shapes]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - our own
    made = folder / "scratches.param", folder / "scratches.bin"
    for path in made:
        (folder / f"scratches.ncnn{path.suffix}").replace(path)
    return made
