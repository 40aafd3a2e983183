"""Where the outputs of a run go: a folder, or a bucket."""

from __future__ import annotations

from pathlib import Path

from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.outputs.object_store import OutputBucket
from smarty_async.archive.outputs.store import OutputStore
from smarty_async.options import ArchiveOptions

__all__ = ["open_outputs"]


def open_outputs(options: ArchiveOptions) -> OutputStore:
    """The storage for the outputs of `options`; nothing is created yet."""
    if isinstance(options.out, Path):
        return OutputDirectory(options.out)
    return OutputBucket(options.out, options=options.store_options.values, state=options.state)
