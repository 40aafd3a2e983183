"""Runs that are killed with -9, at every kind of moment, and the runs after them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support import program
from support.archives import IMPROVED, STATE, assert_right, fill, lines, outcomes, output_of, photo, restore, tree
from support.fake_service import FakeService, expected, hold, items, until
from support.processes import Process
from support.scanning import scan

from smarty_async import read_status
from smarty_async.archive.journal import schema
from smarty_async.archive.journal.store import JournalStore
from smarty_async.options import Limits
from smarty_async.results import PRICE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="no fork and no SIGKILL")]

EVERY = (*IMPROVED, "resolved")
BOTH: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2, "rtype": "photo"}
NAMES = ("a.jpg", "b/c.png", "b/d.jpg", "e.jpg", "f.jpg", "g.jpg")
IMAGES, SLOTS = 2, 2

RUNNER = """
import asyncio, json, os, signal, sys
from contextlib import contextmanager

from smarty_async import SmartyClient
from smarty_async.archive.journal.store import JournalStore
from smarty_async.options import PRICE, Limits

steps = 0


def step():
    global steps
    steps += 1
    if steps == job["moment"]:
        os.kill(os.getpid(), signal.SIGKILL)


def heard(event, args):
    '''Before every file that is opened to be written, every rename, removal and new folder.'''
    if event in ("os.rename", "os.remove", "os.mkdir") or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)):
        step()


def fsync(descriptor, whole=os.fsync):
    step()
    whole(descriptor)
    step()


@contextmanager
def transaction(store, whole=JournalStore.transaction):
    step()
    with whole(store):
        yield
        step()
    step()


async def main():
    limits = Limits(max_images=job["images"])
    async with SmartyClient(base_url=job["url"], concurrency=job["slots"], limits=limits) as client:
        async for _ in client.improve_archive(job["source"], out=job["out"], **job["choices"]):
            pass


for line in sys.stdin:
    job = json.loads(line)
    if not (child := os.fork()):
        os.fsync = fsync
        JournalStore.transaction = transaction
        sys.addaudithook(heard)
        asyncio.run(main())
        print("steps", steps, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "ended", flush=True)
"""

Run = Callable[..., Awaitable[list[str]]]


@asynccontextmanager
async def runner(service: FakeService, source: Path) -> AsyncIterator[Run]:
    """Runs in processes of their own, each killed at the moment that is given: its n-th step on the disk."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUNNER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(sys.executable).parent
    )
    assert process.stdin is not None
    assert process.stdout is not None
    said = process.stdout

    async def run(out: Path, moment: int = 0, **choices: Any) -> list[str]:
        job = {"moment": moment, "url": service.url, "source": str(source), "out": str(out), "choices": choices}
        assert process.stdin is not None
        process.stdin.write(json.dumps(job | {"images": IMAGES, "slots": SLOTS}).encode() + b"\n")
        reported: list[str] = []
        while not reported or reported[-1] not in ("killed", "ended"):
            reported.append((await said.readline()).decode().strip())
            assert reported[-1], "the runner is gone"
        return reported

    try:
        yield run
    finally:
        process.stdin.close()
        await process.wait()


def known(source: Path, out: Path) -> set[tuple[bytes, str]]:
    """The image and mode of every answer that the journal holds, finished or on its way."""
    store = JournalStore(out / STATE / "journal.sqlite", opener=schema.copied)
    try:
        entries = store.look_up(scan([source], out=out))
    finally:
        store.close()
    return {
        (Path(entry.file.path).read_bytes(), mode)
        for entry in entries
        for mode, answer in entry.answers.items()
        if answer.state != "stale"
    }


def asked(service: FakeService, since: int) -> list[tuple[bytes, str]]:
    """The image and mode of everything that was asked."""
    return [
        (image, mode)
        for request in service.requests[since:]
        for image in request.images.values()
        for mode in request.meta["mode"]
    ]


async def no_request_is_open(service: FakeService) -> None:
    """Until the service, too, knows that its caller is dead."""
    await until(lambda: service.open_now == 0)


def assert_untorn(out: Path, photos: dict[str, bytes], kinds: tuple[str, ...]) -> None:
    """Right after a kill: what has its name is whole."""
    for path in tree(out):
        kind, _, name = path.partition("/")
        assert kind in kinds
        photo = photos[name] if name in photos else photos[name.removesuffix(".jpg")]
        assert (out / path).read_bytes() == expected(kind, photo)


