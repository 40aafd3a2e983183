"""``improve`` with the embedded service: what Ctrl-C waits for, and what happens when the service dies."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.damaged_json import DAMAGED
from support.fake_service import until
from support.pictures import faded, jpeg
from support.program import end_of, invoke, out, posix, run, started

from smarty_async.cli.improve_options import default_concurrency, limits_for
from smarty_async.report.estimate import PaceFile, cache_folder

__all__ = ["out"]  # fixtures

with_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the process in /proc")


def many(folder: Path, count: int) -> Path:
    folder.mkdir()
    picture = faded()
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(picture[:-2] + b"\xff\xfe\x00\x05%03d\xff\xd9" % number)
    return folder


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def test_limits_in_rubles_do_not_stop_a_run_that_costs_nothing(tmp_path: Path, out: Path) -> None:
    photos = many(tmp_path / "photos", 2)
    limits = ("--max-cost", "0.06", "--max-cost-total", "0.06")
    ended = invoke("improve", photos, "--out", out, "--local", "--dry-run", "--json", *limits)
    plan = json.loads(ended.out)["plan"]
    assert (plan["photos"], plan["left"]) == (2, 0)


@pytest.mark.parametrize("limit", ["-5", "nan"])
def test_what_is_no_limit_is_refused_also_where_a_run_costs_nothing(limit: str, tmp_path: Path, out: Path) -> None:
    ended = invoke("improve", many(tmp_path / "photos", 1), "--out", out, "--local", "--dry-run", "--max-cost", limit)
    assert (ended.status, f"must not be negative, but is {float(limit)}" in ended.err) == (2, True)


@pytest.mark.parametrize("engine", ["basic", "echo"])
def test_the_engine_that_needs_nothing_more_names_what_is_better(
    engine: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smarty_async.cli.improve_run.best_engine", lambda: engine)
    ended = invoke("improve", many(tmp_path / "photos", 1), "--out", out, "--local")
    assert ended.status == 0, ended.err
    assert ('pip install "smarty_async[local]"' in ended.err) is (engine == "basic")


@pytest.mark.slow
@posix
async def test_ctrl_c_ends_after_the_photos_already_begun(tmp_path: Path, out: Path) -> None:
    photos = many(tmp_path / "photos", 150)
    async with started("improve", photos, "--out", out, "--local", "--json") as process:
        assert process.stdout is not None
        first = await process.stdout.readline()  # one photo is done
        process.send_signal(signal.SIGINT)
        ended = await end_of(process)
    assert first
    assert ended.status == 130, ended.err
    begun = re.search(r"Starting nothing new; finishing (\d+) photos? already begun", ended.err)
    most = default_concurrency(local=True) * limits_for(local=True).max_images
    assert begun is None or int(begun[1]) <= most
    assert ended.summary["photos"] < 150
    assert ended.summary["left"] == 150 - ended.summary["photos"]
    assert "paid" not in ended.err


@pytest.mark.slow
@with_proc
async def test_a_service_that_dies_is_started_again_once_and_then_the_run_ends(tmp_path: Path, out: Path) -> None:
    photos = many(tmp_path / "photos", 300)
    async with started("improve", photos, "--out", out, "--local", "--json") as process:
        for _ in range(2):
            await until(lambda: bool(children(process.pid)) or process.returncode is not None)
            assert process.stdout is not None
            await process.stdout.readline()  # it works
            service = next(iter(children(process.pid)))
            os.kill(service, signal.SIGKILL)
            await until(lambda service=service: service not in children(process.pid))  # type: ignore[misc]
        ended = await end_of(process)
    assert ended.status == 4, ended.err
    assert "the embedded service died and is started again" in ended.err
    assert re.search(r"smarty-async: the embedded service died (twice|and did not start again)", ended.err)
    assert "continues from here" in ended.err
    assert json.loads(ended.out.splitlines()[-1])["summary"]["error"]["type"] == "ServiceUnavailable"


@pytest.mark.slow
async def test_no_toned_pictures_are_made_where_they_are_not_wanted(tmp_path: Path, out: Path) -> None:
    photo = tmp_path / "old.jpg"
    with Image.open(io.BytesIO(faded())) as picture:
        picture.convert("L").save(photo)
    toned = await run("improve", photo, "--out", out / "toned", "--local")
    assert "toned, not colourized" in toned.err
    plain = await run("improve", photo, "--out", out / "plain", "--local", "--no-toning")
    assert plain.status == 0, plain.err
    assert "toned, not colourized" not in plain.err
    assert sorted(path.name for path in (out / "plain").iterdir() if path.is_dir()) == [".smarty-async", "improved"]
    chosen = await run("improve", photo, "--out", out / "chosen", "--local", "--outputs", "improved")
    assert chosen.status == 0, chosen.err
    assert sorted(path.name for path in (out / "chosen").iterdir() if path.is_dir()) == [".smarty-async", "improved"]


def test_toning_is_no_option_of_a_service_elsewhere(tmp_path: Path, out: Path) -> None:
    ended = invoke("improve", tmp_path, "--out", out, "--base-url", "http://127.0.0.1:9", "--no-toning")
    assert ended.status == 2
    assert "add --local" in ended.err


class TestPace:
    def test_the_median_of_the_last_runs_is_known(self, tmp_path: Path) -> None:
        paces = PaceFile(tmp_path / "pace.json")
        for seconds in (1.0, 90.0, 2.0, 3.0, 2.5, 2.2):
            paces.add("a", seconds, unit="pixels")
        assert paces.known("a", unit="pixels") == 2.5  # of the last five

    def test_what_is_kept_is_known_to_the_next_run(self, tmp_path: Path) -> None:
        path = tmp_path / "cache" / "pace.json"
        PaceFile(path).add("a", 1.5, unit="pixels")
        assert PaceFile(path).known("a", unit="pixels") == 1.5
        assert PaceFile(path).known("a", unit="bytes") is None
        assert PaceFile(path).known("b", unit="pixels") is None

    @pytest.mark.parametrize("data", DAMAGED, ids=len)
    def test_a_broken_file_and_a_folder_that_cannot_be_made_are_no_errors(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "pace.json"
        path.write_bytes(data)
        assert PaceFile(path).known("a", unit="pixels") is None
        below_a_file = PaceFile(path / "pace.json")
        below_a_file.add("a", 1.0, unit="pixels")
        assert below_a_file.known("a", unit="pixels") is None

    def test_the_oldest_are_dropped(self, tmp_path: Path) -> None:
        paces = PaceFile(tmp_path / "pace.json")
        for number in range(101):
            paces.add(str(number), 1.0, unit="bytes")
        assert paces.known("0", unit="bytes") is None
        assert paces.known("100", unit="bytes") == 1.0

    @pytest.mark.skipif(os.name == "nt", reason="Windows keeps it elsewhere")
    def test_it_lies_where_the_platform_keeps_such_files(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("sys.platform", "linux")
        assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "smarty-async"
        assert cache_folder({}) == Path.home() / ".cache" / "smarty-async"
        monkeypatch.setattr("sys.platform", "darwin")
        assert cache_folder({}) == Path.home() / "Library" / "Caches" / "smarty-async"

    @pytest.mark.slow
    async def test_a_dry_run_says_how_long_it_takes_once_that_is_known(self, tmp_path: Path, out: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        (folder / "a.jpg").write_bytes(jpeg(seed=1))
        options = ("improve", folder, "--out", out, "--base-url", "http://127.0.0.1:9", "--dry-run")
        environment: dict[str, Any] = {
            "XDG_CACHE_HOME": str(tmp_path),
            "LOCALAPPDATA": str(tmp_path),
            "HOME": str(tmp_path),
        }
        unknown = await run(*options, **environment)
        assert "take" not in unknown.out
        size = (folder / "a.jpg").stat().st_size
        script = (
            "import os; from smarty_async.report.estimate import *; "
            "PaceFile().add(pace_key('http://127.0.0.1:9', ('improve', 1)), "
            f"90e6 / {size}, unit='bytes')"
        )
        await asyncio.to_thread(_python, script, environment)
        known = await run(*options, **environment)
        assert "take    about 1 min 30 s, at the pace of earlier runs" in known.out


def _python(script: str, environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", script], env=os.environ | environment, check=True)  # noqa: S603 - ours
