"""How many items are still to be submitted: what tells the batcher whether to wait for them."""

from __future__ import annotations

from collections import Counter
from weakref import WeakSet

from smarty_async.transport.batcher import Outlook

__all__ = ["Forecast"]

SHORT_BACKOFF = 0.1
"""Fraction of the last request's duration. Backoffs shorter than this are waited for, so that the retry joins the
current round: an item that comes a little late would otherwise need a whole request more, alone at the end."""


class Forecast:
    """Predicts the submissions of one source, from what it announced and from how its items fared so far.

    It does no I/O and reads no clock. An item is known by its body, which stays the same when the item is retried.
    """

    def __init__(self) -> None:
        self._announced: Counter[int | None] = Counter()
        self._in_backoff: WeakSet[object] = WeakSet()  # dropped on resubmission, or when the source drops the body
        self._short_backoffs = 0
        self._replies = 0
        self._returns = 0  # replies after which the item is submitted again

    def announce(self, items: int | None) -> None:
        """`items` submissions are coming; None for an unknown number."""
        self._announced[items] += 1

    def fulfil(self, items: int | None) -> None:
        """An announcement of `items` is over: they have been submitted, or never will be."""
        self._announced[items] -= 1
        if not self._announced[items]:
            del self._announced[items]

    def start_backoff(self, seconds: float, *, request_seconds: float) -> bool:
        """An item waits `seconds` before its next submission.

        Args:
            seconds: the length of the backoff.
            request_seconds: what the last answered request took.

        Returns:
            Whether the backoff is short, to be passed to `end_backoff`.
        """
        short = seconds <= request_seconds * SHORT_BACKOFF
        self._short_backoffs += short
        return short

    def end_backoff(self, *, short: bool) -> None:
        """A backoff is over."""
        self._short_backoffs -= short

    def submitted(self, body: object) -> None:
        """The item with this `body` has been submitted."""
        self._in_backoff.discard(body)

    def replied(self, body: object, *, returns: bool) -> None:
        """The item with this `body` got its reply; `returns` tells whether it will be submitted again."""
        self._replies += 1
        if returns:
            self._returns += 1
            self._in_backoff.add(body)

    def outlook(self, *, in_flight: int) -> Outlook:
        """What is still to come.

        Args:
            in_flight: items whose requests are open or waiting for a retry. As many of them as is usual return.
        """
        announced = sum(items * times for items, times in self._announced.items() if items)
        more = announced > 0 or self._short_backoffs > 0
        if None in self._announced:
            return Outlook(more, None)
        returning = in_flight * self._returns // max(1, self._replies)
        return Outlook(more, announced + len(self._in_backoff) + returning)
