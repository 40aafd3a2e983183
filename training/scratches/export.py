"""From PyTorch's weights to ncnn's files, through pnnx, in 16 bits.

    python -m training.scratches.export --work work

reads those of `scratches.pt`, `fill.pt` and `pieces.pt` that are in the folder and writes `.param` and `.bin` files
beside them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from training.ncnn_files import write_ncnn
from training.scratches.net import DamageNet, FillNet, JudgeNet

__all__ = ["export"]


class _Likely(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.net(x))


def export(folder: Path) -> None:
    """Write `.param` and `.bin` of the networks whose weights are in `folder`; input blob `in0`, output blob `out0`.

    Raises:
        CalledProcessError: pnnx failed.
    """
    nets: tuple[tuple[str, int, nn.Module], ...] = (
        ("scratches", 3, DamageNet()),
        ("fill", 7, FillNet()),
        ("pieces", 4, JudgeNet()),
    )
    for name, inputs, net in nets:
        if not (folder / f"{name}.pt").exists():
            continue
        net.load_state_dict(torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True))
        write_ncnn(_Likely(net) if name == "scratches" else net, folder, name, channels=inputs, side=256)


def main() -> None:
    """Export them."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.export", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the folder with the weights")
    export(parser.parse_args().work)


if __name__ == "__main__":
    main()
