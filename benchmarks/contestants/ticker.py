"""How long an event loop is held: a task that wakes every millisecond and notes how late it is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import perf_counter

__all__ = ["run_ticking"]

_TICK = 0.001


def run_ticking(job: Coroutine[object, object, None], *, ticking: bool) -> list[float] | None:
    """Run `job`; the delays of the ticks in seconds, None when not `ticking`."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            due = perf_counter() + _TICK
            await asyncio.sleep(_TICK)
            late.append(perf_counter() - due)

    async def both() -> None:
        ticker = asyncio.create_task(tick()) if ticking else None
        await job
        if ticker is not None:
            ticker.cancel()

    asyncio.run(both())
    return late if ticking else None
