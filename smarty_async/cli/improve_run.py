"""What `improve` does: start the service, open the client, display one run and report its photos, or a preview."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console

from smarty_async.archive.outputs.opening import check_archive
from smarty_async.archive.paths import display_path
from smarty_async.cli.errors import Exit
from smarty_async.cli.improve_options import DisplayOptions, ImproveOptions
from smarty_async.cli.output import Output, say
from smarty_async.cli.signals import Interrupts
from smarty_async.client import SmartyClient
from smarty_async.cluster import require_distributed
from smarty_async.errors import DiskError, SmartyError
from smarty_async.hooks import Hooks
from smarty_async.local.embedded import EmbeddedService
from smarty_async.local.engine import best_engine
from smarty_async.options import ArchiveKeywords, ArchiveOptions
from smarty_async.plan import plan_archive
from smarty_async.progress import InFlight, Progress
from smarty_async.report.estimate import Estimator, PaceFile
from smarty_async.report.metrics import MetricsHooks
from smarty_async.report.progress import Bar, Display, Lines, Silence
from smarty_async.report.summary import Tally, photo_line, plan_lines, summary_lines
from smarty_async.report.wording import count, estimated
from smarty_async.results import ErrorInfo, Plan, Result

if TYPE_CHECKING:
    from distributed import Client as DaskClient

__all__ = ["Run", "follow", "preview", "restore"]

_BASIC: Final = (
    'It corrects contrast and noise only. For scratches, and better results: pip install "smarty_async[local]"'
)


async def preview(options: ImproveOptions) -> Exit:
    """``--dry-run``: print what a run would do; nothing is sent.

    Raises:
        SmartyError: such a run could not start.
    """
    _client(options, options.account.base_url or "http://127.0.0.1", hooks=[])  # makes sure of what a run would
    with options.listed() as listed:
        plan = await plan_archive(
            list(options.sources),
            out=options.out,
            limits=options.client.limits,
            concurrency=options.client.concurrency,
            **_with_list(options.keywords, listed),
        )
    if not (plan.photos or plan.duplicates or plan.skipped or plan.rejected or plan.left or plan.left_alone):
        raise options.nothing_found
    output = Output()
    if options.display.json:
        output.struct({"plan": plan})
    else:
        output.lines(plan_lines(plan, free=options.account.local, seconds=_seconds_for(plan, options)))
    return Exit.FINE


async def restore(options: ImproveOptions, interrupts: Interrupts) -> Exit:
    """Run it, and report what became of every photo.

    Raises:
        SmartyError: it could not start, or had to stop early; what was done until then is reported first.
    """
    # Here, too, so that a mistake is reported before the embedded service starts.
    # Not in a thread: nothing else runs yet.
    check_archive(ArchiveOptions.of(options.sources, out=options.out, **options.keywords))
    with interrupts.watching(), options.listed() as listed:
        async with AsyncExitStack() as stack:
            service = await _start_service(stack, options, interrupts) if options.account.local else None
            base_url = service.base_url if service else str(options.account.base_url)
            metrics = MetricsHooks() if options.metrics_port is not None else None
            client = await stack.enter_async_context(_client(options, base_url, hooks=[metrics] if metrics else []))
            run = client.improve_archive(
                list(options.sources),
                out=options.out,
                cluster=await _open_cluster(stack, options),
                **_with_list(options.keywords, listed),
            )
            run.counts_finished = not (options.display.json or options.display.verbose)
            interrupts.drain = run.drain
            if metrics is not None:
                stack.enter_context(metrics.serving(lambda: run.progress, port=options.metrics_port or 0))
            if service is None:
                return await follow(run, options=options, interrupts=interrupts)
            async with service.supervised():
                return await follow(run, options=options, interrupts=interrupts, service=service)


def _seconds_for(plan: Plan, options: ImproveOptions) -> float | None:
    """How long `plan` takes at the pace of earlier runs; None when that is not known."""
    pace = PaceFile().known(options.pace_key, unit=options.unit)
    return None if pace is None else pace * getattr(plan, options.unit) / 1e6


def _with_list(keywords: ArchiveKeywords, listed: Iterable[str]) -> ArchiveKeywords:
    return {**keywords, "listed": listed}


async def _start_service(stack: AsyncExitStack, options: ImproveOptions, interrupts: Interrupts) -> EmbeddedService:
    engine = best_engine()
    if not options.display.quiet:
        why = options.account.why_local
        say(f"Restoring on this machine with the embedded service (engine: {engine}): {why}.")
        if engine == "basic":
            say(_BASIC)
        most = options.client.limits.max_pixels / 1e6
        say(f"Photos of up to {most:,.0f} megapixels fit into the memory of this machine.")
    return await stack.enter_async_context(
        EmbeddedService(engine=engine, options=options.engine_options, on_restart=partial(_say, interrupts))
    )


async def _open_cluster(stack: AsyncExitStack, options: ImproveOptions) -> DaskClient | None:
    """A client of the cluster that `options` name, closed with `stack`; None when they name none.

    Raises:
        SmartyError: see `open_cluster`.
    """
    if options.cluster is None:
        return None
    require_distributed()
    from smarty_async.cluster.opening import open_cluster  # noqa: PLC0415 - an extra

    cluster = open_cluster(
        scheduler=options.cluster.scheduler, workers=options.cluster.workers, requests=options.client.concurrency
    )
    return await stack.enter_async_context(cluster)


def _say(interrupts: Interrupts, line: str) -> None:
    interrupts.say(line)  # which changes while a display is open


def _client(options: ImproveOptions, base_url: str, *, hooks: Sequence[Hooks]) -> SmartyClient:
    return SmartyClient(
        hooks=hooks,
        token=options.account.token,
        credentials=options.account.credentials,
        base_url=base_url,
        provider=options.account.provider,
        path=options.client.path,
        concurrency=options.client.concurrency,
        rate=options.client.rate,
        limits=options.client.limits,
        retries=options.client.retries,
        timeouts=options.client.timeouts,
    )


_SHOW_EVERY: Final = 0.2
"""Seconds between two displays of a run's progress."""
_KEEP_PACE_AFTER: Final = 30.0
"""Seconds for which a run must send photos before its pace is kept: that of a few photos says little of others."""
_LONG_ENOUGH: Final = 10.0
"""Seconds that a run must be expected to take for that to be said."""


