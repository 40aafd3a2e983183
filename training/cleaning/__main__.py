"""Make the weights of the network that removes noise and JPEG damage.

    python -m training.cleaning --pack pack --out work --minutes 30

trains on the photographs of a folder, those below `val` left out, and writes `cleaning.pt` and `log.txt`. It is meant
for one GPU; without one it runs, too, and takes a hundred times longer for the same result. `training/requirements.txt`
says what it needs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from training.cleaning.photos import Photos, held_out, paths
from training.cleaning.samples import AROUND
from training.cleaning.train import SIDE, train


def main() -> None:
    """Train."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m training.cleaning", description=__doc__)
    parser.add_argument("--pack", type=Path, required=True, help="the folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="where weights and the log go")
    parser.add_argument("--minutes", type=float, default=30, help="how long all of it takes")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of a sample's side, a multiple of 16")
    parser.add_argument("--most", type=int, help="use only so many photographs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-graphs", action="store_true", help="use no CUDA graphs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    cuda = options.device != "cpu"
    torch.set_num_threads(2 if cuda else 1)
    options.out.mkdir(parents=True, exist_ok=True)
    log = (options.out / "log.txt").open("a")

    def report(line: str) -> None:
        for file in (log, None):
            print(line, file=file, flush=True)

    files, held = paths(options.pack)
    photos = Photos(files[: options.most], least=options.side + AROUND, workers=12 if cuda else 1)
    pictures = held_out(held)[: options.most]
    megapixels = len(photos.pixels) / 1e6
    report(
        f"{len(files)} photographs, {megapixels:.0f} megapixels with copies, {len(pictures)} pictures for validation, "
        f"read in {time.monotonic() - began:.1f} s"
    )
    train(
        photos,
        pictures,
        options.out / "cleaning.pt",
        until=began + 60 * options.minutes - (10 if cuda else 0),
        batch=options.batch,
        side=options.side,
        seed=options.seed,
        device=options.device,
        graphs=cuda and not options.no_graphs,
        report=report,
    )


if __name__ == "__main__":
    main()
