"""The program in a process of its own, and what it is run on."""

from __future__ import annotations

import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from smarty_async.cli import app
from smarty_async.cli.errors import error_boundary
from support.fake_service import FakeService
from support.pictures import jpeg
from support.processes import Process, closed, start

TOKEN = "bait+token/with=signs"
QUOTED = "bait%2Btoken%2Fwith%3Dsigns"

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@dataclass
class Ended:
    status: int
    out: str
    err: str

    @property
    def results(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()][:-1]

    @property
    def summary(self) -> dict[str, Any]:
        whole = json.loads(self.out.splitlines()[-1])
        assert list(whole) == ["summary"]
        return dict(whole["summary"])


@asynccontextmanager
async def started(*args: str | Path, **env: str) -> AsyncIterator[Process]:
    """The program in a process of its own, in a folder where no checkout lies."""
    around = {name: value for name, value in os.environ.items() if not name.startswith("SMARTY_")}
    environment = around | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "200"} | env
    process = await start("smarty_async", *map(str, args), environment=environment)
    try:
        yield process
    finally:
        await closed(process)


async def end_of(process: Process, stdin: bytes = b"") -> Ended:
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    text = err.decode()
    assert "Traceback" not in text, text
    return Ended(process.returncode, out.decode(), text)


def invoke(*args: str | Path) -> Ended:
    """The program in this process, for what it refuses and explains before it sends anything."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended, error_boundary(verbose=False):
        app([*map(str, args)], prog_name="smarty-async")
    out.seek(0)
    return Ended(int(ended.value.code or 0), out.read(), err.getvalue())


async def run(*args: str | Path, stdin: bytes = b"", **env: str) -> Ended:
    async with started(*args, **env) as process:
        return await end_of(process, stdin)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    async with FakeService() as service:
        yield service


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(jpeg(seed=number))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "restored"
