"""What `improve` does: start the service, open the client, follow one run or print its preview."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from smarty_async.archive.sources.folder import check_sources
from smarty_async.archive_options import ArchiveKeywords, ArchiveOptions
from smarty_async.cli.errors import Exit
from smarty_async.cli.improve_options import ImproveOptions
from smarty_async.cli.output import Output, say
from smarty_async.cli.run_reporter import follow
from smarty_async.cli.signals import Interrupts
from smarty_async.client import SmartyClient
from smarty_async.hooks import Hooks
from smarty_async.local.embedded import EmbeddedService
from smarty_async.local.engine import best_engine
from smarty_async.plan import plan_archive
from smarty_async.report.metrics import MetricsHooks
from smarty_async.report.pace import PaceFile
from smarty_async.report.summary import plan_lines
from smarty_async.results import Plan

__all__ = ["preview", "restore"]


async def preview(options: ImproveOptions) -> Exit:
    """``--dry-run``: print what a run would do; nothing is sent.

    Raises:
        SmartyError: such a run could not start.
    """
    with options.listed() as listed:
        plan = await plan_archive(
            list(options.sources),
            out=options.out,
            limits=options.client.limits,
            concurrency=options.client.concurrency,
            **_with_list(options.keywords, listed),
        )
    if not (plan.photos or plan.duplicates or plan.skipped or plan.rejected or plan.left_alone):
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
    ArchiveOptions.of(options.sources, out=options.out, **options.keywords)
    check_sources(options.sources, out=options.out)
    with interrupts.watching(), options.listed() as listed:
        async with AsyncExitStack() as stack:
            service = await _start_service(stack, options, interrupts) if options.account.local else None
            base_url = service.base_url if service else str(options.account.base_url)
            metrics = MetricsHooks() if options.metrics_port is not None else None
            client = await stack.enter_async_context(_client(options, base_url, hooks=[metrics] if metrics else []))
            run = client.improve_archive(list(options.sources), out=options.out, **_with_list(options.keywords, listed))
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
    return await stack.enter_async_context(
        EmbeddedService(engine=engine, options=options.engine_options, on_restart=partial(_say, interrupts))
    )


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
