"""Makespan over the ideal, for servers with 8 slots.

Their answers take (a) a fixed time, (b) a time a photo, (c) times a photo with heavy tails (Pareto). The times are
seconds, as a restoration of 48 photos would take at least; what the client adds is milliseconds a photo, and would be
all that is seen beside shorter ones.

The ideal has no client at all. Let N be the images that were served (photos, and again those answered with status 2),
k the slots, m the images a request may carry, a the seconds of a request, and x those of an image: one slot works on at
least N/k images, which are at least r = ceil(N/k/m) requests, so it is at least r·a + (sum of x)/k; and no less than
a + the largest x. If some had to go again, one more request of `a` follows the last round, for what failed in it.
The time measured is the client's whole job, from its start (after its imports) to its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from benchmarks.photos import archive
from benchmarks.running import run_contestant
from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.service import service

__all__ = ["compare", "ideal", "measure"]

_SLOTS, _IMAGES = 8, 48
_MODELS = {
    "(a) fixed": {"per_request": 5.0},
    "(b) a + b × images": {"per_request": 1.0, "per_image": 0.1},
    "(c) heavy-tailed": {"per_request": 1.0, "per_image": 0.1, "tail": 1.5},
}
_COUNTS = (1, 10, 100, 1_000, 10_000)
_OVER = "makespan / ideal"


def measure(lab: Lab) -> Iterator[Row]:
    """Ours with and without failures; plain aiohttp, which knows no second try, without."""
    for model, latency in _MODELS.items():
        for temporary in (0.0, 0.05):
            for photos in _COUNTS if lab.scale >= 1 else _COUNTS[:-1]:
                folder = archive(lab.archives, count=photos, size=1_000)
                case = f"{model}, {photos:,} photos, {temporary:.0%} status 2"
                for name in ("ours", "aiohttp") if not temporary else ("ours",):
                    if name not in lab.contestants:
                        continue
                    with (
                        service(kinds=("improved",), temporary=temporary, slots=_SLOTS, **latency) as server,
                        lab.out() as out,
                    ):
                        wall = run_contestant(name, photos=folder, out=out, url=server.url, concurrency=_SLOTS)["wall"]
                        yield Row(case, name, _OVER, wall / ideal(server.stats()["works"], photos))


def ideal(works: list[list[float]], photos: int) -> float:
    """Seconds; `works` are those of each request: its own, then its images'."""
    images = [seconds for _, *each in works for seconds in each]
    own = works[0][0]
    rounds = ceil(len(images) / _SLOTS / _IMAGES) + (len(images) > photos)
    return max(rounds * own + sum(images) / _SLOTS, own + max(images))


def compare(medians: Medians) -> Iterator[Ratio]:
    """As it is."""
    for (case, name, _), over in medians.items():
        goal = "≤1.03" if any(f" {count:,} photos" in case for count in (1_000, 10_000)) else "≤1.10"
        yield Ratio(case, f"{name}, makespan / ideal", over, goal if name == "ours" else "")
