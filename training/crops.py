"""Crops of photographs, drawn at random on a device."""

from __future__ import annotations

import torch
from torch import Tensor

from training.photographs import Photographs

__all__ = ["Crops", "cut"]


class Crops:
    """Photographs on a device, and the generator of all random numbers of a training's samples.

    Attributes:
        device: as PyTorch names it.
        generator: of the random numbers.
    """

    def __init__(self, photos: Photographs, *, device: str, seed: int) -> None:
        """Move the photographs to the device."""
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        self._pixels, self._starts, self._widths, self._heights, self._weights = (
            torch.from_numpy(array).to(device)
            for array in (photos.pixels, photos.starts, photos.widths, photos.heights, photos.weights)
        )

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1."""
        return torch.rand(*shape, device=self.device, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        """Numbers of standard deviation 1 around 0."""
        return torch.randn(*shape, device=self.device, generator=self.generator)

    def places(self, count: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where squares of `side` pixels are cut: numbers of the photographs, rows and columns, N each."""
        of = torch.multinomial(self._weights, count, replacement=True, generator=self.generator)
        tops = (self.uniform(count) * (self._heights[of] - side + 1)).long()
        lefts = (self.uniform(count) * (self._widths[of] - side + 1)).long()
        return of, tops, lefts

    def at(self, of: Tensor, tops: Tensor, lefts: Tensor, steps: Tensor) -> Tensor:
        """The pixels `steps` below and to the right of the places: N×3×S×S, uint8."""
        rows = (tops[:, None] + steps) * self._widths[of][:, None] + (self._starts[of] + lefts)[:, None]
        return self._pixels[rows[:, :, None] + steps].permute(0, 3, 1, 2)

    def turned(self, pictures: Tensor) -> Tensor:
        """Squares, each mirrored and turned by chance."""
        for transform in (lambda x: x.flip(2), lambda x: x.flip(3), lambda x: x.transpose(2, 3)):
            pictures = torch.where(self.uniform(len(pictures), 1, 1, 1) < 0.5, transform(pictures), pictures)
        return pictures


def cut(pictures: Tensor, at: Tensor, side: int) -> Tensor:
    """Squares of N×3×H×W pictures that begin at row and column `at`, N×2."""
    steps = torch.arange(side, device=pictures.device)
    rows, columns = at[:, :1] + steps, at[:, 1:] + steps
    numbers = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    picked = pictures.permute(0, 2, 3, 1)[numbers, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
