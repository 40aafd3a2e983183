"""How a run is coming along: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Final, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from smarty_async.progress import InFlight, Progress
from smarty_async.report.estimate import Estimator
from smarty_async.report.wording import columns, count, end_of, estimated, money, pace, plain, wrapped

__all__ = ["Bar", "Display", "Lines", "Silence", "counting"]

_LINE_EVERY: Final = 10.0
"""Seconds between two plain lines, unless another tenth is done."""
_DRAW_EVERY: Final = 0.1
"""Seconds between two drawings of a count."""
_TENTHS: Final = 10
_LOOKING: Final = "looking for photos"
_NAME_LENGTH: Final = 40
"""Columns of a photo's name that are shown."""


class Display(Protocol):
    """Where a run is shown while it lasts. Only one is open at a time."""

    def show(self, progress: Progress, estimate: Estimator, in_flight: Sequence[InFlight] = ()) -> None:
        """Show how far it has come; called often, draws when there is something to draw.

        Args:
            progress: of the run.
            estimate: its pace, and the time left.
            in_flight: the photos that have been sent and are not answered.
        """
        ...

    def say(self, line: str) -> None:
        """Show a line that stays."""
        ...

    def close(self) -> None:
        """Take away what moves."""
        ...


def _fraction(progress: Progress) -> str:
    if progress.total is None:
        if not progress.found:
            return _LOOKING
        return f"{progress.done:,} of {progress.found:,}+ photos"
    return f"{progress.done:,} of {count(progress.total, 'photo')}"


def _percent(progress: Progress) -> str:
    """Rounded down: 100 % is when all is done."""
    return f"{100 * progress.done // progress.total} %  " if progress.total else ""


def _details(progress: Progress, estimate: Estimator, *, free: bool) -> list[str]:
    parts: list[str] = []
    if estimate.seconds_a_photo is not None:
        parts.append(pace(estimate.seconds_a_photo))
    if estimate.seconds_left is not None and (progress.scanning or progress.done < progress.found):
        parts.append(f"{estimated(estimate.seconds_left)} left")
    if not free and progress.requests:
        parts.append(money(progress.cost))
        parts.append(count(progress.requests, "request"))
    if progress.workers:
        parts.append(f"{count(progress.workers, 'worker')} with {count(progress.permits, 'permit')}")
    if progress.retries:
        parts.append(f"{progress.retries:,} tried again")
    bad = progress.outcomes.get("failed", 0) + progress.outcomes.get("rejected", 0)
    if bad:
        parts.append(f"{count(bad, 'photo')} not restored")
    return parts


def _current(in_flight: Sequence[InFlight], *, free: bool, width: int | None = None) -> str:
    """What is being worked on, in at most `width` columns."""
    if not in_flight:
        return ""
    before = "restoring " if free else "waiting for "
    after = f" and {len(in_flight) - 1:,} more" if len(in_flight) > 1 else ""
    room = _NAME_LENGTH if width is None else min(_NAME_LENGTH, max(1, width - len(before) - len(after)))
    return f"{before}{end_of(plain(in_flight[0].photo), room)}{after}"


