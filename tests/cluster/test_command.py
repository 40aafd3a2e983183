"""``improve --workers`` and ``--scheduler``."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.clients import client_of, photos
from support.fake_service import FakeService, late
from support.program import end_of, invoke, posix, run, started

from smarty_async import MissingExtra

TOKEN = "a-token-that-stays-secret"

with_extra = pytest.mark.skipif(find_spec("distributed") is None, reason="needs the extra cluster")
without_extra = pytest.mark.skipif(find_spec("distributed") is not None, reason="the extra cluster is installed")


@with_extra
@pytest.mark.slow
async def test_workers_on_this_machine(service: FakeService, source: Path, out: Path) -> None:
    service.valid_tokens = {TOKEN}
    photos(source, 60)
    command = ("improve", source, "--out", out, "--base-url", service.url, "--workers", "2", "--max-images", "4")
    ended = await run(*command, "--no-progress", SMARTY_TOKEN=TOKEN)
    assert ended.status == 0, ended.err
    assert "60  restored" in ended.out + ended.err
    assert "2 workers with " in ended.out + ended.err
    assert TOKEN not in ended.out + ended.err
    assert sum(len(request.images) for request in service.requests) == 60


def starting_workers(group: int) -> int:
    """Processes of a group that Python's multiprocessing has started, and that Ctrl-C would not end without a word."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getpgid(int(process.name)) == group and b"spawn_main" in (process / "cmdline").read_bytes():
                masks = re.findall(r"Sig(?:Blk|Ign|Cgt):\s*(\w+)", (process / "status").read_text())
                found += any(int(mask, 16) & 1 << signal.SIGINT - 1 for mask in masks)
    return found


@with_extra
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the workers in /proc")
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_ctrl_c_while_the_workers_start(service: FakeService, source: Path, out: Path, workers: int) -> None:
    photos(source, 4)
    command = ("improve", source, "--out", out, "--base-url", service.url, "--workers", str(workers))
    async with started(*command, SMARTY_TOKEN=TOKEN) as process:
        async with asyncio.timeout(60):
            while starting_workers(process.pid) < workers:  # noqa: ASYNC110 - they are other processes
                await asyncio.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        ended = await end_of(process)
    assert (ended.status, ended.err.strip()) == (
        130,
        "smarty-async: stopped at once. The same command continues from here.",
    )
    assert not service.requests


@with_extra
@posix
@pytest.mark.slow
async def test_ctrl_c_waits_for_the_workers(service: FakeService, source: Path, out: Path) -> None:
    photos(source, 200)
    service.default = lambda _: late(0.5)
    command = ("improve", source, "--out", out, "--base-url", service.url, "--workers", "2", "--max-images", "4")
    async with started(*command, "--json", SMARTY_TOKEN=TOKEN) as process:
        async with asyncio.timeout(60):
            while len(service.requests) < 8:  # noqa: ASYNC110 - they come from other processes
                await asyncio.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        ended = await end_of(process)
    assert ended.status == 130, ended.err
    paid = Counter(image for request in service.requests for image in request.images.values())
    assert {result["outcome"] for result in ended.results} == {"restored"}
    assert len(ended.results) == paid.total() == len(paid) < 200


@with_extra
@posix
@pytest.mark.slow
async def test_a_command_that_ends_at_once_says_nothing_of_what_it_leaves(
    service: FakeService, source: Path, out: Path
) -> None:
    photos(source, 8)
    service.default = lambda _: late(60)
    command = ("improve", source, "--out", out, "--base-url", service.url, "--workers", "1")
    async with started(*command, SMARTY_TOKEN=TOKEN) as process:
        async with asyncio.timeout(60):
            while not service.requests:  # noqa: ASYNC110 - they come from another process
                await asyncio.sleep(0.01)
        process.kill()  # as the program does when it has not closed all soon after a second Ctrl-C
        ended = await end_of(process)
    assert "resource_tracker" not in ended.err


@with_extra
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--workers", "0"), 2, "--workers must be at least 1"),
        (("--workers", "2", "--scheduler", "tls://h:1"), 2, "exclude each other"),
        (("--scheduler", "h:8786"), 2, "takes an address such as tls://host:8786"),
        (("--scheduler", "tls://user:password@h:8786"), 2, "takes an address such as tls://host:8786"),
        (("--scheduler", "nonsense://127.0.0.1:8786"), 2, "takes an address such as tls://host:8786"),
        (("--scheduler", "tcp://198.51.100.7:8786"), 3, "would travel unencrypted"),
        (("--scheduler", "tls://127.0.0.1:1"), 3, "Dask has no certificates"),
        (("--scheduler", "tcp://127.0.0.1:1"), 4, "no scheduler answers"),
        (("--scheduler", "tls://127.0.0.1:1", "--local"), 2, "needs an account or --base-url"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_work_is_said(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *, options: tuple[str, ...], status: int, message: str
) -> None:
    photos(source, 1)
    monkeypatch.setenv("SMARTY_TOKEN", TOKEN)
    address = () if "--local" in options else ("--base-url", "http://127.0.0.1:9")
    ended = invoke("improve", source, "--out", out, *address, *options)
    assert (ended.status, message in ended.err) == (status, True), ended.err
    assert "password" not in ended.err


@without_extra
async def test_without_the_extra_a_command_says_what_to_install(source: Path, out: Path) -> None:
    photos(source, 1)
    ended = await run("improve", source, "--out", out, "--workers", "2", "--base-url", "http://127.0.0.1:1")
    assert ended.status == 3
    assert 'pip install "smarty_async[cluster]"' in ended.err


async def test_without_the_extra_a_call_says_what_to_install(
    service: FakeService, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smarty_async.cluster.find_spec", lambda _: None)
    async with client_of(service) as client:
        with pytest.raises(MissingExtra, match=r'pip install "smarty_async\[cluster\]"'):
            client.improve_archive(source, out=out, cluster=object())  # type: ignore[arg-type]
