"""Run the scenarios, the contestants of each in turns, and write what was measured: see ``benchmarks/README.md``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.contestants import CONTESTANTS
from benchmarks.report import write
from benchmarks.scenarios import SCENARIOS, Lab, Row, scenario

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"some of {', '.join(SCENARIOS)}; all by default"
    )
    parser.add_argument(
        "--scale", type=float, default=0.1, help="1: as many photos as the goals say (default %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contestant (default %(default)s)")
    parser.add_argument("--contestant", action="append", choices=list(CONTESTANTS), help="take only these (repeatable)")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), help="where the report goes (%(default)s)"
    )
    parser.add_argument(
        "--work", type=Path, help="archives, kept for the next time, and outputs (default: a temporary folder)"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.scenarios) - set(SCENARIOS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return chosen


def main() -> None:
    """As chosen on the command line."""
    chosen = _arguments()
    rows: dict[str, list[Row]] = {}
    with (
        tempfile.TemporaryDirectory() as own,
        tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else own) as memory,
    ):
        lab = Lab(
            folder=chosen.work or Path(own),
            memory=Path(memory),
            scale=chosen.scale,
            repeats=chosen.repeats,
            contestants=tuple(chosen.contestant or CONTESTANTS),
        )
        lab.folder.mkdir(parents=True, exist_ok=True)
        for name in chosen.scenarios or SCENARIOS:
            about = scenario(name)
            print(f"{name}: {about.title}", flush=True)
            rows[name] = []
            for row in about.measure(lab):
                rows[name].append(row)
                print(f"  {row.case:40} {row.contestant:16} {row.value:10.3f} {row.quantity}", flush=True)
            text = write(chosen.out, rows, scale=chosen.scale, repeats=chosen.repeats)
    print(text)


if __name__ == "__main__":
    main()
