"""One schedule from its number to its violations."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from support.s3_server import s3_server

from faults import invariants
from faults.bucket import FaultBucket
from faults.listener import Listener
from faults.living import Ended, Happenings, live
from faults.schedule import Harm, Life, Schedule, make_schedule
from faults.server import FaultServer
from faults.service import AUTH_PATH, Book

JOURNAL = Path(".smarty-async", "journal.sqlite")


@dataclass
class Report:
    """What came of a schedule.

    Attributes:
        violations: a sentence each.
        ends: the exit status of every run.
        faults: how often each fault befell a request.
    """

    seed: int
    violations: list[str] = field(default_factory=list[str])
    ends: list[int] = field(default_factory=list[int])
    faults: Counter[str] = field(default_factory=Counter[str])
    requests: int = 0
    photos: int = 0


def run_schedule(seed: int, *, verbose: bool = False) -> Report:
    """Run the schedule of this number in a folder of its own; needs nothing but a process of its own."""
    with tempfile.TemporaryDirectory(prefix="faults-") as home:
        schedule = make_schedule(seed, Path(home, "archive"))
        return asyncio.run(_Running(schedule, Path(home), verbose=verbose).run())


def run_schedule_over_bucket(seed: int, *, verbose: bool = False) -> Report:
    """Run the schedule of this number with its outputs in a bucket, of a server of its own."""
    with tempfile.TemporaryDirectory(prefix="faults-") as home, s3_server() as s3:
        schedule = make_schedule(seed, Path(home, "archive"))
        bucket = FaultBucket(s3, seed, Path(home, "out"))
        return asyncio.run(_Running(schedule, Path(home), verbose=verbose, bucket=bucket).run())


def harm(journal: Path, how: Harm) -> None:
    """What a dying disk, or a person, may do to the journal."""
    for path in journal.parent.glob(f"{journal.name}-*"):
        path.unlink()
    if how == "lost":
        journal.unlink()
    elif how == "cut":
        os.truncate(journal, journal.stat().st_size // 3)
    else:
        with journal.open("r+b") as file:
            file.seek(100)  # behind the header: it still looks like a database
            file.write(b"\xa5" * (journal.stat().st_size - 100))


class _Running:
    def __init__(self, schedule: Schedule, home: Path, *, verbose: bool, bucket: FaultBucket | None = None) -> None:
        self._schedule = schedule
        self._bucket = bucket
        self._archive, self._out = home / "archive", home / "out"
        self._book = Book(frozenset(photo.content for photo in schedule.album if photo.content))
        self._server = FaultServer(self._book, schedule.clean(), schedule.secret)
        self._report = Report(schedule.seed, photos=len(schedule.album))
        self._verbose = verbose

    async def run(self) -> Report:
        async with Listener(self._server) as listener:
            for life in self._schedule.lives:
                await self._live(life, listener)
                if self._report.violations:
                    break
            else:
                await self._live(None, listener)
                spelled = str if self._bucket is None else self._bucket.spelled
                if self._bucket is not None:
                    self._bucket.forget_state()
                self._report.violations += invariants.of_the_end(self._schedule, self._out, self._book, spelled=spelled)
        self._report.requests = listener.count
        self._report.faults.update(self._server.befallen)
        self._report.violations += [*listener.trouble, *dict.fromkeys(self._book.wrong)]
        return self._report

    async def _live(self, life: Life | None, listener: Listener) -> None:
        happenings = Happenings()
        self._server.mood = self._schedule.clean() if life is None else life.mood
        self._server.happened = happenings
        images = self._book.images
        out = ["--out", str(self._out)] if self._bucket is None else self._bucket.arguments
        args = ["improve", str(self._archive), *out, "--json", "--base-url", listener.url]
        args += [*self._schedule.options, *(life.options if life else ("--retry-failed",))]
        module = "faults.client" if life else "smarty_async"
        ended = await live(module, args, env=self._account(listener.url), life=life, happenings=happenings)
        await listener.calm()
        if self._bucket is not None:
            await asyncio.to_thread(self._bucket.copy)
        self._report.ends.append(ended.status)
        if self._verbose:
            print(life or "the clean run", *self._server.story, ended.err.decode("utf-8", "replace"), sep="\n")
            print(f"exit status {ended.status}")
            self._server.story.clear()
        if life and life.bound is not None and self._book.images - images > life.bound:
            self._report.violations.append(f"{self._book.images - images} images were sent, over {life.bound}")
        self._look(life, ended)
        if life and life.harm and (self._out / JOURNAL).exists():
            harm(self._out / JOURNAL, life.harm)
            known = invariants.reported(self._schedule, self._out)
            self._book.received = {asked for asked, times in known.items() if times}
            for asked, times in self._book.paid.items():
                self._book.paid[asked] = min(times, known[asked])

    def _look(self, life: Life | None, ended: Ended) -> None:
        self._report.violations += invariants.of_an_end(life, ended, self._schedule, self._book)
        if self._out.exists():
            self._report.violations += invariants.of_secrets(self._schedule, self._out)
            received = invariants.received(self._schedule, self._out, self._schedule.modes)
            self._book.received |= received.keys()
            if ended.status not in (0, 1) and not self._drained(life, ended):
                for asked, times in self._book.paid.items():
                    self._book.paid[asked] = min(times, received[asked])

    def _drained(self, life: Life | None, ended: Ended) -> bool:
        """Whether it ended by itself and at leisure: then nothing was open."""
        return ended.status in (3, 4, 6) or (ended.status == 130 and life is not None and life.end in ("term", "int"))

    def _account(self, url: str) -> dict[str, str]:
        secret = self._schedule.secret
        store = {} if self._bucket is None else self._bucket.environment
        if not self._schedule.oauth:
            return store | {"SMARTY_TOKEN": f"{secret}/+s="}
        return store | {
            "SMARTY_CLIENT_ID": "client",
            "SMARTY_CLIENT_SECRET": f"{secret}/+cs=",
            "SMARTY_AUTH_URL": url + AUTH_PATH,
        }
