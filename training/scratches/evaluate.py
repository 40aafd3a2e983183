"""What the networks in the package find and gain, on photographs and damage that training never saw.

    python -m training.scratches.evaluate fit --photos work/pack/VAL --some sources/clothing-dataset-small/validation/*
    python -m training.scratches.evaluate table --photos FOLDER

`fit` makes the decision rule of `smarty_async/local/engine/scratches.py` (which pieces are damage, and from which
evidence a photo is damaged) from photographs that training left out, as they are and with the training's damage.
`table` prints what is gained on others, damaged by `benchmarks/quality/damage.py`. It needs
`training/requirements.txt` without PyTorch (ncnn and PyTorch do not run in one process) and the extra `local`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import damage as unseen
from benchmarks.quality.measures import psnr
from smarty_async.local.engine.scratches import AGAINST, FOR, SQUARED, damage_mask, fill, likelihood, measured
from training.scratches.damage import damage
from training.scratches.photos import SIDE

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Row = NDArray[np.float64]

_TOUCHED = 0.008
"""The share of clean photographs that may count as damaged."""

_GRAIN, _PALE = 6, 0.55
"""Film grain on a third, and contrast of a fifth, of the photographs from which the rule is made."""

_SIDES, _SPOILT_SIDES = (960, 560), (640, 480)
"""Pixels of the longer side at which photographs are measured, clean and damaged."""

KINDS: dict[str, Callable[[int], unseen.Damage]] = {
    "bright": lambda seed: unseen.scratch(6, seed=seed),
    "bright, grain 6": lambda seed: unseen.after(unseen.scratch(6, seed=seed), unseen.grain(6, seed=seed)),
    "turned 45°": lambda seed: unseen.scratch(6, seed=seed, angle=45),
    "dark": lambda seed: unseen.scratch(6, seed=seed, colour=unseen.DIRT),
    "crease": lambda seed: unseen.crease(0.3 + 0.05 * (seed % 9), seed=seed),
}
"""Of a seed, the damage."""


class Sample(msgspec.Struct, frozen=True):
    """A photograph's pieces.

    Attributes:
        clean: whether nothing was done to it.
        terms: N×15: for each piece a 1, the measures, and some of their squares.
        lengths: N.
        true: N; whether more than half of the piece is damage.
    """

    clean: bool
    terms: Row
    lengths: Row
    true: Row


def samples(photos: list[Pixels]) -> Iterator[Sample]:
    """Each photograph as it is and damaged by the training's generator: large ones in two sizes, of small ones half."""
    dice = np.random.default_rng(11)
    for number, photo in enumerate(photos):
        large = max(photo.shape) > SIDE
        for side in _SIDES if large else (SIDE,):
            whole = _reduced(photo, side)
            yield _sample(unseen.grain(_GRAIN, seed=number)(whole) if number % 4 == 3 else whole, None)
        for side in _SPOILT_SIDES if large else _SPOILT_SIDES[: number % 2]:
            spoilt = damage(dice, _reduced(photo, side).astype(np.float32) / 255)
            picture = np.rint(spoilt.picture * 255).astype(np.uint8)
            if number % 5 == 2:
                picture = unseen.contrast(_PALE)(picture)
            if (number + side // 160) % 3 == 1:
                picture = unseen.grain(_GRAIN, seed=number)(picture)
            yield _sample(picture, spoilt.mask > 0)


def _sample(picture: Pixels, truth: Mask | None) -> Sample:
    pieces = measured(picture, likelihood(picture))
    measures = pieces.measures
    terms = np.concatenate([np.ones((len(measures), 1)), measures, measures[:, SQUARED] ** 2], axis=1)
    if truth is None:
        return Sample(True, terms, pieces.lengths, np.zeros(len(measures)))
    near = cv2.dilate(truth.astype(np.uint8), np.ones((3, 3), np.uint8)).ravel()
    labels, count = pieces.labels.ravel(), len(measures) + 1
    shares = np.bincount(labels, near, count)[1:] / np.maximum(1, np.bincount(labels, minlength=count)[1:])
    return Sample(False, terms, pieces.lengths, (shares > 0.5).astype(np.float64))


def fitted(found: list[Sample]) -> Row:
    """Logistic regression: which pieces are damage; long pieces count more."""
    terms, true = np.concatenate([sample.terms for sample in found]), np.concatenate([sample.true for sample in found])
    counts = np.concatenate([sample.lengths for sample in found]) + 0.02
    means, spreads = terms.mean(axis=0), terms.std(axis=0) + 1e-9
    means[0], spreads[0] = 0, 1
    scaled, weights, ridge = (terms - means) / spreads, np.zeros(terms.shape[1]), 2.0
    for _ in range(30):
        share = 1 / (1 + np.exp(-scaled @ weights))
        slope = scaled.T @ (counts * (share - true)) + ridge * weights
        bend = (scaled.T * (counts * share * (1 - share))) @ scaled + ridge * np.eye(len(weights))
        weights -= np.linalg.solve(bend, slope)
    weights /= spreads
    weights[0] -= weights[1:] @ means[1:]
    return weights


def enough(found: list[Sample], weights: Row) -> tuple[float, float]:
    """The evidence that all but `_TOUCHED` of the clean photographs stay under; the share of damaged ones over it."""
    evidence = [(np.clip(sample.terms @ weights, AGAINST, FOR) * sample.lengths).sum() for sample in found]
    clean = np.sort([value for value, sample in zip(evidence, found, strict=True) if sample.clean])
    bound = float(clean[-1 - int(_TOUCHED * len(clean))]) + 0.01
    damaged = [value for value, sample in zip(evidence, found, strict=True) if sample.true.any()]
    return bound, float(np.mean(np.array(damaged) >= bound))


def table(photos: list[Pixels]) -> Iterator[str]:
    """A line for each kind of damage, and one for the clean photographs."""
    yield f"{'':18}Telea  network  true mask, network  worst  photos filled"
    for kind, maker in KINDS.items():
        rows = np.array([_gains(photo, maker(100 + number)(photo)) for number, photo in enumerate(photos)])
        means = " ".join(f"{value:+8.2f}" for value in rows[:, :3].mean(axis=0))
        yield f"{kind:16}{means} {rows[:, 1].min():+8.2f} {np.count_nonzero(rows[:, 3])} of {len(rows)}"
    touched = sum(damage_mask(photo) is not None for photo in photos)
    yield f"clean photographs filled: {touched} of {len(photos)}"


def _gains(photo: Pixels, spoilt: Pixels) -> tuple[float, float, float, float]:
    before, mask = psnr(spoilt, photo), damage_mask(spoilt)
    truth = np.abs(spoilt.astype(np.int16) - photo).max(axis=2) > 10
    best = psnr(fill(spoilt, truth), photo) - before
    if mask is None:
        return 0.0, 0.0, best, 0.0
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    telea = np.asarray(cv2.inpaint(spoilt, wide, 3, cv2.INPAINT_TELEA), np.uint8)
    return psnr(telea, photo) - before, psnr(fill(spoilt, mask), photo) - before, best, 1.0


def main() -> None:
    """Print the rule, or the table."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.evaluate", description=__doc__)
    parser.add_argument("what", choices=("fit", "table"))
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of PNG or JPEG files")
    parser.add_argument("--some", type=Path, nargs="*", default=[], help="folders of which every fourth file is taken")
    options = parser.parse_args()
    photos = [_read(path) for path in (*_files(options.photos), *_files(options.some)[1::4])]
    if options.what == "table":
        for line in table([_reduced(photo, SIDE) for photo in photos]):
            print(line, flush=True)
        return
    found = list(samples(photos))
    weights = fitted(found)
    bound, share = enough(found, weights)
    print("WEIGHTS", ", ".join(f"{weight:.3f}" for weight in weights))
    print(f"ENOUGH {bound:.2f}: {share:.0%} of the damaged photographs have more")


def _files(folders: list[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.glob("*.[pj][np]g"))]


def _read(path: Path) -> Pixels:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path} cannot be read")
    return np.ascontiguousarray(image[2:-2, 2:-2, ::-1])


def _reduced(photo: Pixels, side: int) -> Pixels:
    scale = min(1.0, side / max(photo.shape[:2]))
    return np.asarray(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main()
