"""Weights between those that a training went on from and those that it made.

    python -m training.scratches.mean --before first/scratches.pt --after second/scratches.pt --out work/scratches.pt

A training with many lines of scenes leaves more scenes alone, and evenly spaced scratches on smooth pictures, too.
Weights a part of the way find these, and still more on photographs than those before.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["mean"]

_FROM_ZERO = ("context.last.", "more2.second.1.", "more1.second.1.")
"""The layers of the parts that `before` lacks by which these add nothing at first."""


def mean(before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights at `share` of the way from `before` to `after`; parts that `before` lacks add that share."""
    made = dict(after)
    for name, value in after.items():
        if name in before and value.is_floating_point():
            made[name] = (1 - share) * before[name] + share * value
        elif name.startswith(_FROM_ZERO) and name.endswith(("weight", "bias")):
            made[name] = share * value
    return made


def main() -> None:
    """Write the mean."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.mean", description=__doc__)
    for name in ("before", "after", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.3, help="of `after`")
    options = parser.parse_args()
    before, after = (
        torch.load(path, map_location="cpu", weights_only=True) for path in (options.before, options.after)
    )
    torch.save(mean(before, after, options.share), options.out)


if __name__ == "__main__":
    main()
