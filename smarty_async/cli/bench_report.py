"""What `bench` measured: samples, settings, the report that is written, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import msgspec

from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import OptionsError
from smarty_async.report.wording import count, money

__all__ = ["Machine", "PhotoSet", "Report", "Sample", "Setting", "compare_lines", "read_report"]

_CLEARLY: Final = 1.1
"""A setting is clearly faster when its slowest sample is by this factor faster than the other's fastest."""
_NEARLY: Final = 1.05
"""A setting is as fast as another whose median is at most by this factor higher. Between the two factors there is no
advice: a second measurement could say the opposite."""
_FEWEST_SAMPLES: Final = 3
"""Samples of a setting without which its spread is not known."""
_WIDEST: Final = 0.25
"""The spread above which the samples of a setting say nothing."""
_COLUMNS: Final = "chunk  concurrency"
"""The heads of the columns that name a setting: the photos in a request, and the requests open at once."""
_BUSY: Final = 0.5
"""Load for each CPU from which on a machine is not idle."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One run over all photos.

    Attributes:
        seconds: from the first look at a photo to the last output on the disk.
        photos: photos that were restored, or found good.
        failed: photos that were not.
        requests: requests sent.
        retries: photos and requests sent again.
        mb: bytes up and down, in MB.
        p50: seconds within which half the requests were answered.
        p90: likewise nine in ten.
        p99: likewise 99 in a hundred.
        load: the machine's load average when it began; None where the system has none.
        cost: an estimate, in ₽; 0 for the embedded service.
    """

    seconds: Annotated[float, msgspec.Meta(gt=0)]
    photos: int
    failed: int
    requests: int
    retries: int
    mb: float
    p50: float
    p90: float
    p99: float
    load: float | None = None
    cost: float = 0.0

    @property
    def rate(self) -> float:
        """Photos a second."""
        return self.photos / self.seconds


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured with one setting.

    Attributes:
        chunk: photos in a request, at most.
        concurrency: requests open at once, at most.
        samples: the runs.
    """

    chunk: int
    concurrency: int
    samples: Annotated[list[Sample], msgspec.Meta(min_length=1)]

    @property
    def rates(self) -> list[float]:
        """Photos a second of each run."""
        return [sample.rate for sample in self.samples]

    @property
    def failed(self) -> int:
        """Photos that were not restored in any of the runs."""
        return sum(sample.failed for sample in self.samples)

    @property
    def median(self) -> float:
        """The median of photos a second."""
        return median(self.rates)

    @property
    def spread(self) -> float:
        """The difference between the fastest and the slowest run, as a share of the median."""
        return (max(self.rates) - min(self.rates)) / self.median if self.median else 0.0

    def clearly_faster(self, other: Setting) -> bool:
        """Whether every run of this setting is faster than every run of the other, by more than a margin."""
        return min(self.rates) > _CLEARLY * max(other.rates)


class PhotoSet(msgspec.Struct, frozen=True, kw_only=True):
    """The photos that were sent.

    Attributes:
        photos: how many.
        bytes: in all.
        digest: SHA-256 of their names and sizes; the same set has the same one.
    """

    photos: int
    bytes: int
    digest: str


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that measured.

    Attributes:
        system: the operating system and its version.
        cpu: the processor.
        cpus: how many.
        python: Python's version.
        load: the load average before the first run; None where the system has none.
    """

    system: str
    cpu: str
    cpus: int
    python: str
    load: float | None = None

    @property
    def busy(self) -> bool:
        """Whether other programs were running."""
        return self.load is not None and self.load > _BUSY * self.cpus


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured.

    Attributes:
        version: of this program.
        label: the user's name for the measurement.
        endpoint: the service's address, or ``embedded (echo)``.
        photo_set: what was sent.
        machine: where.
        settings: the settings, those that ask least of the service first.
        warm_up: what was measured before, to warm up: it counts for the price alone.
    """

    version: str
    label: str = ""
    endpoint: str
    photo_set: PhotoSet
    machine: Machine
    settings: list[Setting]
    warm_up: list[Sample] = []

    @property
    def cost(self) -> float:
        """An estimate of what was paid, in ₽."""
        samples = [sample for setting in self.settings for sample in setting.samples]
        return sum(sample.cost for sample in (*self.warm_up, *samples))

    def advised(self) -> Setting | None:
        """The setting to take; None when the measurements do not say.

        Of the settings that failed least, it is the one that asks least of the service and that no other is clearly
        faster than. It must be clearly faster than all that ask less, and as fast as any by the median; and neither
        its own samples nor those of the fastest setting may be spread widely.
        """
        fewest = min((setting.failed for setting in self.settings), default=0)
        able = [one for one in self.settings if one.failed == fewest and one.median > 0]
        able.sort(key=lambda one: (one.concurrency, one.chunk))
        if any(len(setting.samples) < _FEWEST_SAMPLES for setting in able):
            return None
        for number, one in enumerate(able):
            if not any(other.clearly_faster(one) for other in able):
                fastest = max(able, key=lambda other: other.median)
                steady = max(one.spread, fastest.spread) <= _WIDEST
                fast = one.median * _NEARLY >= fastest.median
                return one if steady and fast and all(one.clearly_faster(less) for less in able[:number]) else None
        return None

    def lines(self) -> Iterator[str]:
        """The table and what it says, for people."""
        yield f"{_COLUMNS}  photos/s  slowest–fastest    p50 s    p90 s  failed"
        yield from map(_line, self.settings)
        best = self.advised()
        if best is not None:
            yield f"Recommended: --concurrency {best.concurrency} --max-images {best.chunk}"
        elif not any(setting.median for setting in self.settings):
            yield "No photo was restored, so there is nothing to recommend."
        else:
            yield f"No clear winner: {self._why_unclear()}"
        if self.machine.busy:
            yield f"This machine was busy (load {self.machine.load:.1f} on {count(self.machine.cpus, 'CPU')})."
        if self.cost:
            yield f"Price: {money(self.cost)}"

    def _why_unclear(self) -> str:
        if any(len(setting.samples) < _FEWEST_SAMPLES for setting in self.settings):
            return f"that takes --repeats {_FEWEST_SAMPLES} or more."
        widest = max(setting.spread for setting in self.settings)
        return f"the runs of one setting differ by up to {100 * widest:.0f} %, as much as the settings do."


def _line(setting: Setting) -> str:
    rates = setting.rates
    between = f"{min(rates):.1f}–{max(rates):.1f}"
    return (
        f"{_columns(setting)}  {setting.median:8.1f}  {between:>15}"
        f"  {median(one.p50 for one in setting.samples):7.3f}  {median(one.p90 for one in setting.samples):7.3f}"
        f"  {setting.failed:6}"
    )


def _columns(setting: Setting) -> str:
    return f"{setting.chunk:5}  {setting.concurrency:11}"


def read_report(path: Path) -> Report:
    """The report in a file.

    Raises:
        OptionsError: it cannot be read, or it is none.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise OptionsError(f"cannot read {str(path)!r}: {error.strerror}") from None
    except DAMAGED_JSON as error:
        raise OptionsError(f"{str(path)!r} is not a report of bench ({error}): name two bench.json files") from None


