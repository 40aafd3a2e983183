"""One request that something befalls, and the list of everything that may."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from faults.listener import Exchange
from faults.service import Ask, Book, Item, RequestOutcome, Segment, deliver, right_items, segments_of

Ending = Literal["whole", "cut", "spoiled"]
JSON = {"Content-Type": "application/json"}


@dataclass
class Turn:
    """One request that a fault is to befall.

    Attributes:
        handed: when each good item's last byte was handed over.
    """

    exchange: Exchange
    ask: Ask
    dice: Random
    book: Book
    handed: list[tuple[float, RequestOutcome]] = field(default_factory=list[tuple[float, RequestOutcome]])

    def segments(self, items: list[Item] | None = None) -> list[Segment]:
        return segments_of(right_items(self.ask, self.dice) if items is None else items, self.dice)

    async def write(self, segments: list[Segment]) -> None:
        await deliver(self.exchange, segments, self.handed)

    async def whole(self, segments: list[Segment]) -> None:
        """An answer as it should be, framed one way or another."""
        if self.dice.random() < 0.3:
            self.exchange.keep_alive = False
            await self.exchange.head(200, JSON | {"Connection": "close"})
        else:
            await self.exchange.head(200, JSON | {"Content-Length": str(length(segments))})
        await self.write(segments)


EarlyFault = Callable[[Exchange, Random], Awaitable[None]]
LateFault = Callable[[Turn], Awaitable[None]]
EARLY: dict[str, EarlyFault] = {}
"""Faults before the body was read."""
LATE: dict[str, tuple[LateFault, Ending]] = {}
"""Faults after it, and how their answers end."""


def early(fault: EarlyFault) -> EarlyFault:
    EARLY[fault.__name__] = fault
    return fault


def late(ending: Ending) -> Callable[[LateFault], LateFault]:
    def enlist(fault: LateFault) -> LateFault:
        LATE[fault.__name__] = (fault, ending)
        return fault

    return enlist


def length(segments: list[Segment]) -> int:
    return sum(len(segment.data) for segment in segments)


def envelope(status: int, text: str) -> bytes:
    return json.dumps({"status": status, "body": text, "htmlencoded": False, "last_modified": 0}).encode()
