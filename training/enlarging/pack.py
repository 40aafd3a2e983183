"""Pack the photographs that only the finer network saw: those of `photographs.tsv`, which states each one's licence.

    git clone https://github.com/BuddiesOfBudgie/budgie-backgrounds clones/BuddiesOfBudgie/budgie-backgrounds
    apt-get download palapeli-data=4:22.12.3-1 && dpkg-deb -x palapeli-data_*.deb clones/palapeli-data
    python -m training.enlarging.pack --clones clones --out pack/more

`clones` holds each source of the table under its name. Some photographs are in former commits only.
The others come from `training.scratches.photos.pack`.
"""

from __future__ import annotations

import argparse
import csv
import io
import subprocess
from pathlib import Path

from PIL import Image, ImageOps

__all__ = ["pack"]

_TABLE = Path(__file__).with_name("photographs.tsv")

_SIDE, _QUALITY = 1300, 90
"""Pixels of a photograph's longer side at most, and the quality of its JPEG file."""


def pack(clones: Path, out: Path) -> None:
    """Write the photographs of the table, reduced, as JPEG files.

    Raises:
        OSError: a file of an unpacked package cannot be read, or the folder cannot be written to.
        CalledProcessError: a clone, or the commit in it, is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    with _TABLE.open(newline="") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            with Image.open(io.BytesIO(_file(clones, row))) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
            scale = min(1.0, _SIDE / max(image.size))
            size = (round(image.width * scale), round(image.height * scale))
            image = image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)
            image.save(out / row["file"], quality=_QUALITY, subsampling="4:4:4")


def _file(clones: Path, row: dict[str, str]) -> bytes:
    package = row["source"].removeprefix("Debian: ")
    if package != row["source"]:
        return (clones / package / row["path"]).read_bytes()
    command = ["git", "-C", str(clones / package), "show", f"{row['version']}:{row['path']}"]
    return subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 - our own


def main() -> None:
    """Pack them."""
    parser = argparse.ArgumentParser(prog="python -m training.enlarging.pack", description=__doc__)
    parser.add_argument("--clones", type=Path, required=True, help="the folder of the clones and unpacked packages")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the JPEG files")
    options = parser.parse_args()
    pack(options.clones, options.out)


if __name__ == "__main__":
    main()
