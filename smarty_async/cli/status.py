"""``smarty-async status``: what the journal of an output folder knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.errors import error_boundary
from smarty_async.cli.output import Output

__all__ = ["status"]


def status(
    out: Annotated[
        str,
        typer.Argument(metavar="DIR", help="The folder, or s3://…, given to improve as --out.", show_default=False),
    ],
    *,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder given to improve as --state.", show_default=False),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="List every photo that was not restored, with the reason.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON; with --failed, one per photo.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print tracebacks of unexpected errors.")] = False,
) -> None:
    """Show what became of the photos of all runs into DIR, why some were not restored, and what was paid."""
    with error_boundary(verbose=verbose):
        # Only here: help needs none of it.
        import asyncio  # noqa: PLC0415

        from smarty_async.plan import read_failed, read_status  # noqa: PLC0415
        from smarty_async.report.summary import failed_line, status_lines  # noqa: PLC0415

        output = Output()
        if failed:
            for photo in read_failed(out, state=state):
                if as_json:
                    output.struct(photo)
                else:
                    output.lines([failed_line(photo)])
            return
        known = asyncio.run(read_status(out, state=state))
        if as_json:
            output.struct(known)
        else:
            output.lines(status_lines(known, out=out))
