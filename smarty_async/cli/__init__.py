"""The command line, one file a command. What a command needs is imported when it runs: help is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from smarty_async.cli.album import album
from smarty_async.cli.bench import bench
from smarty_async.cli.check import check
from smarty_async.cli.command import Command
from smarty_async.cli.errors import error_boundary
from smarty_async.cli.improve import improve
from smarty_async.cli.serve import serve
from smarty_async.cli.status import status
from smarty_async.cli.streams import use_waiting_streams
from smarty_async.cli.view import view

__all__ = ["app", "main"]

_HELP_NAMES = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="smarty-async",
    no_args_is_help=True,
    context_settings=_HELP_NAMES,
    # Typer's own tracebacks print local variables, and with them the token.
    pretty_exceptions_enable=False,
    # Plain help costs half the time.
    rich_markup_mode=None,
)
for _command in (improve, view, album, status, check, serve, bench):
    app.command(cls=Command, context_settings=_HELP_NAMES)(_command)


@app.command(name="help", cls=Command, hidden=True)
def help_(
    context: typer.Context,
    command: Annotated[str | None, typer.Argument(help="The command.", show_default=False)] = None,
) -> None:
    """Show the help of a command."""
    program = context.parent
    assert program is not None  # noqa: S101 - a command of a program
    commands = program.command.commands  # type: ignore[attr-defined] # the program is a group
    if command is None:
        typer.echo(program.get_help())
    elif command in commands:
        inner = typer.Context(commands[command], info_name=command, parent=program)
        typer.echo(inner.get_help())
    else:
        typer.echo(f"smarty-async: there is no command {command!r}; there are {', '.join(sorted(commands))}", err=True)
        raise typer.Exit(2)


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
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Defaults for the options. [default: smarty-async.toml in the working folder, if there is one]",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Restore, colourize and enlarge old photos, whole archives at a time.

    Start with: smarty-async improve PHOTOS

    Every option can also be set in smarty-async.toml (max-cost = 50) and in the environment (SMARTY_MAX_COST=50);
    the command line comes first, then the environment, then the file.
    """
    del version
    from smarty_async.cli.config import CONFIG_FILE, read_config  # noqa: PLC0415 - help is quick

    file = config or Path(CONFIG_FILE)
    if config is not None or file.is_file():
        context.default_map = read_config(file, context.command.commands)  # type: ignore[attr-defined] # a group


def main() -> None:
    """Run the program; every end of it is an exit status of `cli.errors`."""
    use_waiting_streams()
    with error_boundary(verbose="--verbose" in sys.argv):
        app(prog_name="smarty-async")
