"""Photos as a caller hands them in: one, made ready to be sent; archives, as paths."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from smarty_async.archive.paths import display_path
from smarty_async.archive.photos.probe import Probed, probe
from smarty_async.archive.photos.reader import FileBody
from smarty_async.options import Limits
from smarty_async.transport.body import Body, MemoryBody

__all__ = ["PhotoSource", "Source", "body_of", "name_of", "sources_of"]

Source = str | os.PathLike[str]
PhotoSource = Source | bytes | BinaryIO


def sources_of(source: Source | Sequence[Source]) -> tuple[str, ...]:
    """One source or several, as paths."""
    if isinstance(source, str | os.PathLike):
        source = (source,)
    return tuple(os.fspath(one) for one in source)


def name_of(photo: PhotoSource) -> str:
    """What its errors call it: its path, nothing when it has none."""
    return display_path(os.fspath(photo)) if isinstance(photo, str | os.PathLike) else ""


async def body_of(photo: PhotoSource, limits: Limits) -> Body:
    """What is to be sent of `photo`.

    Raises:
        PhotoRejected: it cannot be sent.
    """
    if isinstance(photo, str | os.PathLike):
        return await asyncio.to_thread(_file_body, os.fspath(photo), limits)
    data = photo if isinstance(photo, bytes) else await asyncio.to_thread(photo.read)
    probed = await asyncio.to_thread(probe, data, limits=limits)
    return MemoryBody(probed.converted or data[: probed.size], probed.content_type)


def _file_body(path: str, limits: Limits) -> Body:
    version: str | None = None
    with suppress(OSError, ValueError):  # the probe says what is wrong with it
        version = str(Path(path).stat().st_mtime_ns)
    probed: Probed = probe(path, limits=limits)
    if probed.converted is not None:
        return MemoryBody(probed.converted, probed.content_type)
    return FileBody(
        path,
        size=probed.size,
        version=version,
        content_type=probed.content_type,
        file_size=probed.file_size,
    )
