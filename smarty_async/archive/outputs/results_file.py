"""``results.jsonl``: one line a photo. It follows the journal, and can be rewritten from it at any time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from smarty_async.archive.fsync import sync_file, sync_folder
from smarty_async.archive.paths import STATE
from smarty_async.errors import DiskError
from smarty_async.results import Result

__all__ = ["ResultsFile"]

_encoder = msgspec.json.Encoder()


class ResultsFile:
    """The file at `path`, in the output folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, results: Iterable[Result]) -> None:
        """Add a line for each of `results`.

        Raises:
            DiskError: the disk refuses.
        """
        lines = b"".join(_encoder.encode(result) + b"\n" for result in results)
        try:
            with self._path.open("ab") as file:
                file.write(lines)
        except OSError as error:
            raise DiskError.of(error, self._path, "write") from None

    def rewrite(self, results: Iterable[Result]) -> None:
        """Replace its content with `results`, atomically.

        Raises:
            DiskError: the disk refuses.
        """
        new = self._path.parent / STATE / f"{self._path.name}.new"
        try:
            with new.open("wb") as file:
                file.writelines(_encoder.encode(result) + b"\n" for result in results)
            sync_file(new)
            os.replace(new, self._path)  # noqa: PTH105 - Path.replace, but for its name
            sync_folder(self._path.parent)
        except OSError as error:
            raise DiskError.of(error, self._path, "write") from None
