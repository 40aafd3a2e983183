"""Make `docs/images/before-after.jpg`: the sample photos of `examples/photos`, each beside what `restore` makes of it.

python -m benchmarks.quality.before_after
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from smarty_async.local.engine import in_process_engine

ROOT = Path(__file__).parents[2]

ROWS = (
    ("cat.jpg", "album 1990/portrait.jpg"),
    ("kitchen.jpg", "фотограф на поле.jpg"),
    ("album 1990/launch.jpg", "wallet.png"),
    ("travel/view_02.tif", "travel/view_01.jpg"),
)

HEIGHT, GAP, SPACE = 190, 2, 14
"""Pixels: of each picture, between a picture and its restoration, and between pairs."""


def main() -> None:
    """Restore the photos and write the picture."""
    engine = in_process_engine("restore")
    rows: list[list[Image.Image]] = []
    for names in ROWS:
        row: list[Image.Image] = []
        for name in names:
            data = (ROOT / "examples" / "photos" / name).read_bytes()
            restored = engine.improve(data).improved or data
            row += [_scaled(data), _scaled(restored)]
        rows.append(row)
    widths = [sum(picture.width for picture in row) + 2 * GAP + SPACE for row in rows]
    sheet = Image.new("RGB", (max(widths), len(rows) * (HEIGHT + SPACE) - SPACE), "white")
    for number, row in enumerate(rows):
        left = (sheet.width - widths[number]) // 2
        for at, picture in enumerate(row):
            sheet.paste(picture, (left, number * (HEIGHT + SPACE)))
            left += picture.width + (SPACE if at % 2 else GAP)
    sheet.save(ROOT / "docs" / "images" / "before-after.jpg", quality=88)


def _scaled(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        width = round(image.width * HEIGHT / image.height)
        return image.convert("RGB").resize((width, HEIGHT), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
