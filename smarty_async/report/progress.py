"""How a run is coming along: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from smarty_async.report.wording import count, duration, money, plain
from smarty_async.results import Progress

__all__ = ["Bar", "Display", "Lines", "Pace", "Silence"]

_WINDOW = 60.0
"""Seconds the rate is taken over: answers come a chunk at a time, a shorter look would jump."""
_LINE_EVERY = 10.0
"""Seconds between two plain lines, unless another tenth is done."""
_TENTHS = 10


class Display(Protocol):
    """Where a run shows itself while it lasts. Only one is open at a time."""

    def show(self, progress: Progress) -> None:
        """How far it has come; called often, draws when there is something to draw."""
        ...

    def say(self, line: str) -> None:
        """One line that stays."""
        ...

    def close(self) -> None:
        """Nothing moves from here on."""
        ...


class Pace:
    """Photos a second over the last minute; photos skipped are no work and do not count."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def look(self, progress: Progress) -> float:
        """Take `progress` in; the rate, 0 while it is not known."""
        now, worked = self._clock(), progress.done - progress.outcomes.get("skipped", 0)
        self._seen.append((now, worked))
        while len(self._seen) > 1 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        return (worked - before) / (now - since) if now > since else 0.0


def _fraction(progress: Progress) -> str:
    more = "+" if progress.scanning else ""
    return f"{progress.done:,} of {progress.found:,}{more} photos"


def _percent(progress: Progress) -> str:
    """Rounded down: 100 % is when all is done."""
    return "" if progress.scanning or not progress.found else f"{100 * progress.done // progress.found} %  "


def _details(progress: Progress, rate: float, *, free: bool) -> list[str]:
    parts: list[str] = []
    if rate > 0:
        parts.append(f"{rate:,.1f} photos/s")
        if not progress.scanning:
            parts.append(f"{duration((progress.found - progress.done) / rate)} left")
    parts.append("free" if free else money(progress.cost))
    parts.append(count(progress.requests, "request"))
    if progress.retries:
        parts.append(f"{progress.retries:,} tried again")
    bad = progress.outcomes.get("failed", 0) + progress.outcomes.get("rejected", 0)
    if bad:
        parts.append(f"{count(bad, 'photo')} not restored")
    return parts


class _Drawing(Bars):
    """The bar, the numbers under it, and what a person should know now."""

    under: tuple[Text, ...] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield from self.under


class Bar:
    """A moving bar on a terminal.

    Args:
        console: the terminal.
        free: whether nothing is paid for.
        clock: monotonic seconds.
    """

    def __init__(self, console: Console, *, free: bool, clock: Callable[[], float] = monotonic) -> None:
        self._console = console
        self._free = free
        self._pace = Pace(clock)
        self._drawing = _Drawing(
            BarColumn(bar_width=40),
            TextColumn("{task.description}", markup=False),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            transient=True,
        )
        self._task = self._drawing.add_task("looking for photos", total=None)
        self._drawing.start()

    def show(self, progress: Progress) -> None:
        """Draw it anew."""
        rate = self._pace.look(progress)
        details = Text(" · ".join(_details(progress, rate, free=self._free)), style="dim")
        status_message = [Text(plain(progress.status_message), style="yellow")] if progress.status_message else []
        self._drawing.under = (details, *status_message)
        total = None if progress.scanning else progress.found
        self._drawing.update(
            self._task,
            description=_percent(progress) + _fraction(progress),
            completed=progress.done,
            total=total,
            refresh=True,
        )

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        """Take the bar away: the summary says the same for good."""
        self._drawing.stop()


class Lines:
    """A plain line now and then, for logs: every ten seconds, at each tenth, and when something is the matter.

    Args:
        write: takes one line, without its end.
        free: whether nothing is paid for.
        clock: monotonic seconds.
    """

    def __init__(self, write: Callable[[str], None], *, free: bool, clock: Callable[[], float] = monotonic) -> None:
        self._write = write
        self._free = free
        self._clock = clock
        self._pace = Pace(clock)
        self._last = clock()
        self._tenth = 0
        self._noticed = False

    def show(self, progress: Progress) -> None:
        """Write a line if one is due."""
        rate = self._pace.look(progress)
        if not self._due(progress):
            return
        self._last = self._clock()
        parts = [_fraction(progress), *_details(progress, rate, free=self._free)]
        if progress.status_message:
            parts.append(plain(progress.status_message))
        self._write(", ".join(parts))

    def _due(self, progress: Progress) -> bool:
        counted = not progress.scanning and progress.found
        tenth = _TENTHS * progress.done // progress.found if counted else self._tenth
        another_tenth, self._tenth = tenth > self._tenth, tenth
        trouble = progress.status_message is not None and not self._noticed
        self._noticed = progress.status_message is not None
        return another_tenth or trouble or self._clock() - self._last >= _LINE_EVERY

    def say(self, line: str) -> None:
        """A line of its own."""
        self._write(line)

    def close(self) -> None:
        """Nothing is open."""


class Silence:
    """Shows nothing but what is said.

    Args:
        write: takes one line, without its end.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def show(self, progress: Progress) -> None:
        """Not here."""

    def say(self, line: str) -> None:
        """A line of its own."""
        self._write(line)

    def close(self) -> None:
        """Nothing is open."""
