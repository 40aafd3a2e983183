"""What all commands share: help in named groups, and a value from the environment or the config file for every option.

The config file is ``smarty-async.toml`` in the working folder, or the file of ``--config``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from typer import BadParameter, Context
from typer.core import TyperArgument, TyperCommand, TyperOption
from typer.models import TyperPath

from smarty_async.errors import ConfigurationError

__all__ = ["CONFIG_FILE", "Command", "help_width", "option_key", "read_config", "unknown_variables"]


_PREFIX = "SMARTY_"
"""What the names of the program's variables begin with."""

_VARIABLES = frozenset(
    f"{_PREFIX}{name}" for name in ("CONFIG", "TOKEN", "TOKEN_FILE", "CLIENT_ID", "CLIENT_SECRET", "AUTH_URL")
)
"""The variables that are the option of no command: `account` reads all but the first."""

_NOT_FROM_ENVIRONMENT = frozenset({"base_url", "provider", "help"})
"""`account` reads these, after the options; help is no setting."""


def option_key(option: TyperOption) -> str:
    """The option's name in a config file, and in the environment after ``SMARTY_``: its long name with ``_``."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


class _LocalPath(TyperPath):
    """A path on this machine, also as a ``file://`` URL."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        from smarty_async.store_address import is_store_address, local_path  # noqa: PLC0415 - help is quick

        # Of an address in place of DIR the command says what can be done.
        if isinstance(value, str) and not (isinstance(param, TyperArgument) and is_store_address(value)):
            value = local_path(value, option=param.opts[0] if isinstance(param, TyperOption) else str(param.metavar))
        return super().convert(value, param, ctx)


class Command(TyperCommand):
    """A command whose help lists its options in groups: the ``rich_help_panel`` of each, in the order they appear.

    Every option can also be set in the environment, as ``SMARTY_`` and its long name. Every path may be a ``file://``
    URL.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        for option in self.params:
            if isinstance(option.type, TyperPath):
                vars(path := _LocalPath()).update(vars(option.type))
                option.type = path
            if isinstance(option, TyperOption) and option.name not in _NOT_FROM_ENVIRONMENT and not option.hidden:
                option.envvar = option.envvar or f"{_PREFIX}{option_key(option).upper()}"
                option.show_envvar = False

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:  # type: ignore[override] # click's own types
        """Parse `args`; a value that cannot be used is named with the place that it comes from, in words."""
        try:
            return super().parse_args(ctx, args)
        except BadParameter as error:
            error.message = _in_words(error.message)
            if isinstance(option := cast("Any", error.param), TyperOption):
                error.param_hint = error.param_hint or _place_of(option, ctx)
            raise

    def collect_usage_pieces(self, ctx: Context) -> list[str]:  # type: ignore[override] # click's own types
        """The parts of the usage line; a required argument stands without Typer's braces, as everywhere."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Context, formatter: Any) -> None:  # type: ignore[override] # click's own types
        """Write the arguments, then each group of options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                record = (record[0], _in_words(record[1]))
                panel = getattr(parameter, "rich_help_panel", None) or "Options"
                group = "Arguments" if isinstance(parameter, TyperArgument) else panel
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records, col_max=min(_WIDEST_NAME, formatter.width * 2 // 5))


def _place_of(option: TyperOption, ctx: Context) -> str | None:
    """Where the value of `option` was set, for a message; None for the command line, where the option is named."""
    source = ctx.get_parameter_source(str(option.name))
    match source.name if source is not None else "":
        case "ENVIRONMENT":
            return f"the variable {option.envvar}"
        case "DEFAULT_MAP":
            file = (ctx.parent.params.get("config") if ctx.parent else None) or CONFIG_FILE
            return f"{_in_file(option_key(option))!r} in the config file {str(file)!r}"
        case _:
            return None


_WIDEST_NAME = 30
"""Columns for an option's name; below a longer one its text begins on a line of its own."""


def help_width() -> int:
    """How wide help is written: as the terminal is, but never so wide that it is hard to read."""
    return min(max(shutil.get_terminal_size().columns, 32), 80) - 2


def _in_words(text: str) -> str:
    """What click says of an option, such as its default, what it may be, and why a value is refused, in words."""
    text = re.sub(r"\bis not a valid int(?:eger)?( range)?\b", "is not a whole number", text)
    text = re.sub(r"\bis not a valid float( range)?\b", "is not a number", text)
    text = re.sub(r"\bis not a valid boolean\..*", "is neither true nor false.", text)
    text = re.sub(r"\bnot in the range ([\d.]+)<=x<=([\d.]+)", r"not between \1 and \2", text)
    text = re.sub(r"\bnot in the range x>=([\d.]+)", r"not at least \1", text)
    text = re.sub(r"([\d.]+)<=x<=([\d.]+)", r"from \1 to \2", text)
    text = re.sub(r"x>=([\d.]+)", r"at least \1", text)
    text = re.sub(r"(?<![\d.'])(\d+)\.0(?!['\d]|\.\d)", r"\1", text)  # not of what was given, which is quoted
    return re.sub(r" {2,}\[", " [", text)


CONFIG_FILE = "smarty-async.toml"
"""The file that is read when it is in the working folder."""

