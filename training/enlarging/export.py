"""From PyTorch's weights to ncnn's files, through pnnx, in 16 bits.

python -m training.enlarging.export --weights work/fine.pt --out work
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from training.enlarging.net import NETS, Collapsed, EnlargingNet

__all__ = ["export"]


def export(weights: Path, folder: Path) -> list[Path]:
    """Write `enlarge_NAME.param` and `.bin`; input blob `in0`, output blobs `out0`, `out1`, one for each factor.

    Raises:
        CalledProcessError: pnnx failed.
    """
    name = weights.stem
    net = Collapsed(EnlargingNet(NETS[name])).eval()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    script = folder / f"enlarge_{name}.ts"
    torch.jit.trace(net, torch.rand(1, 4, 128, 128)).save(str(script))  # type: ignore[no-untyped-call]
    pnnx = Path(sys.executable).parent / "pnnx"
    command = [pnnx, script.name, "inputshape=[1,4,128,128]", "inputshape2=[1,4,160,96]", "fp16=1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - our own
    made = [
        (folder / f"enlarge_{name}.ncnn.{ending}").replace(folder / f"enlarge_{name}.{ending}")
        for ending in ("param", "bin")
    ]
    for other in folder.glob(f"enlarge_{name}[._]*"):
        if other not in made:
            other.unlink()
    return made


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
