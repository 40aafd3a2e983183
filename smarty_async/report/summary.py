"""What became of every photo, and what to do about those that were not restored."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from smarty_async.archive.journal.records import FailedPhoto
from smarty_async.failures import FailureGroups, name_with_page
from smarty_async.progress import Progress
from smarty_async.report.wording import advice, count, duration, estimated, megabytes, money, plain, verb
from smarty_async.results import UNREADABLE_FOLDER, ErrorInfo, Failures, Kind, Outcome, Plan, Result, Status
from smarty_async.store_address import is_store_address

__all__ = [
    "FREE",
    "Summary",
    "Tally",
    "failed_line",
    "failure_lines",
    "left_alone_line",
    "photo_line",
    "plan_lines",
    "shell",
    "status_lines",
    "summary_lines",
]

FREE = "free (restored on this machine)"
_TONED = "toned, not colourized"

_WORDS: dict[Outcome, str] = {
    "restored": "restored",
    "already_good": "already good: nothing to restore",
    "duplicate": "same picture as another photo: sent only once",
    "skipped": "finished in an earlier run",
    "failed": "failed",
    "rejected": "not sent",
}


_LEFT_ALONE_NAMED = 5
"""Files that were left alone named in a sentence."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: the last line of ``--json``.

    Attributes:
        photos: photos that came to an end in this run.
        outcomes: photos by outcome.
        coloured: photos of this run that were given colours.
        left: photos left for another run: those found, and those counted ahead.
        scanning: whether it ended before all photos were found or counted: more than `left` may be left.
        missing: photos finished in an earlier run of which outputs are no longer there.
        not_kept: such photos by kind of output, where one that is asked for was made and not kept.
        failures: failed and rejected photos, grouped by reason.
        requests: requests sent.
        images: images sent; a photo that is sent again counts again.
        images_paid: those that were probably paid for: all but the images of requests that the service refused before
            any work.
        retries: items and requests tried again.
        bytes_sent: bytes of request bodies.
        bytes_received: bytes of answers.
        cost: an estimate of what was paid, in ₽; 0 for the embedded service.
        seconds: how long the run took.
        out: the output folder.
        oversized: photos outside the dimensions that the service publishes; they were sent all the same.
        left_alone: files that are not photos, or that a list names and are results of a run.
        left_alone_names: the first of them.
        limit_reached: whether a spend limit was reached and photos were left.
        interrupted: whether it was stopped before its end.
        error: why it stopped early, None when it did not.
    """

    photos: int
    outcomes: dict[Outcome, int]
    coloured: int = 0
    left: int
    scanning: bool = False
    missing: int = 0
    not_kept: dict[Kind, int] = {}
    failures: list[Failures]
    requests: int
    images: int
    images_paid: int = 0
    retries: int
    bytes_sent: int
    bytes_received: int
    cost: float
    seconds: float
    out: str
    oversized: int = 0
    left_alone: int = 0
    left_alone_names: list[str] = []
    limit_reached: bool = False
    interrupted: bool = False
    error: ErrorInfo | None = None


class Tally:
    """Counts results as they come; what it holds does not grow with the archive."""

    def __init__(self) -> None:
        self.outcomes: dict[Outcome, int] = {}
        self.coloured = 0
        self._failures = FailureGroups()

    def add(self, result: Result) -> None:
        """Count one photo."""
        self.outcomes[result.outcome] = self.outcomes.get(result.outcome, 0) + 1
        self.coloured += result.outcome in ("restored", "duplicate") and _coloured(result)
        if result.error is not None:
            self._failures.add(result.photo, result.outcome, result.error, page=result.page, source=result.source)

    @property
    def failures(self) -> list[Failures]:
        """The photos that did not come to a good end, by reason, the most frequent first."""
        return self._failures.sorted()

    @property
    def bad(self) -> int:
        """How many photos failed or were rejected."""
        return self.outcomes.get("failed", 0) + self.outcomes.get("rejected", 0)

    def summary(
        self,
        progress: Progress,
        *,
        out: str,
        seconds: float,
        free: bool,
        interrupted: bool = False,
        error: ErrorInfo | None = None,
    ) -> Summary:
        """The run's end, from what was counted here and in `progress`."""
        return Summary(
            photos=sum(self.outcomes.values()),
            outcomes=dict(self.outcomes),
            coloured=self.coloured,
            left=max(0, (progress.total or progress.found) - sum(self.outcomes.values())),
            scanning=progress.total is None,
            missing=progress.missing,
            not_kept=progress.not_kept,
            failures=self.failures,
            requests=progress.requests,
            images=progress.images,
            images_paid=0 if free else progress.images_paid,
            retries=progress.retries,
            bytes_sent=progress.bytes_sent,
            bytes_received=progress.bytes_received,
            cost=0.0 if free else round(progress.cost, 2),
            seconds=round(seconds, 3),
            out=out,
            oversized=progress.oversized,
            left_alone=progress.left_alone,
            left_alone_names=progress.left_alone_names,
            limit_reached=progress.limit_reached,
            interrupted=interrupted,
            error=error,
        )


