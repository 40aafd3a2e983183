"""``python -m faults --schedules 1000 --jobs 2``, or ``--seed N`` to see one again."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import monotonic

from faults.running import Report, run_schedule, run_schedule_over_bucket


def _reports(seeds: Iterable[int], jobs: int, run: Callable[[int], Report]) -> Iterator[Report]:
    # Each process starts afresh: what a fork would inherit from the others is no business of a schedule.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, seeds)


def main() -> int:
    """Run the schedules and tell of their violations; 1 when there are any."""
    parser = argparse.ArgumentParser(prog="faults", description="Random archives, faults and deaths.")
    parser.add_argument("--schedules", type=int, default=50, metavar="N", help="how many (50)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the seed of the first (0)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="at a time (2)")
    parser.add_argument("--seed", type=int, metavar="N", help="replay this one alone, and tell all of it")
    parser.add_argument("--bucket", action="store_true", help="with the outputs in a bucket of an S3 server")
    args = parser.parse_args()
    run = run_schedule_over_bucket if args.bucket else run_schedule
    began = monotonic()
    if args.seed is not None:
        reports: Iterable[Report] = [run(args.seed, verbose=True)]
    else:
        reports = _reports(range(args.first, args.first + args.schedules), args.jobs, run)
    failed, count, faults, ends = 0, 0, Counter[str](), Counter[int]()
    for report in reports:
        count += 1
        faults += report.faults
        ends.update(report.ends)
        if report.violations:
            failed += 1
            print(f"seed {report.seed}: runs ended with {report.ends}", *report.violations, sep="\n  ")
            print(f"  replay: tox -e faults -- --seed {report.seed}", flush=True)
    print(f"{count} schedules, {failed} with violations, in {monotonic() - began:.0f} s")
    print("exit statuses: " + ", ".join(f"{status} ×{times}" for status, times in sorted(ends.items())))
    print("faults: " + ", ".join(f"{fault} ×{times}" for fault, times in sorted(faults.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
