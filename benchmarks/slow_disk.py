"""A job on a disk where waiting for it takes long: how much longer a durable job takes than one that never waits.

``python -m benchmarks.slow_disk FOLDER``: each fsync, fdatasync and syncfs of the contestants takes 5 ms more, by a
library that is loaded before the C library (`LD_PRELOAD`). Prints the wall time of this package over that of the plain
aiohttp script, which syncs nothing; medians of some turns. Linux, with a C compiler.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks.photos import archive
from benchmarks.running import run_contestant
from benchmarks.service import service

_DELAY = 0.005
"""Seconds a call."""
_CASES = ((20_000, 0.0), (300_000, 0.0), (20_000, 1.0), (300_000, 1.0))
"""Bytes of a photo, and seconds of a request."""
_OURS, _PLAIN = "ours", "aiohttp"

_LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
#define DELAYED(call)                                     \\
    int call(int descriptor) {                            \\
        static int (*original)(int);                      \\
        if (!original) original = dlsym(RTLD_NEXT, #call); \\
        usleep(%d);                                       \\
        return original(descriptor);                      \\
    }
DELAYED(fsync)
DELAYED(fdatasync)
DELAYED(syncfs)
"""


def _library(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "there is no C compiler"
    source, library = folder / "delay.c", folder / "delay.so"
    source.write_text(_LIBRARY % (_DELAY * 1e6))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)  # noqa: S603
    return library


def main() -> None:
    """Measure, and print a line for each case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_disk", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=600, help="photos of a job (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default %(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as home:
        os.environ["LD_PRELOAD"] = str(_library(Path(home)))
        for size, per_request in _CASES:
            photos = archive(Path(home), count=chosen.photos, size=size)
            seconds: dict[str, list[float]] = {_OURS: [], _PLAIN: []}
            with service(output_bytes=size, per_request=per_request) as server:
                for turn in range(2 * chosen.repeats):
                    name = (_OURS, _PLAIN)[turn % 2]
                    out = Path(tempfile.mkdtemp(dir=home))  # deleted files would make new ones expensive on ext4
                    seconds[name].append(run_contestant(name, photos=photos, out=out, url=server.url)["wall"])
            ours, plain = (statistics.median(seconds[name]) for name in (_OURS, _PLAIN))
            print(
                f"{chosen.photos} photos of {size:7,} bytes, {per_request:.0f} s a request: ours {ours:.2f} s, "
                f"aiohttp {plain:.2f} s, ratio {ours / plain:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
