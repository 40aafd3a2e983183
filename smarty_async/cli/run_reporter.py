"""A run, shown while it lasts and told when it has ended."""

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
from smarty_async.cli.improve_options import Job, View
from smarty_async.cli.output import Output, say
from smarty_async.cli.signals import Interrupts
from smarty_async.errors import SmartyError
from smarty_async.report.progress import Bar, Display, Lines, Silence
from smarty_async.report.summary import Tally, photo_line, summary_lines
from smarty_async.results import ErrorInfo, Progress, Result

__all__ = ["Run", "follow"]

_LOOK_EVERY = 0.2
"""Seconds between two looks at a run's progress."""


class Run(Protocol):
    """What is followed: the results of an archive as they come."""

    @property
    def progress(self) -> Progress:
        """How far it has come, now."""
        ...

    def __aiter__(self) -> AsyncIterator[Result]:
        """The results."""
        ...


async def follow(run: Run, *, job: Job, interrupts: Interrupts) -> Exit:
    """Show `run` to its end, and say what became of every photo.

    Raises:
        SmartyError: what ended the run early, or there was no photo at all.
    """
    display = _display(job.view, free=job.account.local)
    telling = RunReporter(job, display)
    interrupts.say = display.say
    ended: BaseException | None = None
    try:
        async with _shown(display, run):
            async for result in run:
                telling.photo(result)
        if not run.progress.found and not interrupts.asked:
            raise job.nothing_found
    except BaseException as error:
        ended = error
        raise
    finally:
        interrupts.say = say
        display.close()
        telling.end(run.progress, interrupted=interrupts.asked, error=ended)
    if interrupts.asked:
        return Exit.INTERRUPTED
    return Exit.PHOTOS_FAILED if telling.tally.bad else Exit.FINE


def _reason(error: BaseException) -> str:
    """Only our own errors are sure to hold no secret."""
    return str(error) if isinstance(error, SmartyError) else "the run was broken off"


def _display(view: View, *, free: bool) -> Display:
    """What fits these wishes and this stderr."""
    if view.quiet:
        return Silence(say)
    if view.bar and not view.json and sys.stderr.isatty():
        console = Console(stderr=True, highlight=False)
        if console.is_interactive:
            return Bar(console, free=free)
    return Lines(say, free=free)


@asynccontextmanager
async def _shown(display: Display, run: Run) -> AsyncGenerator[None, None]:
    """Look at the progress now and then, also while no result comes."""
    said = 0

    def say_remarks() -> None:
        nonlocal said
        for warning in run.progress.warnings[said:]:
            display.say(warning)
        said = len(run.progress.warnings)

    async def look() -> None:
        while True:
            say_remarks()
            display.show(run.progress)
            await asyncio.sleep(_LOOK_EVERY)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        say_remarks()


class RunReporter:
    """What is written about a run: each photo where that is wanted, and the end."""

    def __init__(self, job: Job, display: Display) -> None:
        self.tally = Tally()
        self._job = job
        self._display = display
        self._output = Output()
        self._began = monotonic()

    def photo(self, result: Result) -> None:
        self.tally.add(result)
        if self._job.view.verbose:
            self._display.say(photo_line(result, toned=self._job.account.local))
        if self._job.view.json:
            self._output.struct(result)

    def end(self, progress: Progress, *, interrupted: bool, error: BaseException | None) -> None:
        view, free = self._job.view, self._job.account.local
        told = ErrorInfo(type(error).__name__, _reason(error)) if error else None
        summary = self.tally.summary(
            progress,
            out=display_path(str(self._job.out)),
            seconds=monotonic() - self._began,
            free=free,
            interrupted=interrupted,
            error=told,
        )
        if summary.photos or error is None:
            for line in summary_lines(summary, free=free, only_problems=view.quiet):
                say(line)
        if view.json:
            self._output.struct({"summary": summary})
