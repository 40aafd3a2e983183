"""Makespan over the ideal, for servers with 8 slots.

Their answers take (a) a fixed time, (b) a time a photo, (c) times a photo with heavy tails (Pareto). The times are
seconds, as a restoration of 48 photos would take at least; what the client adds is milliseconds a photo, and would be
all that is seen beside shorter ones. How long a photo takes, and how often it is answered with status 2, is drawn for
that photo: it is the same in whatever order photos come, by any client.

The ideal is what a client would need that takes no time itself and knows all photos from the start, but not their
fates: it is simulated with those of the measured run. In as few rounds over the slots as can be it spreads the photos
evenly; what failed is sent in the next request, with no pause before; what failed in the last round is spread evenly
over all slots again.

The bound is what nobody could be faster than, knowing the fates too. Let N be the images that were served (photos, and
again those answered with status 2), k the slots, m the images a request may carry, a the seconds of a request, and x
those of an image. One slot serves at least N/k of them, in r = ceil(N/k/m) requests or more: it works for r·a and the
ceil(N/k) shortest x at least; all slots together for the sum of x besides r·a each; and every photo as often as it
came for a + x.

The time measured is the client's whole job, from its start (after its imports) to its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count
from math import ceil
from typing import Any, NamedTuple

from benchmarks.photos import archive
from benchmarks.running import run_contestant
from benchmarks.scenarios import Lab, Medians, Ratio, Row
from benchmarks.service import service

__all__ = ["IMAGES", "MODELS", "SLOTS", "Fate", "bound", "compare", "ideal", "measure"]

SLOTS, IMAGES = 8, 48
MODELS: dict[str, dict[str, Any]] = {
    "(a) fixed": {"per_request": 5.0, "per_image": 0.0},
    "(b) a + b × images": {"per_request": 1.0, "per_image": 0.1},
    "(c) heavy-tailed": {"per_request": 1.0, "per_image": 0.1, "tail": 1.5},
}
_COUNTS = (1, 10, 100, 1_000, 10_000)
_OVER, _OVER_BOUND = "makespan / ideal", "makespan / bound"


class Fate(NamedTuple):
    """What a photo does to the service.

    Attributes:
        seconds: it takes.
        times: it has to come.
    """

    seconds: float
    times: int


def measure(lab: Lab) -> Iterator[Row]:
    """Ours with and without failures; plain aiohttp, which knows no second try, without."""
    for model, latency in MODELS.items():
        for temporary in (0.0, 0.05):
            for photos in _COUNTS if lab.scale >= 1 else _COUNTS[:-1]:
                folder = archive(lab.archives, count=photos, size=1_000, sparse=True, differing=10_007)
                case = f"{model}, {photos:,} photos, {temporary:.0%} status 2"
                for name in ("ours", "aiohttp") if not temporary else ("ours",):
                    if name not in lab.contestants:
                        continue
                    with (
                        service(kinds=("improved",), temporary=temporary, permits=SLOTS, **latency) as server,
                        lab.out() as out,
                    ):
                        wall = run_contestant(name, photos=folder, out=out, url=server.url, concurrency=SLOTS)["wall"]
                        fates = _fates(server.stats(), photos, latency["per_image"])
                    yield Row(case, name, _OVER, wall / ideal(fates, latency["per_request"]))
                    yield Row(case, name, _OVER_BOUND, wall / bound(fates, latency["per_request"]))


def _fates(stats: dict[str, Any], photos: int, seconds: float) -> list[Fate]:
    """In the order in which they first came."""
    return [Fate(**fate) for fate in stats["photos"].values()] or [Fate(seconds, 1)] * photos


def ideal(fates: list[Fate], per_request: float) -> float:
    """Seconds of the simulated job."""
    waiting, sent, planned = deque(fates), 0, 0
    now, free, numbers = 0.0, SLOTS, count()
    open_now: list[tuple[float, int, list[Fate]]] = []  # by when they end
    while waiting or open_now:
        while waiting and free:
            if not planned or len(waiting) > planned * IMAGES:
                planned = ceil((sent + ceil(len(waiting) / IMAGES)) / SLOTS) * SLOTS - sent
            chunk = [waiting.popleft() for _ in range(ceil(len(waiting) / planned))]
            heappush(open_now, (now + per_request + sum(fate.seconds for fate in chunk), next(numbers), chunk))
            free, sent, planned = free - 1, sent + 1, planned - 1
        if not waiting:
            sent = planned = 0
        now = open_now[0][0]
        while open_now and open_now[0][0] - now < 1e-6:  # sums of floats: what ends together
            _, _, chunk = heappop(open_now)
            free += 1
            waiting.extendleft(Fate(seconds, times - 1) for seconds, times in chunk if times > 1)
    return now


def bound(fates: list[Fate], per_request: float) -> float:
    """Seconds, at least."""
    served = sorted(fate.seconds for fate in fates for _ in range(fate.times))
    requests = ceil(len(served) / SLOTS / IMAGES) * per_request
    return max(
        requests + sum(served[: ceil(len(served) / SLOTS)]),
        requests + sum(served) / SLOTS,
        *(fate.times * (per_request + fate.seconds) for fate in fates),
    )


def compare(medians: Medians) -> Iterator[Ratio]:
    """As it is."""
    for (case, name, quantity), over in medians.items():
        goal = "≤1.03" if any(f" {photos:,} photos" in case for photos in (1_000, 10_000)) else "≤1.10"
        yield Ratio(case, f"{name}, {quantity}", over, goal if (name, quantity) == ("ours", _OVER) else "")
