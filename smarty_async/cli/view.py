"""``view``: the results in a browser, or as a page to send to someone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.errors import error_boundary
from smarty_async.cli.output import say

__all__ = ["view"]


def view(
    out: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder given to improve as --out.", show_default=False)
    ],
    *,
    static: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write a page to send to someone instead: one file (PATH ends in .html) or a folder.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print tracebacks of unexpected errors.")] = False,
) -> None:
    """Look at the results: before and after, one photo under a slider, filter by outcome.

    Only this computer can open the page. Ctrl-C ends it.
    """
    with error_boundary(verbose=verbose):
        # Only here: help needs none of it.
        import asyncio  # noqa: PLC0415

        from smarty_async.report import page  # noqa: PLC0415
        from smarty_async.report.wording import count  # noqa: PLC0415

        if static is not None:
            photos = page.write_static(out, static)
            say(f"Wrote {count(photos, 'photo')} to {static}")
            return

        async def serve() -> None:
            async with page.view(out, port=port, open_browser=browser) as url:
                typer.echo(f"Showing {out} at {url} (press Ctrl-C to stop)")
                await asyncio.Event().wait()

        # Ctrl-C is how this command ends.
        with suppress(KeyboardInterrupt):
            asyncio.run(serve())
