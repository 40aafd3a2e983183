"""Training of a network within a given time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from training.crops import Crops
from training.enlarging.net import NETS, Collapsed
from training.enlarging.samples import Samples
from training.enlarging.trainer import Trainer
from training.enlarging.validation import Validation
from training.photographs import Photographs, Pixels

__all__ = ["train"]

_CODED = {"x2": 0.0, "x2jpeg": 1.0}
"""The share of samples that have been a JPEG, for networks that are made for one kind."""

_MIXED = 0.35
"""That share for the others."""

_RATE, _STARTED_RATE, _WARM = 8e-4, 5e-4, 500
"""The learning rate of networks with random weights and of the others, and the iterations in which it grows to it."""

_DECIBELS = (0.1, 0.3)
"""The share of the time at which the loss begins to turn from absolute differences to PSNR, and when it has."""

_PRECISE = 0.85
"""The share of the time from which convolutions run in TF32 instead of bfloat16, on CUDA."""

_SIDE, _BATCHES = 64, 32
"""Pixels of a sample's input side, and batches of samples made at a time on CUDA."""

_CHECK, _SAVE, _EVERY = 64, 50.0, 2
"""Rounds between two looks at the loss, seconds between two writes, and after how many writes there is a report."""


def train(
    photos: Photographs,
    held: list[Pixels],
    name: str,
    out: Path,
    *,
    until: float,
    batch: int = 16,
    seed: int = 1,
    device: str = "cpu",
    graphs: bool = False,
    start: dict[str, Tensor] | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Train, and write the averaged weights to `out`, every minute too.

    Args:
        photos: for training.
        held: photographs for validation.
        name: the network, of `NETS`; each of its factors has every n-th iteration.
        out: the file of weights: the state of the `Collapsed`.
        until: when to end, by `time.monotonic`.
        batch: samples an iteration.
        seed: of the samples and of the network's first weights.
        device: as PyTorch names it.
        graphs: whether to use CUDA graphs.
        start: what `out` of an earlier training holds: the network begins with these weights.
        report: takes lines of the log.
    """
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    cuda = device != "cpu"
    factors = NETS[name]["factors"]
    trainer = Trainer(name, batch=batch, side=_SIDE, device=device, graphs=graphs, start=start)
    crops = Crops(photos, device=device, seed=seed)
    count = batch * (_BATCHES if cuda else 4)
    coded = _CODED.get(name, _MIXED)
    batches = {
        factor: Samples(crops, factor=factor, coded=coded, side=_SIDE, count=count).batches(batch) for factor in factors
    }
    reach = Collapsed(trainer.average).reach
    validations = [Validation(held, factor=factor, reach=reach, device=device) for factor in factors]
    report(f"{name}: {'random' if start is None else 'given'} weights")
    began = saved = time.monotonic()
    rounds = saves = 0
    while (now := time.monotonic()) < until:
        part = (now - began) / (until - began)
        trainer.use(torch.bfloat16 if cuda and part < _PRECISE else torch.float32)
        rate = (_RATE if start is None else _STARTED_RATE) * _slope(trainer.number, part)
        for factor in factors:
            x, y = next(batches[factor])
            trainer.step(x, y, factor=factor, rate=rate, decibels=_ramp(part))
        rounds += 1
        if rounds % _CHECK == 0:
            loss = trainer.check()
            if time.monotonic() - saved > _SAVE:
                saved, saves = time.monotonic(), saves + 1
                report(f"{(saved - began) / 60:.1f} min, round {rounds}: loss {loss:.5f}")
                net = _saved(trainer, out)
                if saves % _EVERY == 0:
                    _compare(net, validations, report, few=True)
    report(f"{(time.monotonic() - began) / 60:.1f} min, {rounds} rounds")
    _compare(_saved(trainer, out), validations, report, few=False)


def _saved(trainer: Trainer, out: Path) -> Collapsed:
    net = Collapsed(trainer.average).eval()
    part = out.with_name(f"{out.name}.part")
    torch.save({key: value.detach().cpu() for key, value in net.state_dict().items()}, part)
    part.replace(out)
    return net


def _compare(net: Collapsed, validations: list[Validation], report: Callable[[str], None], *, few: bool) -> None:
    # Photographs have many sizes: it is not worth trying all algorithms for each.
    torch.backends.cudnn.benchmark = False
    for validation in validations:
        report(f"  {validation(net, few=few)}")
    torch.backends.cudnn.benchmark = True


def _slope(number: int, part: float) -> float:
    return min(1.0, number / _WARM) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, part))))


def _ramp(part: float) -> float:
    first, last = _DECIBELS
    return min(1.0, max(0.0, (part - first) / (last - first)))
