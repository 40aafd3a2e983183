"""Output where it cannot go: a full disk, a reader that has left, a pipe that a parent made non-blocking."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from support.archives import lines
from support.fake_service import FakeService, hold, items, until
from support.pictures import jpeg
from support.program import out, photos, posix, run, service

pytestmark = pytest.mark.slow

__all__ = ["out", "photos", "service"]  # fixtures

full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


async def program(
    *args: str | Path, stdout: int, stderr: int = subprocess.PIPE, **env: str
) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMARTY_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "smarty_async", *map(str, args)),
        env=environment | env,
        cwd=Path(sys.executable).parent,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )


def is_full(pipe: int) -> bool:
    """Whether all pages of the pipe are in use. (A count of bytes would not tell: a write that passes the end of a page
    begins a new one.)"""
    return not select.select([], [pipe], [], 0)[1]


@full_disk
async def test_a_full_disk_under_stdout_drains_the_run_and_ends_with_5(
    service: FakeService, photos: Path, out: Path
) -> None:
    go = asyncio.Event()
    service.default = lambda _: items({}) if len(service.requests) == 1 else hold(go, items({}))
    descriptor = os.open("/dev/full", os.O_WRONLY)
    options = ("--json", "--max-images", "1", "--concurrency", "2")
    process = await program("improve", photos, "--out", out, "--base-url", service.url, *options, stdout=descriptor)
    os.close(descriptor)
    await until(lambda: len(service.requests) >= 2)
    go.set()
    _, err = await process.communicate()
    assert process.returncode == 5, err.decode()
    assert b"cannot write to stdout: No space left on device" in err
    assert b"bug" not in err
    assert b"Exception" not in err

    rest = await run("improve", photos, "--out", out, "--base-url", service.url, "--json")
    assert rest.status == 0, rest.err
    assert rest.summary["outcomes"]["skipped"] == len(service.requests) - rest.summary["requests"]


@full_disk
async def test_a_measurement_is_written_when_it_cannot_be_printed(photos: Path, tmp_path: Path) -> None:
    options = ("--concurrency", "1", "--chunk", "3", "--repeats", "1", "--out", tmp_path)
    descriptor = os.open("/dev/full", os.O_WRONLY)
    process = await program("bench", photos, *options, stdout=descriptor)
    os.close(descriptor)
    _, err = await process.communicate()
    assert process.returncode == 5, err.decode()
    assert b"cannot write to stdout: No space left on device" in err
    assert (tmp_path / "bench.json").stat().st_size > 0


@full_disk
@pytest.mark.parametrize("args", [("status", "--json"), ("status", "--failed"), ("--help",), ("--version",)])
async def test_other_commands_on_a_full_disk_end_with_5(
    service: FakeService, photos: Path, out: Path, args: tuple[str, ...]
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    if args[0] == "status":
        await run("improve", photos, "--out", out, "--base-url", service.url, "--quiet")
        args = (args[0], str(out), *args[1:])
    descriptor = os.open("/dev/full", os.O_WRONLY)
    process = await program(*args, stdout=descriptor)
    os.close(descriptor)
    _, err = await process.communicate()
    assert process.returncode == 5, err.decode()
    assert b"No space left" in err
    assert b"bug" not in err


@full_disk
async def test_a_full_disk_under_stderr_is_no_reason_to_stop(service: FakeService, photos: Path, out: Path) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    process = await program(
        *("improve", photos, "--out", out, "--base-url", service.url, "--json"),
        stdout=subprocess.PIPE,
        stderr=descriptor,
    )
    os.close(descriptor)
    text, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(text.splitlines()[-1])["summary"]["outcomes"] == {"restored": 3}


@posix
async def test_no_line_is_lost_in_a_non_blocking_pipe(service: FakeService, tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):  # 300 lines are more than a pipe holds; no two sizes, so that no photo waits for another
        (folder / f"{'long' * 50} {number}.jpg").write_bytes(b"\xff\xd8\xff no picture" + b"." * number)
    (folder / "one.jpg").write_bytes(jpeg(seed=1))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = await program(
        "improve", folder, "--out", out, "--base-url", service.url, "--json", "--quiet", stdout=writing
    )
    await until(lambda: is_full(writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as reader:
        text = await asyncio.to_thread(reader.read)
    _, err = await process.communicate()
    assert process.returncode == 1, err.decode()
    *results, _ = map(json.loads, text.splitlines())
    assert len(results) == 301


@posix
async def test_stdout_that_is_closed_ends_quietly(service: FakeService, photos: Path, out: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = await program(
        "improve", photos, "--out", out, "--base-url", service.url, "--json", "--quiet", stdout=writing
    )
    os.close(writing)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


@posix
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
async def test_a_program_that_is_started_without_streams_does_its_work(
    service: FakeService, photos: Path, out: Path, closed: str
) -> None:
    command = (sys.executable, "-m", "smarty_async", "improve", str(photos), "--out", str(out), "--json", "--verbose")
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$@" {closed}', "sh", *command, "--base-url", service.url),
        cwd=Path(sys.executable).parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    assert bool(stdout) == ("1>" not in closed)
    assert bool(stderr) == ("2>" not in closed)
    assert [json.loads(line) for line in stdout.splitlines()] or "1>" in closed
    assert {line["outcome"] for line in lines(out)} == {"restored"}
    assert (await run("status", out)).status == 0


@pytest.mark.parametrize(("encoding", "price"), [("ascii", "RUB"), ("latin-1", "RUB"), ("utf-8", "₽")])
async def test_signs_that_an_encoding_lacks_are_printed_in_another_way(
    service: FakeService, photos: Path, out: Path, encoding: str, price: str
) -> None:
    (photos / "дом.jpg").write_bytes(jpeg(300, 4000))
    args = ("improve", photos, "--out", out, "--base-url", service.url, "--verbose")
    process = await program(*args, stdout=subprocess.DEVNULL, PYTHONIOENCODING=encoding)
    err = (await process.communicate())[1].decode(encoding)
    assert process.returncode == 0, err
    times = "x" if encoding == "ascii" else "×"
    assert f"300{times}4000 pixels" in err
    assert re.search(rf"Price: about [\d.]+ {price} \(", err)
    assert ("дом.jpg" if encoding == "utf-8" else r"\u0434\u043e\u043c.jpg") in err
