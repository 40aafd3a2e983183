"""How long the other side of a connection has been silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self

__all__ = ["SilenceTimer"]

_TICK_SECONDS = 1.0
"""How often silence is measured: far below the timeout, and no load with a timer for each open request."""


class SilenceTimer:
    """Ends an ``async with`` block with TimeoutError after a time in which nothing was heard.

    Only time in which the process was able to listen counts. It is measured in ticks; a late tick shows that the
    process was stopped, the computer asleep or the event loop busy. What arrived in that time is in the socket and is
    read before the next tick, so a late tick does not count and never ends the block.

    Args:
        seconds: how long the silence may last.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._tick_seconds = min(_TICK_SECONDS, seconds / 5)
        self._limit = asyncio.timeout(None)
        self._listening = True
        self._silent = 0.0  # seconds
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._schedule()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, traceback)

    def restart(self) -> None:
        """Something was heard, or taken by the other side: measure from zero."""
        self._listening = True
        self._silent = 0.0

    def pause(self) -> None:
        """Nobody listens until `restart`."""
        self._listening = False

    def _schedule(self) -> None:
        self._ticked_at = self._clock()
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    def _tick(self) -> None:
        late = self._clock() - self._ticked_at > 2 * self._tick_seconds
        if self._listening and not late:
            self._silent += self._tick_seconds
            if self._silent >= self._seconds:
                self._limit.reschedule(asyncio.get_running_loop().time())
                return
        self._schedule()
