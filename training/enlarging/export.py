"""From PyTorch's weights to ncnn's files, through pnnx, in 16 bits.

python -m training.enlarging.export --weights work/fine.pt --out work
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.enlarging.net import NETS, Collapsed, EnlargingNet
from training.ncnn_files import write_ncnn

__all__ = ["export"]


def export(weights: Path, folder: Path) -> tuple[Path, Path]:
    """Write `enlarge_NAME.param` and `.bin`; input blob `in0`, output blobs `out0`, `out1`, one for each factor.

    Raises:
        CalledProcessError: pnnx failed.
    """
    name = weights.stem
    net = Collapsed(EnlargingNet(NETS[name]))
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return write_ncnn(net, folder, f"enlarge_{name}", channels=4, side=128)


def main() -> None:
    """Export."""
    parser = argparse.ArgumentParser(prog="python -m training.enlarging.export", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the file that training wrote")
    parser.add_argument("--out", type=Path, required=True, help="the folder for ncnn's files")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for path in export(options.weights, options.out):
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
