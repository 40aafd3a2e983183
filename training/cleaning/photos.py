"""The photographs for training and validation: files of a folder, reduced, so that they are clean themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from training.photographs import Photographs, Pixels

__all__ = ["held_out", "read"]

_FINE = 4
"""The first step of the luminance table up to which a JPEG is good enough to be used at its own size (quality 88)."""

_SHARES, _SHARES_OF_COARSE = (1.0, 0.75, 0.5), (0.5,)
"""The sizes that a good photo and one of lower quality are used at, as shares of its own."""

_LONGEST = 1600
"""Pixels of the longer side of the largest copy."""

_HELD_SHARE, _HELD_SIDE = 0.75, 288


def read(files: list[Path], *, least: int, workers: int = 1) -> Photographs:
    """Photographs for training.

    Args:
        files: JPEG, PNG or WebP.
        least: pixels that the shorter side has at least; smaller copies are left out.
        workers: threads.
    """
    with ThreadPoolExecutor(workers) as pool:
        copies = [found for found in pool.map(partial(_copies, least=least), files) if found]
    return Photographs([(picture, found[0].size ** 0.5 / len(found)) for found in copies for picture in found])


def held_out(files: list[Path]) -> Pixels:
    """The middle of each photograph for validation that is large enough: N×H×W×3."""
    found = []
    for path in files:
        with Image.open(path) as image:
            if not _is_fine(image) or min(image.size) * _HELD_SHARE < _HELD_SIDE:
                continue
            picture = _reduced(image, _HELD_SHARE)
        top, left = (side // 2 - _HELD_SIDE // 2 for side in picture.shape[:2])
        found.append(picture[top : top + _HELD_SIDE, left : left + _HELD_SIDE])
    return np.stack(found)


def _copies(path: Path, *, least: int) -> list[Pixels]:
    with Image.open(path) as image:
        shares = _SHARES if _is_fine(image) else _SHARES_OF_COARSE
        most = min(1.0, _LONGEST / max(image.size))
        made = [_reduced(image, share * most) for share in shares]
    return [picture for picture in made if min(picture.shape[:2]) >= least]


def _is_fine(image: Image.Image) -> bool:
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return not tables or tables[0][0] <= _FINE


def _reduced(image: Image.Image, share: float) -> Pixels:
    size = (round(image.width * share), round(image.height * share))
    image = image.convert("RGB")
    return np.asarray(image if size == image.size else image.resize(size, Image.Resampling.LANCZOS), np.uint8)
