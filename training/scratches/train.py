"""Training of the two networks in one run: each batch shows damage to the one and holes to the other."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from copy import deepcopy
from math import cos, log10, pi
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.scratches.batches import Batch, Batches
from training.scratches.layers import Layers
from training.scratches.net import DamageNet, FillNet, pushed_and_pulled

__all__ = ["NETS", "train"]

NETS = ("scratches", "fill")
"""The networks: one finds damage, one improves what it is filled with."""

_REPORTED = 55
"""Seconds between reports."""

_WARM, _END = 0.03, 0.01
"""The share of the time in which the learning rates grow to their highest, and the share of it that they end at."""


class _Learner:
    """A network in training and the mean of its latest weights."""

    def __init__(self, net: nn.Module, rate: float, device: str) -> None:
        self.net = net.to(device, memory_format=torch.channels_last)
        self.mean = deepcopy(self.net).eval()
        self._rate = rate
        self._optimizer = torch.optim.AdamW(self.net.parameters(), rate, weight_decay=1e-4, fused=device == "cuda")
        self._steps = 0

    def step(self, loss: Tensor, part: float) -> None:
        """One step down the loss, when `part` of the time (0…1) is over."""
        grown = min(1.0, part / _WARM, (self._steps + 1) / 100)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * grown * (_END + (1 - _END) * (0.5 + 0.5 * cos(pi * min(1.0, part))))
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self._optimizer.step()
        self._steps += 1
        keep = min(0.999, self._steps / (self._steps + 20))
        old, new = (
            [value for value in net.state_dict().values() if value.is_floating_point()] for net in (self.mean, self.net)
        )
        torch._foreach_lerp_(old, new, 1 - keep)


def train(
    photos: list[NDArray[np.uint8]],
    others: list[NDArray[np.uint8]],
    out: Path,
    *,
    end: float,
    nets: Sequence[str] = NETS,
    start: Path | None = None,
    side: int = 256,
    size: int = 64,
    workers: int = 6,
    each: int = 400,
    seed: int = 1,
    device: str = "cpu",
) -> None:
    """Train until `end`; write `scratches.pt`, `fill.pt` and `log.txt` to `out`, every minute too.

    Args:
        photos: to train on, H×W×3 uint8.
        others: to measure on.
        out: the folder of the files.
        end: when to end, as `time.monotonic` counts.
        nets: which of `NETS` to train.
        start: a folder with weights to go on from.
        side: of a sample, in pixels; a multiple of 64.
        size: samples a batch.
        workers: processes that draw layers.
        each: layers of a kind.
        seed: of everything random.
        device: as PyTorch names it.
    """
    torch.manual_seed(seed)
    layers = Layers(side=side, each=each, workers=workers, seed=seed)  # forks, so before the device is used
    log = (out / "log.txt").open("a", encoding="utf-8", buffering=1)
    try:
        layers.wait(0.15 * (end - time.monotonic()))
        batches = Batches(_large(photos, side), layers, size=size, device=device, seed=seed)
        measured = Batches(_large(others, side), layers, size=size, device=device, seed=seed + 1)
        held_out = [measured.draw() for _ in range(max(1, (256 if device == "cuda" else 32) // size))]
        del measured
        learners = {name: _learner(name, start, device) for name in nets}
        log.write(f"{len(photos)} photos, {len(others)} held out, {device}, torch {torch.__version__}\n")
        began = reported = time.monotonic()
        log.write(f"before: {_saved(learners, held_out, out)}\n")
        steps = 0
        while (now := time.monotonic()) < end:
            batches.refresh(size)
            _step(batches.draw(), learners, (now - began) / (end - began), device)
            steps += 1
            if steps % 20 == 0 and device == "cuda":
                torch.cuda.synchronize()
            if now - reported > _REPORTED:
                reported = now
                figures = _saved(learners, held_out, out)
                log.write(f"{(now - began) / 60:.1f} min, {steps} steps, {layers.drawn} layers: {figures}\n")
        log.write(f"end, {steps} steps, {layers.drawn} layers: {_saved(learners, held_out, out)}\n")
    finally:
        layers.close()
        log.close()


def _learner(name: str, start: Path | None, device: str) -> _Learner:
    net, rate = (DamageNet(), 2.5e-3) if name == "scratches" else (FillNet(), 1.5e-3)
    if start is not None:
        weights = torch.load(start / f"{name}.pt", map_location="cpu", weights_only=True)
        missing, unknown = net.load_state_dict(weights, strict=False)
        if unknown:
            raise ValueError(f"{start / name}.pt is of another network: {', '.join(unknown)}")
        rate *= 0.6
        print(f"{name}: {len(weights)} tensors go on, {len(missing)} start anew", flush=True)
    return _Learner(net, rate, device)


def _large(photos: list[NDArray[np.uint8]], side: int) -> list[NDArray[np.uint8]]:
    """The photos, enlarged where they are too small for a sample."""
    grown = []
    for photo in photos:
        scale = (side + 4) / min(photo.shape[:2])
        grown.append(
            photo if scale <= 1 else cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        )
    return grown


def _step(batch: Batch, learners: dict[str, _Learner], part: float, device: str) -> None:
    half = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
    if (damage := learners.get("scratches")) is not None:
        with half:
            logits = damage.net(batch.picture.contiguous(memory_format=torch.channels_last))
        damage.step(_damage_loss(logits.float(), batch), part)
    if (fill := learners.get("fill")) is not None:
        hole, filled = _filled(batch)
        with half:
            more = fill.net(torch.cat([filled, batch.picture, hole], 1).contiguous(memory_format=torch.channels_last))
        off = (filled + more.float() - batch.target) * hole
        fill.step(((off**2 + 1e-4).sqrt() - 1e-2).sum() / (3 * hole.sum() + 1) * 10, part)


def _damage_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of the pixels, and how far the areas are from covering each other (Dice)."""
    entropy = functional.binary_cross_entropy_with_logits(
        logits, batch.mask, batch.sure, pos_weight=logits.new_tensor(2.0)
    )
    likely = torch.sigmoid(logits) * batch.sure
    both = (likely * batch.mask).sum((1, 2, 3))
    dice = 1 - (2 * both + 30) / (likely.sum((1, 2, 3)) + batch.mask.sum((1, 2, 3)) + 30)
    return 3 * entropy + 0.5 * dice.mean()


