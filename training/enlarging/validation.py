"""How much better than Lanczos a network enlarges photographs that it has not seen."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from training.enlarging.kinds import KINDS, psnr
from training.jpeg import damage_levels
from training.photographs import Pixels

__all__ = ["Validation"]


class Validation:
    """Photographs made smaller in several ways, and how near Lanczos comes to them."""

    def __init__(self, photos: list[Pixels], *, factor: int, reach: int, device: str) -> None:
        """Prepare the photographs; `reach` is how many pixels the networks leave out at each edge."""
        self._factor = factor
        self._cases = [(kind, *self._case(kind, photo, factor, reach, device)) for photo in photos for kind in KINDS]

    @staticmethod
    def _case(kind: str, photo: Pixels, factor: int, reach: int, device: str) -> tuple[Tensor, Tensor, float]:
        large = KINDS[kind].original(photo)
        small = KINDS[kind].small(large, factor=factor)
        enlarged = np.asarray(small.resize((large.shape[1], large.shape[0]), Image.Resampling.LANCZOS))
        planes = torch.tensor(np.asarray(small)).permute(2, 0, 1)
        quality = KINDS[kind].quality
        damage = torch.tensor(0.0) if quality is None else damage_levels(torch.tensor(quality))
        level = damage.expand(1, *planes.shape[1:])
        planes = torch.cat([planes.float() / 255, level])
        planes = torch.from_numpy(np.pad(planes.numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="symmetric"))[
            None
        ]
        return planes.to(device), torch.tensor(large).permute(2, 0, 1).to(device), psnr(enlarged, large)

    @torch.no_grad()
    def __call__(self, net: nn.Module, *, few: bool = False) -> str:
        """The mean gain over Lanczos in dB, and the least one, for each way of making the photographs smaller.

        Args:
            net: a `Collapsed`.
            few: use only every fifth photograph.
        """
        gains: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for number, (kind, small, original, lanczos) in enumerate(self._cases):
            if few and number // len(KINDS) % 5:
                continue
            made = next(made for made in net(small) if made.shape[-1] == original.shape[-1])
            made = (made[0] * 255).round().clamp(0, 255)
            error = (made - original.float()).square().mean().clamp(min=1e-3)
            gains[kind].append(10 * math.log10(255**2 / error.item()) - lanczos)
        told = ", ".join(f"{kind} {np.mean(values):+.3f} ({min(values):+.2f})" for kind, values in gains.items())
        return f"×{self._factor}: {told}"
