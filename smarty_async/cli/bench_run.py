"""What `bench` does: the same photos with every setting, several times in turn."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from itertools import chain, islice, product
from pathlib import Path
from time import perf_counter

import msgspec

from smarty_async.account import Account
from smarty_async.archive.sources.folder import FolderSource, check_sources
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.cli.bench_report import Machine, PhotoSet, Report, Sample, Setting
from smarty_async.cli.output import Output, say
from smarty_async.client import SmartyClient
from smarty_async.errors import DiskError, OptionsError
from smarty_async.local.embedded import embedded_service
from smarty_async.options import Limits
from smarty_async.report.wording import count, money
from smarty_async.results import GOOD_OUTCOMES, PRICE

__all__ = ["Load", "fillable", "measure"]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be measured.

    Attributes:
        account: the account, or the embedded service.
        path: the method's path.
        sources: where the photos are.
        photos: how many to send in each run, at most.
        concurrencies: requests open at once, to be tried.
        chunks: photos in a request, to be tried.
        repeats: runs with each setting.
        label: the user's name for the measurement.
        out: the folder that the report is written to, None for none.
        json: JSON lines on stdout.
    """

    account: Account
    path: str
    sources: tuple[Path, ...]
    photos: int
    concurrencies: tuple[int, ...]
    chunks: tuple[int, ...]
    repeats: int = 3
    label: str = ""
    out: Path | None
    json: bool

    def settings(self, chunks: Sequence[int]) -> list[tuple[int, int]]:
        """Chunk and concurrency of every setting, those that ask least of the service first."""
        return list(product(sorted(set(chunks)), sorted(set(self.concurrencies))))

    def price_line(self) -> str:
        """What it may cost, as a question."""
        settings = len(self.settings(self.chunks))
        images = (settings * self.repeats + 1) * self.photos
        return (
            f"{count(settings, 'setting')}, {count(self.repeats, 'run')} with each and one to warm up, up to"
            f" {count(self.photos, 'photo')} in each run: {money(images * PRICE)}, and more if photos have to be sent"
            " again. Send them?"
        )


async def measure(load: Load) -> int:
    """Measure every setting and report it; the number of photos that failed.

    Raises:
        DiskError: the report cannot be written: nothing is sent if that shows before.
        SmartyError: it could not begin, or had to stop early.
    """
    check_sources(load.sources)
    with tempfile.TemporaryDirectory(prefix="smarty-async-bench-") as work:
        files = chain.from_iterable(FolderSource(load.sources, out=Path(work)).scan())
        photos = list(islice(filter(_is_photo, files), load.photos))
        if not photos:
            raise OptionsError("no photos found to measure with")
        file = None if load.out is None else _report_file(load.out)  # before anything is paid for
        settings = load.settings(_chunks(load, photos))
        machine = _machine()
        if machine.busy:
            say(f"This machine is busy (load {machine.load:.1f}): stop other programs, or the numbers mean little.")
        report = Report(
            version=version("smarty_async"),
            label=load.label,
            endpoint=load.account.base_url or "embedded (echo)",
            photo_set=_photo_set(photos),
            machine=machine,
            settings=[Setting(chunk=chunk, concurrency=concurrency, samples=[]) for chunk, concurrency in settings],
        )
        try:
            async with AsyncExitStack() as stack:
                url = load.account.base_url
                if url is None:
                    url = await stack.enter_async_context(embedded_service(engine="echo"))
                await _sample(load, url, [one.path for one in photos], report, Path(work))
        finally:  # what was measured is paid for, also when it had to stop early
            measured = msgspec.structs.replace(report, settings=[one for one in report.settings if one.samples])
            if measured.settings:
                if any(len(one.samples) < load.repeats for one in report.settings):
                    say("Stopped early: the report holds what was measured until then.")
                _tell(measured, file, json=load.json)
    return sum(setting.failed for setting in report.settings)


def _is_photo(file: PhotoFile) -> bool:
    return file.problem is None and not file.left_alone


