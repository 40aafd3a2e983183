"""Make the weights of the network that finds scratches, dust and folds.

    python -m training.scratches --sources sources --work work --iterations 3000

needs `training/requirements.txt` and the photographs that `photos.py` lists. It trains on seven of eight photographs
and writes `scratches.param` and `scratches.bin` for ncnn to `work`; thresholds are chosen on the eighth
(`python -m training.scratches.evaluate`). One core is enough; PyTorch is much slower with more (`OMP_NUM_THREADS=1`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import torch

from training.scratches.export import export
from training.scratches.photos import load
from training.scratches.train import train


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches", description=__doc__)
    parser.add_argument("--sources", type=Path, required=True, help="the folder of unpacked sources")
    parser.add_argument("--work", type=Path, required=True, help="where weights and figures go")
    parser.add_argument("--iterations", type=int, default=3000, help="batches to train on")
    parser.add_argument("--start", type=Path, help="weights to start with")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    cv2.setNumThreads(0)  # its threads do not survive the fork of the data loader
    if options.device == "cpu":
        torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    photos = [(photo.name, photo.pixels) for number, photo in enumerate(load(options.sources)) if number % 8]
    weights = options.work / "scratches.pt"
    train(photos, weights, iterations=options.iterations, seed=options.seed, device=options.device, start=options.start)
    export(weights, options.work)


if __name__ == "__main__":
    main()
