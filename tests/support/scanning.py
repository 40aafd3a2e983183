"""Scans of folders, photo by photo."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any

from smarty_async.archive.sources.folder import FolderSource
from smarty_async.archive.sources.source import PhotoFile

__all__ = ["scan"]


def scan(sources: Iterable[str | PathLike[str]], *, out: Path, **options: Any) -> Generator[PhotoFile]:
    """Every photo, one by one; the arguments are those of `FolderSource`."""
    with closing(FolderSource(sources, out=out, **options).files()) as files:
        yield from (file for file in files if file is not None)
