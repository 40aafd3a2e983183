r"""Pieces of likely damage on photographs, from which the network that judges them is trained.

    python -m training.scratches.pieces --photos work/pack further --out work/pieces \
        --some sources/clothing-dataset-small/train/*

The pieces are those that the engine finds in photographs as they are, and in the same damaged by
`training/scratches/damage.py`, by one kind of damage or several. `further` is what `training.enlarging.pack` has
packed. It needs `training/requirements.txt` without PyTorch
(ncnn and PyTorch do not run in one process).
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.quality import damage as unseen
from smarty_async.local.engine.lines import joined
from smarty_async.local.engine.pieces import HEIGHT, WIDTH, located, patches
from smarty_async.local.engine.scratches import likelihood
from training.photographs import Pixels
from training.scratches import damage as drawn
from training.scratches.evaluate import read, reduced

__all__ = ["FIELDS", "draw"]

Plane = NDArray[np.float32]

FIELDS = ("picture", "clean", "line", "length", "damage")
"""What stands of each piece beside its patch: the numbers of its picture and of its line in the photograph's pictures;
1 in a photograph as it is; the piece's length in shorter sides; 1 for damage, 0 for none, 2 for what is hardly seen."""

_SIDES = (640, 520, 800, 960)
"""Pixels of the longer side at which photographs are looked at."""

_CLEAN, _MIXED = 2, 2
"""Pictures of a photograph as it is, and with several kinds of damage, at most; three more have one kind each."""

_CHANGED, _SEEN = 10 / 255, 3 / 255
"""Changes by which a pixel counts as damaged, and from which it does not count as undamaged."""

_KINDS: tuple[tuple[tuple[drawn.Layer, ...], drawn.Colour], ...] = (
    ((drawn.scratches, drawn.scratches, drawn.dust), drawn.paper),
    ((drawn.scratches, drawn.scratches, drawn.dust), drawn.dirt),
    ((drawn.parallel_scratches, drawn.hairs), drawn.dirt),
    ((drawn.fold,), drawn.any_colour),
    ((drawn.dust, drawn.hairs), drawn.paper),
    ((drawn.fold, drawn.scratches, drawn.dust), drawn.any_colour),
)
"""Damage of one colour."""


def draw(photos: list[Path], out: Path, processes: int) -> None:
    """Write for each photograph a file with the pieces' `patches`, N×4×32×64, and N of each of `FIELDS`.

    `pictures` in it is how many pictures there are of the photograph as it is, with pieces or without.
    """
    out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.starmap(_draw_photo, [(number, path, out) for number, path in enumerate(photos)], chunksize=2)


def _draw_photo(number: int, path: Path, out: Path) -> None:
    cv2.setNumThreads(0)
    cuts = [np.zeros((0, 4, HEIGHT, WIDTH), np.uint8)]
    rows, lines, pictures = [np.zeros((0, len(FIELDS)))], 0, 0
    for turn, (picture, change) in enumerate(_pictures(np.random.default_rng((91, number)), read(path))):
        pictures += change is None
        likely = likelihood(picture)
        pieces = located(likely)
        count = len(pieces.lengths)
        if not count:
            continue
        cuts.append(np.stack(list(patches(picture, likely, pieces.shapes))))
        of = joined(pieces, np.zeros(count)).of
        clean = np.full(count, float(change is None))
        true = np.zeros(count) if change is None else _damage(pieces.labels, change, count)
        rows.append(np.stack([np.full(count, turn), clean, of + lines, pieces.lengths, true], axis=1))
        lines += int(of.max()) + 1
    fields = dict(zip(FIELDS, np.concatenate(rows).T.astype(np.float32), strict=True))
    np.savez(out / f"{number:05}.npz", patches=np.concatenate(cuts), pictures=pictures, **fields)


def _pictures(dice: Generator, photo: Pixels) -> Iterator[tuple[Pixels, Plane | None]]:
    """The photograph as it is, and damaged, with how much each pixel changed."""
    sides = [side for side in _SIDES if side <= 1.05 * max(photo.shape)] or [max(photo.shape)]
    for side in dice.permutation(sides)[:_CLEAN]:
        yield _finished(dice, reduced(photo, int(side))), None
    for kind in [*dice.permutation(len(_KINDS))[:3], *[None] * _MIXED]:
        whole = reduced(photo, int(dice.choice(sides))).astype(np.float32) / 255
        spoilt = drawn.damage(dice, whole) if kind is None else drawn.damage_of(dice, whole, *_KINDS[kind])
        picture = np.rint(spoilt.picture * 255).astype(np.uint8)
        yield _finished(dice, picture), np.abs(spoilt.picture - whole).max(axis=2)


def _finished(dice: Generator, picture: Pixels) -> Pixels:
    """The picture, often gray, pale, with grain, or as JPEG gives it back."""
    if dice.random() < 0.3:
        picture = unseen.gray(picture)
    elif dice.random() < 0.15:
        picture = unseen.contrast(dice.uniform(0.4, 0.8))(picture)
    if dice.random() < 0.3:
        picture = unseen.grain(dice.uniform(2, 8), seed=int(dice.integers(1 << 30)))(picture)
    if dice.random() < 0.5:
        picture = unseen.jpeg(int(dice.integers(60, 97)))(picture)
    return np.ascontiguousarray(picture)


def _damage(labels: NDArray[np.int32], change: Plane, count: int) -> NDArray[np.float64]:
    """For each piece 1 where more than half of its pixels are damaged, 2 where that is hardly to be seen, else 0."""
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]

    def most_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).ravel()
        return np.asarray(np.bincount(labels.ravel(), near, count + 1)[1:] / areas > 0.5)

    return np.where(most_of(change > _CHANGED), 1.0, np.where(most_of(change > _SEEN), 2.0, 0.0))


def main() -> None:
    """Draw the pieces."""
    parser = argparse.ArgumentParser(prog="python -m training.scratches.pieces", description=__doc__)
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="folders of photographs")
    parser.add_argument("--some", type=Path, nargs="+", default=[], help="folders; every ninth photograph is taken")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the pieces")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    every, some = (
        [path for folder in folders for path in sorted(folder.glob("*.[pj][np]g"))]
        for folders in (options.photos, options.some)
    )
    draw([*every, *some[::9]], options.out, options.processes)


if __name__ == "__main__":
    main()
