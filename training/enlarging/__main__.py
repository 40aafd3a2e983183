"""Make the weights of the networks that enlarge photographs.

    python -m training.enlarging --pack pack --out work --minutes 30

trains on the photographs of a folder, those below `val` left out, and writes `enlarging.pt` and `log.txt`. It is meant
for one GPU; without one it runs, too, and takes a hundred times longer for the same result.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import torch

from training.enlarging.photos import Photos, held_out, paths
from training.enlarging.train import TURNS, train


def main() -> None:
    """Train."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m training.enlarging", description=__doc__)
    parser.add_argument("--pack", type=Path, required=True, help="the folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="where weights and the log go")
    parser.add_argument("--minutes", type=float, default=30, help="how long all of it takes")
    parser.add_argument("--nets", nargs="+", default=list(TURNS), choices=list(TURNS), help="the networks to train")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--most", type=int, help="use only so many photographs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-graphs", action="store_true", help="use no CUDA graphs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    cuda = options.device != "cpu"
    cv2.setNumThreads(0)
    workers = 12 if cuda else 1
    torch.set_num_threads(2 if cuda else 1)
    options.out.mkdir(parents=True, exist_ok=True)
    log = (options.out / "log.txt").open("a")

    def report(line: str) -> None:
        for file in (log, None):
            print(line, file=file, flush=True)

    train_on, held = paths(options.pack)
    photos = Photos(train_on[: options.most], workers=workers)
    megapixels = len(photos.pixels) / 1e6
    report(f"{len(train_on)} photographs, {megapixels:.0f} megapixels, read in {time.monotonic() - began:.1f} s")
    train(
        photos,
        held_out(held[: options.most], workers=workers),
        options.out / "enlarging.pt",
        until=began + 60 * options.minutes - (20 if cuda else 0),
        names=options.nets,
        batch=options.batch,
        seed=options.seed,
        device=options.device,
        graphs=cuda and not options.no_graphs,
        report=report,
    )


if __name__ == "__main__":
    main()
