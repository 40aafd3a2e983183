"""Several sources as one: folders and buckets of the same run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import closing
from typing import BinaryIO

from smarty_async.archive.photos.probe import Probed
from smarty_async.archive.sources.folder import FolderSource
from smarty_async.archive.sources.object_store import BucketSource
from smarty_async.archive.sources.source import PhotoBody, PhotoFile, PhotoSource, Prober
from smarty_async.options import Limits
from smarty_async.store_address import is_store_address

__all__ = ["MixedSource"]


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
            return next(one for one in self._sources if isinstance(one, BucketSource) and one.holds(path))
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

    def reopen(self, file: PhotoFile) -> Callable[[], BinaryIO]:
        """Opens the photo; see `PhotoSource.reopen`."""
        return self._of(file.path).reopen(file)

    def digest(self, path: str, *, size: int, version: str) -> bytes:
        """What is equal for photos of the same content; a source that a photo is not of gives nothing."""
        digests = (source.digest(path, size=size, version=version) for source in self._sources)
        return next(filter(None, digests), b"")