_SECRETS = frozenset({"token", "client_id", "client_secret", "refresh_token"})


def read_config(path: Path, commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The defaults that a config file gives, by command and parameter.

    A key at the top is an option's long name, for every command that has the option; under ``[improve]`` it is for
    that command alone. A list gives the values of an option that can be repeated, or that takes several parted by
    commas. A path may begin with ``~``: no shell has replaced it.

    Raises:
        ConfigurationError: it cannot be read, is not valid TOML, names an unknown option or a secret, or sets an option
            that takes one value to a list.
    """
    import tomllib  # noqa: PLC0415 - help is quick

    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the config file {str(path)!r}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"the config file {str(path)!r} is not valid TOML: {error}") from None
    defaults: dict[str, dict[str, Any]] = {name: {} for name in commands}
    options = {name: _options(command) for name, command in commands.items()}
    for key, value in settings.items():
        if isinstance(value, dict) and key in commands:
            for inner, setting in cast("dict[str, Any]", value).items():
                option = _option(inner, options[key], path, command=key)
                defaults[key][str(option.name)] = _value(option, setting, path)
        else:
            owners = [name for name in commands if key.replace("-", "_") in options[name]]
            if not owners and isinstance(value, dict):
                hint = _close(key, commands)
                raise ConfigurationError(
                    f"the config file {str(path)!r} has a section [{key}], which is not a command{hint}"
                )
            if not owners:
                _option(key, {name: option for known in options.values() for name, option in known.items()}, path)
            for name in owners:
                option = _option(key, options[name], path)
                defaults[name][str(option.name)] = _value(option, value, path)
    return defaults


def unknown_variables(environ: Iterable[str], commands: Mapping[str, Any]) -> list[str]:
    """What to say of variables that begin as this program's do, and are none: a mistyped limit is no limit."""
    known = {f"{_PREFIX}{key.upper()}" for command in commands.values() for key in _options(command)} | _VARIABLES
    unknown = sorted(name for name in environ if name.startswith(_PREFIX) and name not in known)
    return [
        f"{name} is set, which is not one of this program's variables{_close(name, known, written=str)}"
        for name in unknown
    ]


def _in_file(key: str) -> str:
    """An option's name as a config file has it."""
    return key.replace("_", "-")


def _options(command: Any) -> dict[str, TyperOption]:
    """Each option that a file may set, by its name there."""
    options = [option for option in command.params if isinstance(option, TyperOption) and not option.hidden]
    return {option_key(option): option for option in options if option.name != "help"}


def _value(option: TyperOption, value: Any, path: Path) -> Any:
    """The value of `option` for `value` in the file, in the form that the command line has it in."""
    values = [
        _checked(option, one, path) for one in (cast("list[object]", value) if isinstance(value, list) else [value])
    ]
    if option.multiple:
        return values
    if not isinstance(value, list):
        return values[0]
    if "," in (option.metavar or ""):
        return ",".join(map(str, values))
    raise ConfigurationError(
        f"the config file {str(path)!r} sets {_in_file(option_key(option))!r} to a list: it takes one value"
    )


def _checked(option: TyperOption, value: Any, path: Path) -> Any:
    """`value`, if it is of the kind that `option` takes; with the user's home folder for a ``~``."""
    kind = option.type.name
    if option.is_flag:
        takes, fits = "true or false", isinstance(value, bool)
    elif kind.startswith("int"):
        takes, fits = "a whole number", isinstance(value, int | str) and not isinstance(value, bool)
    elif kind.startswith("float"):
        takes, fits = "a number", isinstance(value, int | float | str) and not isinstance(value, bool)
    else:
        takes, fits = "a text", isinstance(value, str)
    if not fits:
        key = _in_file(option_key(option))
        raise ConfigurationError(f"the config file {str(path)!r} sets {key!r} to {value!r}: it takes {takes}")
    return _expanded(value)


def _expanded(value: Any) -> Any:
    """`value`, with the user's home folder for a ``~`` that a path begins with."""
    is_below_home = isinstance(value, str) and (value == "~" or value.startswith("~/"))
    return os.path.expanduser(value) if is_below_home else value  # noqa: PTH111 - the rest stays as it is written


def _option(key: str, options: Mapping[str, TyperOption], path: Path, *, command: str = "") -> TyperOption:
    name = key.replace("-", "_")
    if name in _SECRETS:
        raise ConfigurationError(
            f"the config file {str(path)!r} holds {key!r}: "
            "put secrets into the environment instead (SMARTY_TOKEN, or SMARTY_TOKEN_FILE)"
        )
    if name not in options:
        raise ConfigurationError(
            f"the config file {str(path)!r} sets {key!r}{f' in the section [{command}]' if command else ''}, "
            f"which is not an option{f' of {command}' if command else ''}{_close(name, options)}"
        )
    return options[name]


def _close(name: str, known: Iterable[str], *, written: Callable[[str], str] = _in_file) -> str:
    """The end of a message about an unknown `name`: the known one that is most like it, if there is one."""
    close = get_close_matches(name, known, n=1)
    return f": did you mean {written(close[0])!r}?" if close else ""
