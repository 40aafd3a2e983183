"""The networks that enlarge: 3×3 convolutions on the small picture, then pixel shuffle.

While training, each convolution is a wide 3×3 one followed by a 1×1 one, plus the identity; without activations between
them, they are one 3×3 convolution (Bhardwaj and others, "Collapsible linear blocks", 2022), which is what is exported.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.enlarging.resampling import matrix

__all__ = ["NETS", "Collapsed", "EnlargingNet"]

_INPUTS = 4
"""Red, green, blue, and the level of JPEG damage: (100 - quality) / 100, 0 for none."""

_WIDER = 2
"""How many times more channels there are inside a convolution while training."""


class _Fold(nn.Module):
    """A 3×3 convolution as a product of two, plus the identity where the numbers of channels are the same."""

    def __init__(self, inputs: int, outputs: int, *, gain: float) -> None:
        super().__init__()
        wide = _WIDER * max(inputs, outputs)
        self.first = nn.Parameter(torch.randn(wide, inputs * 9) * (inputs * 9) ** -0.5)
        self.second = nn.Parameter(torch.randn(outputs, wide) * gain * wide**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        identity = torch.zeros(outputs, inputs, 3, 3)
        if inputs == outputs:
            identity[:, :, 1, 1] = torch.eye(inputs)
        self.register_buffer("identity", identity, persistent=False)

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

    def __init__(self, *, factor: int, channels: int, depth: int) -> None:
        """Make the network.

        Args:
            factor: how many times larger the output is, on each side.
            channels: of the inner convolutions.
            depth: the number of inner convolutions.
        """
        super().__init__()
        self.factor = factor
        widths = [_INPUTS, *[channels] * (depth + 1), 3 * factor**2]
        gains = [1.4, *[0.4] * depth, 0.02]
        self.folds = nn.ModuleList(
            _Fold(a, b, gain=gain) for a, b, gain in zip(widths[:-1], widths[1:], gains, strict=True)
        )
        self.skip = nn.Conv2d(_INPUTS, 3 * factor**2, 5)
        with torch.no_grad():
            self.skip.weight.copy_(_interpolation(factor))
            nn.init.zeros_(self.skip.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def start(self, state: dict[str, Tensor]) -> None:
        """Be the network whose `Collapsed` has this state; where that is less deep, added layers change nothing yet.

        Raises:
            ValueError: it is deeper than this network.
        """
        given = sum(key.startswith("body.") and key.endswith(".weight") for key in state)
        added = len(self.folds) - given
        if added < 0:
            raise ValueError(f"{given} layers do not fit into {len(self.folds)}")
        for place, fold in enumerate(self.folds):
            if given - 1 <= place < given - 1 + added:
                # Its input has no values below 0, so that ReLU lets all of the identity pass.
                fold.set(fold.identity, fold.bias.new_zeros(fold.bias.shape))  # type: ignore[operator, union-attr]
            else:
                layer = 2 * (place if place < given - 1 else place - added)
                fold.set(state[f"body.{layer}.weight"], state[f"body.{layer}.bias"])  # type: ignore[operator]
        self.skip.load_state_dict({"weight": state["skip.weight"], "bias": state["skip.bias"]})

    def forward(self, x: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """The enlarged pictures; the convolutions after the first run in `dtype`."""
        y = x
        for number, fold in enumerate(self.folds):
            # The first takes gray levels, of which bfloat16 does not have all.
            precision = torch.float32 if number == 0 else dtype
            kernel, bias = fold.kernel().to(precision), fold.bias.to(precision)  # type: ignore[operator]
            y = functional.conv2d(y.to(precision), kernel, bias, padding=1)
            if number < len(self.folds) - 1:
                y = functional.relu(y, inplace=True)
        y = functional.pixel_shuffle(y.float(), self.factor)
        # As a product of matrices, which keeps all 24 bits on a GPU, where a convolution would not.
        skip = self.skip.weight.flatten(1) @ functional.unfold(x, 5, padding=2)
        skip = skip.view(len(x), -1, *x.shape[2:]) + self.skip.bias.view(-1, 1, 1)  # type: ignore[union-attr]
        return y + functional.pixel_shuffle(skip, self.factor)


class Collapsed(nn.Module):
    """The same function as an `EnlargingNet`, with plain convolutions, and without the edge that their reach spoils.

    Nothing is put around a layer's input: the output leaves out as many pixels of the small picture at each edge as
    there are layers in `body`, so no processor time is spent on a margin that is thrown away.
    """

    def __init__(self, net: EnlargingNet) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fold in net.folds:
            kernel = fold.kernel().detach()  # type: ignore[operator]
            layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, device=kernel.device)
            layer.load_state_dict({"weight": kernel, "bias": fold.bias.detach()})
            layers += [layer, nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])
        self.skip, self.factor = net.skip, net.factor
        # The skip leaves out two pixels itself.
        self._cut = len(net.folds) - 2

    def forward(self, x: Tensor) -> Tensor:
        """The enlarged pictures."""
        return functional.pixel_shuffle(self.body(x) + self.skip(functional.pad(x, (-self._cut,) * 4)), self.factor)


def _interpolation(factor: int) -> Tensor:
    """Bicubic interpolation as a convolution that is followed by pixel shuffle."""
    middle = 8
    taps = matrix("bicubic", 2 * middle, 2 * middle * factor)[middle * factor :][:factor, middle - 2 : middle + 3]
    kernel = np.einsum("ai,bj->abij", taps, taps).reshape(factor**2, 5, 5)
    made = torch.zeros(3 * factor**2, _INPUTS, 5, 5)
    for colour in range(3):
        made[colour * factor**2 : (colour + 1) * factor**2, colour] = torch.from_numpy(kernel)
    return made


NETS: dict[str, dict[str, int]] = {
    "x2": {"factor": 2, "channels": 48, "depth": 8},
    "x2jpeg": {"factor": 2, "channels": 48, "depth": 8},
    "x2fine": {"factor": 2, "channels": 64, "depth": 20},
    "x4": {"factor": 4, "channels": 64, "depth": 20},
}
"""The arguments of each network: for ×2 two fast ones, without and with JPEG damage, and a finer one; one for ×4."""
