"""The log file: what is written into it, and what never is."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from support.fake_service import FakeService, http, items
from support.program import QUOTED, TOKEN, out, photos, run, service

from smarty_async.cli.logs import logging_to
from smarty_async.errors import DiskError
from smarty_async.redaction import redactor

__all__ = ["out", "photos", "service"]  # fixtures


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_logged(tmp_path: Path, form: str) -> None:
    redactor.add(TOKEN)
    path = tmp_path / "log"
    with logging_to(path, form="json" if form == "json" else "text"):
        log = logging.getLogger("smarty_async")
        log.info("asking %s", f"https://x/?oauth_token={QUOTED}", extra={"url": f"?{TOKEN}"})
        try:
            raise ValueError(TOKEN)
        except ValueError:
            log.exception("it failed")
    text = path.read_text()
    assert TOKEN not in text
    assert QUOTED not in text
    assert "it failed" in text
    assert "ValueError" in text


def test_json_is_one_object_a_line_with_the_extra_fields(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(path, form="json"):
        logging.getLogger("smarty_async.transport").debug("request %d", 3, extra={"images": 7, "path": Path("a")})
    [record] = records(path)
    assert str(record.pop("time")).endswith("Z")
    assert record == {
        "level": "DEBUG",
        "logger": "smarty_async.transport",
        "message": "request 3",
        "images": 7,
        "path": "a",
    }


def test_the_file_is_appended_to_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path, log = tmp_path / "log", logging.getLogger("smarty_async")
    before = (log.level, list(log.handlers), list(logging.getLogger().handlers))
    for _ in range(2):
        with logging_to(path):
            log.info("a run")
    assert len(path.read_text().splitlines()) == 2
    assert (log.level, list(log.handlers), list(logging.getLogger().handlers)) == before


def test_third_party_warnings_go_to_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(tmp_path / "log"):
        warnings.warn("an odd photo", UserWarning, stacklevel=1)
    assert "an odd photo" in (tmp_path / "log").read_text()
    assert capsys.readouterr().err == ""


async def test_third_party_warnings_never_reach_the_terminal() -> None:
    script = """
import logging, sys, warnings
from smarty_async import cli

def odd(**_):
    warnings.warn("an odd photo")
    logging.getLogger("some.library").warning("an odd tag")

cli.app = odd
cli.main()
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stderr == b""


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot write the log to"), logging_to(tmp_path / "none" / "log"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_reason_to_stop(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(Path("/dev/full")):
        logging.getLogger("smarty_async").info("lost")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
async def test_a_run_with_a_log_file(service: FakeService, photos: Path, out: Path, tmp_path: Path) -> None:
    service.script(http(503, "busy", {"Retry-After": "0"}), items({}))
    log = tmp_path / "log.json"
    ended = await run(
        *("improve", photos, "--out", out, "--base-url", service.url, "--log-file", log, "--log-format", "json"),
        SMARTY_TOKEN=TOKEN,
    )
    assert ended.status == 0, ended.err
    assert {"DEBUG", "INFO"} <= {str(record["level"]) for record in records(log)}
    assert any(record.get("status") == 200 and "images" in record for record in records(log))
    assert TOKEN not in log.read_text()
