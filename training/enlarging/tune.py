"""Train a network further, for the PSNR of each sample; one processor core is enough.

    python -m training.enlarging.tune --weights work/enlarging.pt --net x2 --pack pack --out work/tuned.pt --minutes 14

The photographs are every sixth of the folder's, so that little memory is needed.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch

from training.enlarging.net import NETS, Collapsed, EnlargingNet
from training.enlarging.photos import read
from training.enlarging.samples import Samples
from training.photographs import paths
from training.running import set_rate

__all__ = ["tune"]

_RATE, _WARM, _NORM = 3e-4, 30, 20.0
"""The learning rate, the iterations in which it grows to it, and the bound of the gradient."""

_SIDE, _BATCH, _EDGE = 48, 8, 8
"""Pixels of a sample's input side, samples an iteration, and pixels at the edges that are not compared."""


def tune(net: Collapsed, samples: Samples, *, until: float) -> Collapsed:
    """The network with averaged weights, after training until a time of `time.monotonic`."""
    optimizer = torch.optim.Adam(net.parameters(), _RATE, betas=(0.9, 0.99))
    average, edge = copy.deepcopy(net), _EDGE * net.factor
    began = time.monotonic()
    for number, (x, y) in enumerate(samples.batches(_BATCH), 1):
        part = (time.monotonic() - began) / (until - began)
        if part >= 1:
            break
        set_rate(optimizer, _RATE * min(1, number / _WARM) * (0.5 + 0.5 * math.cos(math.pi * part)))
        difference = (net(x.contiguous()) - y)[:, :, edge:-edge, edge:-edge]
        loss = 10 * (difference.square().mean((1, 2, 3)) + 1e-5).log10().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), _NORM)
        optimizer.step()
        with torch.no_grad():
            keep = min(0.99, number / (number + 10))
            torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - keep)
        if number % 50 == 0:
            print(f"{number} iterations, loss {loss.item():.2f} dB", flush=True)
    return average


def main() -> None:
    """Train further."""
    parser = argparse.ArgumentParser(prog="python -m training.enlarging.tune", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the file that training wrote")
    parser.add_argument("--net", choices=list(NETS), default="x2")
    parser.add_argument("--pack", type=Path, required=True, help="the folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="the file for the weights")
    parser.add_argument("--minutes", type=float, default=14)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(7)
    net = Collapsed(EnlargingNet(**NETS[options.net]))
    net.load_state_dict(torch.load(options.weights, map_location="cpu", weights_only=True)[options.net])
    photos = read(paths(options.pack)[0][1::6])
    samples = Samples(photos, factor=net.factor, side=_SIDE, count=2 * _BATCH, device="cpu", seed=11)
    tuned = tune(net, samples, until=time.monotonic() + 60 * options.minutes)
    torch.save({options.net: tuned.state_dict()}, options.out)


if __name__ == "__main__":
    main()
