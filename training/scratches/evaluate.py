"""What the network finds, against the package's own detector, on photographs and damage that training never saw.

    python -m training.scratches.evaluate --weights work --pack work/pack --photos FOLDER

chooses the bounds on the photographs that training left out, damaged by the training's generator, and
prints the table for the photographs in FOLDER (PNG or JPEG), damaged by `benchmarks/quality/damage.py`. It needs
`training/requirements.txt` without PyTorch (ncnn and PyTorch do not run in one process) and the extra `local`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import damage as unseen
from benchmarks.quality.measures import psnr
from smarty_async.local.engine.diagnosing import noise_level
from smarty_async.local.engine.scratches import damage_mask, fill
from training.scratches.damage import damage
from training.scratches.photos import SIDE

ncnn: Any = import_module("ncnn")

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

KINDS: dict[str, Callable[[Pixels], Pixels]] = {
    "bright scratches": unseen.scratch(6),
    "bright scratches, grain 6": unseen.after(unseen.scratch(6), unseen.grain(6)),
    "slanted 45°": unseen.scratch(6, angle=45),
    "dark scratches": unseen.scratch(6, colour=unseen.DIRT),
    "crease": unseen.crease(0.4),
}


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What decides from likelihood what is damage.

    Attributes:
        likely: from which a pixel belongs to a piece of damage.
        sure: which the surest pixel of a piece reaches.
        long: the length, as a share of the shorter side, of a line that makes the photo count as damaged.
        lines: how many such lines there are at least.
    """

    likely: float = 0.5
    sure: float = 0.9
    long: float = 0.15
    lines: int = 1


def mask_of(likely: NDArray[np.float32], bounds: Bounds) -> Mask | None:
    """The sure pieces of damage; None when there are too few long and slim ones among them."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((likely > bounds.likely).astype(np.uint8))
    surest = np.zeros(count, np.float32)
    np.maximum.at(surest, labels.ravel(), likely.ravel())
    length = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    sure = surest > bounds.sure
    sure[0] = False
    lines = sure & (length >= bounds.long * min(likely.shape)) & (stats[:, cv2.CC_STAT_AREA] <= 0.12 * length**2)
    return np.take(sure, labels) if np.count_nonzero(lines) >= bounds.lines else None


class Detector:
    """The exported network."""

    def __init__(self, folder: Path) -> None:
        self._net = ncnn.Net()
        self._net.opt.num_threads = 1
        self._net.load_param(str(folder / "scratches.param"))
        self._net.load_model(str(folder / "scratches.bin"))

    def __call__(self, photo: Pixels) -> NDArray[np.float32]:
        """The likelihood of damage, H×W, 0…1."""
        height, width = photo.shape[:2]
        padded = np.pad(photo, ((0, -height % 16), (0, -width % 16), (0, 0)), "reflect")
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1), np.float32) / 255
        extractor = self._net.create_extractor()
        # A copy: the first layer works in place.
        extractor.input("in0", ncnn.Mat(planes).clone())
        return np.array(extractor.extract("out0")[1], np.float32)[0, :height, :width]


def choose(detector: Detector, photos: list[Pixels], *, touched: float = 0.02) -> Bounds:
    """The bounds with the best F1 that touch at most a share `touched` of the whole photos."""
    dice = np.random.default_rng(7)
    whole = [detector(photo) for photo in photos]
    spoilt = []
    for photo in photos:
        canvas = damage(dice, photo.astype(np.float32) / 255)
        spoilt.append((detector(np.rint(canvas.picture * 255).astype(np.uint8)), canvas.mask > 0))
    best, best_score = Bounds(sure=2.0), 0.0
    for likely, sure, long, lines in product((0.5,), (0.9, 0.97), (0.15, 0.3), (1, 3)):
        bounds = Bounds(likely=likely, sure=sure, long=long, lines=lines)
        if np.mean([mask_of(found, bounds) is not None for found in whole]) > touched:
            continue
        score = _f1((mask_of(found, bounds), truth) for found, truth in spoilt)
        if score > best_score:
            best, best_score = bounds, score
    return best


def _f1(pairs: Iterable[tuple[Mask | None, Mask]]) -> float:
    both = found = true = 0
    for mask, truth in pairs:
        true += int(truth.sum())
        if mask is not None:
            found, both = found + int(mask.sum()), both + int((mask & truth).sum())
    return 2 * both / max(1, found + true)


def main() -> None:
    """Choose the bounds and print the table."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.evaluate", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    options = parser.parse_args()
    detector = Detector(options.weights)
    bounds = choose(detector, _photos(options.pack / "VAL"))
    print(bounds, flush=True)
    photos = _photos(options.photos)
    ways: dict[str, Callable[[Pixels], Mask | None]] = {
        "package": lambda photo: damage_mask(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), noise_level(photo) / 3**0.5),
        "network": lambda photo: mask_of(detector(photo), bounds),
    }
    for kind, spoil in KINDS.items():
        print(f"{kind:26}", "  ".join(f"{name} {_gains(photos, spoil, way)}" for name, way in ways.items()), flush=True)
    for name, way in ways.items():
        print(f"whole photos touched by {name}: {sum(way(photo) is not None for photo in photos)} of {len(photos)}")


def _gains(photos: list[Pixels], spoil: Callable[[Pixels], Pixels], way: Callable[[Pixels], Mask | None]) -> str:
    gains = []
    for photo in photos:
        spoilt = spoil(photo)
        mask = way(spoilt)
        gains.append(0.0 if mask is None else psnr(fill(spoilt, mask), photo) - psnr(spoilt, photo))
    return f"{np.mean(gains):+.2f} dB (worst {min(gains):+.2f})"


def _photos(folder: Path) -> list[Pixels]:
    return [_read(path) for path in sorted(folder.glob("*.[pj][np]g"))]


def _read(path: Path) -> Pixels:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} cannot be read")
    scale = min(1.0, SIDE / max(image.shape[:2]))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[2:-2, 2:-2, ::-1])


if __name__ == "__main__":
    main()
