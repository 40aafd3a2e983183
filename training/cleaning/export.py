"""From PyTorch's weights to ncnn's files, in 16 bits: `python -m training.cleaning.export WEIGHTS FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from training.cleaning.net import MAPS, CleaningNet
from training.ncnn_files import write_ncnn

__all__ = ["export"]


def export(weights: Path, folder: Path) -> tuple[Path, Path]:
    """Write `cleaning.param` and `cleaning.bin` to `folder`; input blob `in0`, output blob `out0`.

    Raises:
        CalledProcessError: pnnx failed.
    """
    net = CleaningNet()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return write_ncnn(net, folder, "cleaning", channels=12 + MAPS, side=128)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
