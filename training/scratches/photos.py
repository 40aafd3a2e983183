"""The photographs for training, validation and thresholds: read from packages whose licences are settled.

`SOURCES` lists every source with its licence and where the licence is stated. Debian packages come through
`apt-get download`, the other sources through `git`; nothing else is fetched.

    apt-get download scratch=1.4.0.6~dfsg1-6.1 lomiri-wallpapers-16.04=20.04.0-2 lomiri-wallpapers-20.04=20.04.0-2 \
        mate-backgrounds=1.26.0-1 plasma-workspace-wallpapers=4:5.27.5-2 gcompris-qt-data=3.1-2
    for package in *.deb; do dpkg-deb -x "$package" "sources/$(basename "$package" | cut -d_ -f1)"; done
    git clone https://github.com/alexeygrigorev/clothing-dataset-small sources/clothing-dataset-small
    git clone https://github.com/elementary/wallpapers sources/elementary-wallpapers

`pack` writes them as JPEG files, for machines that have no network.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np

from training.photographs import Pixels

__all__ = ["SIDE", "SOURCES", "Photo", "Source", "load", "pack"]

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
    """A photograph.

    Attributes:
        name: `source/path`.
        source: where it comes from.
        pixels: H×W×3.
        jpeg: the file, where it is a JPEG file that was not reduced.
    """

    name: str
    source: Source
    pixels: Pixels
    jpeg: bytes | None = None


SOURCES = (
    Source(
        name="scratch",
        version="1.4.0.6~dfsg1-6.1",
        licence="CC BY-SA 3.0, Massachusetts Institute of Technology",
        stated="/usr/share/doc/scratch/copyright",
        patterns=("usr/share/scratch/Media/Backgrounds/*/*.jpg",),
        without=("party-room", "room1", "room2", "room3", "spotlight", "woods-and-bench", "school2", "stage1"),
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
        stated="/usr/share/doc/gcompris-qt-data/copyright, and the README in each resource file",
        patterns=(
            "usr/share/gcompris-qt/rcc/explore_monuments.rcc",
            "usr/share/gcompris-qt/rcc/details.rcc",
            "usr/share/gcompris-qt/rcc/categorization.rcc",
            "usr/share/gcompris-qt/rcc/explore_farm_animals.rcc",
            "usr/share/gcompris-qt/rcc/explore_world_animals.rcc",
            "usr/share/gcompris-qt/rcc/explore_world_music.rcc",
            "usr/share/gcompris-qt/rcc/erase.rcc",
            "usr/share/gcompris-qt/rcc/clickgame.rcc",
        ),
    ),
    Source(
        name="elementary-wallpapers",
        version="f28b861",
        licence="CC0 1.0: photographs published on Unsplash before 8 June 2017",
        stated="debian/copyright of the branch deb-packaging",
        patterns=tuple(
            f"backgrounds/{name}.jpg" for name in ("Ashim DSilva", "Mr. Lee", "Photo by SpaceX", "Sunset by the Pier")
        ),
    ),
    Source(
        name="clothing-dataset-small",
        version="11961516512414bf9f6c150a832cfd21b54a6b54",
        licence="CC0 1.0",
        stated="LICENSE",
        patterns=("train/*/*.jpg",),
        most=160,
    ),
)


def load(folder: Path, *, side: int = SIDE) -> Iterator[Photo]:
    """The photographs in the unpacked sources, in a fixed order.

    Args:
        folder: holds one folder a source, named as it.
        side: pixels of the longer side, at most.

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
                pixels = _decoded(data, side)
                if pixels is not None:
                    whole = data[:2] == b"\xff\xd8" and max(pixels.shape) < side
                    yield Photo(f"{source.name}/{path.stem}/{name}", source, pixels, data if whole else None)


def pack(folder: Path, out: Path, *, side: int = 1024, held_out: int = 11, quality: int = 92) -> None:
    """Write the photographs as JPEG files to `out`, every so many to `out/VAL`, and their origins to `SOURCES.tsv`.

    Args:
        folder: holds one folder a source, named as it.
        out: where the files go.
        side: pixels of the longer side, at most.
        held_out: one of so many photographs is held out of training.
        quality: of the files, without chroma subsampling.

    Raises:
        FileNotFoundError: a source is not there.
    """
    (out / "VAL").mkdir(parents=True, exist_ok=True)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    rows = ["file\tphotograph\tversion\tlicence\tlicence stated in\n"]
    for number, photo in enumerate(load(folder, side=side)):
        name = f"{'VAL/' if number % held_out == 0 else ''}{number:04d}.jpg"
        data = photo.jpeg or cv2.imencode(".jpg", photo.pixels[..., ::-1], settings)[1].tobytes()
        (out / name).write_bytes(data)
        source = photo.source
        rows.append(f"{name}\t{photo.name}\t{source.version}\t{source.licence}\t{source.stated}\n")
    (out / "SOURCES.tsv").write_text("".join(rows), encoding="utf-8")


def _decoded(data: bytes, side: int) -> Pixels | None:
    """The picture at most `side` pixels long; None for one that is too small, or cut out on plain white."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None or min(image.shape[:2]) < 240:
        return None
    scale = side / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    if (border > 250).all(axis=1).mean() > 0.5:
        return None
    return np.ascontiguousarray(image[..., ::-1])


def _resources(path: Path) -> dict[str, bytes]:
    """The JPEG and WebP files in a Qt resource file, by a number in the order of the file."""
    data = path.read_bytes()
    *_, position, end = struct.unpack(">4sIIII", data[:20])
    found: dict[str, bytes] = {}
    stop = end if end > position else len(data)
    while position + 4 < stop:
        (length,) = struct.unpack(">I", data[position : position + 4])
        body = data[position + 4 : position + 4 + length]
        if body[4:6] == b"\x78\x9c" or body[4:6] == b"\x78\xda":
            body = zlib.decompress(body[4:])
        if body.startswith(b"\xff\xd8\xff") or body[8:12] == b"WEBP":
            found[f"{len(found):03d}"] = body
        position += 4 + length
    return found
