"""``smarty-async improve``: what can be chosen. `cli.job` does it."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.errors import Exit, explained
from smarty_async.errors import OptionsError

__all__ = ["Kind", "Mode", "improve"]


class Mode(StrEnum):
    """What to do with the photos."""

    IMPROVE = "improve"
    RESOLUTION = "resolution"


class Kind(StrEnum):
    """What the pictures are, for the enlargement."""

    ART = "art"
    PHOTO = "photo"


def improve(  # noqa: PLR0917, RUF100 - one parameter an option
    *,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, photos, or patterns such as 'scans/**/*.jpg'.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Where the restored photos go. Your own are never touched.", show_default=False
        ),
    ],
    mode: Annotated[
        list[Mode] | None,
        typer.Option(
            help="improve: mend defects, colourize black-and-white. resolution: enlarge. Repeat it for both. "
            "[default: improve]",
            show_default=False,
        ),
    ] = None,
    rfactor: Annotated[
        int | None, typer.Option(metavar="2|4", help="How many times larger, for resolution.", show_default=False)
    ] = None,
    rtype: Annotated[
        Kind | None, typer.Option(help="Photographs or drawings, for resolution. [default: photo]", show_default=False)
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Take only photos like this (repeatable).")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Leave out photos like this (repeatable).")
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(metavar="LIST|-", help="Read the photos' paths from a file, or from a pipe with -."),
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Send a fitting copy of photos that are over the limits.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent, and for how much.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try photos again that failed in an earlier run.")
    ] = False,
    redo_missing: Annotated[
        bool, typer.Option("--redo-missing", help="Restore photos again whose results are no longer in DIR.")
    ] = False,
    max_photos: Annotated[
        int | None, typer.Option(metavar="N", help="Send no more photos than this in this run.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="RUBLES", help="Stop before more than this is spent in this run.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Restore on this machine, even when an account is configured.")
    ] = False,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another address of the service. [env: SMARTY_BASE_URL]")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="The token's provider, mcs or mr. [env: SMARTY_PROVIDER]")
    ] = None,
    path: Annotated[str, typer.Option(metavar="PATH", help="The method's path.")] = "/api/v1/photo/improve",
    concurrency: Annotated[int, typer.Option(metavar="N", help="Requests open at once, at most.")] = 8,
    rate: Annotated[
        float | None, typer.Option(metavar="R", help="Requests a second, at most. [default: no limit]")
    ] = None,
    max_images: Annotated[int, typer.Option(metavar="N", help="Photos in one request, at most.")] = 48,
    max_image_bytes: Annotated[
        int, typer.Option(metavar="BYTES", help="The largest photo the service takes.")
    ] = 8_000_000,
    max_request_bytes: Annotated[
        int, typer.Option(metavar="BYTES", help="The largest request with several photos.")
    ] = 30_000_000,
    max_output_bytes: Annotated[
        int, typer.Option(metavar="BYTES", help="The largest result that is taken for one.")
    ] = 256_000_000,
    max_attempts: Annotated[int, typer.Option(metavar="N", help="Tries for one photo, at most.")] = 5,
    connect_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a connection may take to open.")
    ] = 10.0,
    silence_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the service may be silent in a request.")
    ] = 300.0,
    give_up_after: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the service may be down before the run ends.")
    ] = 900.0,
    metrics_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Tell the run's counters there, on this machine, as Prometheus text."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line a photo on stdout, and a summary as the last.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but problems.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="One line a photo; tracebacks of unexpected errors.")
    ] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Plain lines instead of a moving bar.")] = False,
) -> None:
    """Restore photos and put the results into DIR. Run it again to go on where it stopped.

    Without an account (SMARTY_TOKEN, or SMARTY_TOKEN_FILE naming a file with the token, or SMARTY_CLIENT_ID with
    SMARTY_CLIENT_SECRET) and without an address, the photos are restored on this machine, for nothing.
    """
    with explained(verbose=verbose) as hidden:
        if quiet and verbose:
            raise OptionsError("--quiet and --verbose exclude each other: leave one of them out")
        if not sources and from_file is None:
            raise OptionsError("nothing to restore: name a folder or photos, or give a list with --from-file")

        # Only here: help, and a slip in the options, need none of it.
        import asyncio  # noqa: PLC0415
        import gc  # noqa: PLC0415

        from smarty_async.cli.account import read_account  # noqa: PLC0415
        from smarty_async.cli.improve_options import Job, View  # noqa: PLC0415
        from smarty_async.cli.improve_run import preview, restore  # noqa: PLC0415
        from smarty_async.cli.signals import Interrupts  # noqa: PLC0415
        from smarty_async.options import Limits, Retries, Timeouts  # noqa: PLC0415

        account = read_account(os.environ, base_url=base_url, provider=provider, local=local)
        hidden.extend(account.secrets)
        job = Job(
            sources=tuple(sources or ()),
            from_file=from_file,
            out=out,
            account=account,
            metrics_port=metrics_port,
            view=View(json=as_json, quiet=quiet, verbose=verbose, bar=not no_progress),
            limits=Limits(
                max_images=max_images,
                max_image_bytes=max_image_bytes,
                max_request_bytes=max_request_bytes,
                max_output_bytes=max_output_bytes,
            ),
            choices={
                "modes": tuple(mode or (Mode.IMPROVE,)),
                "rfactor": rfactor,
                "rtype": rtype,
                "include": tuple(include or ()),
                "exclude": tuple(exclude or ()),
                "fit": fit,
                "retry_failed": retry_failed,
                "redo_missing": redo_missing,
                "max_photos": max_photos,
                "max_cost": max_cost,
            },
            sending={
                "path": path,
                "concurrency": concurrency,
                "rate": rate,
                "retries": Retries(
                    max_attempts=max_attempts,
                    give_up_after=give_up_after,
                    give_up_before_first=min(give_up_after, Retries().give_up_before_first),
                ),
                "timeouts": Timeouts(connect=connect_timeout, silence=silence_timeout),
            },
        )
        # A run makes few circles, and walking over all the photos alive to look for them costs a tenth of it.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        status = asyncio.run(preview(job) if dry_run else restore(job, Interrupts(paid=not account.local)))
    if status is not Exit.FINE:
        raise typer.Exit(status)
