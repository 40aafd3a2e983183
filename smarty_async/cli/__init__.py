"""The command line, one file a command. What a command needs is imported when it runs: help is quick."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from smarty_async.cli.album import album
from smarty_async.cli.bench import bench
from smarty_async.cli.exits import explained
from smarty_async.cli.improve import improve
from smarty_async.cli.serve import serve
from smarty_async.cli.status import status
from smarty_async.cli.view import view

__all__ = ["app", "main"]

app = typer.Typer(
    name="smarty-async",
    no_args_is_help=True,
    add_completion=False,
    # Typer's own tracebacks print local variables, and with them the token.
    pretty_exceptions_enable=False,
    # Plain help costs half the time.
    rich_markup_mode=None,
)
app.command()(improve)
app.command()(view)
app.command()(album)
app.command()(status)
app.command()(bench)
app.command()(serve)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - help is quick

        try:
            typer.echo(f"smarty-async {version('smarty_async')}")
        except PackageNotFoundError:
            typer.echo("smarty-async (not installed)")
        raise typer.Exit


@app.callback(epilog="Each command has its own help: smarty-async improve --help")
def program(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Restore, colourize and enlarge old photos, whole archives at a time.

    Start with: smarty-async improve PHOTOS --out RESTORED
    """
    del version


def main() -> None:
    """Run the program; every end of it is an exit status of `cli.exits`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A console without ₽ or Cyrillic shows an escape instead of failing.
            stream.reconfigure(errors="backslashreplace")
    with explained(verbose="--verbose" in sys.argv):
        app(prog_name="smarty-async")