def photo_line(result: Result, *, toned: bool = False) -> str:
    """One photo on one line, for ``--verbose``; `toned`: whether colours in it are only tones."""
    line = f"{plain(name_with_page(result.photo, result.page))}: {_WORDS[result.outcome]}"
    if result.outputs:
        line += f" ({', '.join(result.outputs)}{f'; {_TONED}' if toned and _coloured(result) else ''})"
    if result.error is not None:
        line += f": {plain(result.error.message)}"
    return f"{line} (in {count(result.attempts, 'request')})" if result.attempts > 1 else line


def _coloured(result: Result) -> bool:
    return "colorized" in result.outputs or "colorized_improved" in result.outputs


def outcome_lines(outcomes: dict[Outcome, int]) -> Iterator[str]:
    """Photos by outcome, one line each, in a fixed order."""
    width = max((len(f"{number:,}") for number in outcomes.values()), default=1)
    for outcome, words in _WORDS.items():
        if number := outcomes.get(outcome, 0):
            yield f"  {number:>{width},}  {words}"


def failure_lines(failures: Iterable[Failures], *, see_all: str | None) -> Iterator[str]:
    """The photos by reason, as far as they are named, and what to do about them: once for each type.

    Args:
        failures: the groups.
        see_all: the command that lists all of them; None when there is none.
    """
    by_type: dict[str, list[Failures]] = {}
    for group in failures:
        by_type.setdefault(group.type, []).append(group)
    for kind, groups in by_type.items():
        for group in groups:
            noun = "folder" if kind == UNREADABLE_FOLDER else "photo"
            yield f"  {count(group.count, noun)} {_WORDS[group.outcome]}: {plain(group.message)}"
            names = group.names or [group.example]
            yield from (f"    {plain(name)}" for name in names)
            if more := group.count - len(names):
                yield f"    and {more:,} more{f': see {see_all}' if see_all else ''}"
        if to_do := advice(kind):
            yield f"    What to do: {to_do}."


def failed_line(failed: FailedPhoto) -> str:
    """One photo that was not restored, on one line, for ``status --failed``."""
    name = plain(name_with_page(failed.photo, failed.page))
    return f"{name}: {_WORDS[failed.outcome]}: {plain(failed.error.message)}"


def left_alone_line(number: int, names: Sequence[str]) -> str:
    """The files that were left alone: how many, why, and the first names."""
    named = ", ".join(map(plain, names[:_LEFT_ALONE_NAMED]))
    more = number - min(len(names), _LEFT_ALONE_NAMED)
    listed = f": {named}{f' and {more:,} more' if more and named else ''}" if named else ""
    words = verb(number, "is not a photo or is a result was", "are not photos or are results were")
    return f"{count(number, 'file')} that {words} left alone{listed}"


