"""The contact sheet: one row a picture, what was sent beside what came of it and what was."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.quality.damage import Array

CELL = 240
HEAD = 16


def sheet(rows: list[tuple[str, dict[str, Array]]]) -> Image.Image:
    """The rows, each with its title and its named pictures, as one picture."""
    columns = max(len(pictures) for _, pictures in rows)
    image = Image.new("RGB", (columns * (CELL + 4), len(rows) * (CELL + HEAD + 4)), "white")
    draw = ImageDraw.Draw(image)
    for row, (title, pictures) in enumerate(rows):
        top = row * (CELL + HEAD + 4)
        for column, (name, picture) in enumerate(pictures.items()):
            left = column * (CELL + 4)
            text = f"{title}: {name}" if column == 0 else name
            draw.text((left + 2, top + 1), text.replace("×", "x"), "black")  # the font has no ×
            image.paste(_cell(picture), (left, top + HEAD))
    return image


def _cell(picture: Array) -> Image.Image:
    """The middle of the picture, in its own pixels."""
    height, width = picture.shape[:2]
    top, left = max(0, height - CELL) // 2, max(0, width - CELL) // 2
    return Image.fromarray(np.ascontiguousarray(picture[top : top + CELL, left : left + CELL]))
