"""Find committed outputs that are no longer at their places. Blocking."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from smarty_async.archive.journal.records import PhotoEntry, StoredAnswer
from smarty_async.options import Mode
from smarty_async.results import Kind

__all__ = ["OutputChecker", "mark_missing"]

_LOOKUPS = 16
"""Lookups in one folder after which its names are read: that costs as much as looking up a fifth of them."""
_MAX_NAMES = 10_000
"""Names of a folder that are held, at most."""


def mark_missing(
    entries: Iterable[PhotoEntry], exists: Callable[[StoredAnswer, str], bool], *, redo: bool
) -> list[PhotoEntry]:
    """`entries`, with committed answers of which an output does not exist marked.

    Args:
        entries: entries of the journal.
        exists: whether all outputs of a committed answer are at a place.
        redo: mark them as ``stale``, so that they are asked for again, instead of ``missing``.
    """
    state: Literal["stale", "missing"] = "stale" if redo else "missing"
    marked: list[PhotoEntry] = []
    for entry in entries:
        gone: dict[Mode, StoredAnswer] = {
            mode: msgspec.structs.replace(answer, state=state)
            for mode, answer in entry.answers.items()
            if answer.state == "committed" and not exists(answer, entry.place)
        }
        marked.append(msgspec.structs.replace(entry, answers=entry.answers | gone) if gone else entry)
    return marked


class OutputChecker:
    """Checks whether outputs exist.

    Args:
        out: the output folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = os.fspath(out)
        self._folder = ""  # of the last output, relative to the folder of its kind
        self._lookups: Counter[Kind] = Counter()
        self._names: dict[Kind, frozenset[str]] = {}

    def checked(self, entries: Iterable[PhotoEntry], *, redo: bool) -> list[PhotoEntry]:
        """`entries`, marked as `mark_missing` does."""
        return mark_missing(entries, lambda answer, place: self.exist(place, answer.outputs), redo=redo)

    def exist(self, place: str, kinds: Iterable[Kind]) -> bool:
        """Whether the outputs of `kinds` are at `place`."""
        folder, _, name = place.rpartition("/")
        if folder != self._folder:
            self._folder = folder
            self._lookups.clear()
            self._names.clear()
        for kind in kinds:  # noqa: SIM110 - a generator for each of millions costs more than the look
            if name not in self._names.get(kind, ()) and not self._look_up(kind, name):
                return False
        return True

    def _look_up(self, kind: Kind, name: str) -> bool:
        """Look a file up by name: it may be beyond the names that are held, or be listed in another spelling."""
        folder = f"{self._out}/{kind}/{self._folder}"
        self._lookups[kind] += 1
        if self._lookups[kind] == _LOOKUPS:
            self._names[kind] = _names_in(folder)
        # os: a Path for each of millions costs more than the lookup.
        return os.access(f"{folder}/{name}", os.F_OK)


def _names_in(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in islice(entries, _MAX_NAMES))
    except OSError:
        return frozenset()
