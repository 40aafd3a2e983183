"""The networks that enlarge: 3×3 convolutions on the small picture, then pixel shuffle.

While training, each convolution is a wide 3×3 one followed by a 1×1 one, plus the identity; without activations between
them, they are one 3×3 convolution (Bhardwaj and others, "Collapsible linear blocks", 2022), which is what is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.enlarging.resampling import matrix

__all__ = ["NETS", "Collapsed", "EnlargingNet", "Shape"]

_INPUTS = 4
"""Red, green, blue, and the level of JPEG damage: (100 - quality) / 100, 0 for none."""

_WIDER = 2
"""How many times more channels there are inside a convolution while training."""

_FIRST_GAIN, _GAIN, _LAST_GAIN, _HEAD_GAIN = 1.4, 0.4, 0.1, 0.02
"""How large the first weights are: of the first convolution, of inner ones, of the last one of a block, of a head."""


class Shape(TypedDict):
    """What a network looks like.

    Attributes:
        factors: how many times larger its outputs are, on each side.
        channels: of the inner convolutions.
        depth: the number of inner convolutions.
        group: how many of them make a residual block; 1 for none: then the identity is part of each.
    """

    factors: tuple[int, ...]
    channels: int
    depth: int
    group: int


class _Fold(nn.Module):
    """A 3×3 convolution as a product of two, plus the identity if that is wanted."""

    def __init__(self, inputs: int, outputs: int, *, gain: float, identity: bool) -> None:
        super().__init__()
        wide = _WIDER * max(inputs, outputs)
        self.first = nn.Parameter(torch.randn(wide, inputs * 9) * (inputs * 9) ** -0.5)
        self.second = nn.Parameter(torch.randn(outputs, wide) * gain * wide**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        kernel = torch.zeros(outputs, inputs, 3, 3)
        if identity:
            kernel[:, :, 1, 1] = torch.eye(inputs)
        self.register_buffer("identity", kernel, persistent=False)

    @torch.no_grad()
    def set(self, kernel: Tensor, bias: Tensor) -> None:
        """Be the convolution with this kernel and bias; the channels that this leaves free are added to nothing yet."""
        change = (kernel - self.identity).flatten(1)
        left, sizes, right = torch.linalg.svd(change, full_matrices=False)
        roots = sizes.sqrt()
        self.second.zero_()
        self.second[:, : len(roots)] = left * roots
        self.first[: len(roots)] = roots[:, None] * right
        self.bias.copy_(bias)

    def kernel(self) -> Tensor:
        identity: Tensor = self.identity  # type: ignore[assignment]
        return identity + (self.second @ self.first).view_as(identity)


class EnlargingNet(nn.Module):
    """Takes N×4×H×W: colours 0…1 and the level of JPEG damage; gives N×3×(factor H)×(factor W)."""

    def __init__(self, shape: Shape) -> None:
        """Make the network."""
        super().__init__()
        self.shape = shape
        channels, group = shape["channels"], shape["group"]
        folds = [_Fold(_INPUTS, channels, gain=_FIRST_GAIN, identity=False)]
        for place in range(shape["depth"]):
            last = group > 1 and place % group == group - 1
            folds.append(_Fold(channels, channels, gain=_LAST_GAIN if last else _GAIN, identity=not last))
        self.folds = nn.ModuleList(folds)
        self.heads, self.skips = nn.ModuleList(), nn.ModuleList()
        for factor in shape["factors"]:
            self.heads.append(_Fold(channels, 3 * factor**2, gain=_HEAD_GAIN, identity=False))
            skip = nn.Conv2d(_INPUTS, 3 * factor**2, 5)
            with torch.no_grad():
                skip.weight.copy_(_interpolation(factor))
                nn.init.zeros_(skip.bias)  # type: ignore[arg-type]
            self.skips.append(skip)

    @torch.no_grad()
    def start(self, state: dict[str, Tensor]) -> None:
        """Be the network whose `Collapsed` has this state."""
        for part in ("folds", "heads"):
            for place, fold in enumerate(getattr(self, part)):
                fold.set(state[f"{part}.{place}.weight"], state[f"{part}.{place}.bias"])
        for place, skip in enumerate(self.skips):
            skip.load_state_dict({name: state[f"skips.{place}.{name}"] for name in ("weight", "bias")})

    def forward(self, x: Tensor, factor: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """The enlarged pictures; the convolutions after the first run in `dtype`."""

        def convolution(fold: nn.Module) -> Callable[[Tensor], Tensor]:
            # The first takes gray levels, of which bfloat16 does not have all.
            precision = torch.float32 if fold is self.folds[0] else dtype
            kernel, bias = fold.kernel().to(precision), fold.bias.to(precision)  # type: ignore[operator, union-attr]
            return lambda y: functional.conv2d(y.to(precision), kernel, bias, padding=1)

        place = self.shape["factors"].index(factor)
        y = _through([convolution(fold) for fold in self.folds], x, self.shape, cut=0)
        y = functional.pixel_shuffle(convolution(self.heads[place])(y).float(), factor)
        # As a product of matrices, which keeps all 24 bits on a GPU, where a convolution would not.
        head: nn.Conv2d = self.skips[place]  # type: ignore[assignment]
        skip = head.weight.flatten(1) @ functional.unfold(x, 5, padding=2)
        skip = skip.view(len(x), -1, *x.shape[2:]) + head.bias.view(-1, 1, 1)  # type: ignore[union-attr]
        return y + functional.pixel_shuffle(skip, factor)


class Collapsed(nn.Module):
    """The same function as an `EnlargingNet`, with plain convolutions, and without the edge that their reach spoils.

    Nothing is put around a layer's input: the output leaves out `reach` pixels of the small picture at each edge, so no
    processor time is spent on a margin that is thrown away.
    """

    def __init__(self, net: EnlargingNet) -> None:
        super().__init__()
        self.shape = net.shape
        self.folds = nn.ModuleList(_convolution(fold) for fold in net.folds)
        self.heads = nn.ModuleList(_convolution(fold) for fold in net.heads)
        self.skips = net.skips
        self.reach = len(net.folds) + 1

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The enlarged pictures, for each factor."""
        y = _through(list(self.folds), x, self.shape, cut=1)
        # The skip leaves out two pixels itself.
        x = functional.pad(x, (2 - self.reach,) * 4)
        return tuple(
            functional.pixel_shuffle(head(y) + skip(x), factor)
            for head, skip, factor in zip(self.heads, self.skips, self.shape["factors"], strict=True)
        )


