"""What the networks in the package find and gain, on photographs and damage that training never saw.

    python -m training.scratches.evaluate FOLDER …

prints a line for each kind of damage of `benchmarks/quality/damage.py` and `examples/make_photos.py`, drawn onto the
photographs of the folders, and how many of these are filled as they are. It needs `training/requirements.txt` without
PyTorch (ncnn and PyTorch do not run in one process) and the extra `local`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

import cv2
import numpy as np

from benchmarks.quality import damage as unseen
from benchmarks.quality.measures import psnr
from examples import make_photos as other
from smarty_async.local.engine.scratches import damage_mask, fill
from training.photographs import Pixels
from training.scratches.photos import SIDE

__all__ = ["KINDS", "read", "reduced"]

_CHANGED = 10
"""Gray levels by which a pixel changes that counts as damaged."""

_SEED = 100
"""Of the first photograph's damage; each has the next."""


def _other(damage: Callable[[other.Picture, np.random.Generator], other.Picture]) -> Callable[[int], unseen.Damage]:
    def of_seed(seed: int) -> unseen.Damage:
        def spoil(image: Pixels) -> Pixels:
            spoilt = damage(image.astype(np.float32) / 255, np.random.default_rng(seed))
            return np.rint(np.clip(spoilt, 0, 1) * 255).astype(np.uint8)

        return spoil

    return of_seed


def _old_print(picture: other.Picture, dice: np.random.Generator) -> other.Picture:
    creased = other.crease(picture, dice, at=dice.uniform(0.3, 0.7), slope=0.05)
    return other.grain(other.dust(other.scratch(creased, dice, 4), dice, 60), dice, 0.02)


KINDS: dict[str, Callable[[int], unseen.Damage]] = {
    "bright": lambda seed: unseen.scratch(6, seed=seed),
    "bright, grain 6": lambda seed: unseen.after(unseen.scratch(6, seed=seed), unseen.grain(6, seed=seed)),
    "bright, with dust, other": _other(lambda picture, dice: other.dust(other.scratch(picture, dice, 6), dice, 60)),
    "turned 45°": lambda seed: unseen.scratch(6, seed=seed, angle=45),
    "turned 20° to 70°": lambda seed: unseen.scratch(6, seed=seed, angle=20 + seed * 31 % 50),
    "dark": lambda seed: unseen.scratch(6, seed=seed, colour=unseen.DIRT),
    "dark, other": _other(lambda picture, dice: other.scratch(picture, dice, 6, colour=(0.06, 0.05, 0.045))),
    "crease": lambda seed: unseen.crease(0.3 + 0.05 * (seed % 9), seed=seed),
    "crease, other": _other(lambda picture, dice: other.crease(picture, dice, at=dice.uniform(0.25, 0.7), slope=0.03)),
    "old gray print": _other(_old_print),
    "dust": _other(lambda picture, dice: other.dust(picture, dice, 80)),
}
"""Of a seed, the damage."""


def _row(numbered: tuple[int, Path]) -> tuple[list[tuple[float, float, float, float]], bool]:
    """Of a photograph the gains for each kind, and whether it is filled as it is."""
    cv2.setNumThreads(1)
    number, path = numbered
    photo = reduced(read(path), SIDE)
    gains = []
    for kind, maker in KINDS.items():
        whole = unseen.gray(photo) if kind == "old gray print" else photo
        gains.append(_gains(whole, maker(_SEED + number)(whole)))
    return gains, damage_mask(photo) is not None


def _gains(photo: Pixels, spoilt: Pixels) -> tuple[float, float, float, float]:
    """With Telea's method, with the network and with the network in the true mask, in dB; 1 if anything is filled."""
    before, mask = psnr(spoilt, photo), damage_mask(spoilt)
    truth = np.abs(spoilt.astype(np.int16) - photo).max(axis=2) > _CHANGED
    best = psnr(fill(spoilt, truth), photo) - before
    if mask is None:
        return 0.0, 0.0, best, 0.0
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    telea = np.asarray(cv2.inpaint(spoilt, wide, 3, cv2.INPAINT_TELEA), np.uint8)
    return psnr(telea, photo) - before, psnr(fill(spoilt, mask), photo) - before, best, 1.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.evaluate", description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+", help="folders of PNG or JPEG files")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    paths = [path for folder in options.photos for path in sorted(folder.glob("*.[pj][np]g"))]
    with Pool(options.processes) as pool:
        found = pool.map(_row, enumerate(paths), chunksize=1)
    print(f"{'':24}   Telea  network  true mask   worst  filled of {len(paths)}")
    for kind, rows in zip(KINDS, np.array([gains for gains, _ in found]).transpose(1, 0, 2), strict=True):
        means = " ".join(f"{value:+8.2f}" for value in rows[:, :3].mean(axis=0))
        print(f"{kind:24}{means}   {rows[:, 1].min():+8.2f}   {np.count_nonzero(rows[:, 3])}")
    print(f"photographs filled as they are: {sum(touched for _, touched in found)} of {len(paths)}")


def read(path: Path) -> Pixels:
    """The picture in the file, without a margin of two pixels: H×W×3."""
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} cannot be read")
    return np.ascontiguousarray(image[2:-2, 2:-2, ::-1])


def reduced(photo: Pixels, side: int) -> Pixels:
    """The photo, its longer side at most `side` pixels."""
    scale = min(1.0, side / max(photo.shape[:2]))
    return np.asarray(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main()
