"""Photos without results, grouped by the reason."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from smarty_async.results import ErrorInfo, Failures, Outcome

__all__ = ["FailureGroups", "name_with_page"]

_MAX_NAMES: Final = 20
"""Photos named for each reason, of a run or a plan."""

_MAX_GROUPS: Final = 100
"""Reasons kept apart; past that they are grouped by type."""

_VARYING: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,._ ]*")
"""What differs between two messages with the same reason: names in quotes, and numbers."""


def name_with_page(photo: str, page: int) -> str:
    """A photo's name, with the number of the page where it is not its file's first."""
    return f"{photo} (page {page})" if page > 1 else photo


class FailureGroups:
    """Photos by the reason why they have no results. Photos of several sources are named with their source.

    Args:
        most_names: photos named for each reason, at most; None for all of them.
    """

    def __init__(self, *, most_names: int | None = _MAX_NAMES) -> None:
        self._most_names = most_names
        self._messages: dict[tuple[Outcome, str, str], str] = {}
        self._photos: dict[tuple[Outcome, str, str], list[tuple[str, str]]] = {}  # named, each with its source
        self._counts: Counter[tuple[Outcome, str, str]] = Counter()
        self._first_source: str | None = None
        self._several_sources = False

    def add(self, photo: str, outcome: Outcome, error: ErrorInfo, *, page: int = 1, source: str = "") -> None:
        """Add one photo: a page of a file, named by its path relative to `source`."""
        key = (outcome, error.type, _VARYING.sub("…", error.message))
        if key not in self._counts and len(self._counts) >= _MAX_GROUPS:
            key = (outcome, error.type, "")
        self._counts[key] += 1
        self._messages.setdefault(key, error.message)
        named = self._photos.setdefault(key, [])
        if self._most_names is None or len(named) < self._most_names:
            named.append((source, name_with_page(photo, page)))
        self._first_source = source if self._first_source is None else self._first_source
        self._several_sources = self._several_sources or source != self._first_source

    def sorted(self) -> list[Failures]:
        """The groups, the largest first."""
        return [self._group(key, count) for key, count in self._counts.most_common()]

    def _group(self, key: tuple[Outcome, str, str], count: int) -> Failures:
        outcome, kind, _ = key
        names = [f"{source}/{photo}" if self._several_sources else photo for source, photo in self._photos[key]]
        return Failures(
            outcome=outcome, type=kind, message=self._messages[key], count=count, example=names[0], names=names
        )
