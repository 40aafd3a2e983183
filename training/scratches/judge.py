"""Train the network that judges pieces of likely damage, and print from which odds a photo counts as damaged.

    python -m training.scratches.judge --pieces work/pieces --out work --minutes 2

reads what `training.scratches.pieces` has drawn. It trains three networks, each on two thirds of the photographs: what
they say of the other third is how sure the engine has to be. The first is written to `pieces.pt`. On a GPU 2 minutes
are enough.
"""

from __future__ import annotations

import argparse
import time
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.scratches.net import JudgeNet

__all__ = ["report", "train"]

Row = NDArray[np.float32]

_PARTS = 3
"""Parts of the photographs, each of which is left out once."""

_BATCH = 1024

_RATE, _DECAY, _END = 3e-3, 0.02, 0.01
"""The highest learning rate, the decay of weights, and the share of the rate with which training ends."""

_SURE = 0.98
"""The likelihood that is taught where a piece is damage: no piece can be quite sure."""

_MOST = 0.3
"""The length in shorter sides from which pieces count alike."""

_EVIDENCE = (-2, 4)
"""What a piece contributes to the evidence, at least and at most, as in `smarty_async/local/engine/scratches.py`."""

_CLEAN_SHARE = (0.002, 0.004, 0.006, 0.01, 0.02)
"""Shares of the clean pictures that may count as damaged, of which the bounds are printed."""


class _Pieces:
    """All pieces of all photographs.

    Attributes:
        patches: N×4×32×64 uint8.
        photo, picture, clean, line, length, damage: N; see `training.scratches.pieces.FIELDS`.
        pictures: how many there are of photographs as they are.
    """

    def __init__(self, folder: Path) -> None:
        photos, pictures, lines = list[Row](), 0, 0
        self.pictures = 0
        found: dict[str, list[Row]] = {name: [] for name in ("patches", "picture", "clean", "line", "length", "damage")}
        for number, path in enumerate(sorted(folder.glob("*.npz"))):
            with np.load(path) as drawn:
                own = {name: drawn[name] for name in found}
                self.pictures += int(drawn["pictures"])
            if not len(own["line"]):
                continue
            own["picture"], own["line"] = own["picture"] + pictures, own["line"] + lines
            pictures, lines = int(own["picture"].max()) + 1, int(own["line"].max()) + 1
            photos.append(np.full(len(own["line"]), number, np.float32))
            for name, values in own.items():
                found[name].append(values)
        if not photos:
            raise SystemExit(f"{folder} holds no pieces: draw them with training.scratches.pieces")
        self.photo = np.concatenate(photos)
        self.patches, self.picture, self.clean, self.line, self.length, self.damage = map(
            np.concatenate, found.values()
        )