def _chunks(load: Load, photos: Sequence[PhotoFile]) -> list[int]:
    """The chunk sizes that these photos can fill, or one that they just fill."""
    most = fillable(photos, Limits())
    chunks = [chunk for chunk in load.chunks if chunk <= most]
    left_out = sorted(set(load.chunks) - set(chunks))
    if left_out:
        sizes = " and ".join(map(str, left_out))
        say(f"Left out: {sizes} photos in a request. These photos fill requests of up to {most}.")
    return chunks or [most]


def fillable(photos: Sequence[PhotoFile], limits: Limits) -> int:
    """How many of `photos` one request can carry: as many as there are, within the limit on its bytes."""
    average = sum(photo.size for photo in photos) / len(photos)
    return max(1, min(len(photos), int(limits.max_request_bytes / max(1.0, average))))


async def _sample(load: Load, url: str, photos: list[str], report: Report, work: Path) -> None:
    """Add samples to `report`: one run to warm up, then all settings in turn, back and forth."""
    settings = report.settings
    report.warm_up.append(await _run(load, url, photos, settings[-1], work / "warm-up"))
    for repeat in range(load.repeats):
        say(f"Run {repeat + 1} of {load.repeats} with each of {count(len(settings), 'setting')}")
        for setting in settings if repeat % 2 == 0 else reversed(settings):
            out = work / f"{repeat}-{setting.chunk}-{setting.concurrency}"
            setting.samples.append(await _run(load, url, photos, setting, out))


async def _run(load: Load, url: str, photos: list[str], setting: Setting, out: Path) -> Sample:
    machine_load = _load_average()
    client = SmartyClient(
        token=load.account.token,
        credentials=load.account.credentials,
        base_url=url,
        provider=load.account.provider,
        path=load.path,
        concurrency=setting.concurrency,
        limits=Limits(max_images=setting.chunk),
    )
    async with client:
        began = perf_counter()
        run = client.improve_archive(listed=photos, out=out)
        async for _ in run:
            pass
        seconds = perf_counter() - began
    progress = run.progress
    good = sum(progress.outcomes.get(outcome, 0) for outcome in GOOD_OUTCOMES)
    return Sample(
        seconds=seconds,
        photos=good,
        failed=progress.done - good,
        requests=progress.requests,
        retries=progress.retries,
        mb=(progress.bytes_sent + progress.bytes_received) / 1e6,
        p50=progress.latencies.quantile(0.5),
        p90=progress.latencies.quantile(0.9),
        p99=progress.latencies.quantile(0.99),
        load=machine_load,
        cost=0.0 if load.account.local else progress.cost,
    )


def _load_average() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _machine() -> Machine:
    return Machine(
        system=platform.platform(),
        cpu=platform.processor() or platform.machine(),
        cpus=os.cpu_count() or 1,
        python=platform.python_version(),
        load=_load_average(),
    )


def _photo_set(photos: Sequence[PhotoFile]) -> PhotoSet:
    named = "\n".join(f"{photo.photo}\t{photo.size}" for photo in photos)
    return PhotoSet(
        photos=len(photos),
        bytes=sum(photo.size for photo in photos),
        digest=hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest(),
    )


def _tell(report: Report, file: Path | None, *, json: bool) -> None:
    """Print the report, and write it to `file`, also when stdout cannot be written to."""
    try:
        _print(report, json=json)
    finally:
        if file is not None:
            _write(file, report)


def _print(report: Report, *, json: bool) -> None:
    output = Output()
    if json:
        for setting in report.settings:
            output.struct(setting)
        output.struct({"advised": report.advised(), "cost": report.cost})
    else:
        output.lines(_all_lines(report))


def _all_lines(report: Report) -> Iterator[str]:
    photo_set = report.photo_set
    yield f"{count(photo_set.photos, 'photo')} ({photo_set.bytes / 1e6:,.1f} MB) to {report.endpoint}"
    yield from report.lines()


def _report_file(folder: Path) -> Path:
    """The path of the report in `folder`, which is created; an earlier report stays as it is.

    Raises:
        DiskError: no report can be written there.
    """
    path = folder / "bench.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_new = not os.path.lexists(path)
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise DiskError.of(error, Path(error.filename or path), "write") from None
    return path


def _write(path: Path, report: Report) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    except OSError as error:
        raise DiskError.of(error, path, "write") from None
    say(f"Wrote {path}")
