"""The network that finds damage: a small U-Net on 2×2 pixel blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DamageNet"]


class _Conv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _Conv(channels, channels, dilation=dilation)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class DamageNet(nn.Module):
    """Takes N×3×H×W, 0…1, with sides that are multiples of 16; gives N×1×H×W logits of damage."""

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 48, 64)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.down0 = nn.Sequential(_Conv(12, a), _Residual(a))
        self.down1 = nn.Sequential(_Conv(a, b, stride=2), _Residual(b))
        self.down2 = nn.Sequential(_Conv(b, c, stride=2), _Residual(c))
        self.down3 = nn.Sequential(
            _Conv(c, d, stride=2), _Residual(d), _Residual(d, 2), _Residual(d, 4), _Residual(d, 2)
        )
        self.narrow2, self.up2 = nn.Conv2d(d, c, 1), _Conv(2 * c, c)
        self.narrow1, self.up1 = nn.Conv2d(c, b, 1), _Conv(2 * b, b)
        self.narrow0, self.up0 = nn.Conv2d(b, a, 1), _Conv(2 * a, a)
        self.last = nn.Conv2d(a, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of damage for each pixel."""
        x0 = self.down0(functional.pixel_unshuffle(x - 0.5, 2))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x2 = self.up2(torch.cat([x2, _doubled(self.narrow2(x3))], 1))
        x1 = self.up1(torch.cat([x1, _doubled(self.narrow1(x2))], 1))
        x0 = self.up0(torch.cat([x0, _doubled(self.narrow0(x1))], 1))
        return functional.pixel_shuffle(self.last(x0), 2)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")
