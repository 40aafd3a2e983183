"""The command line. What a command needs is imported when it runs, so help is quick."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from smarty_async.cli.bench import bench
from smarty_async.cli.check import check
from smarty_async.cli.command import Command, help_width
from smarty_async.cli.errors import error_boundary
from smarty_async.cli.improve import improve
from smarty_async.cli.output import say, use_waiting_streams
from smarty_async.cli.results import album, status, view
from smarty_async.cli.serve import serve

__all__ = ["app", "main"]

_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "terminal_width": help_width()}

app = typer.Typer(
    name="smarty-async",
    no_args_is_help=True,
    context_settings=_SETTINGS,
    # Typer's own tracebacks print local variables, and with them the token.
    pretty_exceptions_enable=False,
    # Plain help costs half the time.
    rich_markup_mode=None,
)
for _command, _summary in (
    (improve, "Restore photos."),
    (view, "Look at the results in a browser, before and after."),
    (album, "Make an album: the best picture of each photo."),
    (status, "Show what became of the photos, and what was paid."),
    (check, "Check the account and the connection."),
    (serve, "Run the service on this machine."),
    (bench, "Measure how fast an endpoint is."),
):
    app.command(cls=Command, context_settings=_SETTINGS, short_help=_summary)(_command)


@app.command(name="help", cls=Command, hidden=True)
def help_(
    context: typer.Context,
    command: Annotated[str | None, typer.Argument(help="The command.", show_default=False)] = None,
) -> None:
    """Show the help of a command."""
    program = context.parent
    assert program is not None  # noqa: S101 - a command of a program
    commands = _commands(program.command)
    if command is None:
        typer.echo(program.get_help())
    elif command in commands:
        inner = typer.Context(commands[command], info_name=command, parent=program)
        typer.echo(inner.get_help())
    else:
        shown = ", ".join(name for name, one in commands.items() if not one.hidden)
        say(f"smarty-async: there is no command {command!r}. The commands are: {shown}.")
        raise typer.Exit(2)


def _commands(group: object) -> dict[str, Any]:
    return cast("dict[str, Any]", getattr(group, "commands"))  # noqa: B009 - its type is not said


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
            envvar="SMARTY_CONFIG",
            show_envvar=False,
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
    from smarty_async.cli.command import CONFIG_FILE, read_config, unknown_variables  # noqa: PLC0415 - help is quick

    commands = _commands(context.command)
    for problem in unknown_variables(os.environ, commands):
        say(f"smarty-async: {problem}")
    file = config or Path(CONFIG_FILE)
    if config is not None or file.is_file():
        context.default_map = read_config(file, commands)


def main() -> None:
    """Run the program; every end of it is an exit status of `cli.errors`."""
    use_waiting_streams()
    if not sys.warnoptions:
        # Warnings are for developers: -W default shows them, and a log file records them.
        warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())  # without a handler Python prints to stderr
    with error_boundary(verbose="--verbose" in sys.argv):
        app(prog_name="smarty-async")
