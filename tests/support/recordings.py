"""Recorded runs, for the test of the estimate: ``PYTHONPATH=tests python -m support.recordings [NAME…]`` makes them.

Each run restores copies of the sample photos, in many sizes, with an engine of the embedded service, or sends them to
one that takes as long as a distant service. What an estimate is made of is written twice a second to
``tests/unit/report/recorded_runs/NAME.json``.

The time of runs with a local engine is the CPU time of all its processes, divided by the number of CPUs: as long as the
run takes on a machine that does nothing else. Recording needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import msgspec
from PIL import Image

from smarty_async import ArchiveRun, EmbeddedService, Limits, SmartyClient
from smarty_async.progress import Progress

__all__ = ["RECORDINGS", "Recording", "Sample", "main"]

_SAMPLES: Final = Path(__file__).parent.parent.parent / "examples" / "photos"
RECORDINGS: Final = Path(__file__).parent.parent / "unit" / "report" / "recorded_runs"
"""Where the recordings lie, a file each."""
_EVERY: Final = 0.5
"""Seconds between two samples."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """How far a run had come.

    Attributes:
        seconds: since its begin.
        scanning: whether more photos might be found.
        found: photos found.
        ahead: as `Progress.ahead`.
        sent: photos that came to an end after having been sent.
        others: photos that came to another end.
        requests: requests sent.
        answers: requests answered.
        answer_seconds: seconds that these took together.
        bytes: as `Work.bytes`.
        bytes_ahead: as `Work.bytes_ahead`.
        bytes_done: as `Work.bytes_done`.
        bytes_probed: as `Work.bytes_probed`.
        pixels_probed: as `Work.pixels_probed`.
        pixels_done: as `Work.pixels_done`.
        open_photos: photos in open requests.
        open_bytes: their bytes.
        open_pixels: their pixels.
    """

    seconds: float
    scanning: bool
    found: int
    ahead: int | None
    sent: int
    others: int
    requests: int
    answers: int
    answer_seconds: float
    bytes: int
    bytes_ahead: int
    bytes_done: int
    bytes_probed: int
    pixels_probed: int
    pixels_done: int
    open_photos: int
    open_bytes: int
    open_pixels: int


class Recording(msgspec.Struct, frozen=True):
    """A recorded run.

    Attributes:
        title: what was run.
        unit: what its photos are weighed by.
        samples: in order; the last one is the run's end.
    """

    title: str
    unit: Literal["pixels", "bytes"]
    samples: list[Sample]


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be recorded.

    Attributes:
        title: what it is.
        photos: how many.
        megapixels: the smallest and the largest of them.
        engine: of the embedded service.
        service: options of the service that stands for a distant one; () for the local engine.
        concurrency: requests open at once.
        images: photos in one request.
        finished_before: photos that an earlier run has finished.
        rejected: files that are not photos although they are called so.
        duplicates: copies of a photo.
    """

    title: str
    photos: int
    megapixels: tuple[float, float] = (0.1, 2.0)
    engine: str = "echo"
    service: tuple[str, ...] = ()
    concurrency: int = 2
    images: int = 2
    finished_before: int = 0
    rejected: int = 0
    duplicates: int = 0

    @property
    def unit(self) -> Literal["pixels", "bytes"]:
        """A distant service takes the longer, the more bytes there are."""
        return "bytes" if self.service else "pixels"


_DISTANT: Final = ("--latency", "1.5", "--latency-per-image", "0.05")

_CASES: Final = {
    "basic": _Case(title="the engine basic, mixed sizes", photos=300, megapixels=(0.05, 1.5), engine="basic"),
    "basic-others": _Case(
        title="the engine basic; rejected files, duplicates, and photos finished before",
        photos=400,
        megapixels=(0.05, 1.0),
        engine="basic",
        finished_before=100,
        rejected=60,
        duplicates=60,
    ),
    "restore": _Case(title="the engine restore, mixed sizes", photos=250, megapixels=(0.03, 0.3), engine="restore"),
    "restore-alike": _Case(
        title="the engine restore, photos of one size", photos=80, megapixels=(0.1, 0.1), engine="restore"
    ),
    "service": _Case(title="a service with 8 requests at once", photos=900, service=_DISTANT, concurrency=8, images=12),
    "service-large-requests": _Case(
        title="a service with full requests, two at once", photos=600, service=_DISTANT, concurrency=2, images=48
    ),
    "service-others": _Case(
        title="a service; rejected files, duplicates, and photos finished before",
        photos=500,
        service=_DISTANT,
        concurrency=4,
        images=12,
        finished_before=150,
        rejected=60,
        duplicates=60,
    ),
    "service-later": _Case(
        title="a service that answers one photo in twenty with later",
        photos=1500,
        service=(*_DISTANT, "--fail-temporary", "0.05"),
        concurrency=6,
        images=12,
    ),
}


