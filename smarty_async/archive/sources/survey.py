"""Count the photos ahead of a run, and their bytes, while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from smarty_async.archive.sources.source import PhotoFile, PhotoSource
from smarty_async.errors import SmartyError
from smarty_async.progress import Progress

__all__ = ["Survey"]


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
