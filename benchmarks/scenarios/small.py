"""Many small photos: 100,000 of 20 KB; the CPU time of each beyond the floor's."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.photos import archive
from benchmarks.running import check_outputs, run_contestant
from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.service import service

__all__ = ["compare", "measure"]

_SIZE, _CPU = 20_000, "CPU µs a photo"


def measure(lab: Lab) -> Iterator[Row]:
    """In memory where there is one: it is about the client, not the disk."""
    count = lab.count(100_000, least=960)
    folder = archive(lab.archives, count=count, size=_SIZE)
    with service(output_bytes=_SIZE) as server:
        for name in lab.turns("floor", "ours, no fsync", "aiohttp", "httpx", "requests"):
            with lab.out(in_memory=True) as out:
                took = run_contestant(name, photos=folder, out=out, url=server.url)
                check_outputs(out, photos=count, output_bytes=_SIZE)
            yield Row(f"20 KB × {count:,}", name, _CPU, 1e6 * took["cpu"] / count)


def compare(medians: Medians) -> Iterator[Ratio]:
    """What ours takes beyond the floor to the goal, and to the others'."""
    for (case, name, _), cpu in medians.items():
        ours = medians.get((case, "ours, no fsync", _CPU))
        if ours and name == "floor":
            yield Ratio(case, "ours, no fsync, beyond the floor / 150 µs", (ours - cpu) / 150, "≤1")
        if ours and name != "ours, no fsync":
            yield Ratio(case, f"ours, no fsync / {name}, CPU", ours / cpu, "")
