"""Training of all networks at once, within a given time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.enlarging.net import Collapsed
from training.enlarging.samples import Samples
from training.enlarging.trainer import Trainer
from training.enlarging.validation import Validation
from training.photographs import Photographs, Pixels

__all__ = ["TURNS", "train"]

TURNS = {"x2": 2, "x2jpeg": 2, "x2fine": 1, "x4": 1}
"""How many of a round's batches each network sees; half of each batch is without JPEG damage, half has it."""

_RATE, _STARTED_RATE, _WARM = 8e-4, 5e-4, 500
"""The learning rate of networks with random weights and of the others, and the iterations in which it grows to it."""

_DECIBELS = (0.1, 0.3)
"""The share of the time at which the loss begins to turn from absolute differences to PSNR, and when it has."""

_PRECISE = 0.8
"""The share of the time from which convolutions run in TF32 instead of bfloat16, on CUDA."""

_SIDES, _CHUNKS = {2: 64, 4: 48}, {2: 32, 4: 16}
"""Pixels of a sample's input side, and batches of samples made at a time, by factor."""

_CHECK, _SAVE, _EVERY = 16, 50.0, 2
"""Rounds between two looks at the losses, seconds between two writes, and after how many writes there is a report."""


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
    start: Mapping[str, dict[str, Tensor]] | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Train, and write the averaged weights of all networks to `out`, every minute too.

    Args:
        photos: for training.
        held: photographs for validation.
        out: the file of weights: for each network's name, the state of its `Collapsed`.
        until: when to end, by `time.monotonic`.
        names: the networks to train.
        batch: samples an iteration; an even number.
        seed: of the samples and of the networks' first weights.
        device: as PyTorch names it.
        graphs: whether to use CUDA graphs.
        start: what `out` of an earlier training holds: networks begin with these weights, and those for JPEGs, where
            there are none, with those of the network without JPEG damage.
        report: takes lines of the log.
    """
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    cuda = device != "cpu"
    trainers: dict[str, Trainer] = {}
    samples: dict[int, Samples] = {}
    started = {name: (start or {}).get(name, (start or {}).get(name.removesuffix("jpeg"))) for name in names}
    for name in names:
        factor = Trainer.factor_of(name)
        trainers[name] = Trainer(
            name, batch=batch, side=_SIDES[factor], device=device, graphs=graphs, start=started[name]
        )
        report(f"{name}: {'random' if started[name] is None else 'given'} weights")
        if factor not in samples:
            count = batch * (_CHUNKS[factor] if cuda else 4)
            samples[factor] = Samples(
                photos, factor=factor, side=_SIDES[factor], count=count, device=device, seed=seed + factor
            )
    batches = {factor: of_factor.batches(2 * batch) for factor, of_factor in samples.items()}
    validations = {factor: Validation(held, factor=factor, device=device) for factor in samples}
    began = saved = time.monotonic()
    rounds = saves = 0
    while (now := time.monotonic()) < until:
        part = (now - began) / (until - began)
        for factor, of_factor in batches.items():
            turns = {name: TURNS[name] for name, trainer in trainers.items() if trainer.factor == factor}
            drawn = [next(of_factor) for _ in range(max(turns.values()))]
            for name, count in turns.items():
                trainer = trainers[name]
                trainer.use(torch.bfloat16 if cuda and part < _PRECISE else torch.float32)
                rate = _RATE if started[name] is None else _STARTED_RATE
                for x, y in (piece for both in drawn[:count] for piece in _pieces(name, *both)):
                    trainer.step(x, y, rate=rate * _slope(trainer.number, part), decibels=_ramp(part))
        rounds += 1
        if rounds % _CHECK == 0:
            losses = ", ".join(f"{name} {trainer.check():.5f}" for name, trainer in trainers.items())
            if time.monotonic() - saved > _SAVE:
                saved, saves = time.monotonic(), saves + 1
                report(f"{(saved - began) / 60:.1f} min, round {rounds}: losses {losses}")
                nets = _saved(trainers, out)
                if saves % _EVERY == 0:
                    _compare(nets, validations, report, few=True)
    report(f"{(time.monotonic() - began) / 60:.1f} min, {rounds} rounds")
    _compare(_saved(trainers, out), validations, report, few=False)


def _pieces(name: str, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The parts of a batch for a network: the half with JPEG damage, the half without it, or two with both."""
    half = len(x) // 2
    if name == "x2":
        yield x[::2], y[::2]
    elif name == "x2jpeg":
        yield x[1::2], y[1::2]
    else:
        yield x[:half], y[:half]
        yield x[half:], y[half:]


def _saved(trainers: dict[str, Trainer], out: Path) -> dict[str, Collapsed]:
    nets = {name: Collapsed(trainer.average) for name, trainer in trainers.items()}
    part = out.with_suffix(".part")
    torch.save(
        {name: {key: value.cpu() for key, value in net.state_dict().items()} for name, net in nets.items()}, part
    )
    part.replace(out)
    return nets


def _compare(
    nets: dict[str, Collapsed], validations: dict[int, Validation], report: Callable[[str], None], *, few: bool
) -> None:
    # Photographs have many sizes: it is not worth trying all algorithms for each.
    torch.backends.cudnn.benchmark = False
    for name, net in nets.items():
        report(f"  {name}: {validations[net.factor](net, few=few)}")
    torch.backends.cudnn.benchmark = True


def _slope(number: int, part: float) -> float:
    return min(1.0, number / _WARM) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, part))))


def _ramp(part: float) -> float:
    first, last = _DECIBELS
    return min(1.0, max(0.0, (part - first) / (last - first)))
