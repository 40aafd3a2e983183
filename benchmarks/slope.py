"""The memory of one long run, from its first photo to its last.

``python -m benchmarks.slope --count 1000000``: as shipped, on the disk, one output as large as the photo. Every few
seconds it asks how much memory the process has, and how many photos the service has answered. Writes every figure to
`results.json`; prints the peak, and the slope over the second half of the photos (least squares), in bytes a photo.

The photos have holes, so that a million of them fit on the disk; they are read, sent, hashed and journalled as all are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from time import monotonic, sleep

from benchmarks.photos import archive
from benchmarks.running import started
from benchmarks.service import Service, service

_SECONDS = 5.0
"""Between two looks."""


def _rss(process: subprocess.Popen[str]) -> int | None:
    """Bytes of memory that it has now; None when it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmRSS")), None)
    return None if line is None else int(line.split()[1]) * 1024


def _watched(process: subprocess.Popen[str], server: Service) -> list[tuple[float, int, int]]:
    """Seconds, photos answered, and bytes of memory, until the process ends."""
    began, samples = monotonic(), []
    while process.poll() is None and (rss := _rss(process)) is not None:
        samples.append((round(monotonic() - began, 1), server.stats(forget=False)["images"], rss))
        sleep(_SECONDS)
    return samples


def main() -> None:
    """Run it, write what was seen, and print the peak and the slope."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slope", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="photos (default %(default)s)")
    parser.add_argument(
        "--size", type=int, default=20_000, help="bytes of each, and of its output (default %(default)s)"
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="where the archive is made and kept, and the outputs lie"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/slope"))
    chosen = parser.parse_args()
    photos = archive(chosen.work, count=chosen.count, size=chosen.size, sparse=True)
    with service(output_bytes=chosen.size, kinds=("improved",)) as server:
        with started("ours", photos=photos, out=chosen.work / "outputs", url=server.url) as process:
            samples = _watched(process, server)
            said, _ = process.communicate()
        assert process.returncode == 0, "it did not come to its end"
        answered = server.stats()["images"]
    assert answered == chosen.count, f"{answered} photos were sent"
    took = json.loads(said.splitlines()[-1])
    chosen.out.mkdir(parents=True, exist_ok=True)
    whole = {"count": chosen.count, "size": chosen.size, **took, "seconds, photos, bytes of memory": samples}
    (chosen.out / "results.json").write_text(json.dumps(whole) + "\n")
    second_half = [(done, rss) for _, done, rss in samples if chosen.count / 2 <= done < chosen.count]
    slope = statistics.linear_regression(*zip(*second_half, strict=True)).slope
    print(f"peak {took['rss'] / 1e6:.0f} MB, {slope:+.2f} bytes a photo over the second half")
    print(f"CPU {took['cpu'] / chosen.count * 1e3:.2f} ms a photo, {chosen.count / took['wall']:.0f} photos a second")


if __name__ == "__main__":
    main()
