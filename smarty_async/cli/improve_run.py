"""What `improve` does: the service, the client, and one run or its preview."""

from __future__ import annotations

from contextlib import AsyncExitStack

from smarty_async.archive.sources.folder import check_sources
from smarty_async.cli.errors import Exit
from smarty_async.cli.improve_options import Job
from smarty_async.cli.output import Output, say
from smarty_async.cli.run_reporter import follow
from smarty_async.cli.signals import Interrupts
from smarty_async.client import SmartyClient
from smarty_async.local.embedded import embedded_service
from smarty_async.local.engine import best_engine
from smarty_async.options import check_modes
from smarty_async.plan import plan_archive
from smarty_async.report.metrics import serving_metrics
from smarty_async.report.summary import plan_lines

__all__ = ["preview", "restore"]


async def preview(job: Job) -> Exit:
    """``--dry-run``: say on stdout what a run would do; nothing is sent.

    Raises:
        SmartyError: such a run could not begin.
    """
    with job.listed() as listed:
        plan = await plan_archive(
            list(job.sources),
            out=job.out,
            listed=listed,
            limits=job.limits,
            concurrency=job.sending["concurrency"],
            **job.choices,
        )
    if not (plan.photos or plan.duplicates or plan.skipped or plan.rejected):
        raise job.nothing_found
    output = Output()
    if job.view.json:
        output.struct({"plan": plan})
    else:
        output.lines(plan_lines(plan, free=job.account.local))
    return Exit.FINE


async def restore(job: Job, interrupts: Interrupts) -> Exit:
    """Do it, and say what became of every photo.

    Raises:
        SmartyError: it could not begin, or had to stop early; what was done until then is said first.
    """
    # Here, too, so that a slip is told before the embedded service is started.
    check_modes(job.choices["modes"], job.choices["rfactor"], job.choices["rtype"])
    check_sources(job.sources, out=job.out)
    with interrupts.watching(), job.listed() as listed:
        async with AsyncExitStack() as stack:
            base_url = job.account.base_url or await _start_service(stack, job)
            client = await stack.enter_async_context(_client(job, base_url))
            run = client.improve_archive(list(job.sources), out=job.out, listed=listed, **job.choices)
            interrupts.drain = run.drain
            if job.metrics_port is not None:
                await stack.enter_async_context(serving_metrics(lambda: run.progress, port=job.metrics_port))
            return await follow(run, job=job, interrupts=interrupts)


async def _start_service(stack: AsyncExitStack, job: Job) -> str:
    engine = best_engine()
    if not job.view.quiet:
        say(f"{job.account.why_local}: restoring on this machine with the embedded service (engine: {engine})")
    return await stack.enter_async_context(embedded_service(engine=engine))


def _client(job: Job, base_url: str) -> SmartyClient:
    return SmartyClient(
        token=job.account.token,
        credentials=job.account.credentials,
        base_url=base_url,
        provider=job.account.provider,
        limits=job.limits,
        **job.sending,
    )
