"""A soak: many photos through one client in one process, its memory, files and tasks sampled as it goes.

    tox -e soak                       # 200,000 photos
    tox -e soak -- --photos 5000

Prints each series' slope over the photos done, after the first tenth, and writes the samples as JSON. Linux only: it
reads /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from statistics import linear_regression

import msgspec

from smarty_async import SmartyClient, embedded_service

_FOLDER = 1000  # photos in each
_SAMPLES = 400


class Sample(msgspec.Struct):
    """How much there was after so many photos."""

    photos: int
    rss_bytes: int
    files: int
    tasks: int


def sample(photos: int) -> Sample:
    """How much there is now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Sample(
        photos,
        pages * os.sysconf("SC_PAGE_SIZE"),
        sum(1 for _ in Path("/proc/self/fd").iterdir()),
        len(asyncio.all_tasks()),
    )


def make_photo(path: Path, number: int) -> None:
    """A PNG of its own content, 400 bytes to 3 KB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 10 + number % 20
    rows = random.Random(number).randbytes(side * (3 * side + 1))  # noqa: S311 - noise
    raw = b"".join(b"\0" + rows[y * 3 * side : (y + 1) * 3 * side] for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 1)) + chunk(b"IEND", b"")
    )


def make_archive(folder: Path, photos: int) -> None:
    """Photos in folders of a thousand."""
    for number in range(photos):
        place = folder / str(number // _FOLDER)
        if number % _FOLDER == 0:
            place.mkdir(parents=True)
        make_photo(place / f"{number}.png", number)


async def soak(archive: Path, out: Path, photos: int) -> list[Sample]:
    """Restore them all; the samples taken on the way."""
    samples: list[Sample] = []
    every = max(1, photos // _SAMPLES)
    bad = done = 0
    async with embedded_service(engine="echo") as url, SmartyClient(base_url=url) as client:
        async for result in client.improve_archive(archive, out=out):
            done += 1
            bad += result.outcome != "restored"
            for path in result.outputs.values():  # else the disk fills up
                (out / path).unlink()
            if done % every == 0:
                samples.append(sample(done))
        print(f"{client!r} has done {done:,} photos", file=sys.stderr)
    if bad or done != photos:
        raise SystemExit(f"{done} photos were reported, of which {bad} badly; there are {photos}")
    return samples


def slopes(samples: list[Sample]) -> dict[str, float]:
    """The rise of each series over 1,000 photos, after the first tenth."""
    later = samples[len(samples) // 10 :]
    x = [one.photos / 1000 for one in later]
    return {
        name: linear_regression(x, [float(getattr(one, name)) for one in later]).slope
        for name in ("rss_bytes", "files", "tasks")
    }


def main() -> None:
    """Make the archive, soak, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=200_000)
    parser.add_argument("--json", type=Path, default=Path("soak.json"))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="smarty_async-soak-"))
    try:
        make_archive(folder / "archive", options.photos)
        samples = asyncio.run(soak(folder / "archive", folder / "out", options.photos))
    finally:
        shutil.rmtree(folder)
    reported = slopes(samples)
    most = {name: max(getattr(one, name) for one in samples) for name in ("rss_bytes", "files", "tasks")}
    options.json.write_text(
        json.dumps({"slopes_per_1000_photos": reported, "most": most, "samples": msgspec.to_builtins(samples)})
    )
    for name, slope in reported.items():
        print(f"{name}: {slope:+.3f} per 1,000 photos, {most[name]:,} at most")


if __name__ == "__main__":
    main()
