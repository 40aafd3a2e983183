"""What all commands share: help in named groups, a value from the environment or a file for every option."""

from __future__ import annotations

from typing import Any

from typer import Context
from typer.core import TyperArgument, TyperCommand, TyperOption

__all__ = ["Command", "option_key"]

_NOT_FROM_ENVIRONMENT = frozenset({"base_url", "provider", "help"})
"""`cli.account` reads these, after the options; help is no setting."""


def option_key(option: TyperOption) -> str:
    """The option's name in a config file, and in the environment after ``SMARTY_``: its long name with ``_``."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


class Command(TyperCommand):
    """A command whose help lists its options in groups: the ``rich_help_panel`` of each, in the order they appear.

    Every option may also stand in the environment, as ``SMARTY_`` and its long name.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        for option in self.params:
            if isinstance(option, TyperOption) and option.name not in _NOT_FROM_ENVIRONMENT and not option.hidden:
                option.envvar = option.envvar or f"SMARTY_{option_key(option).upper()}"
                option.show_envvar = False

    def format_options(self, ctx: Context, formatter: Any) -> None:  # type: ignore[override] # click's own types
        """Write the arguments, then each group of options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None) or "Options"
                group = "Arguments" if isinstance(parameter, TyperArgument) else panel
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)
