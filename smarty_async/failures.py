"""Groups photos that failed or were rejected by their reason; what it holds does not grow with the archive."""

from __future__ import annotations

import re
from typing import Final

from smarty_async.results import ErrorInfo, Failures, Outcome

__all__ = ["MAX_NAMES", "FailureGroups"]

MAX_NAMES: Final = 20
"""Photos named for each reason."""

_MAX_GROUPS: Final = 100
"""Reasons kept apart; past that they are grouped by type."""

_VARYING: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,._ ]*")
"""What differs between two messages with the same reason: names in quotes, and numbers."""


class FailureGroups:
    """Photos by the reason why they have no results."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Outcome, str, str], Failures] = {}

    def add(self, photo: str, outcome: Outcome, error: ErrorInfo) -> None:
        """Add one photo."""
        key = (outcome, error.type, _VARYING.sub("…", error.message))
        if key not in self._groups and len(self._groups) >= _MAX_GROUPS:
            key = (outcome, error.type, "")
        known = self._groups.get(key)
        if known is None:
            self._groups[key] = Failures(
                outcome=outcome, type=error.type, message=error.message, count=1, example=photo, names=[photo]
            )
            return
        if len(known.names) < MAX_NAMES:
            known.names.append(photo)
        self._groups[key] = Failures(
            outcome=outcome,
            type=known.type,
            message=known.message,
            count=known.count + 1,
            example=known.example,
            names=known.names,
        )

    def sorted(self) -> list[Failures]:
        """The groups, the largest first."""
        return sorted(self._groups.values(), key=lambda group: -group.count)
