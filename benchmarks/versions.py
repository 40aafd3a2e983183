"""CPU time of this version over that of another one, and over that of the plain aiohttp script, in turns.

``python -m benchmarks.versions --before TREE``: `TREE` is another working tree, with a `smarty_async` and these
benchmarks. Writes `results.json` with every figure, where the cases that are not measured stay, and prints the
ratios of the medians. An output is as large as the photo, and there are three.
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
from benchmarks.service import service

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_CASES: dict[str, tuple[int, int, str]] = {
    "20 KB, in memory, without fsync": (2_500, 20_000, "ours, no fsync"),
    "20 KB, on the disk, as shipped": (2_500, 20_000, "ours"),
    "100 KB, in memory, without fsync": (1_200, 100_000, "ours, no fsync"),
    "300 KB, on the disk, as shipped": (600, 300_000, "ours"),
    "2 MB, in memory, without fsync": (60, 2_000_000, "ours, no fsync"),
}
"""Photos, bytes of each, and who restores them."""


def _job(tree: Path, name: str, photos: Path, url: str, parent: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=parent) as out:
        job = {"photos": str(photos), "out": out, "url": url}
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        ended = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "benchmarks.contestants", name, json.dumps(job)],
            cwd=tree,
            env=environment | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=True,
        )
    figures: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return {"cpu": figures["cpu"], "wall": figures["wall"], "rss": figures["rss"]}


def _measured(
    trees: dict[str, Path], work: Path, *, cases: list[str], repeats: int
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for case in cases:
        count, size, ours = _CASES[case]
        photos = archive(work, count=count, size=size)
        parent = work if ours == "ours" else _MEMORY
        turns = [(version, tree, ours) for version, tree in trees.items()] + [("aiohttp", trees["now"], "aiohttp")]
        of_case = results[case] = {version: [] for version, _, _ in turns}
        with service(output_bytes=size) as server:
            for turn in range(repeats):
                for version, tree, name in turns[turn % len(turns) :] + turns[: turn % len(turns)]:
                    of_case[version].append(_job(tree, name, photos, server.url, parent))
        shutil.rmtree(photos)
        cpu = {version: statistics.median(figures["cpu"] for figures in of_case[version]) for version in of_case}
        ratios = ", ".join(f"/ {version} {cpu['now'] / seconds:.2f}" for version, seconds in cpu.items())
        print(f"{case}: {1e6 * cpu['now'] / count:,.0f} µs a photo, {ratios}", flush=True)
    return results


def main() -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("--before", type=Path, action="append", default=[], metavar="TREE", help="repeatable")
    parser.add_argument("--case", action="append", choices=list(_CASES), help="measure only this (repeatable)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default %(default)s)")
    parser.add_argument("--work", type=Path, help="where archives and outputs lie (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/versions"))
    chosen = parser.parse_args()
    trees = {tree.name: tree.resolve() for tree in chosen.before} | {"now": Path.cwd()}
    for tree in trees.values():
        subprocess.run([sys.executable, "-m", "compileall", "-q", "smarty_async", "benchmarks"], cwd=tree, check=False)
    with tempfile.TemporaryDirectory(dir=chosen.work) as work:
        results = _measured(trees, Path(work), cases=chosen.case or list(_CASES), repeats=chosen.repeats)
    file = chosen.out / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(earlier | results, indent=1) + "\n")


if __name__ == "__main__":
    main()
