"""From the start of the program to its first request, over a tree of 1,000,000 files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from benchmarks.photos import archive
from benchmarks.running import started
from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.service import Service, service

__all__ = ["compare", "first_request", "measure", "tree"]

_SECONDS = "s to the first request"


def measure(lab: Lab) -> Iterator[Row]:
    """Ours; the process is ended when its first request is there."""
    count = lab.count(1_000_000)
    photos = tree(lab, count)
    with service() as server:
        for name in lab.turns("ours"):
            with lab.out() as out:
                yield Row(f"{count:,} files", name, _SECONDS, first_request(name, server, photos=photos, out=out))


def tree(lab: Lab, count: int) -> Path:
    """So many photos, few of one size: those that are must be read, to be compared."""
    return archive(lab.archives, count=count, size=1_000, sparse=True, differing=1_000_003)


def first_request(name: str, server: Service, **job: Any) -> float:
    """Seconds from the start of the process, imports and all, to its first request."""
    began = monotonic()
    with started(name, url=server.url, **job) as process:
        while (first := server.stats(forget=False)["first"]) is None:
            assert process.poll() is None, "it ended without a request"
            sleep(0.01)
    server.stats()
    return float(first) - began


def compare(medians: Medians) -> Iterator[Ratio]:
    """To the goal."""
    for (case, name, _), seconds in medians.items():
        yield Ratio(case, f"{name}, first request / 1 s", seconds, "≤1")