def _in_lines(parts: Iterable[str], width: int) -> str:
    """`parts` side by side in lines of at most `width` columns, none of them broken."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if lines[-1] and columns(longer) > width:
            lines.append(part)
        else:
            lines[-1] = longer
    return "\n".join(lines)


class _Drawing(Bars):
    """The bar, and lines under it."""

    under: tuple[Text, ...] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield from self.under


def _drawing_on(console: Console) -> _Drawing:
    """A bar with what is done beside it, drawn when it is asked to be, and gone at the end."""
    return _Drawing(
        BarColumn(bar_width=40),
        TextColumn("{task.description}", markup=False),
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        transient=True,
    )


class Bar:
    """A moving bar on a terminal.

    Args:
        console: the terminal.
        free: whether nothing is paid for.
    """

    def __init__(self, console: Console, *, free: bool) -> None:
        self._console = console
        self._free = free
        self._drawing = _drawing_on(console)
        self._task = self._drawing.add_task(_LOOKING, total=None)
        self._drawing.start()

    def show(self, progress: Progress, estimate: Estimator, in_flight: Sequence[InFlight] = ()) -> None:
        """Draw it again."""
        width = self._console.width
        details = _in_lines(_details(progress, estimate, free=self._free), width)
        current = _current(in_flight, free=self._free, width=width)
        status = plain(progress.status_message or "")
        lines = [(details, "dim"), (current, "dim"), (status, "yellow")]
        self._drawing.under = tuple(Text(text, style=style) for text, style in lines if text)
        with suppress(OSError):  # the terminal is gone
            self._drawing.update(
                self._task,
                description=_percent(progress) + _fraction(progress),
                completed=progress.done,
                total=progress.total,
                refresh=True,
            )

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        with suppress(OSError):
            self._console.print(Text(wrapped(plain(line), self._console.width)))

    def close(self) -> None:
        """Take the bar away: the summary says the same for good."""
        with suppress(OSError):
            self._drawing.stop()


class Lines:
    """A plain line now and then, for logs.

    One is due every ten seconds, at each tenth, when workers join or leave, and when something is the matter.

    Args:
        write: takes one line, without its end.
        free: whether nothing is paid for.
        clock: monotonic seconds.
    """

    def __init__(self, write: Callable[[str], None], *, free: bool, clock: Callable[[], float] = monotonic) -> None:
        self._write = write
        self._free = free
        self._clock = clock
        self._last = clock()
        self._tenth = 0
        self._workers = 0
        self._in_trouble = False

    def show(self, progress: Progress, estimate: Estimator, in_flight: Sequence[InFlight] = ()) -> None:
        """Write a line if one is due."""
        if not self._due(progress):
            return
        self._last = self._clock()
        parts = [_fraction(progress), *_details(progress, estimate, free=self._free)]
        if progress.status_message:
            parts.append(plain(progress.status_message))
        elif current := _current(in_flight, free=self._free):
            parts.append(current)
        self._write(", ".join(parts))

    def _due(self, progress: Progress) -> bool:
        tenth = _TENTHS * progress.done // progress.total if progress.total else self._tenth
        another_tenth, self._tenth = tenth > self._tenth, tenth
        other_workers, self._workers = progress.workers != self._workers, progress.workers
        trouble = progress.status_message is not None and not self._in_trouble
        self._in_trouble = progress.status_message is not None
        return another_tenth or other_workers or trouble or self._clock() - self._last >= _LINE_EVERY

    def say(self, line: str) -> None:
        """Write a line of its own."""
        self._write(line)

    def close(self) -> None:
        """Do nothing: nothing moves."""


class Silence:
    """Shows nothing but what is said.

    Args:
        write: takes one line, without its end.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def show(self, progress: Progress, estimate: Estimator, in_flight: Sequence[InFlight] = ()) -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Write a line of its own."""
        self._write(line)

    def close(self) -> None:
        """Do nothing: nothing moves."""


@contextmanager
def counting(console: Console, *, clock: Callable[[], float] = monotonic) -> Generator[Callable[[int, int], None]]:
    """A moving bar on a terminal, nothing elsewhere, for work on one photo after the other while the block lasts.

    Gives the function to call after each photo, with how many are done and how many there are.
    """
    if not console.is_interactive:  # rich 13 ends even a disabled bar with a line
        yield lambda _done, _total: None
        return
    drawing = _drawing_on(console)
    task = drawing.add_task("", total=None)
    drawn = clock() - _DRAW_EVERY

    def show(done: int, total: int) -> None:
        nonlocal drawn
        if clock() - drawn < _DRAW_EVERY:
            return
        drawn = clock()
        with suppress(OSError):  # the terminal is gone
            description = f"{done:,} of {count(total, 'photo')}"
            drawing.update(task, description=description, completed=done, total=total, refresh=True)

    try:
        with suppress(OSError):
            drawing.start()
        yield show
    finally:
        with suppress(OSError):
            drawing.stop()
