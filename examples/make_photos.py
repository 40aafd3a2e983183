"""Make the damaged photos of `examples/photos/` from clean ones whose licence is free.

The clean photographs ship inside two published packages; nothing else is fetched. `examples/photos.md` says whose they
are, and where their licence is stated. With these versions, in an environment of its own:

    pip install numpy==2.4.6 pillow==13.0.0
    pip install --no-deps scikit-image==0.26.0 scikit-learn==1.9.1
    python examples/make_photos.py

Every run writes the same pictures: all chance comes from a seed made of the photo's own name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Picture = NDArray[np.float64]
"""H×W×3, red green blue, 0 is black and 1 is white."""

Colour = tuple[float, float, float]

PHOTOS = Path(__file__).parent / "photos"

BASES = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),
}


def base(name: str, *, box: tuple[int, int, int, int] | None = None, width: int | None = None) -> Picture:
    """The clean photo `name`, cut to `box` (left, top, right, bottom) and shrunk to `width` pixels."""
    package, inside = BASES[name]
    # find_spec looks the package up without importing it: its own dependencies are not needed.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: see the top of {Path(__file__).name}")
    with Image.open(Path(spec.submodule_search_locations[0]) / inside) as file:
        image = file.convert("RGB").crop(box)
    if width is not None:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.float64) / 255


def to_image(picture: Picture) -> Image.Image:
    """The picture in 8 bits a channel."""
    return Image.fromarray(np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8))


def soften(picture: Picture, radius: float) -> Picture:
    """Out of focus by `radius` pixels."""
    return np.asarray(to_image(picture).filter(ImageFilter.GaussianBlur(radius)), dtype=np.float64) / 255


def grey(picture: Picture) -> Picture:
    """Black-and-white, by the luminance of ITU-R BT.601."""
    return np.repeat(picture @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2)


def fade(picture: Picture, *, black: Colour, white: Colour, colour: float = 1.0) -> Picture:
    """Age the dyes: black and white drift to the given ones, saturation to the part `colour` of what it was."""
    dull = grey(picture) * (1 - colour) + picture * colour
    low, high = np.asarray(black), np.asarray(white)
    faded: Picture = low + dull * (high - low)
    return faded


def grain(picture: Picture, rng: np.random.Generator, amount: float, *, chroma: float = 0.0) -> Picture:
    """Film grain about a pixel wide, `amount` its deviation; `chroma` the same for each colour by itself."""
    height, width, _ = picture.shape
    noise = rng.normal(0, amount, (height, width, 1)) + rng.normal(0, chroma, picture.shape)
    return np.clip(picture + noise, 0, 1)


def overlay(picture: Picture, mask: Image.Image, colour: Colour, strength: float) -> Picture:
    """Lay `colour` over the picture where `mask` (of any size) is white; `strength` 0 to 1."""
    height, width, _ = picture.shape
    small = mask.resize((width, height), Image.Resampling.LANCZOS)
    alpha = np.clip(np.asarray(small, dtype=np.float64)[..., None] / 255, 0, 1) * strength
    return picture * (1 - alpha) + np.asarray(colour) * alpha


def canvas(picture: Picture, scale: int = 3) -> Image.Image:
    """An empty mask, `scale` times as fine as the picture, so that thin lines come out smooth."""
    height, width, _ = picture.shape
    return Image.new("L", (width * scale, height * scale))


def walk(
    rng: np.random.Generator, start: tuple[float, float], angle: float, length: int, bend: float
) -> list[tuple[float, float]]:
    """Points of a line of `length` steps of 6 pixels that sets out at `angle` (radians) and wanders."""
    turns = angle + np.cumsum(rng.normal(0, bend, length))
    xs, ys = start[0] + 6 * np.cumsum(np.cos(turns)), start[1] + 6 * np.cumsum(np.sin(turns))
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def scratch(picture: Picture, rng: np.random.Generator, count: int, *, colour: Colour = (0.97, 0.95, 0.9)) -> Picture:
    """Scratches along the film or across the print, mostly upright, of differing depth."""
    for _ in range(count):
        mask = canvas(picture)
        start = (rng.uniform(0, mask.width), rng.uniform(-0.2, 0.5) * mask.height)
        line = walk(rng, start, np.pi / 2 + rng.normal(0, 0.12), int(rng.uniform(60, 260)), 0.012)
        ImageDraw.Draw(mask).line(line, fill=255, width=int(rng.integers(2, 6)))
        picture = overlay(picture, mask, colour, rng.uniform(0.45, 0.95))
    return picture


def dust(picture: Picture, rng: np.random.Generator, count: int, *, colour: Colour = (0.96, 0.95, 0.92)) -> Picture:
    """Specks, and one hair for every ten of them."""
    mask = canvas(picture)
    draw = ImageDraw.Draw(mask)
    for _ in range(count):
        x, y, size = rng.uniform(0, mask.width), rng.uniform(0, mask.height), 1.5 + rng.gamma(1.6, 1.4)
        draw.ellipse((x - size, y - size * rng.uniform(0.5, 1), x + size, y + size), fill=int(rng.integers(120, 255)))
    for _ in range(count // 10):
        start = (rng.uniform(0, mask.width), rng.uniform(0, mask.height))
        draw.line(walk(rng, start, rng.uniform(0, 2 * np.pi), int(rng.uniform(8, 22)), 0.28), fill=210, width=3)
    return overlay(picture, mask, colour, 0.9)


def crease(picture: Picture, rng: np.random.Generator, *, at: float, slope: float) -> Picture:
    """A fold from side to side, `at` a part of the height: the paper shows, and a shadow lies beside it."""
    mask = canvas(picture)
    steps = np.linspace(0, 1, 400)
    ys = (at + slope * steps) * mask.height + np.cumsum(rng.normal(0, 0.5, steps.size))
    line = list(zip((steps * mask.width).tolist(), ys.tolist(), strict=True))
    shadow = mask.copy()
    ImageDraw.Draw(shadow).line([(x, y + 14) for x, y in line], fill=255, width=22)
    draw = ImageDraw.Draw(mask)
    draw.line(line, fill=150, width=3)
    # Where the emulsion flaked off, the crack is wider: in runs, not everywhere.
    depth = np.convolve(rng.normal(0, 1, steps.size), np.ones(12) / 12, mode="same") * 14
    for x, y, half in zip(steps * mask.width, ys, depth + rng.normal(0, 1.5, steps.size), strict=True):
        if half > 0:
            draw.polygon([(x - 6, y), (x, y - half * rng.uniform(0.4, 1.4)), (x + 7, y), (x, y + half)], fill=245)
    picture = overlay(picture, shadow.filter(ImageFilter.GaussianBlur(9)), (0.12, 0.1, 0.08), 0.45)
    return overlay(picture, mask, (0.95, 0.93, 0.88), 0.95)


def stain(picture: Picture, rng: np.random.Generator, *, x: float, y: float, radius: float) -> Picture:
    """Something spilt and dried, with a darker rim; `x`, `y` and `radius` are parts of the width."""
    mask = canvas(picture, 1)
    unit = mask.width
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    waves = sum(rng.normal(0, 0.09 / k) * np.cos(k * angles + rng.uniform(0, 6)) for k in range(1, 9))
    reach = radius * unit * (1 + waves)
    edge = list(
        zip(
            (x * unit + reach * np.cos(angles)).tolist(),
            (y * unit + reach * np.sin(angles)).tolist(),
            strict=True,
        )
    )
    ImageDraw.Draw(mask).polygon(edge, fill=105)
    ImageDraw.Draw(mask).line([*edge, edge[0]], fill=235, width=3)
    return overlay(picture, mask.filter(ImageFilter.GaussianBlur(1.6)), (0.45, 0.3, 0.13), 0.5)


def paler_edges(picture: Picture, colour: Colour, strength: float) -> Picture:
    """Light and air ate the print from its borders."""
    height, width, _ = picture.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    alpha = np.clip((x**4 + y**4) / 1.6, 0, 1)[..., None] * strength
    paler: Picture = picture * (1 - alpha) + np.asarray(colour) * alpha
    return paler


def photographer(rng: np.random.Generator) -> Picture:
    """A black-and-white print turned brown, scratched and dusty."""
    aged = fade(grain(grey(base("camera")), rng, 0.035), black=(0.2, 0.14, 0.09), white=(0.93, 0.85, 0.7))
    aged = stain(paler_edges(aged, (0.93, 0.86, 0.72), 0.7), rng, x=0.93, y=0.9, radius=0.2)
    return scratch(dust(aged, rng, 90), rng, 9)


def portrait(rng: np.random.Generator) -> Picture:
    """A colour print gone red and pale: the cyan dye goes first."""
    aged = fade(soften(base("astronaut"), 0.6), black=(0.42, 0.26, 0.24), white=(0.95, 0.82, 0.72), colour=0.5)
    return dust(grain(aged, rng, 0.02, chroma=0.012), rng, 30)


def wallet(rng: np.random.Generator) -> Picture:
    """A small, soft black-and-white picture of a face."""
    face = soften(grey(base("astronaut", box=(125, 0, 325, 250), width=160)), 0.8)
    return grain(fade(face, black=(0.12, 0.12, 0.12), white=(0.86, 0.86, 0.86)), rng, 0.03)


def cat(rng: np.random.Generator) -> Picture:
    """Taken in poor light: dark and full of coloured noise."""
    return grain(base("chelsea") ** 1.25 * 0.85, rng, 0.06, chroma=0.07)


def kitchen(rng: np.random.Generator) -> Picture:
    """Yellowed, low in contrast, and saved as a far too small JPEG."""
    return grain(fade(base("coffee"), black=(0.3, 0.25, 0.12), white=(0.9, 0.83, 0.55), colour=0.6), rng, 0.015)


def launch(rng: np.random.Generator) -> Picture:
    """A slide that lay in the dust, was folded, and lost its blacks."""
    aged = fade(base("rocket"), black=(0.2, 0.17, 0.24), white=(0.9, 0.86, 0.85), colour=0.7)
    aged = grain(aged, rng, 0.03, chroma=0.015)
    return scratch(dust(crease(aged, rng, at=0.62, slope=-0.09), rng, 120), rng, 4)


def view(rng: np.random.Generator) -> Picture:
    """A pale black-and-white print, scratched and stained."""
    aged = fade(grey(base("china", width=560)), black=(0.38, 0.38, 0.38), white=(0.87, 0.87, 0.87))
    return scratch(dust(grain(aged, rng, 0.03), rng, 50), rng, 7)


def good(_: np.random.Generator) -> Picture:
    """Nothing wrong with it."""
    return base("china")


RECIPES: dict[str, tuple[Callable[[np.random.Generator], Picture], int]] = {
    "фотограф на поле.jpg": (photographer, 82),
    "wallet.png": (wallet, 0),
    "cat.jpg": (cat, 88),
    "kitchen.jpg": (kitchen, 12),
    "album 1990/portrait.jpg": (portrait, 85),
    "album 1990/launch.jpg": (launch, 80),
    "travel/view_02.tif": (view, 0),
    "travel/view_01.jpg": (good, 92),
}
"""{where in `photos/`: (how it is made, the JPEG's quality)}."""

GREY = {"wallet.png", "travel/view_02.tif"}
"""Saved with one channel, as a scanner set to black-and-white does."""


def main() -> None:
    """Write every photo."""
    for name, (recipe, quality) in RECIPES.items():
        image = to_image(recipe(np.random.default_rng(zlib.crc32(name.encode()))))
        path = PHOTOS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        how: dict[str, dict[str, Any]] = {
            ".jpg": {"quality": quality},
            ".png": {"optimize": True},
            ".tif": {"compression": "tiff_lzw"},
        }
        (image.convert("L") if name in GREY else image).save(path, **how[path.suffix])
        print(f"{path.stat().st_size:>8,}  {image.width}×{image.height}  {name}")


if __name__ == "__main__":
    main()