def _through(convolutions: Sequence[Callable[[Tensor], Tensor]], x: Tensor, shape: Shape, *, cut: int) -> Tensor:
    """What the convolutions give before the head; each leaves out `cut` pixels at each edge."""
    y = functional.relu(convolutions[0](x))
    group = shape["group"]
    if group == 1:
        for convolution in convolutions[1:]:
            y = functional.relu(convolution(y), inplace=True)
        return y
    for start in range(1, len(convolutions), group):
        z = y
        for number, convolution in enumerate(convolutions[start : start + group], 1):
            z = convolution(z)
            if number < group:
                z = functional.relu(z, inplace=True)
        if cut:
            y = functional.pad(y, (-cut * group,) * 4)
        y = y.to(z.dtype) + z
    return y


def _convolution(fold: nn.Module) -> nn.Conv2d:
    kernel = fold.kernel().detach()  # type: ignore[operator]
    made = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, device=kernel.device)
    made.load_state_dict({"weight": kernel, "bias": fold.bias.detach()})  # type: ignore[operator]
    return made


def _interpolation(factor: int) -> Tensor:
    """Bicubic interpolation as a convolution that is followed by pixel shuffle."""
    middle = 8
    taps = matrix("bicubic", 2 * middle, 2 * middle * factor)[middle * factor :][:factor, middle - 2 : middle + 3]
    kernel = np.einsum("ai,bj->abij", taps, taps).reshape(factor**2, 5, 5)
    made = torch.zeros(3 * factor**2, _INPUTS, 5, 5)
    for colour in range(3):
        made[colour * factor**2 : (colour + 1) * factor**2, colour] = torch.from_numpy(kernel)
    return made


_FAST: Shape = {"factors": (2,), "channels": 48, "depth": 8, "group": 1}

NETS: dict[str, Shape] = {
    "x2": _FAST,
    "x2jpeg": _FAST,
    "fine": {"factors": (2, 4), "channels": 64, "depth": 24, "group": 2},
}
"""The networks: two fast ones, without and with JPEG damage, and a finer one for both and two factors."""
