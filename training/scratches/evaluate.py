r"""What the networks in the package find and gain, on photographs and damage that training never saw.

    python -m training.scratches.evaluate fit --photos work/pack/VAL --some sources/clothing-dataset-small/validation/*
    python -m training.scratches.evaluate lines --photos work/pack work/pack/VAL \
        --some sources/clothing-dataset-small/validation/*
    python -m training.scratches.evaluate table --photos FOLDER

`fit` makes the decision rule of `smarty_async/local/engine/scratches.py` (which pieces are damage, and from which
evidence a photo is damaged) from photographs that training left out, as they are and with the training's damage.
`lines` makes the rule of `smarty_async/local/engine/lines.py` (which lines are damage), and the odds from which a line
is filled by itself, from more photographs, each with one kind of damage at a time.
`table` prints what is gained on others, damaged by `benchmarks/quality/damage.py`. It needs
`training/requirements.txt` without PyTorch (ncnn and PyTorch do not run in one process) and the extra `local`.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import damage as unseen
from benchmarks.quality.measures import psnr
from smarty_async.local.engine.lines import joined, terms
from smarty_async.local.engine.scratches import AGAINST, FOR, SQUARED, damage_mask, fill, likelihood, log_odds, measured
from training.photographs import Pixels
from training.scratches import damage as drawn
from training.scratches.photos import SIDE

Mask = NDArray[np.bool_]
Row = NDArray[np.float64]

_TOUCHED = 0.008
"""The share of clean photographs that may count as damaged."""

_ALONE = 0.004
"""The share of clean photographs in which a line may count as damage by itself."""

_GRAIN, _PALE = 6, 0.55
"""Film grain on a third, and contrast of a fifth, of the photographs from which the rule is made."""

_SIDES, _SPOILT_SIDES = (960, 560), (640, 480)
"""Pixels of the longer side at which photographs are measured, clean and damaged."""

_LINE_SIDES = (640, 520, 800, 960)
"""The same for lines, where only clean photographs have the last."""

_CHANGED = 10
"""Gray levels by which a pixel changes that counts as damaged."""

_OFTEN = 0.3
"""The share of the damaged photographs that are gray, and the share with film grain, for lines."""

_DRAWN: tuple[tuple[drawn.Colour, tuple[drawn.Layer, ...]], ...] = (
    (drawn.paper, (drawn.scratches, drawn.scratches, drawn.dust)),
    (drawn.dirt, (drawn.scratches, drawn.scratches, drawn.dust)),
    (drawn.dirt, (drawn.parallel_scratches, drawn.hairs)),
    (drawn.any_colour, (drawn.fold,)),
    (drawn.paper, (drawn.dust, drawn.hairs)),
    (drawn.any_colour, (drawn.fold, drawn.scratches, drawn.dust)),
)
"""What is drawn on photographs for the rule of lines: each gets two of these, one by one."""

KINDS: dict[str, Callable[[int], unseen.Damage]] = {
    "bright": lambda seed: unseen.scratch(6, seed=seed),
    "bright, grain 6": lambda seed: unseen.after(unseen.scratch(6, seed=seed), unseen.grain(6, seed=seed)),
    "turned 45°": lambda seed: unseen.scratch(6, seed=seed, angle=45),
    "dark": lambda seed: unseen.scratch(6, seed=seed, colour=unseen.DIRT),
    "crease": lambda seed: unseen.crease(0.3 + 0.05 * (seed % 9), seed=seed),
}
"""Of a seed, the damage."""


class Sample(msgspec.Struct, frozen=True):
    """A photograph's pieces, or its lines.

    Attributes:
        clean: whether nothing was done to it.
        terms: N×15, or N×30: for each piece or line a 1, the measures, and some of their squares.
        lengths: N.
        true: N; whether more than half of the piece or line is damage.
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
            spoilt = drawn.damage(dice, _reduced(photo, side).astype(np.float32) / 255)
            picture = np.rint(spoilt.picture * 255).astype(np.uint8)
            if number % 5 == 2:
                picture = unseen.contrast(_PALE)(picture)
            if (number + side // 160) % 3 == 1:
                picture = unseen.grain(_GRAIN, seed=number)(picture)
            yield _sample(picture, spoilt.mask > 0)


def _sample(picture: Pixels, truth: Mask | None) -> Sample:
    pieces = measured(picture, likelihood(picture))
    measures = pieces.measures
    squares = measures[:, SQUARED] ** 2
    terms = np.concatenate([np.ones((len(measures), 1)), measures, squares], axis=1)
    return Sample(truth is None, terms, pieces.lengths, _true(pieces.labels, len(measures), truth))


def lines_of(numbered: tuple[int, Pixels]) -> list[Sample]:
    """The lines of a photograph as it is, and with two kinds of damage."""
    number, photo = numbered
    clean = _reduced(photo, _LINE_SIDES[number % 4])
    if number % 6 == 5:
        clean = unseen.gray(clean)
    found = [_lines(unseen.grain(_GRAIN, seed=number)(clean) if number % 5 == 3 else clean, None)]
    for turn, kind in enumerate((number % 6, (number + 1 + number // 6 % 5) % 6)):
        dice = np.random.default_rng((77, number, kind))
        colour, layers = _DRAWN[kind]
        whole = _reduced(photo, _LINE_SIDES[(number + turn) % 3]).astype(np.float32) / 255
        spoilt = drawn.damage_of(dice, whole, layers, colour)
        picture = np.rint(spoilt.picture * 255).astype(np.uint8)
        truth = np.abs(spoilt.picture - whole).max(axis=2) > _CHANGED / 255  # the shadow of a fold as well
        if dice.random() < _OFTEN:
            picture = unseen.gray(picture)
        if dice.random() < _OFTEN:
            picture = unseen.grain(_GRAIN, seed=number)(picture)
        found.append(_lines(picture, truth))
    return found


def _lines(picture: Pixels, truth: Mask | None) -> Sample:
    pieces = measured(picture, likelihood(picture))
    lines = joined(picture, pieces.labels, pieces.lengths, log_odds(pieces))
    labels = np.take(np.concatenate([[0], lines.of + 1]), pieces.labels)
    return Sample(truth is None, terms(lines), lines.lengths, _true(labels, len(lines.lengths), truth))


def _true(labels: NDArray[np.integer], count: int, truth: Mask | None) -> Row:
    """For each of `count` numbers, whether damage is more than half of the pixels with that number."""
    if truth is None:
        return np.zeros(count)
    near = cv2.dilate(truth.astype(np.uint8), np.ones((3, 3), np.uint8)).ravel()
    areas = np.maximum(1, np.bincount(labels.ravel(), minlength=count + 1)[1:])
    return (np.bincount(labels.ravel(), near, count + 1)[1:] / areas > 0.5).astype(np.float64)


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


def alone(found: list[Sample], weights: Row) -> tuple[float, float]:
    """The bound that all but `_ALONE` of the clean photographs stay under; the share of damaged ones over it.

    Of a photograph, it is the highest sum of a line's log odds and the logarithm of its length.
    """
    best = [(sample.terms @ weights + np.log(sample.lengths)).max(initial=-np.inf) for sample in found]
    clean = np.sort([value for value, sample in zip(best, found, strict=True) if sample.clean])
    bound = float(clean[-1 - int(_ALONE * len(clean))]) + 0.01
    damaged = [value for value, sample in zip(best, found, strict=True) if sample.true.any()]
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
    truth = np.abs(spoilt.astype(np.int16) - photo).max(axis=2) > _CHANGED
    best = psnr(fill(spoilt, truth), photo) - before
    if mask is None:
        return 0.0, 0.0, best, 0.0
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    telea = np.asarray(cv2.inpaint(spoilt, wide, 3, cv2.INPAINT_TELEA), np.uint8)
    return psnr(telea, photo) - before, psnr(fill(spoilt, mask), photo) - before, best, 1.0


def main() -> None:
    """Print the rule, or the table."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.evaluate", description=__doc__)
    parser.add_argument("what", choices=("fit", "lines", "table"))
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of PNG or JPEG files")
    parser.add_argument("--some", type=Path, nargs="*", default=[], help="folders of which every fourth file is taken")
    parser.add_argument("--processes", type=int, default=1, help="that measure lines")
    options = parser.parse_args()
    photos = [_read(path) for path in (*_files(options.photos), *_files(options.some)[1::4])]
    if options.what == "table":
        for line in table([_reduced(photo, SIDE) for photo in photos]):
            print(line, flush=True)
        return
    if options.what == "lines":
        with multiprocessing.Pool(options.processes) as pool:
            found = [sample for some in pool.imap(lines_of, enumerate(photos), chunksize=4) for sample in some]
        weights = fitted(found)
        bound, share = alone(found, weights)
        print("WEIGHTS", ", ".join(f"{weight:.3f}" for weight in weights))
        print(f"ALONE {bound:.2f}: {share:.0%} of the damaged photographs have more")
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
