"""How a followed run ends: its exit status, and what is printed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from support.fake_service import FakeService, items
from support.program import end_of, out, photos, posix, run, service, started

from smarty_async.account import Account
from smarty_async.cli.errors import Exit
from smarty_async.cli.improve_options import ClientOptions, DisplayOptions, ImproveOptions
from smarty_async.cli.improve_run import _keep_pace, follow
from smarty_async.cli.signals import Interrupts
from smarty_async.errors import DiskError, OptionsError
from smarty_async.options import Limits, Retries, Timeouts
from smarty_async.progress import InFlight, Progress
from smarty_async.report.estimate import Estimator, PaceFile
from smarty_async.results import ErrorInfo, Outcome, Result

__all__ = ["out", "photos", "service"]  # fixtures


class FinishedRun:
    """A run that has these outcomes, and was drained or not."""

    def __init__(self, *outcomes: Outcome, found: int | None = None) -> None:
        self.progress = Progress(found=len(outcomes) if found is None else found, scanning=False)
        self.in_flight: list[InFlight] = []
        self.drained = 0
        self._outcomes = outcomes

    def drain(self) -> None:
        self.drained += 1

    async def __aiter__(self) -> AsyncIterator[Result]:
        for number, outcome in enumerate(self._outcomes):
            error = ErrorInfo("permanent", "no face") if outcome == "failed" else None
            yield Result(photo=f"{number}.jpg", source="/s", outcome=outcome, error=error)


def options(*, json: bool = False) -> ImproveOptions:
    return ImproveOptions(
        sources=("scans",),
        from_file=None,
        out="restored",
        account=Account(base_url="http://127.0.0.1:1"),
        metrics_port=None,
        display=DisplayOptions(json=json),
        client=ClientOptions(
            path="/", concurrency=1, rate=None, limits=Limits(), retries=Retries(), timeouts=Timeouts()
        ),
        keywords={},
    )


async def followed(run: FinishedRun, *, interrupted: bool = False, tmp_path: Path, json: bool = False) -> Exit:
    interrupts = Interrupts()
    if interrupted:
        interrupts.drain = run.drain
        interrupts._received(signal.SIGINT, lambda: None)
    return await follow(run, options=options(json=json), interrupts=interrupts, paces=PaceFile(tmp_path / "pace"))


@pytest.mark.parametrize(("steps", "kept"), [([1.0] * 40, True), ([1.0] * 5 + [60.0], False)])
def test_the_pace_of_a_short_run_is_not_kept_however_long_it_was_stopped(
    tmp_path: Path, steps: list[float], *, kept: bool
) -> None:
    now, progress, paces = 0.0, Progress(requests=1), PaceFile(tmp_path / "pace")
    estimate = Estimator(unit=options().unit, clock=lambda: now)
    estimate.look(progress)
    for step in steps:
        now += step
        progress.work.bytes_done += 1_000_000
        estimate.look(progress)
    _keep_pace(paces, estimate, options())
    assert (paces.known(options().pace_key, unit=options().unit) is not None) is kept


@pytest.mark.parametrize(
    ("outcomes", "found", "interrupted", "ends", "says"),
    [
        (("restored",), 1, False, Exit.FINE, "1 photo in less than 1 s"),
        (("restored",), 1, True, Exit.FINE, "Nothing was left to do when the run was stopped"),
        (("restored",), 3, True, Exit.INTERRUPTED, "Stopped with 2 photos left"),
        (("restored", "failed"), 2, False, Exit.PHOTOS_FAILED, "1 photo was not restored"),
    ],
)
async def test_exit_status_and_last_words(
    *,
    outcomes: tuple[Outcome, ...],
    found: int,
    interrupted: bool,
    ends: Exit,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = FinishedRun(*outcomes, found=found)
    assert await followed(run, interrupted=interrupted, tmp_path=tmp_path) is ends
    assert says in capsys.readouterr().err


async def test_files_left_alone_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = FinishedRun(found=0)
    run.progress.leave_alone("notes.txt")
    assert await followed(run, tmp_path=tmp_path) is Exit.FINE
    assert "1 file that is not a photo or is a result was left alone: notes.txt." in capsys.readouterr().err


async def test_no_photo_at_all_is_most_likely_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="no photos found in 'scans'"):
        await followed(FinishedRun(), tmp_path=tmp_path)


@posix
async def test_stdout_that_fails_drains_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    run = FinishedRun("restored", "restored")
    with os.fdopen(reading, "r") as stream:  # not open for writing
        monkeypatch.setattr(sys, "stdout", _Unwritable(reading))
        with pytest.raises(DiskError, match="cannot write to stdout"):
            await followed(run, tmp_path=tmp_path, json=True)
        assert stream
    assert run.drained


class _Unwritable:
    """A stdout on a full disk."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.buffer = self

    def fileno(self) -> int:
        return self._descriptor

    def write(self, _: bytes) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        """Nothing is buffered."""


@pytest.mark.slow
async def test_failures_by_reason_and_all_of_them(service: FakeService, photos: Path, out: Path) -> None:
    service.default = lambda request: items({name: {"status": 1, "error": "no face"} for name in request.images})
    for number in range(22):
        (photos / f"broken {number:02}.jpg").write_bytes(b"\xff\xd8\xff")
    ended = await run("improve", photos, "--out", out, "--base-url", service.url, "--quiet")
    assert ended.status == 1
    assert "25 photos were not restored:" in ended.err
    assert "  3 photos failed: no face" in ended.err
    assert "    and 2 more: see smarty-async status" in ended.err
    words, every, lines = [await run("status", out, *more) for more in ((), ("--failed",), ("--failed", "--json"))]
    assert words.out.count("    broken ") == 22
    assert len(every.out.splitlines()) == 25
    assert "1.jpg: failed: no face" in every.out.splitlines()
    photo = msgspec.json.decode(lines.out.splitlines()[0])
    assert {"photo", "source", "outcome", "error"} <= photo.keys()


@pytest.mark.slow
@posix
async def test_view_opens_the_results_at_the_end(service: FakeService, photos: Path, out: Path) -> None:
    options = ("--base-url", service.url, "--view", "--quiet")
    async with started("improve", photos, "--out", out, *options, BROWSER="true") as process:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert "http://127.0.0.1:" in line
        process.send_signal(signal.SIGINT)
        ended = await end_of(process)
    assert ended.status == 0, ended.err