def compare_lines(before: Report, after: Report) -> Iterator[str]:
    """How two measurements differ, for people."""
    yield from _different_conditions(before, after)
    yield f"{_COLUMNS}    before     after    ratio"
    known = {(one.chunk, one.concurrency): one for one in before.settings}
    for setting in after.settings:
        earlier = known.get((setting.chunk, setting.concurrency))
        if earlier is None or not earlier.median:
            continue
        yield (
            f"{_columns(setting)}  {earlier.median:8.1f}  {setting.median:8.1f}"
            f"  {setting.median / earlier.median:6.2f}×  {_difference(earlier, setting)}"
        )


def _difference(before: Setting, after: Setting) -> str:
    if after.clearly_faster(before):
        return "faster"
    return "slower" if before.clearly_faster(after) else "no clear difference"


def _different_conditions(before: Report, after: Report) -> Sequence[str]:
    """What makes two measurements hard to compare."""
    kinds = (
        ("photos", before.photo_set, after.photo_set),
        ("endpoints", before.endpoint, after.endpoint),
        ("processors", (before.machine.cpu, before.machine.cpus), (after.machine.cpu, after.machine.cpus)),
    )
    lines = [f"Different {kind}: the numbers can hardly be compared." for kind, one, other in kinds if one != other]
    return [*lines, *(["A machine was busy."] if before.machine.busy or after.machine.busy else [])]
