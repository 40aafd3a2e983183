"""What a caller gets back: results, counters, plans, and failures by their reason."""

from __future__ import annotations

import io
import os
import re
import warnings
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "BEST_FIRST",
    "GOOD_OUTCOMES",
    "KINDS",
    "KINDS_BY_MODE",
    "PRICE",
    "SENT_OUTCOMES",
    "UNREADABLE_FOLDER",
    "ErrorInfo",
    "FailureGroups",
    "Failures",
    "InFlight",
    "Kind",
    "Latencies",
    "Outcome",
    "Plan",
    "Progress",
    "Restored",
    "Result",
    "Status",
    "Work",
    "name_with_page",
]


PRICE = 0.06
"""₽ for one image and mode set, the first million a month (the service's price list); an estimate's basis."""

Outcome = Literal["restored", "already_good", "failed", "rejected", "skipped", "duplicate"]
"""What became of a photo.

``restored``: outputs were made. ``already_good``: the service found nothing to do. ``failed``: the service, or the
bound on retries, said no. ``rejected``: never sent; also a folder that cannot be read. ``skipped``: finished in an
earlier run. ``duplicate``: the same content as another photo, sent once.
"""

SENT_OUTCOMES: Final[tuple[Outcome, ...]] = ("restored", "already_good", "failed")
"""Outcomes of photos that were sent."""

GOOD_OUTCOMES: Final[tuple[Outcome, ...]] = ("restored", "already_good", "duplicate")
"""Outcomes of photos that came to a good end in the run that finished them."""

Kind = Literal["improved", "colorized_improved", "colorized", "resolved"]
"""What an output is; the API's field names, and the folders under ``--out``."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

KINDS_BY_MODE: Final[dict[str, tuple[Kind, ...]]] = {
    "improve": ("improved", "colorized_improved", "colorized"),
    "resolution": ("resolved",),
}
"""The kinds that each mode makes."""

BEST_FIRST: Final[tuple[Kind, ...]] = ("resolved", "colorized_improved", "improved", "colorized")
"""The outputs by how much of the service's work they show."""


UNREADABLE_FOLDER: Final = "unreadable_folder"
"""The type of the error of a folder that cannot be read. It stands among the photos in place of those in the folder,
whose number is not known."""


