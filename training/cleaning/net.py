"""The network that removes noise and JPEG damage: a U-Net of two levels on 2×2 pixel blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MAPS", "REACH", "CleaningNet", "cleaned"]

MAPS = 3
"""Channels that say what is wrong: noise level / 255; (100 - JPEG quality) / 100; 1 where the quality is unknown."""

REACH = 64
"""Pixels beyond which nothing changes the output, rounded up to a multiple of 4."""


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)
        nn.init.normal_(self.second.weight, std=0.1 * (2 / (9 * channels)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


class CleaningNet(nn.Module):
    """Takes N×15×H×W, gives N×12×H×W, with even sides.

    The input is a picture of 2H×2W pixels, 0…1, as 12 channels (`pixel_unshuffle`), and `MAPS` channels; the output is
    what to add to the picture. `cleaned` does both.

    Args:
        wide: channels at half the picture's size.
        deep: channels at a quarter.
        outer: residual blocks before and after the second level, each.
        inner: residual blocks in the second level.
    """

    def __init__(self, wide: int = 48, deep: int = 96, outer: int = 1, inner: int = 4) -> None:
        super().__init__()
        self.head = nn.Conv2d(12 + MAPS, wide, 3, 1, 1)
        self.before = nn.Sequential(*(_Residual(wide) for _ in range(outer)))
        self.down = nn.Conv2d(wide, deep, 2, 2)
        self.middle = nn.Sequential(*(_Residual(deep) for _ in range(inner)))
        self.up = nn.Conv2d(deep, 4 * wide, 1)
        self.after = nn.Sequential(*(_Residual(wide) for _ in range(outer)))
        self.last = nn.Conv2d(wide, 12, 3, 1, 1)
        nn.init.normal_(self.last.weight, std=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """What to add to the picture."""
        near = self.before(self.head(x))
        far = functional.pixel_shuffle(self.up(self.middle(self.down(near))), 2)
        made: Tensor = self.last(self.after(near + far))
        return made


def cleaned(net: nn.Module, picture: Tensor, maps: Tensor) -> Tensor:
    """The picture without noise and JPEG damage.

    Args:
        net: a `CleaningNet`.
        picture: N×3×H×W, 0…1; the sides are multiples of 4.
        maps: N×`MAPS`, the same for all pixels of a picture.
    """
    blocks = functional.pixel_unshuffle(picture, 2)
    spread = maps.to(blocks.dtype)[:, :, None, None].expand(-1, -1, *blocks.shape[2:])
    return picture + functional.pixel_shuffle(net(torch.cat([blocks, spread], 1)), 2)
