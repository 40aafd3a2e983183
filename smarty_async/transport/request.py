"""One request of a chunk: who pays, who is on board, who has been answered."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from smarty_async.transport.item import Item, Stopped
from smarty_async.transport.sinks import ReceivedItem
from smarty_async.wire.messages import item_name

__all__ = ["ChunkRequest", "live", "paid_for"]

_log = logging.getLogger("smarty_async")


def live(chunk: Sequence[Item]) -> list[Item]:
    """Whoever still waits."""
    return [item for item in chunk if not item.gone]


def paid_for(chunk: list[Item]) -> list[Item]:
    """The items there is money for; the others stay to be done."""
    if not chunk:
        return chunk
    granted = chunk[0].group.budget.take(len(chunk))
    for item in chunk[granted:]:
        item.fail(Stopped())
    return chunk[:granted]


class ChunkRequest:
    """One request of a chunk: who is on board, under which name, and who has been answered."""

    def __init__(self, items: list[Item], *, token: str, epoch: int) -> None:
        self.items = items
        self.names = {item_name(number): item for number, item in enumerate(items)}
        self.token = token
        self.epoch = epoch
        self.delivered = 0
        self._departed = False
        self._strayed = False

    @contextmanager
    def in_flight(self) -> Generator[None]:
        """While the request is open."""
        for item in self.items:
            item.in_flight = True
        try:
            yield
        finally:
            for item in self.items:
                item.in_flight = False
            if not self._departed:
                self.items[0].group.budget.give_back(len(self.items))

    def depart(self) -> None:
        """From here on it is paid for, as far as anyone can tell."""
        self._departed = True
        progress = self.items[0].group.progress
        progress.requests += 1
        progress.images += len(self.items)
        for item in self.items:
            item.attempts += 1

    def deliver(self, arrived: ReceivedItem) -> bool:
        """Give an answer to the item it names; False when none takes it."""
        item = self.names.get(arrived.answered.name)
        if item is None or not item.take(arrived):
            if not self._strayed:
                self._strayed = True
                _log.warning("answers that were not asked for, or came twice, are passed over")
            return False
        self.delivered += 1
        return True
