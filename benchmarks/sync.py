"""Files made durable one by one, by fsync, and together, by syncfs.

``python -m benchmarks.sync FOLDER``: the median time of some turns, and syncfs' over fsync's; with `--neighbour`
another process writes meanwhile. Linux.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from smarty_async.archive.outputs.sync import sync_each, sync_file_system

_FILES, _SIZES, _TURNS = (3, 24, 144), (20_000, 300_000), 7


def _one_by_one(folder: str, names: list[str]) -> None:
    assert sync_each(folder, names) is None


def _together(folder: str, names: list[str]) -> None:
    del names
    descriptor = os.open(folder, os.O_RDONLY)
    sync_file_system(descriptor)
    os.close(descriptor)


def _seconds(parent: Path, files: int, size: int, sync: Callable[[str, list[str]], None]) -> float:
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        data, names = os.urandom(size), [str(number) for number in range(files)]
        for name in names:
            Path(folder, name).write_bytes(data)
        began = time.perf_counter()
        sync(folder, names)
        return time.perf_counter() - began


def _write_for_ever(path: Path) -> None:
    while True:
        with path.open("wb") as file:
            for _ in range(300):
                file.write(os.urandom(1 << 20))
                time.sleep(0.005)


def main() -> None:
    """Measure, and print a line for each number and size of files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--neighbour", action="store_true", help="another process writes up to 100 MB/s meanwhile")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as parent:
        neighbour = multiprocessing.Process(target=_write_for_ever, args=(Path(parent) / "neighbour",), daemon=True)
        if chosen.neighbour:
            neighbour.start()
        for size in _SIZES:
            for files in _FILES:
                turns = [
                    (_seconds(Path(parent), files, size, _one_by_one), _seconds(Path(parent), files, size, _together))
                    for _ in range(_TURNS)
                ]
                fsync, syncfs = (statistics.median(column) for column in zip(*turns, strict=True))
                print(
                    f"{files:4} files of {size:7,} bytes: fsync {1e3 * fsync:7.1f} ms, syncfs {1e3 * syncfs:7.1f} ms, "
                    f"ratio {syncfs / fsync:.2f}"
                )
        if chosen.neighbour:
            neighbour.kill()
            neighbour.join()


if __name__ == "__main__":
    main()
