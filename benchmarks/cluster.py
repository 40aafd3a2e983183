"""A run with 0, 1, 2 and 4 workers while waiting for the service is the bound: photos/s, and the caller's CPU a photo.

    python -m benchmarks.cluster [--photos 2400] [--seconds 2.0] [--work DIR]

The scheduler and the workers are processes of their own, as are the service and the caller, all on this machine; each
worker has eight requests open. 0 workers is the caller alone, with eight requests. The plain aiohttp script of
`contestants` does the same job in the same run: CPU times are compared with its, because those of machines differ.
Garbage collection is as on the command line. Needs the extra `cluster`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.photos import archive
from benchmarks.running import check_outputs, run_contestant
from benchmarks.service import service

_THREADS = 8
_OUTPUT_BYTES = 20_000


async def _caller(job: dict[str, Any]) -> dict[str, float]:
    """The run: photos, wall and CPU seconds of this process."""
    from distributed import Client  # noqa: PLC0415 - an extra

    from smarty_async import SmartyClient  # noqa: PLC0415 - after the process has started

    async def run(dask: Any) -> dict[str, float]:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        concurrency = _THREADS * max(1, job["workers"])
        async with SmartyClient(base_url=job["url"], concurrency=concurrency) as client:
            began, cpu, photos = time.monotonic(), time.process_time(), 0
            async for _ in client.improve_archive(job["photos"], out=job["out"], cluster=dask):
                photos += 1
            return {"photos": photos, "wall": time.monotonic() - began, "cpu": time.process_time() - cpu}

    if not job["workers"]:
        return await run(None)
    connecting: Any = Client(scheduler_file=job["scheduler"], asynchronous=True)  # type: ignore[no-untyped-call]
    async with connecting as dask:
        await dask.wait_for_workers(job["workers"])
        await dask.run(_import_worker)
        return await run(dask)


def _import_worker() -> None:
    """A worker that has sent something before."""
    import smarty_async.cluster.worker  # noqa: F401, PLC0415


@contextmanager
def _cluster(folder: Path, workers: int) -> Generator[Path, None, None]:
    """The file that names the scheduler of so many workers."""
    file = folder / "scheduler.json"
    if not workers:
        yield file
        return
    common = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file))
    options = ("--nthreads", str(_THREADS), "--no-nanny", "--local-directory", str(folder))
    commands = [("dask_scheduler", "--port", "0", *common)] + [("dask_worker", *common, *options)] * workers
    processes = [
        subprocess.Popen([sys.executable, "-m", f"distributed.cli.{name}", *rest], stderr=subprocess.DEVNULL)  # noqa: S603
        for name, *rest in commands
    ]
    try:
        while not file.exists():
            time.sleep(0.05)
        yield file
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _measure(photos: Path, *, workers: int, seconds: float, count: int) -> dict[str, float]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(service(output_bytes=_OUTPUT_BYTES, per_request=seconds))
        scheduler = stack.enter_context(_cluster(folder, workers))
        job = {
            "workers": workers,
            "url": server.url,
            "photos": str(photos),
            "out": str(folder / "out"),
            "scheduler": str(scheduler),
        }
        command = [sys.executable, "-m", "benchmarks.cluster", "--job", json.dumps(job)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ).stdout  # noqa: S603
        check_outputs(folder / "out", photos=count, output_bytes=_OUTPUT_BYTES)
        assert server.stats()["images"] == count, "an image was paid for twice"
        return dict(json.loads(said.splitlines()[-1]))


def _script(photos: Path, *, seconds: float, count: int) -> float:
    """The CPU seconds a photo of the plain aiohttp script."""
    with tempfile.TemporaryDirectory() as name, service(output_bytes=_OUTPUT_BYTES, per_request=seconds) as server:
        out = Path(name) / "out"
        out.mkdir()
        return float(run_contestant("aiohttp", photos=photos, out=out, url=server.url)["cpu"]) / count


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one line a number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2400)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each request takes")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "smarty-async-benchmarks")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.job:
        print(json.dumps(asyncio.run(_caller(json.loads(options.job)))))
        return
    photos = archive(options.work, count=options.photos, size=20_000, differing=9_973)
    alone, script = 0.0, _script(photos, seconds=options.seconds, count=options.photos)
    print(f"plain aiohttp: {script * 1e3:.2f} ms a photo", flush=True)
    for workers in options.workers:
        took = _measure(photos, workers=workers, seconds=options.seconds, count=options.photos)
        rate = took["photos"] / took["wall"]
        alone = alone or rate
        cpu = took["cpu"] / took["photos"]
        print(
            f"{workers} workers: {rate:6.1f} photos/s, {rate / alone:4.2f} of the first; "
            f"the caller: {cpu * 1e3:.2f} ms a photo, {cpu / script:.2f} of plain aiohttp",
            flush=True,
        )


if __name__ == "__main__":
    main()
