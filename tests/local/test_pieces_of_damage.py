"""Pieces of damage: where they are, what surrounds them, and which of them make one line."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

extra = 'the extra `local` is not installed: pip install "smarty_async[local]"'
pytest.importorskip("ncnn", reason=extra)
cv2: Any = pytest.importorskip("cv2", reason=extra)

import numpy as np  # noqa: E402 (importorskip comes first)
from support import pictures  # noqa: E402

from smarty_async.local.engine import scratches  # noqa: E402
from smarty_async.local.engine.lines import Lines, joined  # noqa: E402
from smarty_async.local.engine.pieces import HEIGHT, WIDTH, located, patches  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = (200, 240)
Point = tuple[int, int]
Stroke = tuple[Point, Point]


def likely(*strokes: Stroke, width: int = 2, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    """The likelihood of damage: 1 on strokes from point to point, else 0."""
    plane = np.zeros(size, np.float32)
    for start, end in strokes:
        cv2.line(plane, start, end, 1.0, width)
    return plane


def lines_of(*strokes: Stroke) -> Lines:
    pieces = located(likely(*strokes))
    return joined(pieces, np.zeros(len(pieces.lengths)))


def test_a_line_is_cut_at_the_cells_and_joined_again() -> None:
    corners = [(20, 30), (80, 50), (140, 65), (200, 75)]
    lines = lines_of(*pairwise(corners))
    assert len(lines.of) > 2
    assert set(lines.of.tolist()) == {0}
    assert lines.lengths[0] == pytest.approx(0.93, abs=0.05)


def test_pieces_with_a_gap_between_them_are_one_line() -> None:
    assert len(lines_of(((5, 50), (30, 52)), ((36, 52), (60, 54))).lengths) == 1


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(((50, 10), (50, 60)), id="turned"),
        pytest.param(((5, 40), (45, 40)), id="beside"),
        pytest.param(((100, 20), (120, 20)), id="far away"),
    ],
)
def test_other_pieces_are_lines_of_their_own(second: Stroke) -> None:
    assert len(lines_of(((5, 20), (45, 20)), second).lengths) == 2


def test_long_pieces_count_for_more_in_the_odds_of_a_line() -> None:
    pieces = located(likely(((5, 20), (45, 20)), ((52, 20), (62, 20))))
    lines = joined(pieces, np.array([3.0, -1.0]))
    assert lines.of.tolist() == [0, 0]
    assert 1.5 < lines.odds[0] < 2.5


def test_a_photo_without_pieces_has_no_lines() -> None:
    lines = lines_of()
    assert (len(lines.of), len(lines.odds), len(lines.lengths)) == (0, 0, 0)


def test_pieces_without_a_sure_pixel_are_left_out() -> None:
    plane = likely(((5, 20), (45, 20)), ((5, 50), (45, 50)))
    plane[45:55] *= 0.8
    assert located(plane).labels[45:55].max() == 0
    assert located(plane).labels[15:25].max() == 1


@pytest.mark.parametrize("end", [(150, 100), (100, 150), (132, 132), (120, 145), (145, 80)])
def test_in_its_patch_a_piece_lies_level(end: Point) -> None:
    middle = (100, 100)
    plane = likely((middle, end), size=(300, 300))
    plane[:, 128:] = 0
    plane[128:] = 0
    red = np.zeros((300, 300, 3), np.uint8)
    red[..., 0] = (plane * 255).astype(np.uint8)
    (patch,) = patches(red, plane, located(plane).shapes)
    assert patch.shape == (4, HEIGHT, WIDTH)
    level = slice(HEIGHT // 2 - 3, HEIGHT // 2 + 3)
    for shown in (patch[0], patch[3]):
        assert shown[level].sum() > 0.95 * shown.sum()
    assert (patch[3, level].max(axis=0) > 128).sum() > 20
    assert not patch[1:3].any()


def test_beyond_the_edge_a_patch_repeats_the_outermost_pixels() -> None:
    plane = likely(((0, 2), (40, 2)))
    picture = np.full((*SIZE, 3), 90, np.uint8)
    (patch,) = patches(picture, plane, located(plane).shapes)
    assert (patch[:3] == 90).all()


def test_any_number_of_pieces_is_cut_out() -> None:
    plane = np.zeros((400, 400), np.float32)
    plane[2::8, 2::8] = 1
    pieces = located(plane)
    assert len(list(patches(np.zeros((400, 400, 3), np.uint8), plane, pieces.shapes))) == len(pieces.lengths) == 2500


@pytest.mark.slow
def test_a_dark_scratch_is_filled_in_a_photo_that_has_no_other() -> None:
    scene = np.asarray(pictures.scene(320, 240, seed=3).convert("RGB"), np.uint8)
    assert scratches.damage_mask(scene) is None
    damaged = scene.copy()
    cv2.line(damaged, (60, 0), (75, 239), (15, 13, 12), 2)
    mask = scratches.damage_mask(damaged)
    assert mask is not None
    true = (damaged != scene).any(axis=2)
    assert (mask & true).sum() > 0.7 * true.sum()
    assert (mask & true).sum() > 0.5 * mask.sum()
    filled = scratches.fill(damaged, mask)
    before, after = (np.square(image.astype(float) - scene).mean() for image in (damaged, filled))
    assert after < before / 2
