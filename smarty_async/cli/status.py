"""``smarty-async status``: what an output folder's journal knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.errors import error_boundary
from smarty_async.cli.output import Output

__all__ = ["status"]


def status(
    out: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder given to improve as --out.", show_default=False)
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As one line of JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tracebacks of unexpected errors.")] = False,
) -> None:
    """Say what became of the photos of all runs into DIR, why some failed, and what it cost."""
    with error_boundary(verbose=verbose):
        # Only here: help needs none of it.
        import asyncio  # noqa: PLC0415

        from smarty_async.plan import read_status  # noqa: PLC0415
        from smarty_async.report.summary import status_lines  # noqa: PLC0415

        known = asyncio.run(read_status(out))
        if as_json:
            Output().struct(known)
        else:
            Output().lines(status_lines(known, out=str(out)))
