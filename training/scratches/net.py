"""The networks: small U-Nets that find damage and improve what it was filled with, and one that judges pieces."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DamageNet", "FillNet", "JudgeNet", "pushed_and_pulled"]

_LEVELS = 6
"""Halvings in `pushed_and_pulled`: holes of up to 64 pixels are filled."""


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


class _Context(nn.Module):
    """Adds what is seen at half the resolution, and in the picture as a whole: does the scene have many such lines?

    It adds nothing at first, so a trained network can be given one.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            _Conv(channels, inner, stride=2), _Residual(inner), _Residual(inner, 2), _Residual(inner)
        )
        self.overall = nn.Conv2d(2 * inner, inner, 1)
        self.narrow = nn.Conv2d(inner, channels, 1)
        self.up = nn.Sequential(_Conv(2 * channels, channels), _Residual(channels))
        self.last = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        overall = torch.cat([y.mean((2, 3), keepdim=True), y.amax((2, 3), keepdim=True)], 1)
        y = functional.relu(y + self.overall(overall))
        return x + self.last(self.up(torch.cat([x, _doubled(self.narrow(y))], 1)))


class _UNet(nn.Module):
    def __init__(self, inputs: int, outputs: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.context: nn.Module = nn.Identity()
        self.more2: nn.Module = nn.Identity()
        self.more1: nn.Module = nn.Identity()
        a, b, c, d = widths
        self.down0 = nn.Sequential(_Conv(4 * inputs, a), _Residual(a))
        self.down1 = nn.Sequential(_Conv(a, b, stride=2), _Residual(b))
        self.down2 = nn.Sequential(_Conv(b, c, stride=2), _Residual(c))
        self.down3 = nn.Sequential(
            _Conv(c, d, stride=2), _Residual(d), _Residual(d, 2), _Residual(d, 4), _Residual(d, 2)
        )
        self.narrow2, self.up2 = nn.Conv2d(d, c, 1), _Conv(2 * c, c)
        self.narrow1, self.up1 = nn.Conv2d(c, b, 1), _Conv(2 * b, b)
        self.narrow0, self.up0 = nn.Conv2d(b, a, 1), _Conv(2 * a, a)
        self.last = nn.Conv2d(a, 4 * outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x0 = self.down0(functional.pixel_unshuffle(x - 0.5, 2))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x3 = self.context(self.down3(x2))
        x2 = self.more2(self.up2(torch.cat([x2, _doubled(self.narrow2(x3))], 1)))
        x1 = self.more1(self.up1(torch.cat([x1, _doubled(self.narrow1(x2))], 1)))
        x0 = self.up0(torch.cat([x0, _doubled(self.narrow0(x1))], 1))
        return functional.pixel_shuffle(self.last(x0), 2)


class DamageNet(_UNet):
    """Takes N×3×H×W, 0…1, with sides that are multiples of 32; gives N×1×H×W logits of damage."""

    def __init__(self) -> None:
        super().__init__(3, 1, (24, 40, 56, 72))
        self.context, self.more2, self.more1 = _Context(72, 96), _added(56), _added(40)
        nn.init.constant_(self.last.bias, -3.0)  # few pixels are damaged


def _added(channels: int) -> _Residual:
    """A block that adds nothing at first."""
    block = _Residual(channels)
    nn.init.zeros_(block.second[1].weight)
    return block


class FillNet(_UNet):
    """Improves what holes were filled with.

    Takes N×7×H×W, 0…1, with sides that are multiples of 16: the picture filled by `pushed_and_pulled`, the picture as
    it was (scratches and shadows let something of it through, and not all of a hole is damage), and the mask of the
    holes. Gives N×3×H×W, to be added to the filled picture where the mask is 1.
    """

    def __init__(self) -> None:
        super().__init__(7, 3, (24, 32, 48, 48))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class JudgeNet(nn.Sequential):
    """The log odds that a piece is damage, of what surrounds it.

    Takes N×4×32×64, 0…1: red, green, blue and the likelihood of damage. Gives N×1×1×1.
    """

    def __init__(self) -> None:
        strides = ((4, 16, 1), (16, 24, 2), (24, 24, 2), (24, 24, 2), (24, 24, 1))
        layers = [_Conv(inputs, outputs, stride=stride) for inputs, outputs, stride in strides]
        super().__init__(*layers, nn.Conv2d(24, 1, (4, 8)))


def pushed_and_pulled(picture: Tensor, hole: Tensor) -> Tensor:
    """The picture with its holes filled by means of ever wider surroundings.

    Args:
        picture: N×3×H×W; what is in the holes has no influence.
        hole: N×1×H×W, 1 in holes, else 0. H and W are multiples of 64.
    """
    known = 1 - hole
    levels = [(picture * known, known)]
    for _ in range(_LEVELS):
        levels.append(tuple(functional.avg_pool2d(part, 2) for part in levels[-1]))
    filled = levels[-1][0] / (levels[-1][1] + 1e-6)
    for total, weight in reversed(levels[:-1]):
        above = functional.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        filled = torch.where(weight > 0, total / weight.clamp(min=1e-6), above)
    return filled


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")
