"""``smarty-async improve``: its options. `cli.improve_run` does the work."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from smarty_async.cli.errors import Exit, error_boundary
from smarty_async.errors import OptionsError

__all__ = ["improve"]

_WHAT, _WHICH, _RESULTS = "What to restore", "Which photos", "Results"
_SPENDING, _SERVICE, _LIMITS, _DISPLAY = "Spending", "The service", "Limits", "Output"


class _Mode(StrEnum):  # typer takes no list of Literals
    IMPROVE = "improve"
    RESOLUTION = "resolution"


def _reachable(rubles: float | None, *, local: bool) -> float | None:
    """None for a limit where the run costs nothing; else what was given, which `ArchiveOptions` checks."""
    return None if local and rubles is not None and rubles >= 0 else rubles


def _option(group: str, text: str, *names: str, metavar: str | None = None, default: bool = False) -> Any:
    return typer.Option(*names, help=text, metavar=metavar, show_default=default, rich_help_panel=group)


def improve(  # noqa: PLR0917, RUF100 - one parameter an option
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, photos, or patterns such as 'scans/**/*.jpg'; also in a bucket: s3://, gs:// or az://.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        list[_Mode] | None,
        _option(
            _WHAT,
            "improve: correct defects and colourize monochrome photos. resolution: enlarge. Repeat it for both. "
            "[default: improve]",
            "--mode",
        ),
    ] = None,
    rfactor: Annotated[
        int | None,
        _option(
            _WHAT,
            "How many times larger, for resolution. Another one later into the same DIR sends all photos again, pays "
            "again, and replaces the enlargements.",
            metavar="<2|4>",
        ),
    ] = None,
    rtype: Annotated[
        Literal["art", "photo"] | None,
        _option(_WHAT, "Drawings or photographs, for resolution; another one later: as --rfactor. [default: photo]"),
    ] = None,
    chain: Annotated[
        bool, _option(_WHAT, "With both modes: enlarge the restored picture instead of the damaged photo.", "--chain")
    ] = False,
    out: Annotated[
        str | None,
        _option(
            _RESULTS,
            "Where the results go, a folder or s3://bucket/folder; your photos are not changed. "
            "[default: SOURCE-restored, beside the only source]",
            "--out",
            "-o",
            metavar="DIR",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        _option(
            _RESULTS,
            "With results in a bucket: where the journal and results that are still to be stored lie on this machine. "
            "[default: a folder of the user's]",
            "--state",
            metavar="DIR",
        ),
    ] = None,
    view: Annotated[bool, _option(_RESULTS, "Show the results in a browser at the end.", "--view")] = False,
    outputs: Annotated[
        str | None,
        _option(
            _RESULTS,
            "Keep only these kinds of result: improved, colorized_improved, colorized, resolved. The others are paid "
            "for all the same; to get them later, ask for them with --redo-missing. [default: all]",
            metavar="KIND,...",
        ),
    ] = None,
    strip_metadata: Annotated[
        bool,
        _option(_RESULTS, "Leave dates, places, captions and other metadata out of the results.", "--strip-metadata"),
    ] = False,
    dry_run: Annotated[
        bool, _option(_SPENDING, "Only print what would be sent, and for about how much.", "--dry-run")
    ] = False,
    max_photos: Annotated[int | None, _option(_SPENDING, "Send at most N photos in this run.", metavar="N")] = None,
    max_cost: Annotated[float | None, _option(_SPENDING, "Stop before this run costs more.", metavar="RUBLES")] = None,
    max_cost_total: Annotated[
        float | None, _option(_SPENDING, "Stop before all runs into DIR together cost more.", metavar="RUBLES")
    ] = None,
    include: Annotated[
        list[str] | None, _option(_WHICH, "Take only photos that match (repeatable).", metavar="GLOB")
    ] = None,
    exclude: Annotated[
        list[str] | None, _option(_WHICH, "Leave out photos that match (repeatable).", metavar="GLOB")
    ] = None,
    from_file: Annotated[
        str | None, _option(_WHICH, "Read the photos' paths from a file, or from a pipe with -.", metavar="LIST|-")
    ] = None,
    retry_failed: Annotated[
        bool, _option(_WHICH, "Send the photos again that failed in an earlier run.", "--retry-failed")
    ] = False,
    redo_missing: Annotated[
        bool,
        _option(
            _WHICH,
            "Send photos again, and pay again, if their results are no longer in DIR, or were not kept (--outputs).",
            "--redo-missing",
        ),
    ] = False,
    local: Annotated[
        bool, _option(_SERVICE, "Restore on this machine, even if an account is configured.", "--local")
    ] = False,
    no_toning: Annotated[
        bool, _option(_SERVICE, "With --local: make no toned versions of black-and-white photos.", "--no-toning")
    ] = False,
    base_url: Annotated[
        str | None, _option(_SERVICE, "Another address of the service. [env: SMARTY_BASE_URL]", metavar="URL")
    ] = None,
    provider: Annotated[
        str | None, _option(_SERVICE, "The token's provider, mcs or mr. [env: SMARTY_PROVIDER]", metavar="NAME")
    ] = None,
    path: Annotated[
        str, _option(_SERVICE, "The path of the service's method.", metavar="PATH", default=True)
    ] = "/api/v1/photo/improve",
    concurrency: Annotated[
        int | None,
        _option(
            _SERVICE,
            "Requests open at once, at most. [default: 8, or 8 for each of --workers; with --local, enough to keep the "
            "CPUs busy; with --scheduler, 64, and no more than the workers have threads]",
            metavar="N",
        ),
    ] = None,
    rate: Annotated[
        float | None, _option(_SERVICE, "Requests a second, at most. [default: no limit]", metavar="R")
    ] = None,
    scheduler: Annotated[
        str | None,
        _option(
            _SERVICE,
            "Let the workers of a Dask cluster send the requests; they must see SOURCE and DIR under the same paths.",
            metavar="URL",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        _option(_SERVICE, "Let N processes on this machine send the requests; needs no cluster.", metavar="N"),
    ] = None,
    fit: Annotated[
        bool, _option(_LIMITS, "Send smaller copies of photos that are too large for the service.", "--fit")
    ] = False,
    max_images: Annotated[
        int | None, _option(_LIMITS, "Photos in one request, at most. [default: 48; with --local, 2]", metavar="N")
    ] = None,
    max_image_bytes: Annotated[
        int | None,
        _option(
            _LIMITS,
            "The largest photo that the service accepts. [default: 8000000; with --local, no limit]",
            metavar="BYTES",
        ),
    ] = None,
    max_request_bytes: Annotated[
        int | None,
        _option(
            _LIMITS,
            "The largest request with several photos. [default: 30000000; with --local, no limit]",
            metavar="BYTES",
        ),
    ] = None,
    max_output_bytes: Annotated[
        int, _option(_LIMITS, "The largest result that is accepted.", metavar="BYTES", default=True)
    ] = 256_000_000,
    max_attempts: Annotated[
        int, _option(_LIMITS, "How many times one photo is sent, at most.", metavar="N", default=True)
    ] = 5,
    connect_timeout: Annotated[
        float, _option(_LIMITS, "How long a connection may take to open.", metavar="SECONDS", default=True)
    ] = 10.0,
    silence_timeout: Annotated[
        float,
        _option(
            _LIMITS, "How long a request may wait without a byte from the service.", metavar="SECONDS", default=True
        ),
    ] = 300.0,
    give_up_after: Annotated[
        float,
        _option(_LIMITS, "How long the service may be down before the run ends.", metavar="SECONDS", default=True),
    ] = 900.0,
    as_json: Annotated[
        bool, _option(_DISPLAY, "Print one JSON line per photo on stdout, and a summary as the last line.", "--json")
    ] = False,
    quiet: Annotated[bool, _option(_DISPLAY, "Print problems only.", "--quiet")] = False,
    verbose: Annotated[
        bool, _option(_DISPLAY, "Print one line per photo, and tracebacks of unexpected errors.", "--verbose")
    ] = False,
    no_progress: Annotated[
        bool, _option(_DISPLAY, "Print plain lines instead of a moving bar.", "--no-progress")
    ] = False,
    log_file: Annotated[
        Path | None, _option(_DISPLAY, "Append a log of requests, retries and failures to a file.", metavar="FILE")
    ] = None,
    log_format: Annotated[Literal["text", "json"], _option(_DISPLAY, "How the log is written.", default=True)] = "text",
    metrics_port: Annotated[
        int | None, _option(_DISPLAY, "Serve Prometheus metrics on this port of this machine.", metavar="PORT")
    ] = None,
) -> None:
    """Restore photos and put the results into DIR. Run it again to continue where it stopped.

    Without an account (SMARTY_TOKEN, or SMARTY_TOKEN_FILE naming a file with the token, or SMARTY_CLIENT_ID with
    SMARTY_CLIENT_SECRET) and without an address, the photos are restored on this machine, for free.
    """
    with error_boundary(verbose=verbose, resumes=True) as secrets:
        if quiet and verbose:
            raise OptionsError("--quiet and --verbose exclude each other: leave one of them out")
        if not sources and from_file is None:
            raise OptionsError("nothing to restore: name a folder or photos, or give a list with --from-file")

        # Imported here: help, and a mistake in the options, need none of it.
        import asyncio  # noqa: PLC0415
        import gc  # noqa: PLC0415

        from smarty_async.account import read_account  # noqa: PLC0415
        from smarty_async.cli.improve_options import (  # noqa: PLC0415
            ClientOptions,
            ClusterOptions,
            DisplayOptions,
            ImproveOptions,
            default_concurrency,
            default_out,
            kinds,
            limits_for,
        )
        from smarty_async.cli.improve_run import preview, restore  # noqa: PLC0415
        from smarty_async.cli.logs import logging_to  # noqa: PLC0415
        from smarty_async.cli.output import say  # noqa: PLC0415
        from smarty_async.cli.signals import Interrupts  # noqa: PLC0415
        from smarty_async.options import Retries, Timeouts  # noqa: PLC0415
        from smarty_async.redaction import redactor  # noqa: PLC0415
        from smarty_async.store_address import is_store_address, local_path  # noqa: PLC0415

        if view and is_store_address(out or ""):
            raise OptionsError("--view shows results in a folder: leave it out with an --out in a bucket")
        photos = tuple(sources or ())
        folder = out or default_out(photos)
        if out is None and not quiet:
            say(f"The results go to {folder}.")
        account = read_account(os.environ, base_url=base_url, provider=provider, local=local)
        secrets.extend(account.secrets)
        if no_toning and not account.local:
            raise OptionsError("--no-toning is an option of the engine on this machine: add --local, or leave it out")
        options = ImproveOptions(
            sources=photos,
            from_file=from_file,
            out=folder,
            account=account,
            engine_options=("--no-toning",) if no_toning else (),
            metrics_port=metrics_port,
            cluster=ClusterOptions.of(scheduler=scheduler, workers=workers, local=account.local),
            display=DisplayOptions(json=as_json, quiet=quiet, verbose=verbose, bar=not no_progress),
            client=ClientOptions(
                path=path,
                concurrency=(
                    default_concurrency(local=account.local, scheduler=scheduler is not None, workers=workers)
                    if concurrency is None
                    else concurrency
                ),
                rate=rate,
                limits=limits_for(
                    local=account.local,
                    enlarged=rfactor or 1,
                    max_images=max_images,
                    max_image_bytes=max_image_bytes,
                    max_request_bytes=max_request_bytes,
                    max_output_bytes=max_output_bytes,
                ),
                retries=Retries(
                    max_attempts=max_attempts,
                    give_up_after=give_up_after,
                    give_up_before_first=min(give_up_after, Retries().give_up_before_first),
                ),
                timeouts=Timeouts(connect=connect_timeout, silence=silence_timeout),
            ),
            keywords={
                "modes": tuple(one.value for one in mode or (_Mode.IMPROVE,)),
                "rfactor": rfactor,
                "rtype": rtype,
                "chain": chain,
                "include": tuple(include or ()),
                "exclude": tuple(exclude or ()),
                "fit": fit,
                "outputs": kinds(outputs),
                "strip_metadata": strip_metadata,
                "retry_failed": retry_failed,
                "redo_missing": redo_missing,
                "max_photos": max_photos,
                "max_cost": _reachable(max_cost, local=account.local),
                "max_cost_total": _reachable(max_cost_total, local=account.local),
                "state": state,
            },
        )
        # A run makes few reference cycles, and traversing every live photo to find them costs a tenth of it.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        redactor.add(*account.secrets)
        with logging_to(log_file, form=log_format):
            status = asyncio.run(preview(options) if dry_run else restore(options, Interrupts(paid=not account.local)))
    if view and not dry_run and status in (Exit.FINE, Exit.PHOTOS_FAILED, Exit.SPEND_LIMIT):
        from smarty_async.cli.results import view as show_results  # noqa: PLC0415 - help is quick

        show_results(Path(local_path(folder, option="--out")), verbose=verbose)
    if status is not Exit.FINE:
        raise typer.Exit(status)
