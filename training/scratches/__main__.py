"""Make the weights of the networks that find scratches, dust and folds and that fill them.

    python -m training.scratches --sources sources --out work --minutes 150
    python -m training.scratches --pack work/pack --more work/more --start work --nets scratches --out better

needs `training/requirements.txt` and the photographs that `photos.py` lists, or with `--pack` the folder that
`photos.pack` made of them. It trains on all but the held-out photographs, and writes `scratches.pt`, `fill.pt` and
`log.txt`. With `--start`, it goes on from weights that are there; parts of a network that are missing there start
anew. On a GPU 8 minutes are enough. PyTorch is much slower with two cores than with one (`OMP_NUM_THREADS=1`).
Then come `python -m training.scratches.export` and `python -m training.scratches.evaluate`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from training.scratches.train import NETS, train


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches", description=__doc__)
    parser.add_argument("--sources", type=Path, help="the folder of unpacked sources")
    parser.add_argument("--pack", type=Path, help="the folder of packed photographs; written when sources are given")
    parser.add_argument("--more", type=Path, help="a folder of further photographs")
    parser.add_argument("--start", type=Path, help="a folder with weights to go on from")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS, help="the networks to train")
    parser.add_argument("--out", type=Path, required=True, help="where weights and figures go")
    parser.add_argument("--minutes", type=float, default=150, help="from the start of the program to its end")
    parser.add_argument("--side", type=int, default=256, help="pixels of a sample's side")
    parser.add_argument("--batch", type=int, default=0, help="samples a batch; 64 on a GPU, else 8")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw; 6 on a GPU, else 1")
    parser.add_argument("--each", type=int, default=0, help="layers of a kind; 400 on a GPU, else 100")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cv2.setNumThreads(0)  # its threads do not survive the fork of the workers
    if device == "cpu":
        torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    options.out.mkdir(parents=True, exist_ok=True)
    pack = options.pack or options.out / "pack"
    if options.sources is not None:
        from training.scratches.photos import pack as write  # noqa: PLC0415 - machines that train need not have msgspec

        write(options.sources, pack)
    gpu = device == "cuda"
    train(
        _photos(pack) + ([] if options.more is None else _photos(options.more)),
        _photos(pack / "VAL"),
        options.out,
        end=end,
        nets=options.nets,
        start=options.start,
        side=options.side,
        size=options.batch or (64 if gpu else 8),
        workers=options.workers or (6 if gpu else 1),
        each=options.each or (400 if gpu else 100),
        seed=options.seed,
        device=device,
    )


def _photos(folder: Path) -> list[NDArray[np.uint8]]:
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise SystemExit(f"{folder} holds no photographs: give --sources or --pack")
    return [np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]) for path in paths]


if __name__ == "__main__":
    main()
