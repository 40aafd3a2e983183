"""A small line chart as SVG, for a report that any browser shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

__all__ = ["chart"]

Point = tuple[float, float]

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 20, 50
"""Margins, in pixels: numbers and a title left and below, names right."""
_COLOURS = ("#4878a8", "#c85a3c", "#5a9a5a", "#8a62a8", "#b0902c", "#606060")
_TICKS = 4


def chart(lines: Mapping[str, Sequence[Point]], *, across: str, up: str) -> str:
    """An SVG picture of `lines`, each a name and its points; both axes begin at 0.

    Args:
        lines: at least one point in all.
        across: what the horizontal axis tells.
        up: what the vertical axis tells.
    """
    points = [point for some in lines.values() for point in some]
    most = max(x for x, _ in points) or 1.0, max(y for _, y in points) or 1.0
    drawn = "\n".join([*_axes(most, across, up), *_drawn(lines, most)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        f' font-size="12">\n<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n{drawn}\n</svg>\n'
    )


def _place(point: Point, most: Point) -> Point:
    """Where `point` stands in the picture, in pixels."""
    x = _LEFT + point[0] / most[0] * (_WIDTH - _LEFT - _RIGHT)
    y = _HEIGHT - _BOTTOM - point[1] / most[1] * (_HEIGHT - _TOP - _BOTTOM)
    return x, y


def _axes(most: Point, across: str, up: str) -> Iterator[str]:
    (left, low), (right, high) = _place((0, 0), most), _place(most, most)
    yield f'<path d="M{left} {high}V{low}H{right}" fill="none" stroke="#606060"/>'
    for tick in range(_TICKS + 1):
        value = most[0] * tick / _TICKS, most[1] * tick / _TICKS
        x, y = _place(value, most)
        yield f'<text x="{x:.1f}" y="{low + 16:.1f}" text-anchor="middle">{value[0]:.4g}</text>'
        yield f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value[1]:.4g}</text>'
    yield f'<text x="{(left + right) / 2:.1f}" y="{low + 36:.1f}" text-anchor="middle">{escape(across)}</text>'
    middle = (low + high) / 2
    yield f'<text transform="translate(16 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'


def _drawn(lines: Mapping[str, Sequence[Point]], most: Point) -> Iterator[str]:
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [_place(point, most) for point in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        height = _TOP + 8 + 18 * number
        yield f'<text x="{_WIDTH - _RIGHT + 14}" y="{height}" fill="{colour}">{escape(name)}</text>'
