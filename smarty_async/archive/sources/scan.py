"""The scan of a source, batch by batch, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from smarty_async.archive.sources.source import PhotoFile, PhotoSource

__all__ = ["Scan", "scanning"]


class Scan:
    """The batches of a scan, which has a thread of its own."""

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