class ErrorInfo(msgspec.Struct, frozen=True):
    """Why a photo did not come to a good end.

    Attributes:
        type: a short stable word (``not_an_image``, ``too_large``, ``permanent``, ``temporary``, …).
        message: one sentence, for people.
    """

    type: str
    message: str


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    r"""What became of one photo of an archive: one line of ``results.jsonl``.

    Attributes:
        photo: path relative to its source, with ``/``; bytes that are not UTF-8 are written as ``\xNN``.
        source: the source it came from.
        outcome: what became of it.
        outputs: {kind: path relative to the output folder}.
        bw: whether the service took it for black-and-white; None when it did not say.
        attempts: requests that carried it, in all runs.
        error: why it has no outputs, None when all is well.
        page: which picture of a file that holds several, from 1.
        warnings: what is not as it should be although the photo came to a good end: metadata that was left out.
    """

    photo: str
    source: str
    outcome: Outcome
    outputs: dict[Kind, str] = {}
    bw: bool | None = None
    attempts: int = 0
    error: ErrorInfo | None = None
    page: int = 1
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The result as plain Python values, as its line in ``results.jsonl`` has them."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return] # a struct becomes a dict


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """One photo restored in memory; each picture is a JPEG file's bytes, None when the service made none.

    Attributes:
        outcome: ``restored`` or ``already_good``.
        improved: defects corrected.
        colorized_improved: defects corrected and colour restored.
        colorized: colour restored.
        resolved: enlarged.
        bw: whether the service took it for black-and-white; None when it did not say.
        attempts: requests that carried it.
    """

    outcome: Outcome
    improved: bytes | None = None
    colorized_improved: bytes | None = None
    colorized: bytes | None = None
    resolved: bytes | None = None
    bw: bool | None = None
    attempts: int = 1

    @property
    def best(self) -> bytes | None:
        """The picture that most people want: the first of `BEST_FIRST` that was made; None when none was."""
        return next((picture for kind in BEST_FIRST if (picture := getattr(self, kind)) is not None), None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the best picture to `path`.

        Raises:
            ValueError: there is none: the photo is already good.
            OSError: the disk refuses.
        """
        Path(path).write_bytes(self._best())

    def to_pil(self) -> Image:
        """The best picture as a Pillow image.

        Raises:
            ValueError: there is none: the photo is already good.
        """
        from PIL import Image  # noqa: PLC0415 - importing the package is quick

        return Image.open(io.BytesIO(self._best()))

    def _best(self) -> bytes:
        if self.best is None:
            raise ValueError("the service made no picture: the photo is already good")
        return self.best

    def __repr__(self) -> str:
        return f"Restored({self.outcome}{''.join(f', {name}={size}' for name, size in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own would print every byte of every picture.
        pictures = {kind: getattr(self, kind) for kind in KINDS}
        return [(kind, f"{len(data):,} bytes") for kind, data in pictures.items() if data is not None]


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
        oversized: photos outside the dimensions that the service publishes; they are sent all the same.
        left_alone: files that are not photos, by name and content.
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


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do, found without sending anything.

    Attributes:
        photos: photos that would be sent.
        requests: requests they would take, if none had to be tried again.
        bytes: bytes of those photos.
        duplicates: photos with the content of another, which take over what that one gets.
        skipped: photos finished in an earlier run.
        rejected: photos that would not be sent, and why.
        cost: an estimate, in ₽.
        pixels: pixels of those photos, as they would be sent.
        oversized: photos outside the dimensions that the service publishes; they would be sent all the same.
        left_alone: files that are not photos.
        left_alone_names: the first of them, relative to their source.
        warnings: what the service may dislike in the photos, one sentence each.
    """

    photos: int
    requests: int
    bytes: int
    pixels: int = 0
    oversized: int = 0
    left_alone: int = 0
    left_alone_names: list[str] = []
    warnings: list[str] = []
    duplicates: int = 0
    skipped: int
    rejected: list[Result]
    cost: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal of an output folder knows.

    Attributes:
        outcomes: photos by outcome.
        unfinished: photos known and not finished.
        failures: failed and rejected photos by error type and message.
        images: images sent in all runs; a photo that is sent again counts again.
        images_paid: those that were probably paid for: all but the images of requests that the service refused before
            any work.
        cost: an estimate of what was paid, in ₽.
    """

    outcomes: dict[Outcome, int]
    unfinished: int
    failures: list[Failures]
    images: int
    images_paid: int
    cost: float


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """Photos that share a reason.

    Attributes:
        outcome: ``failed`` or ``rejected``.
        type: the error's type.
        message: one of their messages.
        count: how many photos.
        example: one of the photos.
        names: the first twenty of them, the pages of a file from its second on with their number; in a `Status`, all
            of them.
    """

    outcome: Outcome
    type: str
    message: str
    count: int
    example: str
    names: list[str] = []


_MAX_NAMES: Final = 20
"""Photos named for each reason, of a run or a plan."""

_MAX_GROUPS: Final = 100
"""Reasons kept apart; past that they are grouped by type."""

_VARYING: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,._ ]*")
"""What differs between two messages with the same reason: names in quotes, and numbers."""


def name_with_page(photo: str, page: int) -> str:
    """A photo's name, with the number of the page where it is not its file's first."""
    return f"{photo} (page {page})" if page > 1 else photo


class FailureGroups:
    """Photos by the reason why they have no results. Photos of several sources are named with their source.

    Args:
        most_names: photos named for each reason, at most; None for all of them.
    """

    def __init__(self, *, most_names: int | None = _MAX_NAMES) -> None:
        self._most_names = most_names
        self._messages: dict[tuple[Outcome, str, str], str] = {}
        self._photos: dict[tuple[Outcome, str, str], list[tuple[str, str]]] = {}  # named, each with its source
        self._counts: Counter[tuple[Outcome, str, str]] = Counter()
        self._first_source: str | None = None
        self._several_sources = False

    def add(self, photo: str, outcome: Outcome, error: ErrorInfo, *, page: int = 1, source: str = "") -> None:
        """Add one photo: a page of a file, named by its path relative to `source`."""
        key = (outcome, error.type, _VARYING.sub("…", error.message))
        if key not in self._counts and len(self._counts) >= _MAX_GROUPS:
            key = (outcome, error.type, "")
        self._counts[key] += 1
        self._messages.setdefault(key, error.message)
        named = self._photos.setdefault(key, [])
        if self._most_names is None or len(named) < self._most_names:
            named.append((source, name_with_page(photo, page)))
        self._first_source = source if self._first_source is None else self._first_source
        self._several_sources = self._several_sources or source != self._first_source

    def sorted(self) -> list[Failures]:
        """The groups, the largest first."""
        return [self._group(key, count) for key, count in self._counts.most_common()]

    def _group(self, key: tuple[Outcome, str, str], count: int) -> Failures:
        outcome, kind, _ = key
        names = [f"{source}/{photo}" if self._several_sources else photo for source, photo in self._photos[key]]
        return Failures(
            outcome=outcome, type=kind, message=self._messages[key], count=count, example=names[0], names=names
        )
