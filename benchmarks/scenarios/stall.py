"""The longest event-loop stalls while 8 chunks are up and down: a 1 ms ticker in the same loop.

A loop in which nothing else happens is measured beside each, in a process of its own: what it is late is the machine's.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contestants.ticker import idle_beside
from benchmarks.photos import archive
from benchmarks.running import run_contestant
from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.service import service

__all__ = ["compare", "measure"]

_CASES = {"20 KB": (20_000, 20_000), "100 KB": (10_000, 100_000), "2 MB": (1_000, 2_000_000)}
_LATE, _WORST = "p99.9 delay, ms", "worst delay, ms"


def measure(lab: Lab) -> Iterator[Row]:
    """Those with an event loop, in turns."""
    for case, (photos, size) in _CASES.items():
        count = lab.count(photos, least=8 * min(48, 30_000_000 // size))
        folder = archive(lab.archives, count=count, size=size)
        with service(output_bytes=size) as server:
            for name in lab.turns("ours", "aiohttp", "httpx"):
                with lab.out() as out, idle_beside() as idle:
                    took = run_contestant(name, photos=folder, out=out, url=server.url, ticking=True)
                yield from _rows(case, name, took["late"])
                yield from _rows(case, f"idle beside {name}", idle)


def _rows(case: str, name: str, late: list[float]) -> Iterator[Row]:
    late = sorted(late)
    yield Row(case, name, _LATE, 1_000 * late[int(len(late) * 0.999)])
    yield Row(case, name, _WORST, 1_000 * late[-1])


def compare(medians: Medians) -> Iterator[Ratio]:
    """To the goal, and to the others."""
    for (case, name, quantity), late in medians.items():
        if quantity != _LATE or name.startswith("idle"):
            continue
        if idle := medians.get((case, f"idle beside {name}", _LATE)):
            yield Ratio(
                case, f"{name} / an idle process beside it, p99.9 stall", late / idle, "≤3" if name == "ours" else ""
            )
        if name == "ours":
            yield Ratio(case, "ours, p99.9 stall / 10 ms", late / 10, "≤1")
        elif ours := medians.get((case, "ours", _LATE)):
            yield Ratio(case, f"ours / {name}, p99.9 stall", ours / late, "")
