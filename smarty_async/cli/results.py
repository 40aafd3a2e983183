"""``view``, ``album`` and ``status``: the commands for what runs have left in an output folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.errors import Exit, error_boundary
from smarty_async.cli.output import Output, say

__all__ = ["album", "status", "view"]


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
            with _counting() as show:
                photos = page.write_static(out, static, show=show)
            say(f"Wrote {count(photos, 'photo')} to {static}")
            return

        async def serve() -> None:
            async with page.view(out, port=port, open_browser=browser) as url:
                typer.echo(f"Showing {out} at {url} (press Ctrl-C to stop)")
                await asyncio.Event().wait()

        # Ctrl-C is how this command ends.
        with suppress(KeyboardInterrupt):
            asyncio.run(serve())


_WITHOUT_PICTURES = (
    "What to do: check that these photos are there and that you may read them. If they were moved, run improve with "
    "the folder that they are in now: it recognises them, and sends nothing again."
)


def album(
    out: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder given to improve as --out.", show_default=False)
    ],
    *,
    to: Annotated[str, typer.Option("--to", metavar="FOLDER", help="Where the album goes.", show_default=False)],
    prefer: Annotated[
        str,
        typer.Option(
            metavar="KIND,…", help="Which output to take, best first; a photo without any of them gets its original."
        ),
    ] = "colorized_improved,improved,resolved",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print tracebacks of unexpected errors.")] = False,
) -> None:
    """Make an album in FOLDER: exactly one picture per photo, with the same names and folders.

    The picture is the best output, or the original where the photo was already good or could not be restored. Run it
    again after the next improve: only what has changed is copied, and nothing of yours is removed.
    """
    with error_boundary(verbose=verbose, resumes=True):
        # Only here: help needs none of it.
        from smarty_async.archive.album import make_album  # noqa: PLC0415
        from smarty_async.report.wording import count  # noqa: PLC0415
        from smarty_async.store_address import local_path  # noqa: PLC0415

        album = Path(local_path(to, option="--to"))
        with _counting() as show:
            made = make_album(
                out, album, prefer=[kind.strip() for kind in prefer.split(",") if kind.strip()], show=show
            )
        for problem in made.problems:
            say(f"{problem.photo}: {problem.error.message}")
        if made.problems:
            say(_WITHOUT_PICTURES)
        if as_json:
            Output().struct(made)
        else:
            pictures = f"{count(made.outputs + made.originals, 'picture')} in {to}"
            kinds = f"{made.outputs:,} restored, {count(made.originals, 'original')}"
            Output().lines([f"{pictures}: {kinds} ({made.copied:,} copied, {made.unchanged:,} unchanged)"])
    if made.problems:
        raise typer.Exit(Exit.PHOTOS_FAILED)


def _counting() -> AbstractContextManager[Callable[[int, int], None]]:
    """How many photos are done, on this stderr if it is a terminal."""
    from rich.console import Console  # noqa: PLC0415 - help is quick

    from smarty_async.report.progress import counting  # noqa: PLC0415 - help is quick

    return counting(Console(stderr=True, highlight=False))


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
