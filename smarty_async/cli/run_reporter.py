"""Displays a run while it lasts, and reports what became of its photos."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console

from smarty_async.archive.paths import display_path
from smarty_async.cli.errors import Exit
from smarty_async.cli.improve_options import DisplayOptions, ImproveOptions
from smarty_async.cli.output import Output, say
from smarty_async.cli.signals import Interrupts
from smarty_async.errors import SmartyError
from smarty_async.report.progress import Bar, Display, Lines, Silence
from smarty_async.report.summary import Tally, photo_line, summary_lines
from smarty_async.results import ErrorInfo, Progress, Result

__all__ = ["Run", "RunReporter", "follow"]

_SHOW_EVERY = 0.2
"""Seconds between two displays of a run's progress."""


class Run(Protocol):
    """What is followed: a run over an archive."""

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        ...

    def __aiter__(self) -> AsyncIterator[Result]:
        """The results."""
        ...


async def follow(run: Run, *, options: ImproveOptions, interrupts: Interrupts) -> Exit:
    """Display `run` to its end, and report what became of every photo.

    Raises:
        SmartyError: what ended the run early, or there was no photo at all.
    """
    display = _display_for(options.display, free=options.account.local)
    reporter = RunReporter(options, display)
    interrupts.say = display.say
    ended_by: BaseException | None = None
    try:
        async with _displayed(run, display):
            async for result in run:
                reporter.add(result)
        if not run.progress.found and not run.progress.left_alone and not interrupts.asked:
            raise options.nothing_found
    except BaseException as error:
        ended_by = error
        raise
    finally:
        interrupts.say = say
        display.close()
        reporter.finish(run.progress, interrupted=interrupts.asked, error=ended_by)
    if interrupts.asked:
        return Exit.INTERRUPTED if reporter.photos_left(run.progress) else Exit.FINE
    if run.progress.limit_reached:
        return Exit.SPEND_LIMIT
    return Exit.PHOTOS_FAILED if reporter.tally.bad else Exit.FINE


def _reason(error: BaseException) -> str:
    """Only our own errors are sure to hold no secret."""
    return str(error) if isinstance(error, SmartyError) else "the run was broken off"


def _display_for(options: DisplayOptions, *, free: bool) -> Display:
    """The display that fits the options and this stderr."""
    if options.quiet:
        return Silence(say)
    if options.bar and not options.json and sys.stderr.isatty():
        console = Console(stderr=True, highlight=False)
        if console.is_interactive:
            return Bar(console, free=free)
    return Lines(say, free=free)


@asynccontextmanager
async def _displayed(run: Run, display: Display) -> AsyncGenerator[None, None]:
    """Show the progress at regular intervals, also while no result comes."""
    said = 0

    def say_warnings() -> None:
        nonlocal said
        for warning in run.progress.warnings[said:]:
            display.say(warning)
        said = len(run.progress.warnings)

    async def show() -> None:
        while True:
            say_warnings()
            display.show(run.progress)
            await asyncio.sleep(_SHOW_EVERY)

    showing = asyncio.create_task(show())
    try:
        yield
    finally:
        showing.cancel()
        say_warnings()


class RunReporter:
    """Writes a run's results: each photo where that is asked for, and the end.

    Args:
        options: the command's options.
        display: where lines about photos go.
    """

    def __init__(self, options: ImproveOptions, display: Display) -> None:
        self.tally = Tally()
        self._options = options
        self._display = display
        self._output = Output()
        self._began = monotonic()

    def add(self, result: Result) -> None:
        """Report one photo."""
        self.tally.add(result)
        if self._options.display.verbose:
            self._display.say(photo_line(result, toned=self._options.account.local))
        if self._options.display.json:
            self._output.struct(result)

    def photos_left(self, progress: Progress) -> bool:
        """Whether photos are left for another run."""
        return progress.scanning or progress.found > sum(self.tally.outcomes.values())

    def finish(self, progress: Progress, *, interrupted: bool, error: BaseException | None) -> None:
        """Report the end."""
        display, free = self._options.display, self._options.account.local
        summary = self.tally.summary(
            progress,
            out=display_path(str(self._options.out)),
            seconds=monotonic() - self._began,
            free=free,
            interrupted=interrupted,
            error=ErrorInfo(type(error).__name__, _reason(error)) if error else None,
        )
        if summary.photos or error is None:
            for line in summary_lines(summary, free=free, only_problems=display.quiet):
                say(line)
        if display.json:
            self._output.struct({"summary": summary})