def main() -> None:
    """Record the runs that are named on the command line, all by default."""
    parser = argparse.ArgumentParser(prog="python -m support.recordings", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(_CASES)}")
    for name in parser.parse_args().names or _CASES:
        with TemporaryDirectory() as folder:
            recording = asyncio.run(_record(_CASES[name], Path(folder)))
        lines = b",\n".join(map(msgspec.json.encode, recording.samples))
        head = msgspec.json.encode({"title": recording.title, "unit": recording.unit})
        (RECORDINGS / f"{name}.json").write_bytes(head[:-1] + b',"samples":[\n' + lines + b"\n]}\n")
        print(f"{name}: {recording.samples[-1].seconds:.1f} s, {len(recording.samples)} samples", flush=True)


async def _record(case: _Case, folder: Path) -> Recording:
    photos, out = folder / "photos", folder / "out"
    _make_photos(case, photos)
    async with _service(case) as url, _client(case, url) as client:
        if case.finished_before:
            async for _ in client.improve_archive(photos, out=out, max_photos=case.finished_before):
                pass
        run = client.improve_archive(photos, out=out)
        return Recording(case.title, case.unit, await _samples(run, time.monotonic if case.service else _cpu_seconds))


async def _samples(run: ArchiveRun, clock: Callable[[], float]) -> list[Sample]:
    samples: list[Sample] = []
    began, clock_began = time.monotonic(), clock()

    def sample() -> Sample:
        wall, seconds = time.monotonic() - began, clock() - clock_began
        return _sample(run, seconds, answer_scale=seconds / wall if wall else 1.0)

    async def look() -> None:
        while True:
            samples.append(sample())
            await asyncio.sleep(_EVERY)

    looking = asyncio.create_task(look())
    async for _ in run:
        pass
    looking.cancel()
    return [*samples, sample()]


def _cpu_seconds() -> float:
    """CPU time of this process and those below it, for each CPU."""
    parents: dict[int, int] = {}
    times: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(fields[1])
            times[int(stat.parent.name)] = int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(times[one] for one in ours) / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)


def _sample(run: ArchiveRun, seconds: float, *, answer_scale: float) -> Sample:
    progress: Progress = run.progress
    work, in_flight = progress.work, run.in_flight
    sent = sum(progress.outcomes.get(outcome, 0) for outcome in ("restored", "already_good", "failed"))
    return Sample(
        seconds=round(seconds, 3),
        scanning=progress.scanning,
        found=progress.found,
        ahead=progress.ahead,
        sent=sent,
        others=progress.done - sent,
        requests=progress.requests,
        answers=progress.latencies.count,
        answer_seconds=round(progress.latencies.seconds * answer_scale, 3),
        bytes=work.bytes,
        bytes_ahead=work.bytes_ahead,
        bytes_done=work.bytes_done,
        bytes_probed=work.bytes_probed,
        pixels_probed=work.pixels_probed,
        pixels_done=work.pixels_done,
        open_photos=len(in_flight),
        open_bytes=sum(photo.bytes for photo in in_flight),
        open_pixels=sum(photo.pixels for photo in in_flight),
    )


@asynccontextmanager
async def _service(case: _Case) -> AsyncGenerator[str]:
    service = EmbeddedService(engine=case.engine, options=case.service)
    async with service:
        yield service.base_url


def _client(case: _Case, url: str) -> SmartyClient:
    local = Limits(max_images=case.images, max_image_bytes=None, max_dimensions=None, max_request_bytes=1_000_000_000)
    limits = Limits(max_images=case.images) if case.service else local
    return SmartyClient(base_url=url, concurrency=case.concurrency, limits=limits)


def _make_photos(case: _Case, folder: Path) -> None:
    """Copies of the sample photos in sizes that are alike within a folder, as one camera's or one scanner's are."""
    chance = random.Random(15)  # noqa: S311 - the same photos every time
    samples = [Image.open(path).convert("RGB") for path in sorted(_SAMPLES.rglob("*.jpg"))]
    number = 0
    while number < case.photos:
        place = folder / f"box {number:04}"
        place.mkdir(parents=True)
        megapixels = chance.uniform(*case.megapixels)
        for _ in range(min(chance.randint(1, 12), case.photos - number)):
            picture, pixels = chance.choice(samples), megapixels * 1e6 * chance.uniform(0.8, 1.2)
            scale = (pixels / (picture.width * picture.height)) ** 0.5
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture.resize(size).save(place / f"{number:04}.jpg", quality=chance.randint(80, 95))
            number += 1
    paths = sorted(folder.rglob("*.jpg"))
    for copy in range(case.duplicates):
        shutil.copy(chance.choice(paths), folder / f"copy {copy:04}.jpg")
    for empty in range(case.rejected):
        (chance.choice(paths).parent / f"empty {empty:04}.jpg").write_bytes(b"")


if __name__ == "__main__":
    main()
