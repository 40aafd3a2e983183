"""CPU time, wall time and memory of this version over those of other ones and of the plain aiohttp script, in turns.

``python -m benchmarks.versions --before TREE``: `TREE` is another working tree, with a `smarty_async` and these
benchmarks. All are as shipped, with fsync; the script syncs nothing. Writes `results.json` with every figure, where the
cases that are not measured stay, and prints the ratios of the medians. An output is as large as the photo, and there
are three.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.photos import archive
from benchmarks.service import certificate, service

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_SIZES = {"20 KB": (3_000, 20_000), "100 KB": (1_200, 100_000), "300 KB": (600, 300_000), "2 MB": (150, 2_000_000)}
"""Photos, and bytes of each."""
_CASES = [f"{size}, {where}" for where in ("on the disk", "in memory", "in memory, over TLS") for size in _SIZES]
_FIGURES = ("cpu", "wall", "rss")


def _job(tree: Path, name: str, job: dict[str, str | None]) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    if trusted := job["trusted"]:
        environment["SSL_CERT_FILE"] = trusted
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.contestants", name, json.dumps(job)],
        cwd=tree,
        env=environment | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return {figure: figures[figure] for figure in _FIGURES}


def _measured(trees: dict[str, Path], work: Path, case: str, *, repeats: int) -> dict[str, list[dict[str, Any]]]:
    count, size = _SIZES[case.partition(",")[0]]
    photos = archive(work, count=count, size=size)
    turns = [(version, tree, "ours") for version, tree in trees.items()] + [("aiohttp", trees["now"], "aiohttp")]
    measured: dict[str, list[dict[str, Any]]] = {version: [] for version, _, _ in turns}
    chain, trusted = certificate(work) if "TLS" in case else (None, None)
    with service(output_bytes=size, tls=chain) as server:
        for turn in range(repeats):
            for version, tree, name in turns[turn % len(turns) :] + turns[: turn % len(turns)]:
                # Deleted files make new ones expensive on ext4: outputs on the disk stay until all is measured.
                out = Path(tempfile.mkdtemp(dir=_MEMORY if "memory" in case else work))
                job = {
                    "photos": str(photos),
                    "out": str(out),
                    "url": server.url,
                    "trusted": str(trusted) if trusted else None,
                }
                measured[version].append(_job(tree, name, job))
                if "memory" in case:
                    shutil.rmtree(out)
    return measured


def _print(case: str, measured: dict[str, list[dict[str, Any]]]) -> None:
    medians = {
        version: {figure: statistics.median(one[figure] for one in of_version) for figure in _FIGURES}
        for version, of_version in measured.items()
    }
    now = medians.pop("now")
    for version, figures in medians.items():
        ratios = ", ".join(f"{figure} {now[figure] / figures[figure]:.2f}" for figure in _FIGURES)
        print(f"{case}, / {version}: {ratios}", flush=True)


def main() -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("--before", type=Path, action="append", default=[], metavar="TREE", help="repeatable")
    parser.add_argument("--case", action="append", choices=_CASES, help="measure only this (repeatable)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default %(default)s)")
    parser.add_argument("--work", type=Path, help="where archives and outputs lie (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/versions"))
    chosen = parser.parse_args()
    trees = {tree.name: tree.resolve() for tree in chosen.before} | {"now": Path.cwd()}
    for tree in trees.values():
        subprocess.run([sys.executable, "-m", "compileall", "-q", "smarty_async", "benchmarks"], cwd=tree, check=False)
    file = chosen.out / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory(dir=chosen.work) as work:
        for case in chosen.case or _CASES:
            results[case] = _measured(trees, Path(work), case, repeats=chosen.repeats)
            _print(case, results[case])
            file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
