"""Training of the network that finds damage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from training.scratches.net import DamageNet
from training.scratches.samples import sample

__all__ = ["train"]

SIDE, BATCH = 128, 10
_RATE, _WARM, _FLAT = 3e-3, 150, 0.3
"""The learning rate, the iterations in which it grows to it, and the share of all in which it stays there."""


class _Samples(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless samples; photographs of clothes, which are most, are drawn in one of three cases."""

    def __init__(self, photos: list[tuple[str, NDArray[np.uint8]]], seed: int) -> None:
        self._clothes = [pixels for name, pixels in photos if name.startswith("clothing")]
        self._others = [pixels for name, pixels in photos if not name.startswith("clothing")]
        self._seed = seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        dice = np.random.default_rng(self._seed)
        while True:
            of = self._clothes if dice.random() < 1 / 3 else self._others
            picture, mask = sample(dice, of[dice.integers(len(of))], side=SIDE)
            yield torch.from_numpy(picture.transpose(2, 0, 1).copy()), torch.from_numpy(mask[None])


def train(
    photos: list[tuple[str, NDArray[np.uint8]]],
    out: Path,
    *,
    iterations: int,
    seed: int = 1,
    device: str = "cpu",
    start: Path | None = None,
) -> None:
    """Train and write the averaged weights to `out`, every 200 iterations too.

    Args:
        photos: names and pixels, H×W×3 uint8.
        out: the file of weights.
        iterations: batches of `BATCH` samples.
        seed: of the samples and of the network's first weights.
        device: as PyTorch names it.
        start: weights to start with, instead of random ones.
    """
    torch.manual_seed(seed)
    batches = iter(DataLoader(_Samples(photos, seed), batch_size=BATCH, num_workers=1, prefetch_factor=3))
    net = DamageNet().to(device, memory_format=torch.channels_last)
    if start is not None:
        net.load_state_dict(torch.load(start, map_location=device, weights_only=True))
    optimizer = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=1e-4)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    began, seen = time.monotonic(), np.zeros(4)
    for number in range(1, iterations + 1):
        for group in optimizer.param_groups:
            group["lr"] = _rate(number, number / iterations)
        picture, mask = next(batches)
        picture = picture.to(device, memory_format=torch.channels_last)
        mask = mask.to(device)
        logits = net(picture)
        loss = _loss(logits, mask)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        _mix(average, net, min(0.998, number / (number + 20)))
        found = logits.detach() > 0
        counts = [loss.item(), (found & (mask > 0)).sum().item(), found.sum().item(), mask.sum().item()]
        seen = np.array(counts) if number == 1 else 0.98 * seen + 0.02 * np.array(counts)
        if number % 200 == 0:
            right, found_all, true_all = seen[1:]
            figures = (
                f"loss {seen[0]:.4f}, precision {right / max(1, found_all):.3f}, recall {right / max(1, true_all):.3f}"
            )
            print(f"{number}: {(time.monotonic() - began) / 60:.1f} min, {figures}", flush=True)
            torch.save(average, out)
    torch.save(average, out)


def _rate(number: int, part: float) -> float:
    decay = 1.0 if part < _FLAT else 0.5 + 0.5 * float(np.cos(np.pi * (part - _FLAT) / (1 - _FLAT)))
    return _RATE * min(1.0, number / _WARM) * (0.02 + 0.98 * decay)


def _loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the pixels, and how far the areas are from covering each other (Dice)."""
    likely = torch.sigmoid(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, mask, pos_weight=mask.new_tensor(3.0))
    both = (likely * mask).sum((1, 2, 3))
    dice = 1 - (2 * both + 20) / (likely.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 20)
    return 2 * entropy + 0.5 * dice.mean()


def _mix(average: dict[str, Tensor], net: DamageNet, keep: float) -> None:
    for name, value in net.state_dict().items():
        if value.dtype.is_floating_point:
            average[name].mul_(keep).add_(value, alpha=1 - keep)
        else:
            average[name].copy_(value)
