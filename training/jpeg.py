"""What JPEG does to pictures, as tensors: the tables and the arithmetic of libjpeg, without the entropy coding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["damage_levels", "jpeg"]

# The tables of the JPEG standard, annex K, which libjpeg scales by the quality.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""


def damage_levels(quality: Tensor) -> Tensor:
    """The levels of JPEG damage at qualities, as the networks take them; the engine's is `damage_level`."""
    return (100 - quality) / 100


def jpeg(pictures: Tensor, quality: Tensor, *, halved: bool) -> Tensor:
    """The pictures after JPEG.

    Args:
        pictures: N×3×H×W, 0…255, sides that are multiples of 16.
        quality: N, 1…100.
        halved: whether the colours are stored at half the size (4:2:0).
    """
    red, green, blue = pictures.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    colours = torch.stack([0.564334 * (blue - luma), 0.713267 * (red - luma)], 1)
    luma = _quantised(luma.round()[:, None] - 128, _LUMA, quality) + 128
    if halved:
        colours = _quantised(functional.avg_pool2d(colours, 2).round(), _CHROMA, quality)
        colours = functional.interpolate(colours, scale_factor=2, mode="bilinear", align_corners=False)
    else:
        colours = _quantised(colours.round(), _CHROMA, quality)
    cb, cr = colours.unbind(1)
    y = luma[:, 0]
    made = torch.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 1)
    return made.round().clamp(0, 255)


def _quantised(planes: Tensor, table: str, quality: Tensor) -> Tensor:
    """The planes after the cosine transform of 8×8 blocks, rounding to the steps of the table, and back."""
    steps = torch.tensor([float(step) for step in table.split()], device=planes.device).view(8, 8)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    scale = scale.floor()
    steps = ((steps[None] * scale[:, None, None] + 50) / 100).floor().clamp(1, 255)[:, None, None, :, None, :]
    count, channels, height, width = planes.shape
    basis = _cosines().to(planes.device)
    blocks = planes.reshape(count, channels, height // 8, 8, width // 8, 8)
    waves = torch.einsum("ui,ncyixj,vj->ncyuxv", basis, blocks, basis)
    waves = (waves / steps).round() * steps
    blocks = torch.einsum("ui,ncyuxv,vj->ncyixj", basis, waves, basis)
    return blocks.reshape(planes.shape).round().clamp(-128, 127)


def _cosines() -> Tensor:
    k, i = np.arange(8)[:, None], np.arange(8)[None]
    basis = np.cos((2 * i + 1) * k * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    return torch.from_numpy(basis.astype(np.float32))
