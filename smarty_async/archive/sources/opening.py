"""The source of a run: folders, buckets, or both; the batches of its scan, and how many photos it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.sources.folder import FolderSource
from smarty_async.archive.sources.object_store import BucketSource
from smarty_async.archive.sources.source import PhotoBody, PhotoFile, PhotoSource, Prober
from smarty_async.errors import SmartyError
from smarty_async.options import ArchiveOptions, Limits
from smarty_async.progress import Progress
from smarty_async.store_address import StoreAddress, is_store_address

__all__ = ["MixedSource", "Scan", "Survey", "open_source", "scanning"]


def open_source(options: ArchiveOptions) -> PhotoSource:
    """The source for `options`; nothing is read yet."""
    addresses = [StoreAddress.parse(source) for source in options.sources if is_store_address(source)]
    paths = [source for source in options.sources if not is_store_address(source)]
    sources: list[PhotoSource] = [
        BucketSource(
            address,
            options=options.store_options.values,
            out=None if isinstance(options.out, Path) else options.out,
            include=options.include,
            exclude=options.exclude,
        )
        for address in addresses
    ]
    if paths or not addresses or options.listed != ():
        out = options.out if isinstance(options.out, Path) else None
        sources.append(
            FolderSource(paths, out=out, include=options.include, exclude=options.exclude, listed=options.listed)
        )
    return sources[0] if len(sources) == 1 else MixedSource(sources)


class MixedSource:
    """Several `PhotoSource`s, one after another.

    Args:
        sources: at most one of folders, and any number of buckets.
    """

    def __init__(self, sources: Sequence[PhotoSource]) -> None:
        self._sources = sources
        self._stopped = False

    def check(self) -> None:
        """Make sure that each can be scanned."""
        for source in self._sources:
            source.check()

    def warnings(self) -> list[str]:
        """What a person should know of each."""
        return [warning for source in self._sources for warning in source.warnings()]

    def scan(self) -> Generator[list[PhotoFile], None, None]:
        """Every photo of each, in turn."""
        for source in self._sources:
            if self._stopped:
                return
            with closing(source.scan()) as batches:
                yield from batches

    def stop(self) -> None:
        """Let `scan` end; from another thread."""
        self._stopped = True
        for source in self._sources:
            source.stop()

    def _of(self, path: str) -> PhotoSource:
        """The source that a photo at `path` can be read with."""
        if is_store_address(path):
            bucket = StoreAddress.parse(path.rpartition("/")[0]).bucket_url
            return next(
                one for one in self._sources if isinstance(one, BucketSource) and one.address.bucket_url == bucket
            )
        return next(one for one in self._sources if isinstance(one, FolderSource))

    def prober(self, file: PhotoFile) -> Prober:
        """What looks into a photo."""
        return self._of(file.path).prober(file)

    def probe(self, file: PhotoFile, *, limits: Limits, fit: bool) -> Awaitable[Probed]:
        """Look into a photo, in a thread."""
        return self._of(file.path).probe(file, limits=limits, fit=fit)

    def body(self, file: PhotoFile, probed: Probed) -> PhotoBody:
        """What is sent of a photo that is sent as it is."""
        return self._of(file.path).body(file, probed)

    def reopen(self, file: PhotoFile) -> str | Callable[[], BinaryIO]:
        """The path of the photo, or what opens it."""
        return self._of(file.path).reopen(file)

    def digest(self, path: str, *, size: int, version: str) -> bytes:
        """What is equal for photos of the same content."""
        return self._of(path).digest(path, size=size, version=version)

    def version(self, file: PhotoFile) -> str | None:
        """The version that the photo has now."""
        return self._of(file.path).version(file)


class Scan:
    """The batches of a scan, which has a thread of its own.

    Args:
        batches: what `PhotoSource.scan` gives.
        thread: reads them.
    """

    def __init__(self, batches: Generator[list[PhotoFile]], thread: ThreadPoolExecutor) -> None:
        self._batches = batches
        self._thread = thread
        self._returned: list[list[PhotoFile]] = []
        self._reading: asyncio.Future[list[PhotoFile] | None] | None = None

    async def next_batch(self) -> list[PhotoFile] | None:
        """The next batch, None at the end."""
        if self._returned:
            return self._returned.pop()
        reading, self._reading = self._reading or self._read(), None
        return await reading

    def look_ahead(self, *, at_end: Callable[[], None]) -> None:
        """Begin to read the next batch; `at_end` is called as soon as it is known that there is none."""

        def look(reading: asyncio.Future[list[PhotoFile] | None]) -> None:
            if not reading.cancelled() and reading.exception() is None and reading.result() is None:
                at_end()

        if self._reading is None:
            self._reading = self._read()
            self._reading.add_done_callback(look)

    def _read(self) -> asyncio.Future[list[PhotoFile] | None]:
        return asyncio.get_running_loop().run_in_executor(self._thread, next, self._batches, None)

    def put_back(self, batch: list[PhotoFile]) -> None:
        """Have `next_batch` give `batch` once more."""
        self._returned.append(batch)


@contextmanager
def scanning(source: PhotoSource) -> Generator[Scan]:
    """The scan of `source`, which the end of the block ends."""
    batches = source.scan()
    thread = ThreadPoolExecutor(1, thread_name_prefix="smarty_async scan")
    try:
        yield Scan(batches, thread)
    finally:
        source.stop()
        thread.submit(batches.close)
        thread.shutdown(wait=False)


class Survey:
    """Counts the photos ahead of a run, which itself looks at no more of them than it works on.

    Args:
        source: what is counted: a source of its own, whose scan is used up. None: it cannot be counted.
        progress: of the run; its `ahead` and `work.bytes_ahead` are kept up to date.
        finished: returns how many bytes of photos earlier runs have finished.
    """

    def __init__(
        self, source: PhotoSource | None, *, progress: Progress, finished: Callable[[], Awaitable[int]]
    ) -> None:
        self._source = source
        self._progress = progress
        self._finished = finished
        self._counting: asyncio.Task[None] | None = None
        self._counted: tuple[int, int, int] | None = None  # photos, their bytes, finished bytes
        self._passed = (0, 0, 0)  # likewise

    def start(self) -> None:
        """Begin to count, in a thread; once."""
        if self._counting is None and self._source is not None:
            self._counting = asyncio.create_task(self._count(self._source), name="smarty_async survey")

    def scanned(
        self, files: Sequence[PhotoFile], *, later: Sequence[PhotoFile], unfinished: Sequence[PhotoFile]
    ) -> None:
        """The scan has found some photos.

        Args:
            files: the photos.
            later: those of them that are still ahead.
            unfinished: those of the others that earlier runs have not finished.
        """
        size = sum([file.size for file in files]) - sum([file.size for file in later])
        to_do = sum([file.size for file in unfinished])
        before = self._passed
        self._passed = (before[0] + len(files) - len(later), before[1] + size, before[2] + max(0, size - to_do))
        self._update()

    def stop(self) -> None:
        """Count no further."""
        if self._source is not None:
            self._source.stop()
        if self._counting is not None:
            self._counting.cancel()

    async def _count(self, source: PhotoSource) -> None:
        try:
            finished = await self._finished()
            photos, size = await asyncio.to_thread(_counted, source)
        except SmartyError:
            return  # the scan meets the same error, and reports it
        self._counted = photos, size, finished
        self._update()

    def _update(self) -> None:
        if self._counted is None:
            return
        photos, size, finished = (
            max(0, all_ - passed) for all_, passed in zip(self._counted, self._passed, strict=True)
        )
        self._progress.ahead = photos
        self._progress.work.bytes_ahead = max(0, size - finished)


def _counted(source: PhotoSource) -> tuple[int, int]:
    """Photos and their bytes; blocks."""
    photos = size = 0
    for batch in source.scan():
        sizes = [file.size for file in batch if not file.left_alone]
        photos += len(sizes)
        size += sum(sizes)
    return photos, size