async def check(
    run: Run,
    service: FakeService,
    source: Path,
    out: Path,
    moments: list[int],
    *,
    photos: dict[str, bytes],
    **choices: Any,
) -> None:
    """Kill a run at each of `moments` in turn, and let one more come to its end."""
    kinds = EVERY if "rfactor" in choices else IMPROVED
    begun = len(service.requests)
    for moment in moments:
        await run(out, moment, **choices)  # it may have come to its end before: how notes fall into groups differs
        await no_request_is_open(service)
        assert_untorn(out, photos, kinds)
    before, since = known(source, out), len(service.requests)
    results = await restore(service, source, out, limits=Limits(max_images=IMAGES), concurrency=SLOTS, **choices)
    again = asked(service, since)
    assert not before.intersection(again), "what was kept was paid for again"
    assert len(again) == len(set(again))
    assert set(outcomes(results).values()) <= {"restored", "skipped"}
    assert {line["photo"]: line["outcome"] for line in lines(out)} == dict.fromkeys(photos, "restored")
    assert_right(out, photos, kinds=kinds)
    assert not (out / STATE / "tmp").exists()
    # What was open at a kill: chunks on their way, and those answered whose photos are still being kept.
    images = sum(len(request.images) for request in service.requests[begun:])
    assert images <= len(photos) + len(moments) * 2 * IMAGES * SLOTS


def moments_of(steps: int, *, count: int, seed: int) -> list[int]:
    """About `count` moments all over a run of so many steps."""
    dice = Random(seed)  # noqa: S311 - a choice of tests
    width = max(1, steps // count)
    return [start + dice.randrange(width) for start in range(1, steps + 1, width)]


@pytest.mark.parametrize("choices", [{}, BOTH], ids=["improve", "both"])
async def test_a_run_killed_at_any_step_is_completed_by_the_next(
    source: Path, tmp_path: Path, choices: dict[str, Any]
) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service, runner(service, source) as run:
        steps = int((await run(tmp_path / "whole", **choices))[0].removeprefix("steps "))
        assert steps > 60
        for moment in moments_of(steps - 8, count=12, seed=1):
            await check(run, service, source, tmp_path / str(moment), [moment], photos=photos, **choices)


async def test_images_of_a_request_that_was_open_at_a_kill_are_counted(source: Path, tmp_path: Path) -> None:
    fill(source, *NAMES)
    out = tmp_path / "out"
    async with FakeService() as service:
        never = asyncio.Event()
        service.script(hold(never), hold(never))
        async with started(source, out, service) as process:
            await until(lambda: service.open_now == 2)
            process.kill()
            await process.wait()
        await no_request_is_open(service)
        status = await read_status(out)
        assert (status.images, status.images_paid) == (6, 6)
        await restore(service, source, out)
        status = await read_status(out)
        assert (status.images, status.images_paid) == (12, 12)
        assert status.cost == pytest.approx(12 * PRICE)


async def test_repeatedly_killed_runs_are_completed(source: Path, tmp_path: Path) -> None:
    photos = fill(source, *NAMES)
    dice = Random(7)  # noqa: S311 - a choice of tests
    async with FakeService() as service, runner(service, source) as run:
        for number in range(2):
            moments = [dice.randrange(10, 45) for _ in range(3)]
            await check(run, service, source, tmp_path / str(number), moments, photos=photos)


async def test_changed_photos_and_a_kill(source: Path, tmp_path: Path) -> None:
    """What the photos were before is never taken for what they are."""
    async with FakeService() as service, runner(service, source) as run:
        for moment in (20, 40, 60, 75, 90):
            out = tmp_path / str(moment)
            fill(source, *NAMES)
            await restore(service, source, out, **BOTH)
            photos = {name: data + bytes([moment]) for name, data in fill(source, *NAMES).items()}
            for name, data in photos.items():
                (source / name).write_bytes(data)
            assert (await run(out, moment))[-1] == "killed"
            await no_request_is_open(service)
            service.default = lambda request: items({name: {"colorized": None} for name in request.names})
            touched = {image for image, _ in known(source, out)}
            await restore(service, source, out)
            service.default = service.answer_rightly
            for name, data in photos.items():
                kinds = [kind for kind in EVERY if f"{kind}/{output_of(name)}" in tree(out)]
                assert kinds == ([*IMPROVED] if data in touched else ["improved", "colorized_improved"])
                assert all((out / kind / output_of(name)).read_bytes() == expected(kind, data) for kind in kinds)
            assert len(lines(out)) == len(NAMES)


async def test_changed_photos_with_retouched_outputs_and_a_kill(source: Path, tmp_path: Path) -> None:
    """Of their former outputs, those that a person has changed before or after the kill are left."""
    async with FakeService() as service, runner(service, source) as run:
        for moment in range(14, 100, 4):
            out = tmp_path / str(moment)
            service.default = service.answer_rightly
            fill(source, *NAMES)
            await restore(service, source, out)
            retouched = [out / "improved/a.jpg", out / "colorized/e.jpg"]
            retouched[0].write_bytes(b"retouched")
            photos = {name: data + bytes([moment]) for name, data in fill(source, *NAMES).items()}
            for name, data in photos.items():
                (source / name).write_bytes(data)
            service.default = lambda request: items({name: {"colorized": None} for name in request.names})
            await run(out, moment)
            await no_request_is_open(service)
            before, since = known(source, out), len(service.requests)
            if retouched[1].exists() and retouched[1].read_bytes() == expected("colorized", photo("e.jpg")):
                retouched[1].write_bytes(b"retouched")
            else:
                retouched.pop()
            await restore(service, source, out)
            assert not before.intersection(asked(service, since))
            right = {f"{path.parent.name}/{path.name}": b"retouched" for path in retouched}
            for line in lines(out):
                right |= {path: expected(kind, photos[line["photo"]]) for kind, path in line["outputs"].items()}
            assert len(right) == 2 * len(NAMES) + len(retouched)
            assert {path: (out / path).read_bytes() for path in tree(out)} == right


async def test_a_run_killed_at_any_time_is_completed_by_the_next(source: Path, tmp_path: Path) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(60)))
    dice = Random(3)  # noqa: S311 - a choice of tests
    async with FakeService() as service:
        for number in range(3):
            service.requests.clear()
            out, answers = tmp_path / str(number), dice.randrange(1, 12)
            async with started(source, out, service) as process:
                await until(lambda: len(service.requests) >= answers or process.returncode is not None)  # noqa: B023
                process.kill()
                await process.wait()
            await no_request_is_open(service)
            assert_untorn(out, photos, IMPROVED)
            before, since = known(source, out), len(service.requests)
            await restore(service, source, out)
            assert not before.intersection(asked(service, since))
            assert_right(out, photos)
            assert len(lines(out)) == 60
            status = await read_status(out)
            assert (status.outcomes, status.unfinished) == ({"restored": 60}, 0)


