"""The program in a process of its own, from its start to its end, whichever that is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.processes import Process, closed, start

from faults.schedule import Life

_HANGS = 60.0
"""Seconds without a request or an answer after which a run is said to hang."""

_MOST_WAITS = 15
"""How often so long is waited for a run on a slow machine, which has requests all the time."""

_TESTS = Path(__file__).parent.parent


@dataclass
class Ended:
    """How a run ended, and all that it said."""

    status: int
    out: bytes
    err: bytes
    hung: bool = False


@dataclass
class Happenings:
    """Counts what happens on the server during one run, for those that wait for it."""

    counts: Counter[str] = field(default_factory=Counter[str])
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, what: str) -> None:
        self.counts[what] += 1
        self.changed.set()

    async def reaches(self, what: str, count: int) -> None:
        while self.counts[what] < count:
            self.changed.clear()
            await self.changed.wait()


def environment(**more: str) -> dict[str, str]:
    """What a run finds around it: none of the caller's accounts."""
    around = {name: value for name, value in os.environ.items() if not name.startswith(("SMARTY_", "COV_"))}
    path = os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH", "")]))
    return around | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "PYTHONFAULTHANDLER": "1"} | more


async def live(
    module: str, args: list[str], *, env: dict[str, str], life: Life | None, happenings: Happenings
) -> Ended:
    """Run ``python -m module args``, cut short as `life` wants it."""
    process = await start(module, *args, environment=environment(**env))
    talking = asyncio.create_task(process.communicate())
    ending = asyncio.create_task(_end(process, life, happenings))
    done = await _ends(talking, happenings)
    ending.cancel()
    if not done:
        process.send_signal(getattr(signal, "SIGABRT", signal.SIGTERM))  # the fault handler tells where it stands
    out, err = await talking
    await closed(process)
    assert process.returncode is not None
    return Ended(process.returncode, out, err, hung=not done)


async def _ends(talking: asyncio.Task[tuple[bytes, bytes]], happenings: Happenings) -> bool:
    """Wait for the end of a run; False if it hangs."""
    for _ in range(_MOST_WAITS):
        before = happenings.counts.total()
        done, _ = await asyncio.wait([talking], timeout=_HANGS)
        if done or happenings.counts.total() == before:
            return bool(done)
    return False


async def _end(process: Process, life: Life | None, happenings: Happenings) -> None:
    if life is None or life.end is None:
        return
    await happenings.reaches(*life.after)
    await asyncio.sleep(life.delay)
    with suppress(ProcessLookupError):  # it was faster
        if life.end == "kill":
            process.kill()
            return
        process.send_signal(signal.SIGINT if life.end == "int" else signal.SIGTERM)
        if life.end == "twice":
            await asyncio.sleep(life.delay)
            process.send_signal(signal.SIGTERM)
