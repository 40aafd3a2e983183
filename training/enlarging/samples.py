"""Training samples: crops of photographs and what resampling, noise and JPEG leave of them, made on the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from training.crops import Crops, cut
from training.enlarging.resampling import SHRINKING, shrinking_table
from training.jpeg import damage_levels, jpeg

__all__ = ["Samples"]

_AROUND = 16
"""Pixels of the small picture that a crop is larger than the sample, so that JPEG's blocks begin anywhere in it."""

_LEAST_QUALITY, _HALVED = 8, 0.7
"""The lowest quality of JPEGs, and the share of those with colours at half the size."""

_NOISE, _MOST_NOISE = 0.12, 5.0
"""The share of samples with noise, and its largest standard deviation in gray levels."""

_GRAY, _PALE = 0.08, 0.12
"""The share of samples without colour, and of those with less contrast."""

_SOFT, _MOST_SOFT = 0.3, 1.5
_BOX, _MOVED = 0.3, 0.3
"""The share of samples whose original is out of focus, and its largest blur, a standard deviation in pixels of the
input; of those, the share blurred by a box instead of a Gaussian, and the share blurred less in one direction.

Without these, every original is sharp, because photographs are reduced; a network then sharpens a soft photograph, and
is up to 18 dB worse than Lanczos."""

_SPARE = 4 / 3
"""How many times more crops are drawn than used; mostly the plainest are left out."""


class Samples:
    """Endless samples of one factor."""

    def __init__(self, crops: Crops, *, factor: int, coded: float, side: int, count: int) -> None:
        """Prepare the tables.

        Args:
            crops: of photographs.
            factor: how many times smaller the input is.
            coded: the share of samples that have been a JPEG.
            side: of the input, in pixels; `side + 16` is a multiple of 16.
            count: samples made at a time.
        """
        self._factor, self._side, self._count, self._coded = factor, side, count, round(count * coded)
        self._crops, device = crops, crops.device
        self._device = device
        around = side + _AROUND
        self._shrinking = torch.from_numpy(shrinking_table(around * factor, around)).to(device)
        self._shares = torch.tensor(list(SHRINKING.values()), device=device)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs, N×4×H×W, colours 0…1 and the level of JPEG damage; and the originals, N×3×…, in 0…1."""
        while True:
            small, level, large = self.chunk()
            for start in range(0, len(small) - size + 1, size):
                part = slice(start, start + size)
                plane = level[part, None, None, None].expand(-1, 1, *small.shape[2:])
                x = torch.cat([small[part].float() / 255, plane], 1)
                yield (
                    x.contiguous(memory_format=torch.channels_last),
                    (large[part].float() / 255).contiguous(),
                )

    @torch.no_grad()
    def chunk(self) -> tuple[Tensor, Tensor, Tensor]:
        """Small pictures and their originals, uint8, and the levels of JPEG damage."""
        count, factor = self._count, self._factor
        large = self._softened(self._crops.turned(self._changed(self._cut_out(count, (self._side + _AROUND) * factor))))
        small = self._noisy(self._shrunk(large))
        quality = (_LEAST_QUALITY + (100 - _LEAST_QUALITY) * self._crops.uniform(count).sqrt()).round()
        level = torch.zeros(count, device=self._device)
        halved = round(self._coded * _HALVED)
        for part, half in ((slice(0, halved), True), (slice(halved, self._coded), False)):
            if part.stop > part.start:
                small[part] = jpeg(small[part], quality[part], halved=half)
                level[part] = damage_levels(quality[part])
        # 3 pixels at the edges are left out: shrinking has no neighbours there.
        at = self._crops.uniform(count, 2).mul(_AROUND - 5).long() + 3
        small = cut(small, at, self._side)
        large = cut(large, at * factor, self._side * factor)
        order = torch.randperm(count, device=self._device, generator=self._crops.generator)
        return small[order].byte(), level[order], large[order].byte()

    def _cut_out(self, count: int, side: int) -> Tensor:
        drawn = round(count * _SPARE)
        of, tops, lefts = self._crops.places(drawn, side)
        steps = torch.arange(side, device=self._device)
        coarse = self._crops.at(of, tops, lefts, steps[::4])[:, 1].float()
        detail = (coarse[:, 1:] - coarse[:, :-1]).abs().mean((1, 2)) + (
            coarse[:, :, 1:] - coarse[:, :, :-1]
        ).abs().mean((1, 2))
        score = torch.log(detail + 0.5) + self._crops.normal(drawn)
        kept = score.topk(count).indices
        return self._crops.at(of[kept], tops[kept], lefts[kept], steps).float()

    def _changed(self, large: Tensor) -> Tensor:
        count, uniform = len(large), self._crops.uniform
        gray = large.mul(torch.tensor([0.299, 0.587, 0.114], device=self._device).view(3, 1, 1)).sum(1, keepdim=True)
        large = torch.where(uniform(count, 1, 1, 1) < _GRAY, gray, large)
        contrast = torch.where(uniform(count, 1, 1, 1) < _PALE, 0.35 + 0.6 * uniform(count, 1, 1, 1), 1.0)
        middle = 128 + (1 - contrast) * 60 * (2 * uniform(count, 1, 1, 1) - 1)
        return ((large - 128) * contrast + middle).round().clamp(0, 255)

    def _softened(self, large: Tensor) -> Tensor:
        """Some of the pictures blurred, as products with two matrices for each."""
        count, uniform = len(large), self._crops.uniform
        soft, box = uniform(count, 1, 1, 1) < _SOFT, uniform(count, 1, 1) < _BOX
        across = uniform(count, 1, 1).clamp(min=0.1) * _MOST_SOFT * self._factor
        down = across * torch.where(uniform(count, 1, 1) < _MOVED, uniform(count, 1, 1).clamp(min=0.1), 1.0)
        blurred = torch.einsum("nchw,now->ncho", large, self._blur(across, box, large.shape[3]))
        blurred = torch.einsum("nchw,noh->ncow", blurred, self._blur(down, box, large.shape[2]))
        return torch.where(soft, blurred.round().clamp(0, 255), large)

    def _blur(self, deviation: Tensor, box: Tensor, side: int) -> Tensor:
        """Matrices that blur columns of `side` pixels, one for each deviation, by a box or a Gaussian."""
        places = torch.arange(side, device=self._device)
        away = (places[:, None] - places).abs()
        width = deviation * 12**0.5
        table = torch.where(box, (width / 2 + 0.5 - away).clamp(0, 1), torch.exp(-(away**2) / (2 * deviation**2)))
        return table / table.sum(2, keepdim=True)

    def _shrunk(self, large: Tensor) -> Tensor:
        """First across, then down, rounded to gray levels each time, as Pillow does it."""
        kind = torch.multinomial(self._shares, len(large), replacement=True, generator=self._crops.generator)
        table = self._shrinking[kind]
        narrow = _rounded(torch.einsum("nchw,now->ncho", large, table))
        return _rounded(torch.einsum("nchw,noh->ncow", narrow, table))

    def _noisy(self, small: Tensor) -> Tensor:
        count = len(small)
        deviation = self._crops.uniform(count, 1, 1, 1) * _MOST_NOISE * (self._crops.uniform(count, 1, 1, 1) < _NOISE)
        noise = self._crops.normal(*small.shape)
        return (small + noise * deviation).round().clamp(0, 255)


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)