def summary_lines(
    summary: Summary, *, free: bool, only_problems: bool = False, state: str | None = None
) -> Iterator[str]:
    """The end of a run.

    Args:
        summary: the run.
        free: whether it cost nothing.
        only_problems: leave out everything that went well.
        state: the folder of ``--state``, if one was given: ``status`` needs it, too.
    """
    status = f"smarty-async status {shell(summary.out)}{f' --state {shell(state)}' if state else ''}"
    if summary.failures:
        yield _not_restored(summary.failures)
        yield from failure_lines(summary.failures, see_all=f"{status} --failed")
    if summary.missing:
        photos = count(summary.missing, "photo")
        yield f"The results of {photos} from an earlier run are gone: --redo-missing makes them again."
    if summary.not_kept:
        yield _not_kept_line(summary.not_kept, free=free)
    if summary.interrupted:
        yield _stopped_line(summary)
    if not only_problems:
        yield from _all_lines(summary, free=free, status=status)
    if summary.limit_reached:
        yield _limit_line(summary)


def _all_lines(summary: Summary, *, free: bool, status: str) -> Iterator[str]:
    """`status` is the command that shows what became of the photos."""
    stopped = " so far" if summary.left else ""
    yield f"{count(summary.photos, 'photo')}{stopped} in {duration(summary.seconds)}{':' if summary.outcomes else '.'}"
    yield from outcome_lines(summary.outcomes)
    if summary.left and not summary.limit_reached and not summary.interrupted:
        yield f"{count(summary.left, 'photo')} left for another run: the same command continues with them."
    if summary.oversized:
        yield _oversized(summary.oversized)
    if summary.left_alone:
        yield f"{left_alone_line(summary.left_alone, summary.left_alone_names)}."
    if free and summary.coloured:
        photos = count(summary.coloured, "black-and-white photo")
        yield f"The colours of {photos} are {_TONED}: the engine on this machine cannot know the real ones."
    yield f"Price: {FREE if free and summary.images else _price(summary)}"
    if summary.outcomes.get("restored") or summary.outcomes.get("skipped") or summary.outcomes.get("duplicate"):
        out = repr(summary.out) if summary.out.endswith(".") else summary.out
        if is_store_address(summary.out):
            yield f"The results are in {plain(out)}. See what became of every photo with:"
            yield f"  {status}"
        else:
            yield f"The results are in {plain(out)}. Look at them with:"
            yield f"  smarty-async view {shell(summary.out)}"


def _not_restored(failures: Sequence[Failures]) -> str:
    number = sum(group.count for group in failures)
    return f"{_photos_and_folders(failures)} {verb(number, 'was', 'were')} not restored:"


def _photos_and_folders(failures: Iterable[Failures]) -> str:
    """How many photos there are in `failures`, and how many folders in place of photos that are not known."""
    counts = Counter[bool]()
    for group in failures:
        counts[group.type == UNREADABLE_FOLDER] += group.count
    folders = f"{count(counts[True], 'folder')} that cannot be read"
    if not counts[True]:
        return count(counts[False], "photo")
    return f"{count(counts[False], 'photo')} and {folders}" if counts[False] else folders


def _stopped_line(summary: Summary) -> str:
    if summary.left:
        return f"Stopped with {_left(summary)} left. The same command continues from here."
    if summary.scanning:
        return "Stopped before all photos were found. The same command continues from here."
    return "Nothing was left to do when the run was stopped: every photo is finished."


def _limit_line(summary: Summary) -> str:
    left = _left(summary) if summary.left else "more photos"
    return f"The spend limit was reached with {left} left. Raise it, and the same command continues with them."


def _left(summary: Summary) -> str:
    return f"{'at least ' if summary.scanning else ''}{count(summary.left, 'photo')}"


def _not_kept_line(not_kept: Mapping[Kind, int], *, free: bool) -> str:
    lacks = [
        f"{count(photos, 'finished photo')} {verb(photos, 'has', 'have')} no {kind}"
        for kind, photos in not_kept.items()
    ]
    again = f"--redo-missing sends them again{'' if free else ', and pays again'}"
    return f"{', '.join(lacks)}: an earlier run made it and did not keep it (--outputs). {again}."


