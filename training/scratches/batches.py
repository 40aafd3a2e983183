"""Training batches, composed on the device: crops of photographs, thin things, age, damage, a scan.

All pictures are N×3×H×W, 0…1.
"""

from __future__ import annotations

from math import log, pi
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.scratches.layers import Layers

__all__ = ["Batch", "Batches"]

_SEEN, _UNSEEN = 0.055, 0.02
"""A change of colour from which a pixel counts as damaged, and up to which it counts as whole."""

_DAMAGED = 0.58
"""The share of samples with damage."""

_SLOTS = ((0, 0.65), (0, 0.3), (1, 0.25), (2, 0.3), (3, 0.5), (4, 0.12), (5, 0.33))
"""Kinds of damage, and how often a damaged sample has each."""

_FOLD = 5

_LUMINANCE = (0.299, 0.587, 0.114)
_TONES = (0.08, 0.03, 0.12)
"""Deviations of the tint of a gray print."""

_PAPER, _DIRT, _GLUE = (0.96, 0.94, 0.9), (0.1, 0.08, 0.07), (0.55, 0.45, 0.3)

_QUANTA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
"""The luminance table of JPEG's annex K; chrominance is quantized by its upper left values, 1.6 times as coarse."""

_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


class Batch(NamedTuple):
    """Samples.

    Attributes:
        picture: as it was scanned.
        target: the same without damage, grain and compression.
        mask: N×1×H×W, 1 where it is damaged, the shadow beside a fold included, else 0.
        sure: N×1×H×W, 0 where damage can hardly be seen, else 1.
        other: N×1×H×W, 1 on shapes of damage that are somewhere else.
    """

    picture: Tensor
    target: Tensor
    mask: Tensor
    sure: Tensor
    other: Tensor