def train(pieces: _Pieces, chosen: NDArray[np.bool_], seconds: float, device: str) -> nn.Module:
    """A network trained on the chosen pieces for so long."""
    at = torch.from_numpy(np.flatnonzero(chosen & (pieces.damage < 2)))
    patches = torch.from_numpy(pieces.patches).to(device)[at.to(device)]
    true = torch.from_numpy(pieces.damage)[at].to(device)
    weights = torch.from_numpy((np.minimum(pieces.length, _MOST) + 0.05) * (1 + pieces.clean))[at].to(device)
    torch.manual_seed(1)
    net = JudgeNet().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=_DECAY)
    began, steps = time.monotonic(), 0
    while (part := (time.monotonic() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1, (steps + 1) / 100) * (_END + (1 - _END) * (0.5 + 0.5 * cos(pi * part)))
        some = torch.randint(len(at), (_BATCH,), device=device)
        odds = net(_varied(patches[some].float() / 255)).flatten()
        loss = functional.binary_cross_entropy_with_logits(
            odds, true[some] * (2 * _SURE - 1) + 1 - _SURE, reduction="none"
        )
        optimizer.zero_grad()
        ((loss * weights[some]).sum() / weights[some].sum()).backward()
        optimizer.step()
        steps += 1
    print(f"{len(at)} pieces, {steps} steps", flush=True)
    return net.eval()


def _varied(patches: Tensor) -> Tensor:
    """Patches as other photographs have them: mirrored, moved by a few pixels, in other light."""

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.rand(len(patches), channels, 1, 1, device=patches.device) * (high - low) + low

    for axis in (2, 3):
        patches = torch.where(uniform(0, 1) < 0.5, patches.flip(axis), patches)
    patches = torch.roll(patches, (int(torch.randint(-1, 2, ())), int(torch.randint(-4, 5, ()))), (2, 3))
    colours, likely = patches[:, :3], patches[:, 3:]
    colours = torch.where(uniform(0, 1) < 0.2, colours.mean(1, keepdim=True), colours)
    colours = colours[:, torch.randperm(3, device=patches.device)] if torch.rand(()) < 0.3 else colours
    colours = colours.clamp(1e-3, 1) ** torch.exp(uniform(-0.3, 0.3))
    colours = colours * uniform(0.8, 1.2) * uniform(0.95, 1.05, 3) + uniform(-0.05, 0.05)
    noise = torch.randn_like(colours) * uniform(-0.02, 0.02).clamp(min=0)
    return torch.cat([(colours + noise).clamp(0, 1), likely], 1)


@torch.no_grad()
def _odds(net: nn.Module, patches: NDArray[np.uint8], device: str) -> Row:
    parts = torch.from_numpy(patches).split(8192)
    return torch.cat([net(part.to(device).float() / 255).flatten().cpu() for part in parts]).numpy()


def report(pieces: _Pieces, odds: Row) -> None:
    """Print the loss, and for both rules of the engine the bounds, and how many damaged pictures are over them.

    Counted are damaged pictures with pieces of damage. The engine leaves a little more evidence out.
    """
    seen = pieces.damage < 2
    weights = ((pieces.length + 0.02) * seen).astype(np.float64)
    losses = np.log1p(np.exp(np.where(pieces.damage == 1, -odds, odds)))
    print(f"loss {(losses * weights).sum() / weights.sum():.4f}")
    number = pieces.picture.astype(np.int64)
    clean = np.zeros(number.max() + 1)
    clean[number] = pieces.clean
    spoilt = np.bincount(number, (pieces.damage == 1) * pieces.length) > 0.05
    line = pieces.line.astype(np.int64)
    lengths = np.bincount(line, pieces.length)
    means = np.bincount(line, odds * pieces.length) / np.maximum(lengths, 1e-9)
    best = np.full(len(clean), -np.inf)
    np.maximum.at(best, number, (means + np.log(lengths + 1e-9) / 2)[line])
    for name, evidence in (
        ("ENOUGH", np.bincount(number, np.clip(odds, *_EVIDENCE) * pieces.length)),
        ("SURE", best),
    ):
        ordered = np.sort(evidence[clean > 0])
        for share in _CLEAN_SHARE:
            over = int(share * pieces.pictures)
            if over >= len(ordered):
                continue  # the others have no pieces
            bound = ordered[-1 - over] + 0.01
            found = (evidence[spoilt] >= bound).mean()
            print(
                f"{name} {bound:.2f}: {share:.1%} of {pieces.pictures} clean pictures, {found:.0%} of the damaged ones"
            )


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.judge", description=__doc__)
    parser.add_argument("--pieces", type=Path, required=True, help="the folder of the pieces")
    parser.add_argument("--out", type=Path, required=True, help="the folder for `pieces.pt`")
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    pieces = _Pieces(options.pieces)
    options.out.mkdir(parents=True, exist_ok=True)
    odds, part = np.zeros(len(pieces.line), np.float32), pieces.photo.astype(np.int64) % _PARTS
    for left_out in range(_PARTS):
        net = train(pieces, part != left_out, 60 * options.minutes / _PARTS, device)
        odds[part == left_out] = _odds(net, pieces.patches[part == left_out], device)
        if not left_out:
            torch.save({name: value.cpu() for name, value in net.state_dict().items()}, options.out / "pieces.pt")
    report(pieces, odds)


if __name__ == "__main__":
    main()
