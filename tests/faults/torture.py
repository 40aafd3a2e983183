"""Torture, as curl does it: for every n, the n-th fallible call of the disk side fails; then a run without failures.

``python -m faults.torture --jobs 2``, or ``--call N`` to see one again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from unittest.mock import patch

from faults import invariants
from faults.album import plain_album
from faults.disk import FREEING, Disk, refusing
from faults.listener import Listener
from faults.living import Ended, environment
from faults.schedule import Schedule
from faults.server import FaultServer
from faults.service import Book

_HANGS = 300.0
_MODES = ("improve", "resolution")
_KINDS = {"full": True, "broken": False}
"""How the disk fails: from the n-th call on, or in the n-th alone."""


@dataclass
class Case:
    """One job under torture, in a folder of its own."""

    home: Path
    schedule: Schedule
    book: Book
    url: str
    calm: Callable[[], None]
    violations: list[str] = field(default_factory=list[str])

    def run(self, disk: Disk) -> Ended:
        """The program, in this very process."""
        args = ["smarty-async", "improve", str(self.home / "archive"), "--out", str(self.home / "out"), "--json"]
        args += ["--base-url", self.url, "--concurrency", "1", "--mode", "improve", "--mode", "resolution"]
        args += ["--rfactor", "2", "--max-images", "2"]
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        environ = {"SMARTY_TOKEN": f"{self.schedule.secret}/+s="}
        with (
            patch.object(sys, "argv", args),
            patch.dict(os.environ, environ),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            refusing(disk),
        ):
            status = _status_of_the_program()
        self.calm()
        out.flush()
        err.flush()
        return Ended(status, out.buffer.getvalue(), err.buffer.getvalue())

    def torture(self, at: int, *, lasting: bool) -> Disk:
        """A run on a failing disk, one on a good one, and a look at what they left."""
        disk = Disk(self.home / "out", at=at, lasting=lasting)
        self._look(self.run(disk), disk)
        received = invariants.received(self.schedule, self.home / "out", _MODES)
        self.book.received = set(received)
        for asked, times in self.book.paid.items():
            self.book.paid[asked] = min(times, received[asked])
        good = Disk(self.home / "out")
        self._look(self.run(good), good)
        self.violations += invariants.of_the_end(self.schedule, self.home / "out", self.book)
        self.violations += invariants.of_secrets(self.schedule, self.home / "out")
        self.violations += self.book.wrong
        return disk

    def _look(self, ended: Ended, disk: Disk) -> None:
        err = ended.err.decode()
        if ended.status not in (expected := _expected_statuses(disk, ended)):
            self.violations.append(f"it ended with {ended.status}, not one of {sorted(expected)}:\n{err}")
        # A foreign error that reached the command line would reach a user of the library, too.
        if "Traceback" in err or "this is a bug" in err or "was never" in err or "cannot use" in err:
            self.violations.append(f"it broke down:\n{err}")
        if self.schedule.secret in err or self.schedule.secret.encode() in ended.out:
            self.violations.append("it revealed a secret")


def _expected_statuses(disk: Disk, ended: Ended) -> set[int]:
    """5, but for what can be ridden out: a temporary that stays, a converted photo that could not be read again."""
    if not disk.failed:
        return {0}
    if disk.lasting and not disk.failed.startswith(FREEING):
        return {5}
    results, _ = invariants.results_in(ended.out)
    unread = any(result["error"] and result["error"]["type"] == "unreadable" for result in results)
    return {0, 5, 1} if unread else {0, 5}


def _status_of_the_program() -> int:
    from smarty_async.cli import main  # noqa: PLC0415 - once per process, and not for those who only ask for help

    try:
        main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


@contextlib.contextmanager
def _serving(server: FaultServer) -> Generator[tuple[str, Callable[[], None]]]:
    """The fault server in a thread of its own: its address, and a wait for the end of what it is about."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listener = Listener(server)
    asyncio.run_coroutine_threadsafe(listener.__aenter__(), loop).result()
    try:
        yield listener.url, lambda: asyncio.run_coroutine_threadsafe(listener.calm(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(listener.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def one_case(at: int, kind: str) -> tuple[list[str], Disk]:
    """What is wrong when call number `at` fails."""
    with tempfile.TemporaryDirectory(prefix="torture-") as home:
        album = plain_album(Path(home, "archive"))
        schedule = Schedule(0, album, _MODES, (), oauth=False, lives=[])
        book = Book(frozenset(photo.content for photo in album))
        server = FaultServer(book, schedule.clean(), schedule.secret)
        with _serving(server) as (url, calm):
            case = Case(Path(home), schedule, book, url, calm)
            disk = case.torture(at, lasting=_KINDS[kind])
        return case.violations, disk


def _share(first: int, step: int, kind: str) -> int:
    """Every `step`-th call from `first` on, until none is left to fail; how many cases had violations."""
    bad, at = 0, first
    while True:
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        violations, disk = one_case(at, kind)
        faulthandler.cancel_dump_traceback_later()
        if not disk.failed:
            print(f"{kind}: {len(range(first, at, step))} calls made to fail", flush=True)
            return bad
        if violations:
            bad += 1
            print(f"call {at} ({disk.failed}), {kind} disk", *violations, sep="\n  ")
            print(f"  replay: tox -e torture -- --call {at} --kind {kind}", flush=True)
        at += step


def _children(jobs: int, stride: int, kinds: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    for job in range(jobs):
        args = ["--share", str(1 + job * stride), "--stride", str(jobs * stride), *(f"--kind={kind}" for kind in kinds)]
        yield subprocess.Popen([sys.executable, "-m", "faults.torture", *args], env=environment())  # noqa: S603 - this very file


def main() -> int:
    """Torture; 1 when anything broke."""
    parser = argparse.ArgumentParser(prog="torture", description="Every call of the disk side made to fail.")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="at a time (2)")
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="only every N-th call (1)")
    parser.add_argument("--kind", choices=_KINDS, action="append", help="how the disk fails (both ways)")
    parser.add_argument("--call", type=int, metavar="N", help="replay this one alone")
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    kinds: list[str] = args.kind or list(_KINDS)
    if args.call is not None:
        bad = False
        for kind in kinds:
            violations, disk = one_case(args.call, kind)
            print(f"call {args.call} ({disk.failed}), {kind} disk", *violations, sep="\n  ")
            bad = bad or bool(violations)
        return int(bad)
    if args.share is not None:
        return min(1, sum(_share(args.share, args.stride, kind) for kind in kinds))
    began = monotonic()
    failed = sum(child.wait() != 0 for child in list(_children(args.jobs, args.stride, kinds)))
    print(f"torture: {'violations' if failed else 'no violation'}, in {monotonic() - began:.0f} s")
    return min(1, failed)


if __name__ == "__main__":
    sys.exit(main())
