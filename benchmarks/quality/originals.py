"""Clean pictures that no bound was set on: photographs out of published packages, and drawings made here.

The photographs are read straight out of the packages' wheels; nothing is installed, and nothing else is fetched:

    pip download --no-deps --only-binary :all: --python-version 3.11 -d wheels \
        scikit-learn==1.9.1 scipy==1.9.3 matplotlib==3.11.2 imgaug==0.4.0

Tuned were the gates on others: those of scikit-image, and the photos in `examples/`.
"""

from __future__ import annotations

import bz2
import io
import zipfile
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFont

PHOTOGRAPHS = {
    "flower": ("scikit_learn-1.9.1-*.whl", "sklearn/datasets/images/flower.jpg"),
    "raccoon": ("scipy-1.9.3-*.whl", "scipy/misc/face.dat"),
    "officer": ("matplotlib-3.11.2-*.whl", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
    "quokka": ("imgaug-0.4.0-*.whl", "imgaug/quokka.jpg"),
}
"""{name: (wheel, path in it)}. Flower: tultul on Flickr (vultilion), CC BY 2.0. Raccoon and officer (Grace Hopper,
US Navy): public domain. Quokka: as imgaug ships it."""

RACCOON = (1024, 768)
SIDE = 480
"""Pixels on the longer side: made smaller, a photo loses what its own JPEG did to it."""


def photographs(wheels: Path) -> dict[str, Image.Image]:
    """The clean photographs.

    Args:
        wheels: the folder that ``pip download`` filled.
    """
    return {name: _shrunk(_read(wheels, *place)) for name, place in PHOTOGRAPHS.items()}


def _read(wheels: Path, pattern: str, path: str) -> Image.Image:
    found = sorted(wheels.glob(pattern))
    if not found:
        raise SystemExit(f"no {pattern} in {wheels}: see the top of {Path(__file__).name}")
    with zipfile.ZipFile(found[0]) as wheel:
        data = wheel.read(path)
    if path.endswith(".dat"):
        return Image.frombytes("RGB", RACCOON, bz2.decompress(data))
    return Image.open(io.BytesIO(data)).convert("RGB")


def _shrunk(image: Image.Image) -> Image.Image:
    scale = SIDE / max(image.size)
    # Multiples of 8, so that they can be made 4 times smaller.
    size = (round(image.width * scale) // 8 * 8, round(image.height * scale) // 8 * 8)
    return image.resize(size, Image.Resampling.LANCZOS)


def drawings() -> dict[str, Image.Image]:
    """Flat colours, outlines and letters, as in comics and posters."""
    return {f"drawing {seed}": _drawing(Random(seed)) for seed in range(4)}  # noqa: S311 - pictures, not secrets


_SIDE, _FINE = 320, 4
"""Pixels of a drawing's side, and how many times larger it is drawn."""


def _drawing(dice: Random) -> Image.Image:
    size = _SIDE * _FINE
    image = Image.new("RGB", (size, size), _colour(dice))
    draw = ImageDraw.Draw(image)
    for _ in range(16):
        x, y, reach = dice.randrange(size), dice.randrange(size), dice.randrange(size // 16, size // 4)
        line = dice.choice([4, 6, 10])
        corners = [
            (x + dice.randint(-reach, reach), y + dice.randint(-reach, reach)) for _ in range(dice.randint(3, 6))
        ]
        draw.polygon(corners, fill=_colour(dice), outline="black", width=line)
        box = (x - reach, y - reach // 2, x + reach // 2, y + reach)
        draw.ellipse(box, fill=_colour(dice), outline="black", width=line)
        draw.arc((y - reach, x - reach, y + reach, x + reach), dice.randrange(360), dice.randrange(360), "black", line)
    for _ in range(6):
        font = ImageFont.load_default(dice.randrange(size // 20, size // 8))
        draw.text((dice.randrange(size * 3 // 4), dice.randrange(size)), "Photo 1928", _colour(dice), font)
    return image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _colour(dice: Random) -> tuple[int, int, int]:
    return dice.randrange(256), dice.randrange(256), dice.randrange(256)
