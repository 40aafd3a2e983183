"""Open the source of a run: folders, buckets, or both."""

from __future__ import annotations

from pathlib import Path

from smarty_async.archive.sources.folder import FolderSource
from smarty_async.archive.sources.mixed import MixedSource
from smarty_async.archive.sources.object_store import BucketSource
from smarty_async.archive.sources.source import PhotoSource
from smarty_async.options import ArchiveOptions
from smarty_async.store_address import StoreAddress, is_store_address

__all__ = ["open_source"]


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
