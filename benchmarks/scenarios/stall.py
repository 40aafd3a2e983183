"""The longest event-loop stalls while 8 chunks are up and down: a 1 ms ticker in the same loop.

A loop in which nothing else happens is measured in the same turns: what it is late is the machine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from benchmarks.contestants.ticker import run_ticking
from benchmarks.photos import archive
from benchmarks.running import run_contestant
from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.service import service

__all__ = ["compare", "measure"]

_CASES = {"100 KB": (10_000, 100_000), "2 MB": (1_000, 2_000_000)}
_LATE, _WORST = "p99.9 delay, ms", "worst delay, ms"


def measure(lab: Lab) -> Iterator[Row]:
    """Those with an event loop, in turns."""
    for case, (photos, size) in _CASES.items():
        count = lab.count(photos, least=8 * min(48, 30_000_000 // size))
        folder = archive(lab.archives, count=count, size=size)
        with service(output_bytes=size) as server:
            for name in lab.turns("ours", "aiohttp", "httpx"):
                with lab.out() as out:
                    took = run_contestant(name, photos=folder, out=out, url=server.url, ticking=True)
                yield from _rows(case, name, took["late"])
                yield from _rows(case, "an idle loop", run_ticking(asyncio.sleep(2), ticking=True) or [])


def _rows(case: str, name: str, late: list[float]) -> Iterator[Row]:
    late = sorted(late)
    yield Row(case, name, _LATE, 1_000 * late[int(len(late) * 0.999)])
    yield Row(case, name, _WORST, 1_000 * late[-1])


def compare(medians: Medians) -> Iterator[Ratio]:
    """To the goal, and to the others."""
    for (case, name, quantity), late in medians.items():
        if quantity == _LATE and name == "ours":
            yield Ratio(case, "ours, p99.9 stall / 10 ms", late / 10, "≤1")
        elif quantity == _LATE and (ours := medians.get((case, "ours", _LATE))):
            yield Ratio(case, f"ours / {name}, p99.9 stall", ours / late, "")
