"""Makespan over the ideal, simulated: how good the plan of a job's requests is, apart from what the client costs.

``python -m benchmarks.simulated`` runs the batcher, its forecast and the backoffs of retries against the services of
the `makespan` scenario in virtual time: a job takes milliseconds, so each case is drawn a hundred times. A run of the
`makespan` scenario is one draw, and draws differ by more than most changes of the plan. Requests last up to 0.08 s
longer than their service takes, as they do there. Prints the mean and the worst for the backoffs of the scenario, and
for those that the package is shipped with; writes all to `results.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count, islice
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from tenacity import RetryCallState

from benchmarks.contestants.ours import BACKOFFS
from benchmarks.scenarios.makespan import IMAGES, MODELS, SLOTS, Fate, ideal
from smarty_async.hooks import all_hooks
from smarty_async.options import Limits, Retries
from smarty_async.transport.batcher import Batcher, Forecast, Outlook
from smarty_async.transport.retry import item_retrying

__all__ = ["drawn", "simulated"]

_JITTER = 0.08
"""The most that a request lasts longer than its service takes, in seconds."""

_COUNTS = (10, 100, 300, 700, 1_000, 2_000, 3_000)
_ALIVE = 3 * SLOTS * IMAGES
"""Photos that the client has in memory at once."""


class _Item:
    """A photo whose fate is known to the simulated service alone."""

    size, group, done = 1_000, "all", False

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.attempts = 0


class _Simulation:
    """One job: what its client decides, and when requests and backoffs end."""

    def __init__(self, fates: list[Fate], *, per_request: float, retries: Retries, dice: Random) -> None:
        self._dice = dice
        self._per_request = per_request
        self._left = iter([_Item(fate) for fate in fates])
        self._unread = len(fates)
        self._forecast = Forecast(later=lambda: self._unread)
        self._batcher: Batcher[_Item] = Batcher(Limits())
        self._free, self._alive = SLOTS, 0
        self._now = self._request_seconds = 0.0
        self._policy = item_retrying(retries, sleep=_never, hooks=all_hooks(()), clock=lambda: self._now)
        self._numbers = count()
        self._events: list[tuple[float, int, list[_Item], bool | None]] = []  # ends of requests, and of backoffs

    def seconds(self) -> float:
        """When the last answer comes."""
        last = 0.0
        self._decide()
        while self._events:
            self._now, _, items, short = heappop(self._events)
            if short is None:
                last = self._now
                self._answered(items)
            else:
                self._forecast.end_backoff(short=short)
                self._submit(items[0])
            if not self._events or self._events[0][0] - self._now > 1e-6:  # what ends together is decided on together
                self._decide()
        return last

    def _decide(self) -> None:
        for item in islice(self._left, _ALIVE - self._alive):
            self._alive += 1
            self._unread -= 1
            self._submit(item)
        while self._free and (chunk := self._batcher.take(permits=SLOTS, outlook=self._outlook)):
            self._free -= 1
            self._forecast.in_flight += len(chunk)
            self._at(self._seconds(chunk) + self._dice.uniform(0, _JITTER), chunk)

    def _outlook(self, _: object) -> Outlook:
        return self._forecast.outlook()

    def _submit(self, item: _Item) -> None:
        self._forecast.submitted(item)
        self._batcher.add(item)

    def _answered(self, chunk: list[_Item]) -> None:
        self._free += 1
        self._forecast.in_flight -= len(chunk)
        self._request_seconds = self._seconds(chunk)
        for item in chunk:
            item.attempts += 1
            returns = item.attempts < item.fate.times
            self._forecast.replied(item, returns=returns)
            if not returns:
                self._alive -= 1
                continue
            state = RetryCallState(self._policy, None, (), {})
            state.attempt_number = item.attempts
            backoff = self._policy.wait(state)
            self._at(
                backoff, [item], short=self._forecast.start_backoff(backoff, request_seconds=self._request_seconds)
            )

    def _seconds(self, chunk: list[_Item]) -> float:
        return self._per_request + sum(item.fate.seconds for item in chunk)

    def _at(self, seconds: float, items: list[_Item], *, short: bool | None = None) -> None:
        heappush(self._events, (self._now + seconds, next(self._numbers), items, short))


async def _never(_: float) -> None:
    raise AssertionError


def simulated(fates: list[Fate], *, per_request: float, retries: Retries, seed: int) -> float:
    """Seconds of the job of photos with these `fates`, whose client takes no time itself."""
    dice = Random(seed)  # noqa: S311 - not secrets
    return _Simulation(fates, per_request=per_request, retries=retries, dice=dice).seconds()


def drawn(photos: int, *, per_image: float, temporary: float, tail: float, seed: int) -> list[Fate]:
    """Fates as `benchmarks.server` draws them."""
    dice = Random(seed)  # noqa: S311 - not secrets

    def fate() -> Fate:
        times = 1
        while dice.random() < temporary:
            times += 1
        return Fate(per_image * ((tail - 1) / tail * dice.paretovariate(tail) if tail else 1), times)

    return [fate() for _ in range(photos)]


def _over(model: str, photos: int, *, temporary: float, retries: Retries, seed: int) -> float:
    """Makespan over the ideal of one draw."""
    latency = MODELS[model]
    tail = latency.get("tail", 0.0)
    fates = drawn(photos, per_image=latency["per_image"], temporary=temporary, tail=tail, seed=seed)
    seconds = simulated(fates, per_request=latency["per_request"], retries=retries, seed=seed)
    return seconds / ideal(fates, latency["per_request"])


def _rows(draws: int) -> Iterator[dict[str, Any]]:
    for retries in (BACKOFFS, Retries()):
        for model in MODELS:
            for temporary in (0.0, 0.05):
                for photos in _COUNTS:
                    over = [
                        _over(model, photos, temporary=temporary, retries=retries, seed=seed) for seed in range(draws)
                    ]
                    yield {
                        "first_wait": retries.first_wait,
                        "model": model,
                        "temporary": temporary,
                        "photos": photos,
                        "mean": round(mean(over), 4),
                        "worst": round(max(over), 4),
                    }


def main() -> None:
    """Simulate all cases, print and write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated", description=__doc__)
    parser.add_argument("--draws", type=int, default=100, help="of each case (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/simulated"))
    chosen = parser.parse_args()
    rows = []
    for row in _rows(chosen.draws):
        rows.append(row)
        case = f"{row['first_wait']:4} s {row['model']:20} {row['temporary']:4.0%} {row['photos']:6,}"
        print(f"{case} {row['mean']:.3f} {row['worst']:.3f}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "results.json").write_text(json.dumps({"draws": chosen.draws, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
