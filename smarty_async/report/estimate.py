"""How long a run will still take, and the pace of earlier runs on this machine.

Photos are weighed by what makes them take long: by pixels where this machine works on them, by bytes where they are
sent away. What was not sent (skipped, rejected, a duplicate) is no work and says nothing about the pace.
"""

from __future__ import annotations

import os
import platform
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import gettempdir
from time import monotonic
from typing import Final, Literal

import msgspec

from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.progress import InFlight, Progress
from smarty_async.results import SENT_OUTCOMES

__all__ = ["Estimator", "PaceFile", "Unit", "amount", "cache_folder", "pace_key"]


Unit = Literal["pixels", "bytes"]
"""What photos are weighed by."""

_SHORTEST_SPAN: Final = 60.0
"""Seconds that the pace is taken over, at least; a long run takes it over its last half."""
_SAMPLES: Final = 500
"""Observations kept, about."""
_FIRST_SHARE: Final = 0.1
"""The share of the work for which the pace of earlier runs stands, as far as it is not done yet."""
_TELLING_SHARE: Final = 0.05
"""The share of the work after which the pace of this run can be believed."""
_TELLING_SECONDS: Final = 30.0
"""Seconds after which the pace of a long run can be believed, however little of it is done."""
_LONGEST_PAUSE: Final = 5.0
"""Seconds between two looks that count, at most: past that the process was stopped, or the machine slept."""
_NEARLY_ANSWERED: Final = 0.9
"""The share of its work that an open request has done at most, however long it has been open."""


class _Sample(msgspec.Struct, frozen=True):
    seconds: float
    done: float
    photos: int


