"""Large pictures processed in tiles: with bounded memory, and without visible seams."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from itertools import pairwise

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from smarty_async.local.engine.protocol import check_wanted

__all__ = ["Frame", "Pixels", "Tile", "tiled", "tiles"]

Pixels = NDArray[np.uint8]
"""H×W×3, red green blue."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """How a network's tiles are cut.

    Attributes:
        scale: how many times larger the output is than the input, on each side.
        margin: pixels around a tile that the network sees, and that its output leaves out.
        step: the sides of the network's input, margins included, are multiples of this, and so are the places where the
            picture is cut.
        blend: pixels that neighbouring tiles share and blend over. A network whose output depends on nothing beyond the
            margin needs none: its tiles fit exactly.
        largest: the longest side of a tile, in pixels of the input; this bounds memory.
        ahead: tiles processed at a time.
    """

    scale: int = 1
    margin: int = 0
    step: int = 1
    blend: int = 0
    largest: int = 128
    ahead: int = 2


class Tile(msgspec.Struct, frozen=True):
    """A part of the picture, in pixels of the input, without margins."""

    top: int
    left: int
    height: int
    width: int


def tiles(height: int, width: int, frame: Frame) -> Iterator[Tile]:
    """Tiles of about the same size that cover a picture of `height` × `width`, row by row."""
    for top, tall in _spans(height, frame):
        for left, wide in _spans(width, frame):
            yield Tile(top, left, tall, wide)


def _spans(length: int, frame: Frame) -> Iterator[tuple[int, int]]:
    steps = -(-length // frame.step)
    count = -(-steps // max(1, frame.largest // frame.step))
    edges = [min(length, steps * number // count * frame.step) for number in range(count + 1)]
    for start, end in pairwise(edges):
        first = max(0, start - frame.blend) if start else 0
        yield first, end - first


def tiled(picture: Pixels, work: Callable[[Pixels], Pixels], *, frame: Frame, pool: Executor) -> Pixels:
    """The picture processed tile by tile with `work`.

    Args:
        picture: H×W×3 uint8.
        work: takes a tile with its margins, and returns it without them, `frame.scale` times as large.
        frame: how the tiles are cut.
        pool: the threads that process tiles, `frame.ahead` at a time.

    Raises:
        Abandoned: the client has disconnected.
    """
    height, width = picture.shape[:2]
    made = np.empty((height * frame.scale, width * frame.scale, 3), np.uint8)
    waiting: deque[tuple[Tile, Future[Pixels]]] = deque()
    try:
        for tile in tiles(height, width, frame):
            check_wanted()
            waiting.append((tile, pool.submit(work, _with_margins(picture, tile, frame))))
            if len(waiting) > frame.ahead:
                _put(made, *_first(waiting), frame)
        while waiting:
            check_wanted()
            _put(made, *_first(waiting), frame)
    finally:
        for _, future in waiting:
            future.cancel()
    return made


def _first(waiting: deque[tuple[Tile, Future[Pixels]]]) -> tuple[Tile, Pixels]:
    tile, future = waiting[0]
    piece = future.result()
    waiting.popleft()
    return tile, piece


def _with_margins(picture: Pixels, tile: Tile, frame: Frame) -> Pixels:
    """The tile and its margins; beyond the picture's edge, the picture mirrored.

    A pixel is an area, and the picture ends where the outermost ones do, not at their centres: where a network
    enlarges, a mirror at the centres displaces the edge by half a pixel.
    """
    height, width = picture.shape[:2]
    top, left = tile.top - frame.margin, tile.left - frame.margin
    bottom, right = tile.top + tile.height + frame.margin, tile.left + tile.width + frame.margin
    bottom += -(bottom - top) % frame.step
    right += -(right - left) % frame.step
    inside = picture[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    around = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    mirrored = cv2.BORDER_REFLECT if frame.scale > 1 else cv2.BORDER_REFLECT_101
    return np.asarray(cv2.copyMakeBorder(inside, *around, mirrored), np.uint8)


def _put(made: Pixels, tile: Tile, piece: Pixels, frame: Frame) -> None:
    """Copy a tile's output to its place, blended with that of its upper and left neighbours."""
    scale, blend = frame.scale, frame.blend * frame.scale
    rows = slice(tile.top * scale, (tile.top + tile.height) * scale)
    columns = slice(tile.left * scale, (tile.left + tile.width) * scale)
    piece = piece[: tile.height * scale, : tile.width * scale]
    place = made[rows, columns]
    if blend and tile.left:
        piece[:, :blend] = _blended(place[:, :blend], piece[:, :blend], _ramp(blend)[None, :, None])
    if blend and tile.top:
        piece[:blend] = _blended(place[:blend], piece[:blend], _ramp(blend)[:, None, None])
    place[:] = piece


def _ramp(length: int) -> NDArray[np.float32]:
    return ((np.arange(length) + 0.5) / length).astype(np.float32)


def _blended(before: Pixels, after: Pixels, share: NDArray[np.float32]) -> Pixels:
    return np.rint(before * (1 - share) + after * share).astype(np.uint8)