class Run(Protocol):
    """What is followed: a run over an archive."""

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        ...

    @property
    def in_flight(self) -> list[InFlight]:
        """The photos that have been sent and are not answered."""
        ...

    def drain(self) -> None:
        """Send nothing new, and end when the open requests are answered."""
        ...

    def __aiter__(self) -> AsyncIterator[Result]:
        """The results."""
        ...


async def follow(
    run: Run,
    *,
    options: ImproveOptions,
    interrupts: Interrupts,
    service: EmbeddedService | None = None,
    paces: PaceFile | None = None,
) -> Exit:
    """Display `run` to its end, and report what became of every photo.

    Args:
        run: the run.
        options: the command's options.
        interrupts: counts the signals.
        service: the embedded service that the run uses, None when it uses another.
        paces: the paces of earlier runs; by default those in the user's cache folder.

    Raises:
        SmartyError: what ended the run early, or there was not a photo at all.
    """
    paces = paces or PaceFile()
    estimate = Estimator(unit=options.unit, known_pace=paces.known(options.pace_key, unit=options.unit))
    display = _display_for(options.display, free=options.account.local)
    reporter = _RunReporter(options, display)
    interrupts.say = display.say
    interrupts.open_work = lambda: (len(run.in_flight), estimate.seconds_to_drain)
    ended_by: BaseException | None = None
    try:
        async with _displayed(run, display, estimate, interrupts):
            async for result in run:
                reporter.add(result)
                if reporter.output_error is not None:
                    run.drain()  # the open requests are paid for
        if not run.progress.found and not run.progress.left_alone and not interrupts.asked:
            raise options.nothing_found
    except BaseException as error:
        ended_by = (service and service.failure) or error
        raise
    finally:
        interrupts.say = say
        display.close()
        reporter.finish(run.progress, interrupted=interrupts.asked, error=reporter.output_error or ended_by)
        _keep_pace(paces, estimate, options)
    if reporter.output_error is not None:
        raise reporter.output_error
    return reporter.exit_status(run.progress, interrupted=interrupts.asked)


