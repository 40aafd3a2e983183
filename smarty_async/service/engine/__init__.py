"""What makes the pictures: the seam every engine stands behind, and how one is chosen."""

from __future__ import annotations

from smarty_async.errors import ConfigurationError, OptionsError
from smarty_async.service.engine.basic import BasicEngine
from smarty_async.service.engine.echo import EchoEngine
from smarty_async.service.engine.protocol import UNDECODABLE, Engine, Improved, ItemRefused

__all__ = ["UNDECODABLE", "BasicEngine", "EchoEngine", "Engine", "Improved", "ItemRefused", "engine_named"]


def engine_named(name: str) -> Engine:
    """The engine of that name.

    Raises:
        ConfigurationError: the engine exists by name only in this version.
        OptionsError: there is no such engine.
    """
    if name == "basic":
        return BasicEngine()
    if name == "echo":
        return EchoEngine()
    if name == "restore":
        raise ConfigurationError(
            "the engine 'restore' is not available in this version: use --engine basic, which needs nothing more"
        )
    raise OptionsError(f"engine must be basic, echo or restore, not {name!r}")
