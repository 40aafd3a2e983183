"""The list of results in an output folder, ``results.jsonl``: one line a photo. Blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from smarty_async.archive.outputs.sync import sync_file, sync_folder
from smarty_async.archive.paths import STATE
from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import DiskError
from smarty_async.results import Result

__all__ = ["ResultsFile"]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Result)
_SOME: Final = 256
"""Results that are written in one piece."""
_MAX_LINE: Final = 1 << 20
"""Bytes of a line that are read: a few paths."""


def _some(results: Iterator[Result]) -> list[Result]:
    return list(islice(results, _SOME))


class ResultsFile:
    """The file at `path`, in the output folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Iterator[Result]:
        """The results in it; lines that hold none are left out.

        Raises:
            DiskError: it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                while line := file.readline(_MAX_LINE):
                    with suppress(*DAMAGED_JSON):
                        yield _decoder.decode(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DiskError.of(error, self.path, "read") from None

    def is_of_runs(self) -> bool:
        """Whether it has a line of a run, is empty, or does not exist; else somebody else made it.

        Raises:
            DiskError: it cannot be read.
        """
        try:
            is_empty = not self.path.stat().st_size
        except FileNotFoundError:
            return True
        except OSError as error:
            raise DiskError.of(error, self.path, "read") from None
        return is_empty or next(self.read(), None) is not None

    def append(self, results: Iterable[Result]) -> None:
        """Add a line for each of `results`.

        Raises:
            DiskError: the disk refuses.
        """
        lines = _encoder.encode_lines(results)
        try:
            with self.path.open("ab") as file:
                file.write(lines)
        except OSError as error:
            raise DiskError.of(error, self.path, "write") from None

    def rewrite(self, results: Iterable[Result]) -> None:
        """Replace its content with `results`, atomically.

        Raises:
            DiskError: the disk refuses.
        """
        new = self.path.parent / STATE / f"{self.path.name}.new"
        try:
            with new.open("wb") as file:
                for some in iter(partial(_some, iter(results)), []):
                    file.write(_encoder.encode_lines(some))
            sync_file(new)
            new.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise DiskError.of(error, self.path, "write") from None
