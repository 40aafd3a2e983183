"""Validation: photographs that training has not seen, with damage made by NumPy and Pillow."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from training.cleaning.net import cleaned
from training.cleaning.samples import noise_measured
from training.jpeg import damage_levels
from training.photographs import Pixels

__all__ = ["CASES", "Validation"]

CASES = {
    "clean": (0, 0, None),
    "noise 5": (5, 0, None),
    "noise 10": (10, 0, None),
    "noise 25": (25, 0, None),
    "noise 50": (50, 0, None),
    "grain 12": (0, 12, None),
    "JPEG 10": (0, 0, 10),
    "JPEG 10, quality unknown": (0, 0, -10),
    "JPEG 15": (0, 0, 15),
    "JPEG 40": (0, 0, 40),
    "JPEG 60": (0, 0, 60),
    "noise 6, JPEG 60": (6, 0, 60),
}
"""For each name: standard deviations of each channel's own noise and of film grain, and the quality, < 0: unknown."""

_STRIDE = 8
"""Pictures that go through the network at a time."""


class Validation:
    """The pictures, damaged in all ways of `CASES`."""

    def __init__(self, held: Pixels, *, device: str) -> None:
        """Damage the pictures.

        Args:
            held: N×H×W×3.
            device: where the network is.
        """
        self._device = device
        self._clean = _tensor(held)
        self._cases: dict[str, tuple[Tensor, Tensor]] = {}
        for name, (noise, grain, quality) in CASES.items():
            dice = np.random.default_rng(7)
            own, common = dice.normal(0, 1, held.shape), dice.normal(0, 1, (*held.shape[:3], 1))
            spoilt = np.rint(np.clip(held + noise * own + grain * common, 0, 255)).astype(np.uint8)
            if quality is not None:
                spoilt = np.stack([_saved(picture, abs(quality)) for picture in spoilt])
            pictures, maps = _tensor(spoilt), torch.zeros(len(held), 3)
            if noise or grain:
                maps[:, 0] = noise_measured(255 * (pictures - self._clean)) / 255
            if quality is not None:
                maps[:, 1], maps[:, 2] = (damage_levels(torch.tensor(quality)), 0) if quality > 0 else (0, 1)
            self._cases[name] = pictures, maps

    def __call__(self, net: nn.Module) -> str:
        """The mean PSNR of each case before and after, in dB."""
        return "; ".join(
            f"{name} {self._psnr(pictures):.2f} → {self._psnr(self._through(net, pictures, maps)):.2f}"
            for name, (pictures, maps) in self._cases.items()
        )

    @torch.no_grad()
    def _through(self, net: nn.Module, pictures: Tensor, maps: Tensor) -> Tensor:
        parts = zip(pictures.split(_STRIDE), maps.split(_STRIDE), strict=True)
        made = [cleaned(net, part.to(self._device), of_part.to(self._device)).cpu() for part, of_part in parts]
        return torch.cat(made).clamp(0, 1).mul(255).round().div(255)

    def _psnr(self, pictures: Tensor) -> float:
        errors = (pictures - self._clean).square().mean((1, 2, 3)).clamp(min=1e-10)
        return float((-10 * torch.log10(errors)).mean())


def _saved(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _tensor(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float() / 255
