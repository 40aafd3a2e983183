"""What `bench` does: the same photos with every setting, one after the other, and advice from what was measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import islice, product
from pathlib import Path
from time import monotonic

import msgspec

from smarty_async.archive.sources.folder import check_sources, scan
from smarty_async.cli.account import Account
from smarty_async.cli.output import Output, say
from smarty_async.client import SmartyClient
from smarty_async.errors import DiskError, OptionsError
from smarty_async.local.embedded import embedded_service
from smarty_async.options import PRICE, Limits
from smarty_async.report.chart import chart
from smarty_async.report.wording import count, money
from smarty_async.results import Outcome

__all__ = ["Cell", "Load", "advised", "sweep"]

_AS_GOOD = 0.95
"""A setting with this share of the best throughput is as good, if it asks less of the service."""
_GOOD: tuple[Outcome, ...] = ("restored", "already_good", "duplicate")


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        account: whom to send to.
        path: the method's path.
        sources: where the photos are.
        photos: how many to send with each setting, at most.
        concurrencies: requests open at once, to be tried.
        chunks: photos a request, to be tried.
        out: where the report goes, None for nowhere.
        json: result lines on stdout.
    """

    account: Account
    path: str
    sources: tuple[Path, ...]
    photos: int
    concurrencies: tuple[int, ...]
    chunks: tuple[int, ...]
    out: Path | None
    json: bool

    @property
    def settings(self) -> list[tuple[int, int]]:
        """Chunk and concurrency of every setting, those that ask least of the service first."""
        return list(product(sorted(set(self.chunks)), sorted(set(self.concurrencies))))

    def price_line(self) -> str:
        """What it may cost, as a question."""
        images = len(self.settings) * self.photos
        return (
            f"{count(len(self.settings), 'setting')} with up to {count(self.photos, 'photo')} each:"
            f" {money(images * PRICE)}, and more if photos have to go again. Send them?"
        )


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured with one setting.

    Attributes:
        chunk: photos a request, at most.
        concurrency: requests open at once, at most.
        photos: sent, and come to a good end.
        failed: photos that did not.
        requests: requests sent.
        retries: items and requests tried again.
        seconds: from the first look at a photo to the last output on the disk.
        photos_per_second: those that came to a good end.
        mb_per_second: bytes up and down, in MB.
        p50: seconds within which half the requests were answered.
        p90: likewise nine in ten.
        p99: likewise 99 in a hundred.
        cost: an estimate, in ₽; 0 for the embedded service.
    """

    chunk: int
    concurrency: int
    photos: int
    failed: int
    requests: int
    retries: int
    seconds: float
    photos_per_second: float
    mb_per_second: float
    p50: float
    p90: float
    p99: float
    cost: float


def advised(cells: Sequence[Cell]) -> Cell | None:
    """The setting to take: of those that lost least, the one that asks least of the service and is as fast as any.

    None when no photo came to a good end.
    """
    worked = [cell for cell in cells if cell.photos]
    if not worked:
        return None
    fewest = min(cell.failed for cell in worked)
    worked = [cell for cell in worked if cell.failed == fewest]
    enough = _AS_GOOD * max(cell.photos_per_second for cell in worked)
    as_good = (cell for cell in worked if cell.photos_per_second >= enough)
    return min(as_good, key=lambda cell: (cell.concurrency, cell.chunk))


async def sweep(load: Load) -> int:
    """Measure every setting and tell it; the number of photos that failed.

    Raises:
        SmartyError: it could not begin, or had to stop early.
    """
    check_sources(load.sources)
    with tempfile.TemporaryDirectory(prefix="smarty-async-bench-") as work:
        found = islice(scan(load.sources, out=Path(work)), load.photos)
        photos = [one.path for one in found if one.problem is None]
        if not photos:
            raise OptionsError("no photos found to measure with")
        async with AsyncExitStack() as stack:
            base_url = load.account.base_url
            if base_url is None:
                base_url = await stack.enter_async_context(embedded_service(engine="echo"))
            telling = RunReporter(load)
            for number, (chunk, concurrency) in enumerate(load.settings):
                client = _client(load, base_url, chunk=chunk, concurrency=concurrency)
                telling.cell(await _measured(client, photos, Path(work, str(number)), load, chunk, concurrency))
    telling.end()
    return sum(cell.failed for cell in telling.cells)


def _client(load: Load, base_url: str, *, chunk: int, concurrency: int) -> SmartyClient:
    account = load.account
    return SmartyClient(
        token=account.token,
        credentials=account.credentials,
        base_url=base_url,
        provider=account.provider,
        path=load.path,
        concurrency=concurrency,
        limits=Limits(max_images=chunk),
    )


async def _measured(  # noqa: PLR0917 - one setting
    client: SmartyClient, photos: list[str], out: Path, load: Load, chunk: int, concurrency: int
) -> Cell:
    async with client:
        began = monotonic()
        run = client.improve_archive(listed=photos, out=out)
        async for _ in run:
            pass
        seconds = monotonic() - began
    progress = run.progress
    good = sum(progress.outcomes.get(outcome, 0) for outcome in _GOOD)
    return Cell(
        chunk=chunk,
        concurrency=concurrency,
        photos=good,
        failed=progress.done - good,
        requests=progress.requests,
        retries=progress.retries,
        seconds=seconds,
        photos_per_second=good / seconds,
        mb_per_second=(progress.bytes_sent + progress.bytes_received) / 1e6 / seconds,
        p50=progress.latencies.quantile(0.5),
        p90=progress.latencies.quantile(0.9),
        p99=progress.latencies.quantile(0.99),
        cost=0.0 if load.account.local else progress.cost,
    )


class RunReporter:
    """A line a setting as it is measured, and at the end the advice and the report."""

    def __init__(self, load: Load) -> None:
        self.cells: list[Cell] = []
        self._load = load
        self._output = Output()
        if not load.json:
            self._output.lines([" chunk  requests at once  photos/s    MB/s   p50 s   p90 s   p99 s  failed  retries"])

    def cell(self, cell: Cell) -> None:
        self.cells.append(cell)
        if self._load.json:
            self._output.struct(cell)
        else:
            self._output.lines([_line(cell)])

    def end(self) -> None:
        best = advised(self.cells)
        cost = sum(cell.cost for cell in self.cells)
        if self._load.json:
            self._output.struct({"advised": best, "cost": cost})
        else:
            self._output.lines(_advice(best, cost))
        if self._load.out is not None:
            _write(self._load.out, self.cells, best)


def _line(cell: Cell) -> str:
    return (
        f"{cell.chunk:6}  {cell.concurrency:16}  {cell.photos_per_second:8.1f}  {cell.mb_per_second:6.1f}"
        f"  {cell.p50:6.3f}  {cell.p90:6.3f}  {cell.p99:6.3f}  {cell.failed:6}  {cell.retries:7}"
    )


def _advice(best: Cell | None, cost: float) -> Iterator[str]:
    if best is None:
        yield "No photo came to a good end: there is nothing to recommend."
    else:
        yield f"Recommended: --concurrency {best.concurrency} --max-images {best.chunk}"
    if cost:
        yield f"Spent: {money(cost)}"


def _write(folder: Path, cells: list[Cell], best: Cell | None) -> None:
    lines = {
        f"{chunk} a request": [(cell.concurrency, cell.photos_per_second) for cell in cells if cell.chunk == chunk]
        for chunk in sorted({cell.chunk for cell in cells})
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report = msgspec.json.format(msgspec.json.encode({"cells": cells, "advised": best}), indent=1)
        (folder / "bench.json").write_bytes(report + b"\n")
        picture = chart(lines, across="requests at once", up="photos a second")
        (folder / "bench.svg").write_text(picture, encoding="utf-8")
    except OSError as error:
        raise DiskError.of(error, folder, "write to") from None
    say(f"written: {folder / 'bench.json'}, {folder / 'bench.svg'}")
