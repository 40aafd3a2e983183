"""One contestant doing one job in a process of its own; what it took is printed as JSON."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from time import monotonic, process_time

from benchmarks.contestants import Job, contestant


def main() -> None:
    """Do it; what was imported before is not counted."""
    name, spec = sys.argv[1], json.loads(sys.argv[2])
    job = Job(**spec | {"photos": Path(spec["photos"]), "out": Path(spec["out"])})
    run = contestant(name)
    before, began = process_time(), monotonic()
    late = run(job)
    wall, cpu = monotonic() - began, process_time() - before
    print(json.dumps({"cpu": cpu, "wall": wall, "rss": _peak(), "began": began, "late": late}))


def _peak() -> int:
    """The most memory this process held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux' getrusage counts what the parent held when it forked, too
        line = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