def _filled(batch: Batch) -> tuple[Tensor, Tensor]:
    """Holes around damage and beside it, 0 to 2 pixels wider, and the picture filled there."""
    hole = torch.maximum(batch.mask, batch.other)
    for at, size in enumerate((3, 3, 5), 1):
        hole[at::4] = functional.max_pool2d(hole[at::4], size, 1, size // 2)
    return hole, pushed_and_pulled(batch.picture, hole).clamp(0, 1)


@torch.no_grad()
def _saved(learners: dict[str, _Learner], batches: list[Batch], out: Path) -> str:
    """Write the weights; figures of batches that training does not see."""
    figures: dict[str, float] = {}
    for name, learner in learners.items():
        figures |= _found(learner.mean, batches) if name == "scratches" else _mended(learner.mean, batches)
        weights = {key: value.cpu() for key, value in learner.mean.state_dict().items()}
        if all(torch.isfinite(value).all() for value in weights.values()):
            torch.save(weights, out / f"{name}.part")
            (out / f"{name}.part").replace(out / f"{name}.pt")
    text = json.dumps({name: round(value, 4) for name, value in figures.items()})
    print(text, flush=True)
    return text


def _found(net: nn.Module, batches: list[Batch]) -> dict[str, float]:
    """How much of what is found is damage, how much of the damage is found, and the share of clean samples touched."""
    found, true, both, clean, touched, ranked = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for batch in batches:
        likely = torch.sigmoid(net(batch.picture)) * batch.sure
        mask = likely > 0.5
        found, true = found + mask.sum().item(), true + batch.mask.sum().item()
        both += (mask & (batch.mask > 0)).sum().item()
        whole = batch.mask.sum((1, 2, 3)) == 0
        clean += whole.sum().item()
        area = (likely > 0.9).sum((1, 2, 3))
        touched += (whole & (area > 30)).sum().item()
        ranked += ((area[~whole].view(-1, 1) > area[whole].view(1, -1)).float().mean().nan_to_num()).item()
    return {
        "precision": both / max(1, found),
        "recall": both / max(1, true),
        "touched": touched / max(1, clean),
        "ranked": ranked / len(batches),
    }


def _mended(net: nn.Module, batches: list[Batch]) -> dict[str, float]:
    """The error in the holes, after the network and before it."""
    error, start, holes = 0.0, 0.0, 0.0
    for batch in batches:
        hole, filled = _filled(batch)
        better = filled + net(torch.cat([filled, batch.picture, hole], 1))
        error += (((better - batch.target) * hole) ** 2).sum().item()
        start += (((filled - batch.target) * hole) ** 2).sum().item()
        holes += 3 * hole.sum().item()
    return {name: -10 * log10(part / max(1, holes) + 1e-9) for name, part in (("fill dB", error), ("start dB", start))}
