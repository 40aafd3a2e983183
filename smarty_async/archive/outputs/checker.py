"""Outputs that an earlier run made and that are no longer there. Blocking."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import msgspec

from smarty_async.archive.journal.records import PhotoEntry, StoredAnswer
from smarty_async.results import Kind

__all__ = ["OutputChecker"]

_LOOKS = 16
"""Looks in one folder after which its names are read: that costs as much as looking for a fifth of them."""
_NAMES = 10_000
"""Names that are kept of a folder, at most."""


class OutputChecker:
    """Whether outputs are there.

    Args:
        out: the output folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = os.fspath(out)
        self._above = ""  # where the last was looked for, in the folder of each kind
        self._looks: Counter[Kind] = Counter()
        self._names: dict[Kind, frozenset[str]] = {}

    def checked(self, entries: Iterable[PhotoEntry], *, redo: bool) -> list[PhotoEntry]:
        """`entries`, with answers whose outputs are not all there marked as ``missing``, or forgotten if `redo`."""
        return [self._checked(entry, redo=redo) for entry in entries]

    def _checked(self, entry: PhotoEntry, *, redo: bool) -> PhotoEntry:
        gone = {mode: answer for mode, answer in entry.answers.items() if not self._stands(answer, entry.place)}
        if not gone:
            return entry
        answers = {mode: answer for mode, answer in entry.answers.items() if mode not in gone}
        if not redo:
            answers |= {mode: msgspec.structs.replace(answer, state="missing") for mode, answer in gone.items()}
        return msgspec.structs.replace(entry, answers=answers)

    def _stands(self, answer: StoredAnswer, place: str) -> bool:
        if answer.state != "committed":
            return True
        above, _, name = place.rpartition("/")
        if above != self._above:
            self._above = above
            self._looks.clear()
            self._names.clear()
        return all(name in self._names.get(kind, ()) or self._look(kind, name) for kind in answer.outputs)

    def _look(self, kind: Kind, name: str) -> bool:
        """Look for it by name: it may be beyond the names that are kept, or there in other letters."""
        folder = f"{self._out}/{kind}/{self._above}"
        self._looks[kind] += 1
        if self._looks[kind] == _LOOKS:
            self._names[kind] = _names_in(folder)
        # os: a Path for each of millions costs more than the look.
        return os.access(f"{folder}/{name}", os.F_OK)


def _names_in(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in islice(entries, _NAMES))
    except OSError:
        return frozenset()
