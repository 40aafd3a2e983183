"""How much better than Lanczos a network enlarges photographs that it has not seen."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from training.photographs import Pixels

__all__ = ["Validation"]

_MARGIN = 20
"""Pixels of the small picture, mirrored around it: beyond the reach of the networks, which know no other edge."""

_QUALITY = 80
_KINDS = {
    "bicubic": (Image.Resampling.BICUBIC, None),
    "lanczos": (Image.Resampling.LANCZOS, None),
    "box": (Image.Resampling.BOX, None),
    f"JPEG {_QUALITY}": (Image.Resampling.BICUBIC, _QUALITY),
}


class Validation:
    """Photographs made smaller in several ways, and how near Lanczos comes to them."""

    def __init__(self, photos: list[Pixels], *, factor: int, device: str) -> None:
        """Prepare the photographs."""
        self._cases = [(kind, *self._case(kind, photo, factor, device)) for photo in photos for kind in _KINDS]

    @staticmethod
    def _case(kind: str, photo: Pixels, factor: int, device: str) -> tuple[Tensor, Tensor, float]:
        method, quality = _KINDS[kind]
        large = Image.fromarray(photo)
        small = large.resize((large.width // factor, large.height // factor), method)
        if quality is not None:
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality)
            small = Image.open(buffer)
        enlarged = np.asarray(small.resize(large.size, Image.Resampling.LANCZOS), np.float32)
        level = 0.0 if quality is None else (100 - quality) / 100
        planes = torch.tensor(np.asarray(small)).permute(2, 0, 1)
        planes = torch.cat([planes.float() / 255, torch.full((1, *planes.shape[1:]), level)])
        original = torch.tensor(photo).permute(2, 0, 1).to(device)
        planes = functional.pad(planes[None], (_MARGIN,) * 4, mode="reflect")
        return planes.to(device), original, _psnr(float(np.mean((enlarged - photo) ** 2)))

    @torch.no_grad()
    def __call__(self, net: nn.Module, *, few: bool = False) -> str:
        """The mean gain over Lanczos in dB, and the least one, for each way of making the photographs smaller.

        Args:
            net: takes what an `EnlargingNet` takes.
            few: use only every third photograph.
        """
        gains: dict[str, list[float]] = {kind: [] for kind in _KINDS}
        for number, (kind, small, original, lanczos) in enumerate(self._cases):
            if few and number // len(_KINDS) % 3:
                continue
            factor = original.shape[-1] // (small.shape[-1] - 2 * _MARGIN)
            edge = _MARGIN * factor
            made = (net(small)[0, :, edge:-edge, edge:-edge] * 255).round().clamp(0, 255)
            gains[kind].append(_psnr(float((made - original.float()).square().mean())) - lanczos)
        return ", ".join(f"{kind} {np.mean(values):+.3f} ({min(values):+.2f})" for kind, values in gains.items())


def _psnr(error: float) -> float:
    return float(10 * np.log10(255**2 / max(error, 1e-3)))
