"""Make the weights of one of the networks that enlarge photographs.

    python -m training.enlarging --net fine --pack pack --out work --minutes 10

trains on the photographs of a folder, those below `val` left out, and writes `NET.pt` and `log.txt`. It is meant for
one GPU; without one it runs, too, and takes a hundred times longer for the same result.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import torch

from training.enlarging.net import NETS
from training.enlarging.photos import held_out, read
from training.enlarging.train import train
from training.photographs import paths
from training.running import arguments, log_to


def main() -> None:
    """Train."""
    began = time.monotonic()
    parser = arguments("training.enlarging", __doc__, batch=16)
    parser.add_argument("--net", required=True, choices=list(NETS), help="the network to train")
    parser.add_argument("--start", type=Path, help="weights to begin with")
    options = parser.parse_args()
    cuda = options.device != "cpu"
    cv2.setNumThreads(0)
    workers = 12 if cuda else 1
    torch.set_num_threads(2 if cuda else 1)
    report = log_to(options.out)
    train_on, held = paths(options.pack)
    photos = read(train_on[: options.most], workers=workers)
    megapixels = len(photos.pixels) / 1e6
    report(f"{len(train_on)} photographs, {megapixels:.0f} megapixels, read in {time.monotonic() - began:.1f} s")
    train(
        photos,
        held_out(held[: options.most], workers=workers),
        options.net,
        options.out / f"{options.net}.pt",
        until=began + 60 * options.minutes - (20 if cuda else 0),
        batch=options.batch,
        seed=options.seed,
        device=options.device,
        graphs=cuda and not options.no_graphs,
        start=options.start and torch.load(options.start, map_location="cpu", weights_only=True),
        report=report,
    )


if __name__ == "__main__":
    main()