# the program


def started(source: Path, out: Path, service: FakeService) -> AbstractAsyncContextManager[Process]:
    options = ("--max-images", "5", "--concurrency", "2", "--quiet")
    return program.started("improve", source, "--out", out, "--base-url", service.url, *options)


async def test_a_second_run_is_refused_while_the_first_lives_and_not_after_it_was_killed(
    source: Path, tmp_path: Path
) -> None:
    photos = fill(source, *NAMES)
    out = tmp_path / "out"
    never = asyncio.Event()
    async with FakeService() as service:
        service.script(hold(never), hold(never))
        async with started(source, out, service) as first:
            await until(lambda: service.open_now == 2)
            async with started(source, out, service) as second:
                refused = await program.end_of(second)
                assert refused.status == 3
                assert "another run is writing to" in refused.err
            assert len(service.requests) == 2
            first.send_signal(signal.SIGKILL)
            await first.wait()
        await no_request_is_open(service)
        async with started(source, out, service) as third:
            ended = await program.end_of(third)
            assert (ended.status, ended.err) == (0, "")
    assert_right(out, photos)
    assert len(lines(out)) == len(NAMES)


async def test_a_run_killed_while_it_makes_the_journal_is_followed_by_another(source: Path, tmp_path: Path) -> None:
    photos = fill(source, "a.jpg")
    out = tmp_path / "out"
    (out / STATE / "tmp").mkdir(parents=True)
    sql = sqlite3.connect(out / STATE / "journal.sqlite")
    sql.execute("PRAGMA journal_mode = WAL")
    sql.close()
    async with FakeService() as service:
        await restore(service, source, out)
    assert_right(out, photos)