def _oversized(number: int) -> str:
    photos = f"{count(number, 'photo')} {verb(number, 'is', 'are')}"
    return (
        f"{photos} outside the dimensions that the service says it accepts: with --fit, those that are too large"
        " are sent smaller."
    )


def _price(summary: Summary) -> str:
    if not summary.images:
        return "nothing, as no photo was sent"
    sent = f"{count(summary.images, 'image')} sent in {count(summary.requests, 'request')}"
    return f"{money(summary.cost)} ({sent}, {_paid(summary.images, summary.images_paid)})"


def _paid(images: int, paid: int) -> str:
    return "all probably paid for" if paid == images > 1 else f"{paid:,} probably paid for"


def plan_lines(plan: Plan, *, free: bool, seconds: float | None = None) -> Iterator[str]:
    """What a run would do, for ``--dry-run``.

    Args:
        plan: the plan.
        free: whether nothing is paid for.
        seconds: how long it would take; None when that is not known.
    """
    tally = Tally()
    for result in plan.rejected:
        tally.add(result)
    yield "Nothing was sent. A run with these options would"
    yield from _planned_photos(plan, tally)
    if seconds is not None and plan.photos:
        yield f"  take    {estimated(seconds)}, at the pace of earlier runs"
    yield f"  cost    {_planned_cost(plan, free=free)}"
    yield from map(plain, plan.warnings)
    if plan.not_kept:
        yield _not_kept_line(plan.not_kept, free=free)
    if plan.oversized > 1:  # the first one is among the warnings
        yield _oversized(plan.oversized)
    if plan.left_alone:
        yield f"{left_alone_line(plan.left_alone, plan.left_alone_names)}."
    if plan.rejected:
        yield f"{_photos_and_folders(tally.failures)} would not be sent:"
        yield from failure_lines(tally.failures, see_all=None)


def _planned_photos(plan: Plan, tally: Tally) -> Iterator[str]:
    yield f"  send    {count(plan.photos, 'photo')} ({megabytes(plan.bytes)}) in {count(plan.requests, 'request')}"
    if plan.duplicates:
        yield f"  copy    the results of {count(plan.duplicates, 'photo')} from the same picture elsewhere"
    if plan.skipped:
        yield f"  skip    {count(plan.skipped, 'photo')} finished in an earlier run"
    if plan.left:
        yield f"  leave   {count(plan.left, 'photo')} for another run: the spend limit is reached"
    if plan.rejected:
        yield f"  reject  {_photos_and_folders(tally.failures)}"
    if plan.left_alone:
        are = verb(plan.left_alone, "is not a photo or is a result", "are not photos or are results")
        yield f"  leave   {count(plan.left_alone, 'file')} alone that {are}"


def _planned_cost(plan: Plan, *, free: bool) -> str:
    if not plan.photos:
        return "nothing"
    cost = money(plan.cost)
    return f"nothing; the service in the cloud would cost {cost}" if free else cost


def status_lines(status: Status, *, out: str) -> Iterator[str]:
    """What the journal of an output folder knows, for ``status``."""
    known = sum(status.outcomes.values()) + status.unfinished
    yield f"{plain(out)}: {count(known, 'photo')}"
    yield from outcome_lines(status.outcomes)
    if status.unfinished:
        them = verb(status.unfinished, "it", "them")
        yield f"  {status.unfinished:,}  not finished: the same improve command continues with {them}"
    if status.images:
        paid = _paid(status.images, status.images_paid)
        yield f"Sent in all runs: {count(status.images, 'image')}."
        yield f"Price: {money(status.cost)} ({paid}), or nothing where the photos were restored on this machine"
    if status.failures:
        yield _not_restored(status.failures)
        yield from failure_lines(status.failures, see_all=None)


def shell(path: str) -> str:
    """`path` as it can be pasted into a shell."""
    return plain(path) if os.name == "nt" else shlex.quote(plain(path))
