"""Open the storage of a run's outputs: a folder or a bucket; and check, before anything starts, that it can be used."""

from __future__ import annotations

from pathlib import Path

from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.outputs.object_store import OutputBucket
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.archive.sources.opening import open_source
from smarty_async.options import ArchiveOptions

__all__ = ["check_archive", "open_outputs"]


def open_outputs(options: ArchiveOptions) -> OutputStore:
    """The storage for the outputs of `options`; nothing is created yet."""
    if isinstance(options.out, Path):
        return OutputDirectory(options.out)
    return OutputBucket(options.out, options=options.store_options.values, state=options.state)


def check_archive(options: ArchiveOptions) -> None:
    """Make sure that a run can read its sources and has a place for its outputs, as far as that costs little; blocks.

    Raises:
        OptionsError: a source does not exist, or is among the outputs.
        ConfigurationError: a store cannot be used.
    """
    open_source(options).check()
    open_outputs(options).check_access()
