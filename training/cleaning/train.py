"""Training within a given time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from training.cleaning.net import CleaningNet
from training.cleaning.samples import Samples
from training.cleaning.validation import Validation
from training.photographs import Photographs, Pixels
from training.running import capture, set_rate

__all__ = ["SIDE", "train"]

SIDE = 128
"""Pixels of a sample's side."""

_RATE, _WARM, _KEEP, _NORM = 1.2e-3, 400, 0.999, 0.5
"""The learning rate, the iterations in which it grows to it, the averaged weights' inertia, the gradient's bound."""

_PRECISE = 0.7
"""The share of the time from which the network runs in TF32 instead of bfloat16, on CUDA."""

_FLAT = 5e-5
"""Added to a sample's mean squared error before the logarithm: below it, samples count less."""

_CHUNK, _CHECK, _REPORT = 8, 100, 60.0
"""Batches of samples made at a time, iterations between looks at the loss, seconds between reports."""


class _Trainer:
    """The network, its averaged weights and its optimizer; on CUDA, an iteration is one graph."""

    def __init__(self, *, batch: int, side: int, device: str, graphs: bool) -> None:
        self.device, self._graphs, self._graph = device, graphs, None
        self.net = CleaningNet().to(device, memory_format=torch.channels_last)
        self.average = CleaningNet().to(device, memory_format=torch.channels_last)
        self.average.load_state_dict(self.net.state_dict())
        self._weights, self._averages = list(self.net.parameters()), list(self.average.parameters())
        cuda = device != "cpu"
        rate = torch.tensor(0.0, device=device) if cuda else 0.0
        self._optimizer = torch.optim.Adam(
            self._weights, rate, betas=(0.9, 0.99), capturable=cuda, fused=True if cuda else None
        )
        self._spoilt = torch.zeros(batch, 3, side, side, dtype=torch.uint8, device=device)
        self._clean, self._maps = self._spoilt.clone(), torch.zeros(batch, 3, device=device)
        self.loss, self.number, self._slower = torch.zeros((), device=device), 0, 1.0
        self._half = cuda
        self._good = [weight.detach().clone() for weight in self._averages]

    def be_precise(self) -> None:
        """Run in TF32 from now on."""
        if self._half:
            torch.cuda.synchronize()
            self._half, self._graph = False, None

    def step(self, spoilt: Tensor, clean: Tensor, maps: Tensor, *, part: float) -> None:
        """One iteration; `part` of the time is over."""
        self.number += 1
        rate = self._slower * _RATE * min(1.0, self.number / _WARM) * (0.01 + 0.495 * (1 + math.cos(math.pi * part)))
        set_rate(self._optimizer, rate)
        for place, given in ((self._spoilt, spoilt), (self._clean, clean), (self._maps, maps)):
            place.copy_(given)
        if self._graphs and self._graph is None:
            self._graph = capture(self._compute, self._optimizer)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._compute()
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._weights, 1 - min(_KEEP, self.number / (self.number + 10)))

    def check(self) -> float:
        """The last loss; if training has diverged, go on from the last good weights, at half the rate."""
        loss = self.loss.item()
        if math.isfinite(loss) and loss < 0:
            self._good = [weight.detach().clone() for weight in self._averages]
        elif self.number > _WARM:
            self._slower /= 2
            with torch.no_grad():
                torch._foreach_copy_(self._weights, self._good)
                torch._foreach_copy_(self._averages, self._good)
                for state in self._optimizer.state.values():
                    state["exp_avg"].zero_()
                    state["exp_avg_sq"].zero_()
        return loss

    def _compute(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        blocks = functional.pixel_unshuffle(self._spoilt.float() / 255, 2)
        target = functional.pixel_unshuffle(self._clean.float() / 255, 2)
        maps = self._maps[:, :, None, None].expand(-1, -1, *blocks.shape[2:])
        given = torch.cat([blocks, maps], 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.bfloat16, enabled=self._half, cache_enabled=False):
            made = self.net(given)
        errors = (blocks + made.float() - target).square().mean((1, 2, 3))
        loss = torch.log(errors + _FLAT).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, _NORM)
        self._optimizer.step()
        self.loss.copy_(loss.detach())


def train(
    photos: Photographs,
    held: Pixels,
    out: Path,
    *,
    until: float,
    batch: int = 32,
    side: int = SIDE,
    seed: int = 1,
    device: str = "cpu",
    graphs: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Train, and write the averaged weights to `out`, every minute too.

    Args:
        photos: for training.
        held: pictures for validation, N×H×W×3.
        out: the file of weights: the state of a `CleaningNet`.
        until: when to end, by `time.monotonic`.
        batch: samples an iteration.
        side: pixels of a sample's side.
        seed: of the samples and of the network's first weights.
        device: as PyTorch names it.
        graphs: whether to use CUDA graphs.
        report: takes lines of the log.
    """
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    trainer = _Trainer(batch=batch, side=side, device=device, graphs=graphs)
    count = batch * (_CHUNK if device != "cpu" else 2)
    batches = Samples(photos, side=side, count=count, device=device, seed=seed).batches(batch)
    validation = Validation(held, device=device)
    began = reported = time.monotonic()
    while (now := time.monotonic()) < until:
        part = (now - began) / (until - began)
        if part >= _PRECISE:
            trainer.be_precise()
        trainer.step(*next(batches), part=part)
        if trainer.number % _CHECK == 0:
            loss = trainer.check()
            if time.monotonic() - reported > _REPORT:
                reported = time.monotonic()
                report(f"{(reported - began) / 60:.1f} min, {trainer.number} iterations, loss {loss:.4f}")
                _save(trainer, validation, out, report)
    report(f"{(time.monotonic() - began) / 60:.1f} min, {trainer.number} iterations")
    _save(trainer, validation, out, report)


def _save(trainer: _Trainer, validation: Validation, out: Path, report: Callable[[str], None]) -> None:
    part = out.with_suffix(".part")
    torch.save({name: value.cpu().contiguous() for name, value in trainer.average.state_dict().items()}, part)
    part.replace(out)
    report(f"  {validation(trainer.average)}")
