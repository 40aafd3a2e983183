"""How far a run has come: counters that change while it runs."""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

import msgspec

from smarty_async.results import PRICE, Kind, Outcome

__all__ = ["LATENCY_BOUNDS", "InFlight", "Latencies", "Progress", "Work"]


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is now called {new}", DeprecationWarning, stacklevel=3)


LATENCY_BOUNDS: Final = tuple(0.001 * 2 ** (step / 4) for step in range(81))
"""The upper bounds of `Latencies`' counts, in seconds: from 1 ms to 17 minutes, four to each doubling."""


class Latencies(msgspec.Struct, kw_only=True):
    """How long answered requests took, from being sent to their answer's last byte; its size does not grow with them.

    Attributes:
        counts: requests by `LATENCY_BOUNDS`, and the last for all that took longer.
        seconds: of all requests together.
    """

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One request took so long."""
        self.counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.seconds += seconds

    @property
    def count(self) -> int:
        """Requests in all."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Seconds within which that `share` of the requests was answered, up to a fifth too many; 0 for none."""
        rank, seen = share * self.count, 0
        for bound, count in zip(LATENCY_BOUNDS, self.counts, strict=False):
            seen += count
            if seen and seen >= rank:
                return bound
        return LATENCY_BOUNDS[-1] if seen < self.count else 0.0


_NAMES_KEPT: Final = 20
"""Names of files left alone that are kept for the summary."""


class InFlight(msgspec.Struct, frozen=True):
    """A photo that has been sent and is not answered.

    Attributes:
        photo: as its result will name it.
        bytes: of the photo's file.
        pixels: of the picture that was sent.
    """

    photo: str
    bytes: int
    pixels: int


class Work(msgspec.Struct, kw_only=True):
    """How much a run has to send, and how much of it is done: what an estimate of the time left is made of.

    Photos finished in an earlier run, rejected ones and duplicates are not part of it.

    Attributes:
        bytes: of the photos found so far, in bytes.
        bytes_done: of those that came to an end.
        bytes_probed: of those whose dimensions are known.
        pixels_probed: of the same photos, in pixels.
        pixels_done: of those that came to an end.
        bytes_ahead: of the photos that the scan has not come to and no run has finished; see `Progress.ahead`.
    """

    bytes: int = 0
    bytes_ahead: int = 0
    bytes_done: int = 0
    bytes_probed: int = 0
    pixels_probed: int = 0
    pixels_done: int = 0


class Progress(msgspec.Struct, kw_only=True):
    """How far a run has come; counts of this run only.

    Attributes:
        found: photos seen by the scan so far.
        scanning: whether the scan may find more.
        ahead: photos that the scan has not come to, when they have been counted; None while their number is not known.
        outcomes: photos by outcome.
        requests: requests sent.
        images: images sent; a photo that is sent again counts again.
        images_paid: images probably paid for: those sent, without those of requests that were refused before any work
            (the rule: `smarty_async.transport.request.was_refused`).
        bytes_sent: bytes of request bodies.
        bytes_received: bytes of answers.
        retries: items and requests tried again.
        permits: requests that may be open at once now; 0 before the first.
        workers: workers of the cluster that can be used now; 0 without a cluster.
        latencies: how long the answered requests took.
        missing: photos finished in an earlier run of which outputs are no longer there.
        not_kept: such photos by kind of output, where one that is asked for was made and not kept.
        oversized: photos outside the dimensions that the service publishes; they are sent all the same.
        left_alone: files that are not photos, by name and content, or that a list names and are results of a run.
        left_alone_names: the first of them, relative to their source.
        limit_reached: whether a spend limit was reached and photos were left for another run.
        work: what the run has to send, and how much of it is done.
        status_message: what a person should know now (the service is down, next try in 12 s), None when all is well.
        warnings: what a person should know of what has happened (the journal was damaged), in order.
    """

    found: int = 0
    scanning: bool = True
    ahead: int | None = None
    outcomes: dict[Outcome, int] = {}
    requests: int = 0
    images: int = 0
    images_paid: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    retries: int = 0
    permits: int = 0
    workers: int = 0
    latencies: Latencies = msgspec.field(default_factory=Latencies)
    missing: int = 0
    not_kept: dict[Kind, int] = {}
    oversized: int = 0
    left_alone: int = 0
    left_alone_names: list[str] = []
    limit_reached: bool = False
    work: Work = msgspec.field(default_factory=Work)
    status_message: str | None = None
    warnings: list[str] = []

    def leave_alone(self, name: str) -> None:
        """Count a file that is not a photo."""
        self.left_alone += 1
        if len(self.left_alone_names) < _NAMES_KEPT:
            self.left_alone_names.append(name)

    def note_not_kept(self, kinds: Iterable[Kind]) -> None:
        """Count a finished photo that lacks outputs of `kinds`."""
        for kind in kinds:
            self.not_kept[kind] = self.not_kept.get(kind, 0) + 1

    def warn_of_size(self, name: str, reason: str) -> None:
        """Count a photo whose dimensions the service may refuse; the first one is named in `warnings`."""
        self.oversized += 1
        if self.oversized == 1:
            self.warnings.append(f"{name}: {reason}")

    @property
    def slots(self) -> int:
        """Deprecated: `permits`."""
        _deprecated("Progress.slots", "permits")
        return self.permits

    @property
    def notice(self) -> str | None:
        """Deprecated: `status_message`."""
        _deprecated("Progress.notice", "status_message")
        return self.status_message

    @property
    def remarks(self) -> list[str]:
        """Deprecated: `warnings`."""
        _deprecated("Progress.remarks", "warnings")
        return self.warnings

    @property
    def total(self) -> int | None:
        """Photos in all; None while their number is not known."""
        if not self.scanning:
            return self.found
        return None if self.ahead is None else self.found + self.ahead

    @property
    def done(self) -> int:
        """Photos that came to an end in this run, skipped ones among them."""
        return sum(self.outcomes.values())

    @property
    def cost(self) -> float:
        """An estimate of what was paid in this run, in ₽."""
        return self.images_paid * PRICE
