"""What became of every photo, and what to do about those that did not come to a good end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from smarty_async.report.advice import advice
from smarty_async.report.wording import count, duration, money, plain
from smarty_async.results import ErrorInfo, Failures, Outcome, Plan, Progress, Result, Status

__all__ = [
    "FREE",
    "Summary",
    "Tally",
    "failure_lines",
    "photo_line",
    "plan_lines",
    "status_lines",
    "summary_lines",
]

FREE = "nothing: the embedded service is free"
_TONED = "toned, not colourized"

_WORDS: dict[Outcome, str] = {
    "restored": "restored",
    "already_good": "already good: nothing to restore, no file made",
    "duplicate": "the same as another photo: sent once",
    "skipped": "finished in an earlier run",
    "failed": "failed",
    "rejected": "not sent",
}

_MOST_GROUPS = 100
"""Reasons told apart; past that they are gathered by type, so that memory stays bounded."""

_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,._ ]*")
"""What differs between two messages that give the same reason: names in quotes, and numbers."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: the last line of ``--json``.

    Attributes:
        photos: photos that came to an end in this run.
        outcomes: photos by outcome.
        coloured: photos of this run that were given colours.
        left: photos found and left for another run.
        missing: photos finished in an earlier run of which outputs are no longer there.
        failures: failed and rejected photos, grouped by reason.
        requests: requests sent.
        images: images sent, which is what is paid for.
        retries: items and requests tried again.
        bytes_sent: bytes of request bodies.
        bytes_received: bytes of answers.
        cost: an estimate of what was paid, in ₽; 0 for the embedded service.
        seconds: how long the run took.
        out: the output folder.
        left_alone: files that are no photos.
        left_alone_names: the first of them.
        limit_reached: whether a spend limit was reached and photos were left.
        interrupted: whether it was stopped before its end.
        error: why it stopped early, None when it did not.
    """

    photos: int
    outcomes: dict[Outcome, int]
    coloured: int = 0
    left: int
    missing: int = 0
    failures: list[Failures]
    requests: int
    images: int
    retries: int
    bytes_sent: int
    bytes_received: int
    cost: float
    seconds: float
    out: str
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
        self._groups: dict[tuple[Outcome, str, str], Failures] = {}

    def add(self, result: Result) -> None:
        """Count one photo."""
        self.outcomes[result.outcome] = self.outcomes.get(result.outcome, 0) + 1
        self.coloured += result.outcome in ("restored", "duplicate") and _coloured(result)
        if result.error is None:
            return
        reason = _VARYING.sub("…", result.error.message)
        key = (result.outcome, result.error.type, reason)
        if key not in self._groups and len(self._groups) >= _MOST_GROUPS:
            key = (result.outcome, result.error.type, "")
        known = self._groups.get(key)
        self._groups[key] = Failures(
            outcome=result.outcome,
            type=result.error.type,
            message=known.message if known else result.error.message,
            count=known.count + 1 if known else 1,
            example=known.example if known else result.photo,
        )

    @property
    def failures(self) -> list[Failures]:
        """The photos that did not come to a good end, by reason, the most frequent first."""
        return sorted(self._groups.values(), key=lambda group: -group.count)

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
        """The run's end, from what was counted here and what the engine measured."""
        return Summary(
            photos=sum(self.outcomes.values()),
            outcomes=dict(self.outcomes),
            coloured=self.coloured,
            left=max(0, progress.found - sum(self.outcomes.values())),
            missing=progress.missing,
            failures=self.failures,
            requests=progress.requests,
            images=progress.images,
            retries=progress.retries,
            bytes_sent=progress.bytes_sent,
            bytes_received=progress.bytes_received,
            cost=0.0 if free else round(progress.cost, 2),
            seconds=round(seconds, 3),
            out=out,
            left_alone=progress.left_alone,
            left_alone_names=progress.left_alone_names,
            limit_reached=progress.limit_reached,
            interrupted=interrupted,
            error=error,
        )


def photo_line(result: Result, *, toned: bool = False) -> str:
    """One photo on one line, for ``--verbose``; `toned`: whether colours in it are only tones."""
    line = f"{plain(result.photo)}: {_WORDS[result.outcome]}"
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


