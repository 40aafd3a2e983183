"""``album``: one picture a photo, the best there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.errors import Exit, error_boundary
from smarty_async.cli.output import Output, say

__all__ = ["album"]


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
    with error_boundary(verbose=verbose):
        # Only here: help needs none of it.
        from smarty_async.archive.album import make_album  # noqa: PLC0415
        from smarty_async.report.wording import count  # noqa: PLC0415
        from smarty_async.store_address import local_path  # noqa: PLC0415

        album = Path(local_path(to, option="--to"))
        made = make_album(out, album, prefer=[kind.strip() for kind in prefer.split(",") if kind.strip()])
        for problem in made.problems:
            say(f"{problem.photo}: {problem.error.message}")
        if as_json:
            Output().struct(made)
        else:
            pictures = f"{count(made.outputs + made.originals, 'picture')} in {to}"
            kinds = f"{made.outputs:,} restored, {count(made.originals, 'original')}"
            Output().lines([f"{pictures}: {kinds} ({made.copied:,} copied, {made.unchanged:,} unchanged)"])
    if made.problems:
        raise typer.Exit(Exit.PHOTOS_FAILED)
