"""The photographs for training, validation and thresholds: read from packages whose licences are settled.

`SOURCES` lists every source with its licence and where the licence is stated. Debian packages come through
`apt-get download`, the clothing data set through `git`; nothing else is fetched.

    apt-get download scratch=1.4.0.6~dfsg1-6.1 lomiri-wallpapers-16.04=20.04.0-2 lomiri-wallpapers-20.04=20.04.0-2 \
        mate-backgrounds=1.26.0-1 plasma-workspace-wallpapers=4:5.27.5-2 gcompris-qt-data=3.1-2
    for package in *.deb; do dpkg-deb -x "$package" "sources/$(basename "$package" | cut -d_ -f1)"; done
    git clone https://github.com/alexeygrigorev/clothing-dataset-small sources/clothing-dataset-small
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDE", "SOURCES", "Photo", "Source", "load"]

Pixels = NDArray[np.uint8]
"""H×W×3, red green blue."""

SIDE = 640
"""Pixels of the longer side that photos are reduced to: their own JPEG damage shrinks with them."""

_SEED = 20261125


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where photographs come from.

    Attributes:
        name: the Debian package, or the repository's name.
        version: the package's version, or the commit.
        licence: the licence of the photographs.
        stated: the file that states it.
        patterns: globs of the photographs below the source's folder.
        without: parts of names that are left out: drawings, abstract pictures, other sizes of the same picture.
        most: at most this many are drawn, by a fixed seed.
    """

    name: str
    version: str
    licence: str
    stated: str
    patterns: tuple[str, ...]
    without: tuple[str, ...] = ()
    most: int | None = None


class Photo(msgspec.Struct, frozen=True):
    """A photograph and its name, `source/path`."""

    name: str
    pixels: Pixels


SOURCES = (
    Source(
        name="scratch",
        version="1.4.0.6~dfsg1-6.1",
        licence="CC BY-SA 3.0, Massachusetts Institute of Technology",
        stated="/usr/share/doc/scratch/copyright",
        patterns=("usr/share/scratch/Media/Backgrounds/*/*.jpg",),
    ),
    Source(
        name="lomiri-wallpapers-16.04",
        version="20.04.0-2",
        licence="CC BY 4.0, CC BY-SA 4.0 or CC0 1.0, by file; authors in the file names",
        stated="/usr/share/doc/lomiri-wallpapers-16.04/copyright",
        patterns=("usr/share/**/*.jpg",),
        without=("analogpattern",),
    ),
    Source(
        name="lomiri-wallpapers-20.04",
        version="20.04.0-2",
        licence="CC BY-SA 3.0; authors in the file names",
        stated="/usr/share/doc/lomiri-wallpapers-20.04/copyright",
        patterns=("usr/share/**/*.jpg",),
        without=("Painting",),
    ),
    Source(
        name="mate-backgrounds",
        version="1.26.0-1",
        licence="GPL-2+; authors by file",
        stated="/usr/share/doc/mate-backgrounds/copyright",
        patterns=("usr/share/backgrounds/mate/nature/*.jpg",),
    ),
    Source(
        name="plasma-workspace-wallpapers",
        version="4:5.27.5-2",
        licence="LGPL-3 or CC BY-SA 4.0, by picture; authors in each metadata.json",
        stated="/usr/share/wallpapers/*/metadata.json",
        patterns=tuple(
            f"usr/share/wallpapers/{name}/contents/images/2560x1600.jpg"
            for name in (
                "Autumn",
                "BytheWater",
                "ColdRipple",
                "ColorfulCups",
                "DarkestHour",
                "EveningGlow",
                "FallenLeaf",
                "Grey",
                "Kite",
                "OneStandsOut",
                "Path",
            )
        ),
    ),
    Source(
        name="gcompris-qt-data",
        version="3.1-2",
        licence="public domain, CC0, CC BY or CC BY-SA, by file; authors by file",
        stated="/usr/share/doc/gcompris-qt-data/copyright",
        patterns=(
            "usr/share/gcompris-qt/rcc/explore_monuments.rcc",
            "usr/share/gcompris-qt/rcc/details.rcc",
            "usr/share/gcompris-qt/rcc/categorization.rcc",
            "usr/share/gcompris-qt/rcc/explore_farm_animals.rcc",
            "usr/share/gcompris-qt/rcc/explore_world_animals.rcc",
        ),
    ),
    Source(
        name="clothing-dataset-small",
        version="11961516512414bf9f6c150a832cfd21b54a6b54",
        licence="CC0 1.0",
        stated="LICENSE",
        patterns=("train/*/*.jpg",),
        most=700,
    ),
)


def load(folder: Path) -> Iterator[Photo]:
    """The photographs in the unpacked sources, in a fixed order, the longer side at most `SIDE` pixels.

    Args:
        folder: holds one folder a source, named as it.

    Raises:
        FileNotFoundError: a source is not there.
    """
    for source in SOURCES:
        paths = sorted(path for pattern in source.patterns for path in (folder / source.name).glob(pattern))
        paths = [path for path in paths if not any(part in path.name for part in source.without)]
        if not paths:
            raise FileNotFoundError(f"{folder / source.name}: see the top of {Path(__file__).name}")
        if source.most is not None:
            chosen = np.random.default_rng(_SEED).permutation(len(paths))[: source.most]
            paths = [paths[at] for at in sorted(chosen)]
        for path in paths:
            files = _resources(path) if path.suffix == ".rcc" else {path.stem: path.read_bytes()}
            for name, data in files.items():
                pixels = _decoded(data)
                if pixels is not None:
                    yield Photo(f"{source.name}/{path.stem}/{name}", pixels)


def _decoded(data: bytes) -> Pixels | None:
    """The picture at most `SIDE` pixels long; None for one that is too small, or cut out on plain white."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None or min(image.shape[:2]) < 240:
        return None
    scale = SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    if (border > 250).all(axis=1).mean() > 0.5:
        return None
    return np.ascontiguousarray(image[..., ::-1])


def _resources(path: Path) -> dict[str, bytes]:
    """The JPEG and WebP files in a Qt resource file, by a number in the order of the file."""
    data = path.read_bytes()
    start = struct.unpack(">4sIIII", data[:20])[3]
    end = struct.unpack(">4sIIII", data[:20])[4]
    found: dict[str, bytes] = {}
    position = start
    stop = end if end > start else len(data)
    while position + 4 < stop:
        (length,) = struct.unpack(">I", data[position : position + 4])
        body = data[position + 4 : position + 4 + length]
        if body[4:6] == b"\x78\x9c" or body[4:6] == b"\x78\xda":
            body = zlib.decompress(body[4:])
        if body.startswith(b"\xff\xd8\xff") or body[8:12] == b"WEBP":
            found[f"{len(found):03d}"] = body
        position += 4 + length
    return found
