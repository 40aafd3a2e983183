"""Tiles: they cover the picture, fit together, and nobody sees where."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np

    from smarty_async.local.engine import tiles
else:
    extra = 'the extra `local` is not installed: pip install "smarty_async[local]"'
    np = pytest.importorskip("numpy", reason=extra)
    pytest.importorskip("cv2", reason=extra)
    from smarty_async.local.engine import tiles

from smarty_async.local.engine.protocol import Abandoned, wanted_until


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def noise(height: int, width: int) -> tiles.Pixels:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (64, 64), (65, 64), (200, 301)])
@pytest.mark.parametrize("blend", [0, 6])
def test_tiles_cover_the_picture(size: tuple[int, int], blend: int) -> None:
    seen = np.zeros(size, int)
    for tile in tiles.tiles(*size, tiles.Frame(largest=64, blend=blend)):
        assert 0 < tile.height <= 64 + blend
        assert 0 < tile.width <= 64 + blend
        seen[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert seen.min() == 1
    assert blend or seen.max() == 1


@pytest.mark.parametrize("size", [(1, 1), (63, 65), (131, 257)])
@pytest.mark.parametrize("blend", [0, 8])
def test_the_picture_is_cut_at_multiples_of_the_step(size: tuple[int, int], blend: int) -> None:
    for tile in tiles.tiles(*size, tiles.Frame(step=4, blend=blend, largest=32)):
        assert tile.top % 4 == tile.left % 4 == 0
        assert max(tile.height, tile.width) <= 32 + blend


@pytest.mark.parametrize("size", [(1, 1), (7, 130), (100, 61)])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("step", "blend"), [(1, 0), (4, 0), (4, 8)])
def test_what_looks_only_at_the_margin_sees_no_seam(
    size: tuple[int, int], scale: int, step: int, blend: int, pool: ThreadPoolExecutor
) -> None:
    margin = 5

    def work(tile: tiles.Pixels) -> tiles.Pixels:
        assert tile.shape[0] % step == tile.shape[1] % step == 0
        box = np.ones(2 * margin + 1) / (2 * margin + 1)
        for axis in (0, 1):
            tile = np.apply_along_axis(np.convolve, axis, tile, box, mode="valid")
        return np.rint(tile).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)

    picture = noise(*size)
    frame = tiles.Frame(scale=scale, margin=margin, step=step, blend=blend, largest=24)
    whole = tiles.Frame(scale=scale, margin=margin, step=step, largest=200)
    made = tiles.tiled(picture, work, frame=frame, pool=pool)
    assert made.shape == (size[0] * scale, size[1] * scale, 3)
    assert np.array_equal(made, tiles.tiled(picture, work, frame=whole, pool=pool))


def test_tiles_that_differ_pass_into_each_other() -> None:
    tones = iter(range(0, 250, 20))
    frame = tiles.Frame(blend=20, largest=60, ahead=1)
    with ThreadPoolExecutor(1) as one_thread:  # it takes the tiles in their order
        made = tiles.tiled(noise(120, 120), lambda tile: np.full_like(tile, next(tones)), frame=frame, pool=one_thread)
    steps = [int(np.abs(np.diff(made[..., 0].astype(int), axis=axis)).max()) for axis in (0, 1)]
    assert max(steps) <= 6  # of 60
    assert made[0, 0, 0] == 0
    assert made[-1, -1, 0] == 60


def test_no_further_tile_is_started_after_cancellation(pool: ThreadPoolExecutor) -> None:
    left = Event()
    begun = 0

    def work(tile: tiles.Pixels) -> tiles.Pixels:
        nonlocal begun
        begun += 1
        left.set()
        return tile

    with wanted_until(left), pytest.raises(Abandoned):
        tiles.tiled(noise(100, 100), work, frame=tiles.Frame(largest=10), pool=pool)
    assert begun <= 4