class Estimator:
    """Estimates the pace of a run, and the time left, from what is seen of its progress.

    Args:
        unit: what photos are weighed by.
        known_pace: seconds that a megapixel, or a MB, took in earlier runs; None when that is not known.
        clock: monotonic seconds.
    """

    def __init__(self, *, unit: Unit, known_pace: float | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._unit: Unit = unit
        self._known_pace = known_pace
        self._clock = clock
        self._samples: deque[_Sample] = deque()
        self._now = _Sample(0.0, 0.0, 0)
        self._total = 0.0
        self._in_flight = self._partly_done = 0.0
        self._complete = False
        self._request_starts: deque[float] = deque()
        self._requests = self._answers = 0
        self._request_seconds = 0.0
        self._open_seconds = 0.0
        self._began = 0.0
        self._looked_at: float | None = None

    def look(self, progress: Progress, in_flight: Sequence[InFlight] = ()) -> None:
        """Take in how far the run has come; to be called several times a second.

        Args:
            progress: of the run.
            in_flight: the photos that have been sent and are not answered.
        """
        now = self._running_seconds()
        self._open_seconds += len(self._request_starts) * (now - self._now.seconds)
        self._note_requests(progress, now, open_now=bool(in_flight))
        done, total = amount(progress, unit=self._unit)
        self._in_flight = sum(getattr(photo, self._unit) for photo in in_flight) / 1e6
        photos = sum(progress.outcomes.get(outcome, 0) for outcome in SENT_OUTCOMES)
        self._total, self._complete = total, progress.total is not None
        self._partly_done = self._open_work_done(now, done)
        self._now = _Sample(now, done + self._partly_done, photos)
        if not progress.requests:
            self._began = now
        else:
            self._add_sample(self._now)

    def _running_seconds(self) -> float:
        """Seconds until now, without those in which the process was stopped: they say nothing about the pace."""
        now = self._clock()
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, _LONGEST_PAUSE)
        self._looked_at = now
        return self._now.seconds + passed

    def _note_requests(self, progress: Progress, now: float, *, open_now: bool) -> None:
        """Keep the times at which the open requests were sent: those sent first are taken to be answered first."""
        self._request_starts.extend([now] * (progress.requests - self._requests))
        answered = progress.latencies.count
        for _ in range(min(answered - self._answers, len(self._request_starts))):
            self._request_starts.popleft()
        if not open_now:
            self._request_starts.clear()
        self._requests, self._answers = progress.requests, answered
        self._request_seconds = progress.latencies.seconds / answered if answered else 0.0

    def _open_work_done(self, now: float, answered: float) -> float:
        """How much work is done on photos in open requests: by the time these have been open, less what is answered.

        Args:
            now: the time.
            answered: the work of all photos that came to an end.
        """
        if not self._request_starts or not self._request_seconds:
            return 0.0
        shares = [min((now - start) / self._request_seconds, 1.0) for start in self._request_starts]
        open_requests = len(shares)
        work = max(self._in_flight, open_requests * (answered + self._in_flight) / (self._answers + open_requests))
        done = work * sum(shares) / open_requests - (work - self._in_flight)
        return min(max(0.0, done), _NEARLY_ANSWERED * self._in_flight)

    def _add_sample(self, sample: _Sample) -> None:
        if not self._samples:
            self._samples.append(sample)
            return
        elapsed = sample.seconds - self._began
        if sample.seconds - self._samples[-1].seconds >= max(_SHORTEST_SPAN, elapsed) / _SAMPLES:
            self._samples.append(sample)
        span = max(_SHORTEST_SPAN, elapsed / 2)
        while len(self._samples) > 1 and self._samples[1].seconds <= sample.seconds - span:
            self._samples.popleft()

    @property
    def _span(self) -> tuple[float, float]:
        """Seconds, and the work done in them."""
        if not self._samples:
            return 0.0, 0.0
        first = self._samples[0]
        return self._now.seconds - first.seconds, self._now.done - first.done

    @property
    def seconds(self) -> float:
        """Seconds since the first request, without those in which the process was stopped."""
        return self._now.seconds - self._began

    @property
    def measured_pace(self) -> float | None:
        """Seconds a megapixel, or a MB, in this run alone; None while nothing is done."""
        seconds, done = self._span
        return seconds / done if seconds > 0 and done > 0 else None

    @property
    def pace(self) -> float | None:
        """Seconds a megapixel, or a MB; None while it is not known."""
        seconds, done = self._span
        if self._known_pace and (missing := _FIRST_SHARE * self._total - self._now.done) > 0:
            seconds, done = seconds + missing * self._known_pace, done + missing
        elif self._known_pace and not self._total:
            return self._known_pace
        return seconds / done if seconds > 0 and done > 0 else None

    @property
    def telling(self) -> bool:
        """Whether enough is known for a first estimate: an earlier run's pace, or that of the first photos."""
        if self._known_pace:
            return True
        enough = self._now.done >= _TELLING_SHARE * self._total
        return self._now.photos > 0 and (enough or self.seconds >= _TELLING_SECONDS)

    @property
    def seconds_a_photo(self) -> float | None:
        """Seconds between two photos that are done; None while it is not known."""
        seconds, _ = self._span
        photos = self._now.photos - self._samples[0].photos if self._samples else 0
        return seconds / photos if photos and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all that was found is done; None while that is not known."""
        if self.pace is None or not self._complete or not self._total:
            return None
        left = max(0.0, self._total - self._now.done) * self.pace
        if self._total - self._now.done > self._in_flight:
            # Work is left to be sent. In the end fewer and fewer requests are open: half a request's time on average.
            left += self._request_seconds / 2 * (1 - 1 / max(1.0, self._open_requests))
        return max(left, self.seconds_to_drain or 0.0)

    @property
    def seconds_to_drain(self) -> float | None:
        """Seconds until all that is in flight is answered, when nothing new is sent; None while that is not known."""
        if self.pace is None:
            return None
        work = self._in_flight - self._partly_done
        return max(work * self.pace * self._slowdown, self._seconds_to_last_answer)

    @property
    def _slowdown(self) -> float:
        """How much slower work is done while fewer requests are open than on average: at the end of a run."""
        open_now = len(self._request_starts)
        return max(1.0, self._open_requests / open_now) if open_now else 1.0

    @property
    def _open_requests(self) -> float:
        """How many requests were open at a time, on average."""
        return self._open_seconds / self.seconds if self.seconds > 0 else 0.0

    @property
    def _seconds_to_last_answer(self) -> float:
        """Seconds until the request that was sent last is answered, as long as others took."""
        if not self._request_starts:
            return 0.0
        return max(0.0, self._request_seconds - (self._now.seconds - self._request_starts[-1]))


def amount(progress: Progress, *, unit: Unit) -> tuple[float, float]:
    """The work done and the work in all, in megapixels or MB.

    The pixels of photos that are not probed yet are taken to be as many for their bytes as those of the others.
    """
    work = progress.work
    if unit == "bytes":
        return work.bytes_done / 1e6, (work.bytes + work.bytes_ahead) / 1e6
    if not work.bytes_probed:
        return 0.0, 0.0
    unprobed = max(0, work.bytes + work.bytes_ahead - work.bytes_probed) * work.pixels_probed / work.bytes_probed
    return work.pixels_done / 1e6, (work.pixels_probed + unprobed) / 1e6


_MAX_KEYS: Final = 100
"""Keys kept; the oldest are dropped."""
_RUNS_KEPT: Final = 5
"""Runs of a key whose paces are kept; one run on a busy machine does not spoil their median."""


class _Pace(msgspec.Struct, frozen=True):
    """The measured paces of the last runs.

    Attributes:
        unit: a megapixel, or a MB.
        seconds: for one of them, in each run.
    """

    unit: Unit
    seconds: tuple[float, ...]


class PaceFile:
    """Paces by what was done where. A file that cannot be read or written is no error: then nothing is known."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_folder(os.environ) / "pace.json"

    def known(self, key: str, *, unit: Unit) -> float | None:
        """Seconds for one `unit` of a million in earlier runs; None when that is not known."""
        pace = self._read().get(key)
        return median(pace.seconds) if pace and pace.unit == unit and pace.seconds else None

    def add(self, key: str, seconds: float, *, unit: Unit) -> None:
        """Add a measured pace: seconds for one megapixel, or one MB."""
        paces = self._read()
        before = paces.pop(key, None)
        earlier = before.seconds if before and before.unit == unit else ()
        paces[key] = _Pace(unit, (*earlier, round(seconds, 6))[-_RUNS_KEPT:])
        kept = dict(list(paces.items())[-_MAX_KEYS:])
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(kept))
            temporary.replace(self._path)

    def _read(self) -> dict[str, _Pace]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Pace])
        except (OSError, *DAMAGED_JSON):
            return {}


def pace_key(service: str, specs: tuple[object, ...]) -> str:
    """The key of a pace: this machine, the engine or the service's address, and what is asked for each photo."""
    return " ".join((platform.node(), service, *map(str, specs)))


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The program's folder for what can be made again: where each platform keeps such files."""
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in a container
        home = Path(gettempdir())
    if sys.platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "smarty-async"