class Batches:
    """Makes batches.

    Args:
        photos: H×W×3 uint8, at least `side` pixels in both directions.
        layers: shapes of damage and of thin things.
        size: samples a batch.
        device: as PyTorch names it.
        seed: of all choices.
    """

    def __init__(self, photos: list[NDArray[np.uint8]], layers: Layers, *, size: int, device: str, seed: int) -> None:
        self._layers, self._size, self._device = layers, size, device
        self._side = layers.covers.shape[1]
        self._dice = torch.Generator(device).manual_seed(seed)
        halves = [cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for photo in photos]
        levels = [*photos, *halves]
        starts = np.cumsum([0] + [level.shape[0] * level.shape[1] for level in levels[:-1]])
        self._pixels = torch.from_numpy(np.concatenate([level.reshape(-1, 3) for level in levels])).to(device)
        self._starts = torch.from_numpy(starts).to(device)
        sizes = np.array([level.shape[:2] for level in levels], np.int64)
        self._sizes = torch.from_numpy(sizes).to(device)
        self._chances = self._sizes[: len(photos)].prod(1).sqrt().float()
        self._covers = torch.from_numpy(layers.covers.copy()).to(device)
        self._factors = torch.from_numpy(layers.factors.copy()).to(device)
        self._refreshed = 0
        turn = np.arange(8)
        cosines = np.sqrt(2 / 8) * np.cos(np.outer(turn, 2 * turn + 1) * pi / 16)
        cosines[0] = np.sqrt(1 / 8)
        self._cosines = torch.from_numpy(cosines.astype(np.float32)).to(device)
        self._luma = torch.tensor((128.0, 0.0, 0.0), device=device).view(1, 3, 1, 1)
        self._tones, self._paper, self._dirt, self._glue = (
            torch.tensor(colour, device=device).view(1, 3, 1, 1) for colour in (_TONES, _PAPER, _DIRT, _GLUE)
        )
        self._quanta = torch.from_numpy(np.stack([_QUANTA, *[np.clip(1.6 * _QUANTA, 17, 99)] * 2])).to(device)

    def refresh(self, count: int) -> None:
        """Take over `count` layers that the workers have drawn anew."""
        self._layers.use(count)
        start = self._refreshed % len(self._covers)
        end = min(start + count, len(self._covers))
        self._covers[start:end] = torch.from_numpy(self._layers.covers[start:end]).to(self._device)
        first, last = (max(0, at - _FOLD * self._layers.each) for at in (start, end))
        last = min(last, self._layers.each)
        if first < last:
            self._factors[first:last] = torch.from_numpy(self._layers.factors[first:last]).to(self._device)
        self._refreshed = end

    @torch.no_grad()
    def draw(self) -> Batch:
        """The next batch."""
        clean = self._with_things(self._crops())
        gray = self._often(0.5)
        clean = self._aged(clean, gray)
        whole, spoilt, inside = self._with_margins(clean, self._damaged(clean))
        tone = torch.where(self._often(0.4), 1 + self._normal(3) * self._tones, 1.0)
        flat = gray & self._often(0.6)
        kernels = self._kernels()
        whole, spoilt = (self._scanned(part, flat, tone, kernels) for part in (whole, spoilt))
        change = (spoilt - whole).abs().amax(1, keepdim=True) * inside
        mask = (change > _SEEN).float()
        sure = ((change > _SEEN) | (change < _UNSEEN)).float()
        picture = self._compressed(self._with_grain(spoilt)).clamp(0, 1).mul(255).round().div(255)
        other = (self._cover(self._picked(0, 4)) > 0.4).float()
        return Batch(picture, whole.clamp(0, 1), mask, sure, other)

    def _uniform(self, low: float, high: float, channels: int = 1) -> Tensor:
        share = torch.rand(self._size, channels, 1, 1, generator=self._dice, device=self._device)
        return low + (high - low) * share

    def _normal(self, channels: int = 1) -> Tensor:
        return torch.randn(self._size, channels, 1, 1, generator=self._dice, device=self._device)

    def _often(self, chance: float) -> Tensor:
        return self._uniform(0, 1) < chance

    def _crops(self) -> Tensor:
        """Pieces of photographs, reduced, turned and mirrored."""
        side, size = self._side, self._size
        chosen = torch.multinomial(self._chances, size, replacement=True, generator=self._dice)
        scale = torch.exp(self._uniform(log(0.7), log(2.7))).view(-1)
        smallest = self._sizes[chosen].amin(1)
        turn = (self._normal() * (8 * pi / 180) * self._often(0.5)).view(-1)
        turn = turn + (pi / 2) * self._often(0.12).view(-1)
        wider = turn.cos().abs() + turn.sin().abs()
        scale = torch.minimum(scale, (smallest - 2) / (side * wider))
        half = scale > 1.4
        chosen = chosen + half * len(self._chances)
        scale = torch.where(half, scale / 2, scale)
        height, width = self._sizes[chosen].unbind(1)
        mirror = 1 - 2 * self._often(0.5).view(-1).float()
        reach = scale * wider * side / 2
        middles = []
        for length in (height, width):
            room = (length - 1 - 2 * reach).clamp(min=0)
            middles.append(reach + self._uniform(0, 1).view(-1) * room)
        steps = torch.arange(side, device=self._device) - (side - 1) / 2
        down, right = (
            (scale * part).view(-1, 1, 1) * axis
            for part, axis in ((torch.ones_like(scale), steps.view(1, -1, 1)), (mirror, steps.view(1, 1, -1)))
        )
        cosine, sine = turn.cos().view(-1, 1, 1), turn.sin().view(-1, 1, 1)
        y = middles[0].view(-1, 1, 1) + cosine * down + sine * right
        x = middles[1].view(-1, 1, 1) - sine * down + cosine * right
        return self._at(chosen, y, x)

    def _at(self, chosen: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """The colours at places between pixels."""
        height, width = (part.view(-1, 1, 1) for part in self._sizes[chosen].unbind(1))
        start = self._starts[chosen].view(-1, 1, 1)
        y = torch.minimum(y.clamp(min=0), height - 1.001)
        x = torch.minimum(x.clamp(min=0), width - 1.001)
        top, left = y.long(), x.long()
        below, beside = (y - top)[..., None], (x - left)[..., None]
        first = start + top * width + left
        second = first + width
        upper = torch.lerp(self._pixels[first].float(), self._pixels[first + 1].float(), beside)
        lower = torch.lerp(self._pixels[second].float(), self._pixels[second + 1].float(), beside)
        return (torch.lerp(upper, lower, below) / 255).permute(0, 3, 1, 2).contiguous()

    def _cover(self, at: Tensor, *, turned: float = 0.0) -> Tensor:
        """Layers, mirrored, some of them transposed."""
        cover = self._covers[at].unsqueeze(1).float() / 255
        return self._mirrored(cover, self._often(0.5), self._often(turned), self._often(turned))

    @staticmethod
    def _mirrored(cover: Tensor, right: Tensor, down: Tensor, across: Tensor) -> Tensor:
        cover = torch.where(right, cover.flip(3), cover)
        cover = torch.where(down, cover.flip(2), cover)
        return torch.where(across, cover.transpose(2, 3), cover)

    def _picked(self, first: int, last: int) -> Tensor:
        """Numbers of layers of the kinds from `first` to before `last`."""
        each = self._layers.each
        return torch.randint(first * each, last * each, (self._size,), generator=self._dice, device=self._device)

    def _with_things(self, picture: Tensor) -> Tensor:
        """With up to three thin things of the scene.

        They have a colour that varies with the light, as no scratch's does, or darken what they lie on.
        """
        damage, kinds = Layers.kinds_of_damage, Layers.kinds
        for chance in (0.45, 0.3, 0.15):
            cover = self._cover(self._picked(damage, kinds)) * self._uniform(0.35, 1.0) * self._often(chance)
            base = (self._uniform(0, 1) + 0.06 * self._normal(3)).clamp(0, 1)
            light = torch.rand(self._size, 1, 5, 5, generator=self._dice, device=self._device)
            light = functional.interpolate(1 + (light - 0.6) * self._uniform(0, 1.2), picture.shape[2:], mode="bicubic")
            colour = torch.where(self._often(0.3), picture * self._uniform(0.1, 0.8), (base * light).clamp(0, 1))
            picture = torch.lerp(picture, colour, cover)
        return picture

    def _aged(self, picture: Tensor, gray: Tensor) -> Tensor:
        picture = torch.where(self._often(0.15), picture.flip(1), picture)
        picture = torch.where(gray, _luminance(picture), picture)
        detail = picture - functional.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)
        picture = torch.where(self._often(0.2), picture + detail * self._uniform(0, 1.5), picture)
        low = self._uniform(0, 0.4) * (1 + 0.15 * self._normal(3)).clamp(0, 2)
        high = self._uniform(0.6, 1) * (1 + 0.08 * self._normal(3)).clamp(0.5, 1.2)
        picture = torch.where(self._often(0.5), low + picture * (high - low), picture)
        bent = picture.clamp(1e-3, 1) ** self._uniform(0.6, 1.7)
        picture = torch.where(self._often(0.3), bent, picture)
        light = torch.randn(self._size, 1, 3, 3, generator=self._dice, device=self._device)
        light = functional.interpolate(1 + light * 0.15, picture.shape[2:], mode="bicubic")
        return torch.where(self._often(0.2), picture * light, picture).clamp(0, 1)

    def _damaged(self, picture: Tensor) -> Tensor:
        damaged = self._often(_DAMAGED)
        colour = self._colour()
        for kind, chance in _SLOTS:
            at = self._picked(kind, kind + 1)
            present = damaged & self._often(chance)
            turns = self._often(0.5), self._often(0.5), self._often(0.5)
            cover = self._mirrored(self._covers[at].unsqueeze(1).float() / 255, *turns)
            if kind == _FOLD:
                factor = self._mirrored(self._factors[at - kind * self._layers.each].unsqueeze(1) / 128, *turns)
                factor = torch.where(present, factor, 1.0)
                picture = picture * factor
            colour = torch.where(self._often(0.35), self._colour(), colour)
            share = cover * self._uniform(0.5, 1.1).clamp(max=1) * present
            picture = torch.lerp(picture, colour, share)
        return picture

    def _colour(self) -> Tensor:
        """Of paper, dirt, glue, or one layer of dye gone."""
        kind = self._uniform(0, 1)
        colour = self._paper * self._uniform(0.78, 1.04) + 0.02 * self._normal(3)
        colour = torch.where(kind > 0.47, self._dirt * self._uniform(0, 2.4) + 0.01 * self._normal(3), colour)
        colour = torch.where(kind > 0.9, self._glue * self._uniform(0.6, 1.5), colour)
        return torch.where(kind > 0.95, self._uniform(0, 1, 3), colour).clamp(0, 1)

    def _with_margins(self, whole: Tensor, spoilt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """With white paper or a black scanner edge at one to four sides, which is no damage; and 1 inside of them."""
        side = self._side
        inside = torch.ones_like(whole[:, :1])
        places = torch.arange(side, device=self._device, dtype=torch.float32)
        some = self._often(0.15)
        for axis in (places.view(1, 1, side, 1), places.view(1, 1, 1, side)):
            for place in (axis, side - 1 - axis):
                wide = self._uniform(1, side / 6) * (some & self._often(0.6))
                inside = inside * (place >= wide)
        bright = self._often(0.5)
        colour = (torch.where(bright, 0.95, 0.02) + 0.02 * self._normal(3)).clamp(0, 1)
        return torch.lerp(colour, whole, inside), torch.lerp(colour, spoilt, inside), inside

    def _kernels(self) -> Tensor:
        """Gaussians that blur, N×7; half of them do nothing."""
        deviation = torch.where(self._often(0.5), self._uniform(0.3, 1.1), 0.05).view(-1, 1)
        steps = torch.arange(-3, 4, device=self._device).view(1, 7)
        weights = torch.exp(-0.5 * (steps / deviation) ** 2)
        return weights / weights.sum(1, keepdim=True)

    def _scanned(self, picture: Tensor, flat: Tensor, tone: Tensor, kernels: Tensor) -> Tensor:
        picture = torch.where(flat, _luminance(picture) * tone, picture).clamp(0, 1)
        rows = functional.pad(picture, (3, 3, 3, 3), mode="replicate").view(1, -1, self._side + 6, self._side + 6)
        weights = kernels.repeat_interleave(3, 0)
        rows = functional.conv2d(rows, weights.view(-1, 1, 1, 7), groups=len(weights))
        return functional.conv2d(rows, weights.view(-1, 1, 7, 1), groups=len(weights)).view_as(picture)

    def _with_grain(self, picture: Tensor) -> Tensor:
        size, _, height, width = picture.shape
        fine = torch.randn(size, 3, height, width, generator=self._dice, device=self._device)
        fine = torch.where(self._often(0.6), fine[:, :1], fine)
        coarse = torch.randn(size, 1, height // 2, width // 2, generator=self._dice, device=self._device)
        coarse = functional.interpolate(coarse, scale_factor=2, mode="bilinear") * 1.4
        noise = torch.lerp(fine, coarse, self._uniform(0, 0.9) * self._often(0.4))
        return picture + noise * (0.035 * self._normal().abs() * self._often(0.65))

    def _compressed(self, picture: Tensor) -> Tensor:
        """Half of the samples as JPEG gives them back, at qualities from 35 to 95."""
        size, _, height, width = picture.shape
        moved = [int(step) for step in torch.randint(0, 8, (2,))]
        ycc = _colours(torch.roll(picture, moved, (2, 3)), _TO_YCC) * 255 - self._luma
        chroma = functional.interpolate(functional.avg_pool2d(ycc[:, 1:], 2), scale_factor=2, mode="bilinear")
        ycc = torch.where(self._often(0.6), torch.cat([ycc[:, :1], chroma], 1), ycc)
        blocks = ycc.view(size, 3, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
        quality = self._uniform(35, 95).view(-1, 1, 1, 1)
        factor = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
        quanta = (self._quanta * factor).clamp(min=1).view(size, 3, 1, 1, 8, 8)
        waves = ((self._cosines @ blocks @ self._cosines.T) / quanta).round() * quanta
        blocks = self._cosines.T @ waves @ self._cosines
        ycc = blocks.permute(0, 1, 2, 4, 3, 5).reshape(size, 3, height, width)
        back = torch.roll(_colours((ycc + self._luma) / 255, _FROM_YCC), [-step for step in moved], (2, 3))
        return torch.where(self._often(0.5), back, picture)


def _luminance(picture: Tensor) -> Tensor:
    return (picture * picture.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True).expand(-1, 3, -1, -1)


def _colours(picture: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("oc,nchw->nohw", picture.new_tensor(matrix), picture)
