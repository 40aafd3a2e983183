"""One network in training."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from training.enlarging.net import NETS, EnlargingNet
from training.running import capture, set_rate

__all__ = ["Trainer"]

_MOMENTS = (0.9, 0.99)
_KEEP = 0.999
"""How much of the averaged weights each iteration keeps."""


_LEAST_ERROR = 5e-6
"""Added to the squared error of a sample, of 1: beyond 53 dB, more is not worth much."""

_EDGE = 6
"""Pixels of the input at each edge of a sample whose output is not compared: their surroundings are missing."""

_PSNR_WEIGHT = 2e-3
"""What a decibel weighs in the loss: its gradients are then about as large as those of absolute differences."""


class Trainer:
    """A network, its averaged weights and its optimizer; on CUDA, an iteration is one graph.

    Attributes:
        average: the network with averaged weights.
        loss: the mean absolute difference of the last iteration.
    """

    def __init__(
        self,
        name: str,
        *,
        batch: int,
        side: int,
        device: str,
        graphs: bool,
        start: dict[str, Tensor] | None = None,
    ) -> None:
        """Make the network.

        Args:
            name: in `NETS`.
            batch: samples an iteration.
            side: pixels of a sample's input side.
            device: as PyTorch names it.
            graphs: whether to use CUDA graphs.
            start: the state of the `Collapsed` to begin with; None for random weights.
        """
        net = EnlargingNet(NETS[name])
        if start is not None:
            net.start(start)
        self._net = net.to(device)
        self.average = EnlargingNet(NETS[name]).to(device)
        self.average.load_state_dict(self._net.state_dict())
        self._weights, self._averages = list(self._net.parameters()), list(self.average.parameters())
        self._graphs = graphs
        rate = torch.tensor(0.0, device=device) if device != "cpu" else 0.0
        cuda = device != "cpu"
        self._optimizer = torch.optim.Adam(self._weights, rate, betas=_MOMENTS, capturable=cuda, fused=cuda or None)
        self._x = torch.zeros(batch, 4, side, side, device=device).contiguous(memory_format=torch.channels_last)
        self._y = {
            factor: torch.zeros(batch, 3, side * factor, side * factor, device=device)
            for factor in NETS[name]["factors"]
        }
        self._decibels, self.loss = torch.zeros((), device=device), torch.zeros((), device=device)
        self._dtype = torch.float32
        self._captured: dict[int, torch.cuda.CUDAGraph] = {}
        self._good = self._state()
        self._slower = 1.0
        self.number = 0

    def use(self, dtype: torch.dtype) -> None:
        """Compute the inner convolutions in `dtype` from now on."""
        if dtype != self._dtype:
            if self._captured:
                torch.cuda.synchronize()
            self._dtype, self._captured = dtype, {}

    def step(self, x: Tensor, y: Tensor, *, factor: int, rate: float, decibels: float) -> None:
        """One iteration.

        Args:
            x: the network's input.
            y: what it has to give.
            factor: how many times larger that is.
            rate: the learning rate.
            decibels: the share of the PSNR of each sample in the loss, instead of absolute differences.
        """
        self.number += 1
        set_rate(self._optimizer, rate * self._slower)
        self._decibels.fill_(decibels)
        self._x.copy_(x)
        self._y[factor].copy_(y)
        if self._graphs and factor not in self._captured:
            self._capture(factor)
        if factor in self._captured:
            self._captured[factor].replay()
        else:
            self._compute(factor)
        keep = min(_KEEP, self.number / (self.number + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._weights, 1 - keep)

    def _capture(self, factor: int) -> None:
        """Make an iteration a graph; where that does not work, training is slower from then on."""
        try:
            self._captured[factor] = capture(lambda: self._compute(factor), self._optimizer)
        except RuntimeError as error:
            warnings.warn(f"training goes on without CUDA graphs: {error}", stacklevel=2)
            self._graphs = False

    def check(self) -> float:
        """The last loss; if training has diverged, go on from the last good weights, with a lower rate."""
        loss = self.loss.item()
        if math.isfinite(loss) and loss < 1:
            self._good = self._state()
            return loss
        self._slower /= 2
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._good)
            torch._foreach_copy_(self._averages, self._good)
            for state in self._optimizer.state.values():
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name].zero_()
        return loss

    def _state(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self._averages]

    def _compute(self, factor: int) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        edge = _EDGE * factor
        made = self._net(self._x, factor, dtype=self._dtype)
        difference = (made - self._y[factor])[:, :, edge:-edge, edge:-edge]
        # The logarithm of each sample's error: smooth and soft samples count as much as those with strong edges. A mean
        # of squares over all samples follows the strong edges, at the cost of the others.
        psnr = -10 * (difference.square().mean((1, 2, 3)) + _LEAST_ERROR).log10().mean()
        absolute = difference.abs().mean()
        loss = (1 - self._decibels) * absolute - _PSNR_WEIGHT * self._decibels * psnr
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, 0.5)
        self._optimizer.step()
        self.loss.copy_(absolute.detach())