def _keep_pace(paces: PaceFile, estimate: Estimator, options: ImproveOptions) -> None:
    if estimate.measured_pace is not None and estimate.seconds >= _KEEP_PACE_AFTER:
        paces.add(options.pace_key, estimate.measured_pace, unit=options.unit)


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
async def _displayed(
    run: Run, display: Display, estimate: Estimator, interrupts: Interrupts
) -> AsyncGenerator[None, None]:
    """Show the progress at regular intervals, also while no result comes."""
    said, announced = 0, False

    def say_warnings() -> None:
        nonlocal said
        for warning in run.progress.warnings[said:]:
            display.say(warning)
        said = len(run.progress.warnings)

    def announce() -> None:
        """Say about how long it takes, once all photos are found and the pace is known."""
        nonlocal announced
        progress, seconds = run.progress, estimate.seconds_left
        if announced or interrupts.asked or progress.total is None or seconds is None or not estimate.telling:
            return
        announced = True
        if seconds >= _LONG_ENOUGH and not isinstance(display, Silence):
            left = progress.total - progress.done
            display.say(f"{count(left, 'photo')} to go, which will take {estimated(seconds)}.")

    async def show() -> None:
        while True:
            say_warnings()
            in_flight = run.in_flight
            estimate.look(run.progress, in_flight)
            announce()
            display.show(run.progress, estimate, in_flight)
            await asyncio.sleep(_SHOW_EVERY)

    showing = asyncio.create_task(show())
    try:
        yield
    finally:
        showing.cancel()
        estimate.look(run.progress)
        say_warnings()


class _RunReporter:
    """Writes a run's results: each photo where that is asked for, and the end.

    Attributes:
        output_error: why stdout can no longer be written to; None when it can.
    """

    def __init__(self, options: ImproveOptions, display: Display) -> None:
        self.tally = Tally()
        self.output_error: DiskError | None = None
        self._options = options
        self._display = display
        self._output = Output()
        self._began = monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return monotonic() - self._began

    def add(self, result: Result) -> None:
        """Report one photo."""
        self.tally.add(result)
        if self._options.display.verbose:
            self._display.say(photo_line(result, toned=self._options.account.local))
        if self._options.display.json:
            self._write(result)

    def _write(self, value: object) -> None:
        try:
            self._output.struct(value)
        except DiskError as error:
            self.output_error = error

    def photos_left(self, progress: Progress) -> bool:
        """Whether photos are left for another run."""
        skipped = progress.outcomes.get("skipped", 0)
        others = sum(number for outcome, number in self.tally.outcomes.items() if outcome != "skipped")
        return progress.total is None or progress.total > others + skipped

    def exit_status(self, progress: Progress, *, interrupted: bool) -> Exit:
        """The exit status of a run that no error ended."""
        if interrupted and self.photos_left(progress):
            return Exit.INTERRUPTED
        if progress.limit_reached:
            return Exit.SPEND_LIMIT
        return Exit.PHOTOS_FAILED if self.tally.bad else Exit.FINE

    def finish(self, progress: Progress, *, interrupted: bool, error: BaseException | None) -> None:
        """Report the end."""
        display, free = self._options.display, self._options.account.local
        if skipped := progress.outcomes.get("skipped"):  # those that were only counted are in no result
            self.tally.outcomes["skipped"] = skipped
        summary = self.tally.summary(
            progress,
            out=display_path(self._options.out),
            seconds=self.seconds,
            free=free,
            interrupted=interrupted,
            error=ErrorInfo(type(error).__name__, _reason(error)) if error else None,
        )
        if summary.photos or summary.images_paid or error is None:
            state = self._options.keywords.get("state")
            shown = None if state is None else display_path(os.fspath(state))
            for line in summary_lines(summary, free=free, only_problems=display.quiet, state=shown):
                say(line)
        if display.json:
            self._write({"summary": summary})
