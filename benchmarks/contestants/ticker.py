"""How long an event loop is held: a task that wakes every millisecond and notes how late it is.

As a program, it does nothing else until its standard input is closed, and prints the delays: what the machine is late.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from time import perf_counter

__all__ = ["idle_beside", "run_ticking"]

_TICK = 0.001


def run_ticking(job: Coroutine[object, object, object], *, ticking: bool) -> list[float] | None:
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


@contextmanager
def idle_beside() -> Generator[list[float], None, None]:
    """Run an idle event loop in a process of its own while the block lasts; its delays, in seconds, at the end."""
    late: list[float] = []
    command = [sys.executable, "-m", "benchmarks.contestants.ticker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        yield late
        late += json.loads(process.communicate()[0])


def _tick_until_closed() -> None:
    json.dump(run_ticking(asyncio.to_thread(sys.stdin.read), ticking=True), sys.stdout)


if __name__ == "__main__":
    _tick_until_closed()
