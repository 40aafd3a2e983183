"""Training samples: crops of photographs, and what noise, film grain and JPEG leave of them, made on the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from training.crops import Crops, cut
from training.jpeg import damage_levels, jpeg
from training.photographs import Photographs

__all__ = ["AROUND", "Samples", "noise_measured"]

AROUND = 32
"""Pixels that a crop is larger than the sample, so that JPEG's blocks begin anywhere in it."""

_TURN = 8
"""Pixels by which the second of two JPEGs can be shifted against the first."""

_NOISY, _BOTH, _CODED = 0.40, 0.20, 0.37
"""The shares of samples with noise alone, with noise and JPEG damage, and with JPEG damage; the others are clean."""

_LEAST_NOISE, _MORE_NOISE = 2.0, 55.0
"""The standard deviation of a channel's noise, in gray levels: at least, and the range above."""

_MEASURED = 5.0
"""The noise under which the engine reports none."""

_TWICE, _HALVED, _UNKNOWN = 0.2, 0.8, 0.15
"""Of samples with JPEG damage: shares that are saved twice, have 4:2:0, and whose quality is not given."""

_GRAY, _PALE = 0.12, 0.15
"""The shares of samples without colour, and with less contrast."""


def noise_measured(error: Tensor) -> Tensor:
    """The noise level as the engine measures it: N gray levels, of N×3×H×W differences from the clean picture."""
    kernel = error.new_tensor([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    rough = functional.conv2d(error.mean(1, keepdim=True), kernel).abs() * ((torch.pi / 2) ** 0.5 / 6)
    blocks = functional.avg_pool2d(rough, 16).flatten(1)
    return torch.quantile(blocks, 0.25, dim=1) * 3**0.5


class Samples:
    """Endless samples."""

    def __init__(self, photos: Photographs, *, side: int, count: int, device: str, seed: int) -> None:
        """Move the photographs to the device.

        Args:
            photos: where crops are cut.
            side: of a sample, in pixels; a multiple of 16.
            count: samples made at a time.
            device: as PyTorch names it.
            seed: of all choices.
        """
        self._side, self._count, self._device = side, count, device
        self._crops = Crops(photos, device=device, seed=seed)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pictures and their originals, N×3×H×W uint8, and the maps for the network, N×3 floats."""
        while True:
            made = self._chunk()
            for start in range(0, self._count - size + 1, size):
                spoilt, clean, maps = (part[start : start + size] for part in made)
                yield spoilt, clean, maps

    def _chunk(self) -> tuple[Tensor, Tensor, Tensor]:
        count = self._count
        clean = self._changed(self._crops.turned(self._cut_out()))
        ends = [round(count * share) for share in (_NOISY, _NOISY + _BOTH, _NOISY + _BOTH + _CODED)]
        noisy, coded = slice(0, ends[1]), slice(ends[0], ends[2])
        spoilt, maps = clean.clone(), torch.zeros(count, 3, device=self._device)
        spoilt[noisy] = self._noisy(clean[noisy])
        spoilt[coded], clean[coded], maps[coded] = self._coded(spoilt[coded], clean[coded])
        level = noise_measured(spoilt[noisy] - clean[noisy])
        level = level * torch.exp(0.1 * self._crops.normal(len(level)))
        missed = (level < _MEASURED) & (self._crops.uniform(len(level)) < 0.5)
        maps[noisy, 0] = torch.where(missed, 0.0, level.clamp(max=75.0)) / 255
        at = self._crops.uniform(count, 2).mul(AROUND - 2 * _TURN).long() + _TURN
        order = torch.randperm(count, device=self._device, generator=self._crops.generator)
        spoilt, clean = cut(spoilt, at, self._side), cut(clean, at, self._side)
        return spoilt[order].byte(), clean[order].byte(), maps[order]

    def _cut_out(self) -> Tensor:
        side = self._side + AROUND
        places = self._crops.places(self._count, side)
        return self._crops.at(*places, torch.arange(side, device=self._device)).float()

    def _changed(self, pictures: Tensor) -> Tensor:
        count = len(pictures)
        weights = pictures.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        gray = pictures.mul(weights).sum(1, keepdim=True)
        pictures = torch.where(self._crops.uniform(count, 1, 1, 1) < _GRAY, gray, pictures)
        pale = self._crops.uniform(count, 1, 1, 1) < _PALE
        low, high = 80 * self._crops.uniform(count, 3, 1, 1), 255 - 100 * self._crops.uniform(count, 3, 1, 1)
        low, high = (0.4 * ends + 0.6 * ends.mean(1, keepdim=True) for ends in (low, high))
        return torch.where(pale, low + pictures * ((high - low) / 255), pictures).round().clamp(0, 255)

    def _noisy(self, pictures: Tensor) -> Tensor:
        """Noise of each channel by itself, the same in all (film grain), or a mixture; a third of it is correlated."""
        count, shape = len(pictures), pictures.shape
        own, common = self._crops.normal(*shape), self._crops.normal(count, 1, *shape[2:])
        kind = self._crops.uniform(count, 1, 1, 1)
        share = torch.where(kind < 0.5, 0.0, torch.where(kind < 0.8, 1.0, self._crops.uniform(count, 1, 1, 1)))
        noise = (1 - share).sqrt() * own + (share / 3).sqrt() * common
        spread = torch.where(self._crops.uniform(count) < 1 / 3, 0.25 + 0.4 * self._crops.uniform(count), 0.05)
        noise = _smoothed(noise, spread)
        # Film grain is strongest in middle tones, sensor noise grows with the light.
        light = pictures.mean(1, keepdim=True) / 255
        uneven = torch.where(self._crops.uniform(count, 1, 1, 1) < 0.5, 4 * light * (1 - light), light.sqrt())
        uneven = torch.where(self._crops.uniform(count, 1, 1, 1) < 0.3, 0.4 + uneven, 1.0)
        deviation = _LEAST_NOISE + _MORE_NOISE * self._crops.uniform(count, 1, 1, 1) ** 1.7
        return (pictures + noise * uneven * deviation).round().clamp(0, 255)

    def _coded(self, pictures: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pictures after one or two JPEGs, with their originals, in the same places, and their maps."""
        count = len(pictures)
        quality = (5 + 92 * self._crops.uniform(count) ** 1.3).round()
        first = (5 + 92 * self._crops.uniform(count) ** 1.3).round()
        twice = round(count * _TWICE)
        # In any order: the noisy ones come first.
        order = torch.randperm(count, device=self._device, generator=self._crops.generator)
        pictures, clean = pictures[order], clean[order]
        if twice:
            once = self._saved(pictures[:twice], first[:twice])
            shifts = self._crops.uniform(2).mul(_TURN).long().tolist()
            pictures[:twice], clean[:twice] = (torch.roll(part, shifts, (2, 3)) for part in (once, clean[:twice]))
        pictures = self._saved(pictures, quality)
        hidden = torch.arange(count, device=self._device) < twice
        unknown = (hidden & (first < quality)) | (self._crops.uniform(count) < _UNKNOWN)
        maps = torch.zeros(count, 3, device=self._device)
        maps[:, 1] = torch.where(unknown, 0.0, damage_levels(quality))
        maps[:, 2] = unknown.float()
        back = torch.argsort(order)
        return pictures[back], clean[back], maps[back]

    def _saved(self, pictures: Tensor, quality: Tensor) -> Tensor:
        halved = self._crops.uniform(len(pictures)) < _HALVED
        made = torch.empty_like(pictures)
        for part, half in ((halved, True), (~halved, False)):
            made[part] = jpeg(pictures[part], quality[part], halved=half)
        return made


def _smoothed(noise: Tensor, spread: Tensor) -> Tensor:
    """The noise correlated over `spread` pixels, N standard deviations, with its own variance."""
    steps = torch.arange(-2, 3, device=noise.device)
    kernel = torch.exp(-(steps**2) / (2 * spread[:, None] ** 2))
    kernel = kernel / kernel.square().sum(1, keepdim=True).sqrt()
    padded = functional.pad(noise, (2, 2, 2, 2), mode="replicate")
    height, width = noise.shape[2:]
    weights = kernel[:, :, None, None, None]
    across = sum(padded[..., at : at + width] * weights[:, at] for at in range(5))
    down = sum(across[:, :, at : at + height] * weights[:, at] for at in range(5))
    assert isinstance(down, Tensor)
    return down
