"""What a photo costs that an earlier run has finished, beyond walking, in turns with other versions.

``python -m benchmarks.finished --before TREE``: `TREE` is another working tree, with a `smarty_async`. Each turn is a
process of its own: it walks an archive of finished photos, or runs over it until the last one is counted, or has its
result. Nothing is sent. Writes `results.json` with every figure, and prints the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, process_time
from typing import Any

_WAYS = ("walked", "counted", "with results")


def _walk(photos: Path, out: Path) -> int:
    from smarty_async.archive.sources.folder import FolderSource  # noqa: PLC0415 - of the version that is measured

    return sum(map(len, FolderSource([photos], out=out).scan()))


async def _run(photos: Path, out: Path, *, count: int, counts: bool) -> None:
    """Run until `count` photos are found, none of which has anything to be sent."""
    from smarty_async.client import SmartyClient  # noqa: PLC0415 - likewise

    began = process_time(), monotonic()
    async with SmartyClient(token="t", base_url="http://127.0.0.1:9") as client:  # noqa: S106 - nothing is sent
        run = client.improve_archive(photos, out=out)
        run.counts_finished = counts

        async def consume() -> None:
            async for _ in run:
                pass

        consuming = asyncio.create_task(consume())
        while run.progress.found < count and not consuming.done():  # noqa: ASYNC110 - nothing says so
            await asyncio.sleep(0.01)
        _print(*began)
        assert run.progress.outcomes == {"skipped": count}, run.progress.outcomes
        os._exit(0)  # before the list of results is written, which is not measured here


def _print(cpu: float, wall: float) -> None:
    """Print the seconds since the process had used `cpu` and the clock said `wall`."""
    print(json.dumps({"cpu": process_time() - cpu, "wall": monotonic() - wall}), flush=True)


def _measure_one(way: str, photos: Path, out: Path, *, count: int) -> None:
    """Measure in this process, which ends."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # as the command line does
    if way == "walked":
        began = process_time(), monotonic()
        assert _walk(photos, out) == count
        _print(*began)
    else:
        asyncio.run(_run(photos, out, count=count, counts=way == "counted"))


def _measured(tree: Path, way: str, photos: Path, out: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--only", way, str(photos), str(out), str(count)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(  # noqa: S603
        command, env=environment | {"PYTHONPATH": str(tree)}, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def _compare(trees: dict[str, Path], work: Path, *, count: int, kinds: int, repeats: int) -> dict[str, Any]:
    from benchmarks.photos import archive  # noqa: PLC0415 - not of the version that is measured
    from benchmarks.scenarios.resume import finished  # noqa: PLC0415 - likewise

    photos = archive(work / "archives", count=count, size=1_000, sparse=True, differing=1_000_003)
    out = finished(work, photos, count=count, kinds=kinds)
    turns = [(version, tree, way) for version, tree in trees.items() for way in _WAYS]
    results: dict[str, dict[str, list[Any]]] = {version: {way: [] for way in _WAYS} for version in trees}
    for turn in range(repeats):
        for version, tree, way in turns[turn % len(turns) :] + turns[: turn % len(turns)]:
            results[version][way].append(_measured(tree, way, photos, out, count))
    walks = [one["cpu"] for of_version in results.values() for one in of_version["walked"]]  # of the same tree
    walked = 1e6 * statistics.median(walks) / count
    for version, of_version in results.items():
        cpu = {way: 1e6 * statistics.median(one["cpu"] for one in of_version[way]) / count for way in _WAYS}
        beyond = ", ".join(f"{way} {cpu[way] - walked:.1f}" for way in _WAYS[1:])
        print(
            f"{count:,} × {kinds}, {version}: walked {walked:.1f} µs of CPU a photo; beyond: {beyond}",
            flush=True,
        )
    return results


def main() -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finished", description=__doc__)
    parser.add_argument("--before", type=Path, action="append", default=[], metavar="TREE", help="repeatable")
    parser.add_argument("--count", type=int, default=200_000, help="photos (default %(default)s)")
    parser.add_argument("--kinds", type=int, default=1, choices=(1, 2, 3), help="outputs of each (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default %(default)s)")
    parser.add_argument("--work", type=Path, help="archives, kept for the next time (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/finished"))
    parser.add_argument("--only", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        way, photos, out, count = chosen.only
        _measure_one(way, Path(photos), Path(out), count=int(count))
        return
    trees = {tree.name: tree.resolve() for tree in chosen.before} | {"now": Path.cwd()}
    with tempfile.TemporaryDirectory() as own:
        work = chosen.work or Path(own)
        results = _compare(trees, work, count=chosen.count, kinds=chosen.kinds, repeats=chosen.repeats)
    file = chosen.out / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(earlier | {f"{chosen.count} × {chosen.kinds}": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
