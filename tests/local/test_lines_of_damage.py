"""Lines of damage: which pieces make one line, and what is measured of it."""

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
from smarty_async.local.engine.lines import MEASURES, Lines, joined, log_odds, terms  # noqa: E402

if TYPE_CHECKING:
    from smarty_async.local.engine.tiles import Pixels

SIZE = (200, 240)
Point = tuple[int, int]


def plain(gray: int = 100) -> Pixels:
    return np.full((*SIZE, 3), gray, np.uint8)


def lines_between(picture: Pixels, *pieces: tuple[Point, Point], gray: int = 220, odds: float = 1.0) -> Lines:
    """The lines that pieces from point to point make, which are drawn onto the picture."""
    labels = np.zeros(SIZE, np.uint8)
    for number, (start, end) in enumerate(pieces, 1):
        cv2.line(labels, start, end, number, 2)
        cv2.line(picture, start, end, (gray,) * 3, 2)
    lengths = np.array([np.hypot(*np.subtract(end, start)) / min(SIZE) for start, end in pieces])
    return joined(picture, labels.astype(np.int32), lengths, np.full(len(pieces), odds))


def measure(lines: Lines, name: str) -> float:
    return float(lines.measures[0, MEASURES.index(name)])


def test_pieces_that_continue_each_other_are_one_line() -> None:
    corners = [(20, 30), (80, 50), (140, 65), (200, 75)]
    lines = lines_between(plain(), *[((x, y), (u - 6, v - 2)) for (x, y), (u, v) in pairwise(corners)])
    assert lines.of.tolist() == [0, 0, 0]
    assert lines.lengths[0] == pytest.approx(0.85, abs=0.1)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(((60, 80), (60, 150)), id="turned"),
        pytest.param(((20, 60), (80, 60)), id="beside"),
        pytest.param(((150, 50), (220, 50)), id="far away"),
    ],
)
def test_other_pieces_are_lines_of_their_own(second: tuple[Point, Point]) -> None:
    assert lines_between(plain(), ((20, 50), (80, 50)), second).of.tolist() == [0, 1]


@pytest.mark.parametrize(("gray", "lighter"), [(220, 1.0), (20, -1.0)])
def test_a_line_is_lighter_or_darker_than_both_of_its_sides(gray: int, lighter: float) -> None:
    lines = lines_between(plain(), ((20, 50), (180, 60)), gray=gray)
    assert measure(lines, "lighter") == lighter
    assert measure(lines, "ridge") == pytest.approx(np.log1p(abs(gray - 100)), abs=0.1)
    assert measure(lines, "ridges") > 0.95
    assert measure(lines, "length") == pytest.approx(np.log(0.8), abs=0.02)


def test_the_sides_of_an_edge_differ_and_it_is_no_ridge() -> None:
    picture = plain()
    picture[50:] = 220
    edge = lines_between(picture, ((20, 50), (180, 50)), gray=160)
    assert measure(edge, "ridges") < 0.1
    assert measure(edge, "sides") == pytest.approx(np.log(120), abs=0.1)


def test_a_line_is_steady_where_what_lies_behind_it_changes() -> None:
    picture = plain()
    picture[:, 100:] = 40
    assert measure(lines_between(picture, ((20, 50), (180, 50))), "steady") < -1.5


def test_a_line_from_edge_to_edge_ends_at_both() -> None:
    assert measure(lines_between(plain(), ((0, 50), (239, 70))), "ends") == 2
    assert measure(lines_between(plain(), ((0, 50), (139, 70))), "ends") == 1
    assert measure(lines_between(plain(), ((0, 1), (239, 1))), "margin") > 0.9


def test_what_speaks_for_damage_elsewhere_counts() -> None:
    far = (((20, 50), (80, 50)), ((20, 150), (80, 150)))
    assert measure(lines_between(plain(), *far, odds=2.0), "others") > measure(lines_between(plain(), far[0]), "others")


def test_a_photo_without_pieces_has_no_lines() -> None:
    lines = joined(plain(), np.zeros(SIZE, np.int32), np.zeros(0), np.zeros(0))
    assert (len(lines.lengths), terms(lines).shape, log_odds(lines).shape) == (0, (0, 2 * len(MEASURES)), (0,))


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
