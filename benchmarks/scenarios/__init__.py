"""What is measured, one module each: `measure` gives rows of figures, `compare` makes ratios of their medians."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["SCENARIOS", "Lab", "Medians", "Ratio", "Row", "Scenario", "scenario"]

SCENARIOS = ("cpu", "splitter", "memory", "stall", "makespan", "first", "resume", "startup", "small")


class Row(NamedTuple):
    """One figure of one run.

    Attributes:
        case: what was done.
        contestant: by whom.
        quantity: what was measured, with its unit.
        value: how much.
    """

    case: str
    contestant: str
    quantity: str
    value: float


class Ratio(NamedTuple):
    """A line of the table.

    Attributes:
        case: what was done.
        what: what stands over what.
        ratio: of the medians.
        goal: what it should be; a goal in seconds or bytes is what is divided by, and then the ratio should be ≤1.
    """

    case: str
    what: str
    ratio: float
    goal: str


Medians = Mapping[tuple[str, str, str], float]
"""By case, contestant and quantity."""


class Lab(NamedTuple):
    """Where and how much to measure.

    Attributes:
        folder: archives, which are kept, and outputs, which are not.
        memory: a folder in memory for what is not about the disk; `folder` where there is none.
        scale: 1 is what the goals say; smaller numbers take fewer photos.
        repeats: how often each contestant has its turn.
        contestants: who takes part.
    """

    folder: Path
    memory: Path
    scale: float
    repeats: int
    contestants: tuple[str, ...]

    def count(self, photos: int, *, least: int = 1) -> int:
        """That many photos at this scale."""
        return max(least, round(photos * self.scale))

    @property
    def archives(self) -> Path:
        """Where archives are kept."""
        return self.folder / "archives"

    def turns(self, *names: str) -> Iterator[str]:
        """Those of `names` that take part, in turns: each round begins with another."""
        taking = [name for name in names if name in self.contestants]
        for turn in range(self.repeats):
            start = turn % max(1, len(taking))
            yield from taking[start:] + taking[:start]

    @contextmanager
    def out(self, *, in_memory: bool = False) -> Iterator[Path]:
        """An empty output folder, which is gone afterwards."""
        place = (self.memory if in_memory else self.folder) / "out"
        shutil.rmtree(place, ignore_errors=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


class Scenario(NamedTuple):
    """One of `SCENARIOS`."""

    title: str
    measure: Callable[[Lab], Iterator[Row]]
    compare: Callable[[Medians], Iterator[Ratio]]


def scenario(name: str) -> Scenario:
    """The scenario called `name`."""
    module: Any = import_module(f"benchmarks.scenarios.{name}")
    return Scenario(module.__doc__.splitlines()[0].rstrip("."), module.measure, module.compare)