def failure_lines(failures: Iterable[Failures]) -> Iterator[str]:
    """Reasons with an example each, and what to do about them: the advice once for each type."""
    by_type: dict[str, list[Failures]] = {}
    for group in failures:
        by_type.setdefault(group.type, []).append(group)
    for kind, groups in by_type.items():
        for group in groups:
            yield f"  {count(group.count, 'photo')} {_WORDS[group.outcome]}: {plain(group.message)}"
            yield f"    {'the photo' if group.count == 1 else 'one of them'}: {plain(group.example)}"
        yield f"    what to do: {advice(kind)}"


def summary_lines(summary: Summary, *, free: bool, only_problems: bool = False) -> Iterator[str]:
    """The end of a run. `only_problems` leaves out everything that went well."""
    if summary.failures:
        yield "These photos were not restored:"
        yield from failure_lines(summary.failures)
    if summary.missing:
        photos = count(summary.missing, "photo")
        yield f"Results of {photos} finished in an earlier run are no longer there: --redo-missing restores them again."
    if summary.interrupted and summary.left:
        yield "Stopped before the end. The same command goes on from here."
    if only_problems:
        if summary.limit_reached:
            yield _limit_line(summary)
        return
    stopped = " so far" if summary.interrupted or summary.error else ""
    yield f"{count(summary.photos, 'photo')}{stopped} in {duration(summary.seconds)}:"
    yield from outcome_lines(summary.outcomes)
    if summary.left and not summary.limit_reached:
        yield f"{count(summary.left, 'photo')} left for another run: the same command goes on with them."
    if summary.outcomes.get("restored") or summary.outcomes.get("skipped"):
        yield f"The results are in {plain(summary.out)}; results.jsonl there tells it photo by photo."
    if free and summary.coloured:
        photos = count(summary.coloured, "black-and-white photo")
        yield f"The colours of {photos} are {_TONED}: no engine here knows them."
    yield f"Estimated price: {FREE if free else _price(summary)}"
    if summary.limit_reached:
        yield _limit_line(summary)


def _limit_line(summary: Summary) -> str:
    left = f"at least {count(summary.left, 'photo')}" if summary.left else "more photos"
    return f"The spend limit is reached, with {left} left: raise it, and the same command goes on with them."


def _price(summary: Summary) -> str:
    if not summary.images:
        return "nothing: no photo was sent"
    return f"{money(summary.cost)} ({count(summary.images, 'image')} in {count(summary.requests, 'request')})"


def plan_lines(plan: Plan, *, free: bool) -> Iterator[str]:
    """What a run would do, for ``--dry-run``."""
    tally = Tally()
    for result in plan.rejected:
        tally.add(result)
    yield "Nothing was sent. A run with these options would"
    megabytes = f"{plan.bytes / 1_000_000:,.1f} MB"
    yield f"  send   {count(plan.photos, 'photo')} ({megabytes}) in {count(plan.requests, 'request')}"
    if plan.duplicates:
        yield f"  copy   {count(plan.duplicates, 'photo')} with the content of another"
    if plan.skipped:
        yield f"  skip   {count(plan.skipped, 'photo')} finished in an earlier run"
    if plan.rejected:
        yield f"  reject {count(len(plan.rejected), 'photo')}"
    priced = f"{FREE} (the service in the cloud: {money(plan.cost)})" if free else money(plan.cost)
    yield f"  cost   {priced}"
    if plan.rejected:
        yield "These photos would not be sent:"
        yield from failure_lines(tally.failures)


def status_lines(status: Status, *, out: str) -> Iterator[str]:
    """What the journal of an output folder knows, for ``status``."""
    known = sum(status.outcomes.values()) + status.unfinished
    yield f"{plain(out)}: {count(known, 'photo')} known"
    yield from outcome_lines(status.outcomes)
    if status.unfinished:
        yield f"  {status.unfinished:,}  not finished: the same improve command goes on with them"
    yield f"Images sent in all runs: {status.images:,}, {money(status.cost)} if the service was a paid one"
    if status.failures:
        yield "These photos were not restored:"
        yield from failure_lines(status.failures)
