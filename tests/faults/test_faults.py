"""24 schedules of `faults`, three over a bucket, an eighth of its torture; would it see what is wrong?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import invariants
from faults.album import plain_album
from faults.listener import Listener
from faults.living import Ended, Happenings, environment, live
from faults.schedule import Schedule
from faults.server import FaultServer
from faults.service import Book

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

MODES = ("improve", "resolution")


def run(module: str, *args: str) -> None:
    command = [sys.executable, "-m", module, *args]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)  # noqa: S603
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


@pytest.mark.slow
def test_schedules() -> None:
    run("faults", "--schedules", "24")


@pytest.mark.slow
def test_schedules_over_a_bucket() -> None:
    pytest.importorskip("moto")
    pytest.importorskip("obstore")
    run("faults", "--schedules", "3", "--first", "8", "--bucket")


@pytest.mark.slow
def test_torture() -> None:
    run("faults.torture", "--stride", "8")


async def restored(home: Path) -> tuple[Schedule, Path, Book]:
    schedule = Schedule(0, plain_album(home / "archive"), MODES, (), oauth=False, lives=[])
    book, out = Book(frozenset(photo.content for photo in schedule.album)), home / "out"
    async with Listener(FaultServer(book, schedule.clean(), schedule.secret)) as listener:
        args = ["improve", str(home / "archive"), "--out", str(out), "--base-url", listener.url, "--json"]
        args += ["--mode", "improve", "--mode", "resolution", "--rfactor", "2"]
        env = {"SMARTY_TOKEN": f"{schedule.secret}/+s="}
        ended = await live("smarty_async", args, env=env, life=None, happenings=Happenings())
    assert list(invariants.of_an_end(None, ended, schedule, book)) == []
    return schedule, out, book


def swap(out: Path) -> None:
    one, other = (out / "resolved" / name for name in ("a.jpg", "album/b.png.jpg"))
    one.rename(out / "third")
    other.rename(one)
    (out / "third").rename(other)


def repeat_a_line(out: Path) -> None:
    results = out / "results.jsonl"
    results.write_bytes(results.read_bytes() + results.read_bytes().splitlines(keepends=True)[0])


def leave_a_temporary(out: Path) -> None:
    folder = out / ".smarty-async" / "tmp"
    folder.mkdir()
    (folder / "1").touch()


def lose_a_line(out: Path) -> None:
    results = out / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[1:]))


TAMPERINGS: dict[str, Callable[[Path], object]] = {
    "does not hold its own photo's output": swap,
    "is not there": lambda out: (out / "resolved" / "a.jpg").unlink(),
    "a temporary was left": leave_a_temporary,
    "belongs to no photo": lambda out: (out / "improved" / "passwd").touch(),
    "was reported 2 times": repeat_a_line,
    "no line in results.jsonl": lose_a_line,
}


@pytest.mark.slow
async def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    schedule, out, book = await restored(tmp_path)
    assert list(invariants.of_the_end(schedule, out, book)) == []
    assert sum(invariants.received(schedule, out, MODES).values()) == 8
    for sentence, tamper in TAMPERINGS.items():
        copy = tmp_path / "copy"
        shutil.copytree(out, copy)
        tamper(copy)
        assert any(sentence in reported for reported in invariants.of_the_end(schedule, copy, book)), sentence
        shutil.rmtree(copy)
    book.paid[next(iter(book.paid))] += 1
    assert ["was paid 2 times" in reported for reported in invariants.of_the_end(schedule, out, book)] == [True]
    (out / "log").write_text(json.dumps(f"token {schedule.secret}"))
    assert list(invariants.of_secrets(schedule, out)) == ["log holds a secret"]


@pytest.mark.parametrize(
    ("ended", "sentence"),
    [
        (Ended(0, b"", b"Traceback (most recent call last)"), "it broke down"),
        (Ended(2, b"", b""), "it ended with 2"),
        (Ended(0, b"", b"", hung=True), "it hung"),
        (Ended(0, b"", b""), "without a summary"),
        (Ended(0, b'{"summary":{}}\n', b""), "photos without a word"),
    ],
)
def test_a_bad_end_is_seen(tmp_path: Path, ended: Ended, sentence: str) -> None:
    schedule = Schedule(0, plain_album(tmp_path), MODES, (), oauth=False, lives=[])
    reported = list(invariants.of_an_end(None, ended, schedule, Book(frozenset())))
    assert any(sentence in one for one in reported), reported
