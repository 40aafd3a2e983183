"""Peak memory at concurrency 8: photos of 100 KB and of 8 MB, archives of all sizes.

Photos have holes, and the large archives outputs of 1 KB, so that they fit on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.photos import archive
from benchmarks.running import run_contestant
from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.service import service

__all__ = ["compare", "measure"]

_PEAK = "peak RSS, MB"
_SIZES = {"100 KB": 100_000, "8 MB": 8_000_000}
_COUNTS = (10, 1_000, 100_000, 1_000_000)
_FULL_OUTPUTS, _MOST_BYTES = 1_000, 2_000_000_000


def measure(lab: Lab) -> Iterator[Row]:
    """Ours at every size that this scale allows (2 GB of photos at scale 0.01), and who else fits."""
    for case, size in _SIZES.items():
        for count in _COUNTS:
            if count * size > _MOST_BYTES * 100 * lab.scale:
                break
            photos = archive(lab.archives, count=count, size=size, sparse=True)
            output_bytes = size if count <= _FULL_OUTPUTS else 1_000
            with service(output_bytes=output_bytes) as server:
                for name in ("ours", "aiohttp") if count <= 1_000 else ("ours",):
                    if name in lab.contestants:
                        with lab.out() as out:
                            took = run_contestant(name, photos=photos, out=out, url=server.url)
                        yield Row(f"{case} × {count:,}", name, _PEAK, took["rss"] / 1e6)


def compare(medians: Medians) -> Iterator[Ratio]:
    """To the goal; and the largest archive to that of 1,000."""
    for (case, name, _), peak in medians.items():
        if name == "ours":
            yield Ratio(case, "ours, peak RSS / 100 MB", peak / 100, "≤1")
        elif (ours := medians.get((case, "ours", _PEAK))) is not None:
            yield Ratio(case, f"ours / {name}, peak RSS", ours / peak, "")
    for size in _SIZES:
        peaks = [found for count in _COUNTS[1:] if (found := medians.get((f"{size} × {count:,}", "ours", _PEAK)))]
        if len(peaks) > 1:
            yield Ratio(size, "ours, largest archive / 1,000 photos, peak RSS", peaks[-1] / peaks[0], "1: no slope")
