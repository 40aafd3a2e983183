"""One contestant, one job, one process; and whether what it wrote is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.server import KINDS, SCAN, picture

__all__ = ["check_outputs", "run_contestant", "started"]


def run_contestant(name: str, **job: Any) -> dict[str, Any]:
    """What `job` took: cpu and wall (s), rss (bytes, the peak), began (monotonic s), late (s, when it was ticking)."""
    with started(name, **job) as process:
        said, _ = process.communicate()
    assert process.returncode == 0, f"{name} did not come to its end"
    return dict(json.loads(said.splitlines()[-1]))


@contextmanager
def started(
    name: str,
    *,
    photos: Path,
    out: Path,
    url: str,
    trusted: Path | None = None,
    concurrency: int = 8,
    ticking: bool = False,
) -> Generator[subprocess.Popen[str], None, None]:
    """The process of a contestant; what is left of it at the block's end is killed."""
    job = {
        "photos": str(photos),
        "out": str(out),
        "url": url,
        "trusted": str(trusted) if trusted else None,
        "concurrency": concurrency,
        "ticking": ticking,
    }
    # What is installed has its bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if trusted:
        environment["SSL_CERT_FILE"] = str(trusted)
    command = [sys.executable, "-m", "benchmarks.contestants", name, json.dumps(job)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.kill()


def check_outputs(out: Path, *, photos: int, output_bytes: int) -> None:
    """Three outputs a photo, none shorter than it should be; of one, all bytes behind its metadata."""
    outputs = [path for path in out.rglob("*.jpg") if ".smarty-async" not in path.parts]
    assert len(outputs) == photos * len(KINDS), f"{len(outputs)} outputs of {photos} photos"
    assert all(path.stat().st_size >= output_bytes for path in outputs), "an output is cut"
    assert outputs[-1].read_bytes().endswith(picture(output_bytes)[SCAN:]), "an output is wrong"
