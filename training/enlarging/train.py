"""Training of all networks at once, within a given time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from training.enlarging.net import Collapsed
from training.enlarging.samples import Samples
from training.enlarging.trainer import Trainer
from training.enlarging.validation import Validation
from training.photographs import Photographs, Pixels

__all__ = ["TURNS", "train"]

TURNS = {"x2": 3, "x2fine": 2, "x4": 2}
"""Iterations of each network in a round."""

_RATE, _WARM = 8e-4, 500
"""The learning rate, and the iterations in which it grows to it."""

_DECIBELS = (0.3, 0.5)
"""The share of the time at which the loss begins to turn from absolute differences to PSNR, and when it has."""

_PRECISE = 0.85
"""The share of the time from which convolutions run in TF32 instead of bfloat16, on CUDA."""

_SIDES, _CHUNKS = {2: 64, 4: 48}, {2: 32, 4: 16}
"""Pixels of a sample's input side, and batches of samples made at a time, by factor."""

_CHECK, _REPORT = 64, 100.0
"""Rounds between two looks at the losses, and seconds between two reports."""


def train(
    photos: Photographs,
    held: list[Pixels],
    out: Path,
    *,
    until: float,
    names: Sequence[str] = tuple(TURNS),
    batch: int = 16,
    seed: int = 1,
    device: str = "cpu",
    graphs: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Train, and write the averaged weights of all networks to `out`, now and then too.

    Args:
        photos: for training.
        held: photographs for validation.
        out: the file of weights: for each network's name, the state of its `Collapsed`.
        until: when to end, by `time.monotonic`.
        names: the networks to train.
        batch: samples an iteration.
        seed: of the samples and of the networks' first weights.
        device: as PyTorch names it.
        graphs: whether to use CUDA graphs.
        report: takes lines of the log.
    """
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    cuda = device != "cpu"
    trainers: dict[str, Trainer] = {}
    samples: dict[int, Samples] = {}
    for name in names:
        factor = Trainer.factor_of(name)
        trainers[name] = Trainer(name, batch=batch, side=_SIDES[factor], device=device, graphs=graphs)
        if factor not in samples:
            count = batch * (_CHUNKS[factor] if cuda else 2)
            samples[factor] = Samples(
                photos, factor=factor, side=_SIDES[factor], count=count, device=device, seed=seed + factor
            )
    batches = {factor: of_factor.batches(batch) for factor, of_factor in samples.items()}
    validations = {factor: Validation(held, factor=factor, device=device) for factor in samples}
    began = reported = time.monotonic()
    rounds = 0
    while (now := time.monotonic()) < until:
        part = (now - began) / (until - began)
        for factor, of_factor in batches.items():
            turns = {name: TURNS[name] for name, trainer in trainers.items() if trainer.factor == factor}
            drawn = [next(of_factor) for _ in range(max(turns.values()))]
            for name, count in turns.items():
                trainer = trainers[name]
                trainer.use(torch.bfloat16 if cuda and part < _PRECISE else torch.float32)
                for x, y in drawn[:count]:
                    trainer.step(x, y, rate=_rate(trainer.number, part), decibels=_ramp(part))
        rounds += 1
        if rounds % _CHECK == 0:
            losses = ", ".join(f"{name} {trainer.check():.5f}" for name, trainer in trainers.items())
            if time.monotonic() - reported > _REPORT:
                reported = time.monotonic()
                report(f"{(reported - began) / 60:.1f} min, round {rounds}: losses {losses}")
                _save(trainers, validations, out, report, few=True)
    report(f"{(time.monotonic() - began) / 60:.1f} min, {rounds} rounds")
    _save(trainers, validations, out, report, few=False)


def _save(
    trainers: dict[str, Trainer],
    validations: dict[int, Validation],
    out: Path,
    report: Callable[[str], None],
    *,
    few: bool,
) -> None:
    nets = {name: Collapsed(trainer.average) for name, trainer in trainers.items()}
    part = out.with_suffix(".part")
    torch.save(
        {name: {key: value.cpu() for key, value in net.state_dict().items()} for name, net in nets.items()}, part
    )
    part.replace(out)
    # Photographs have many sizes: it is not worth trying all algorithms for each.
    torch.backends.cudnn.benchmark = False
    for name, net in nets.items():
        report(f"  {name}: {validations[trainers[name].factor](net, few=few)}")
    torch.backends.cudnn.benchmark = True


def _rate(number: int, part: float) -> float:
    return _RATE * min(1.0, number / _WARM) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, part))))


def _ramp(part: float) -> float:
    first, last = _DECIBELS
    return min(1.0, max(0.0, (part - first) / (last - first)))
