"""The log of one chunk, a file beside the temporary outputs that the caller and every worker see.

The process that creates the file has the right to send the chunk: the disk lets one do that (``O_EXCL``), also when
Dask runs a task a second time because its worker went, or its result was lost. Each item is a line once its outputs are
durable, an empty line every second says that the worker lives, and the last line tells how the request ended. When a
worker is gone, the caller reads here what it has done.

Removing the file tells the worker that nobody waits for the chunk.
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from smarty_async.archive.threads import threaded
from smarty_async.cluster.messages import ChunkEnd, ChunkReport, FinishedItem
from smarty_async.errors import DiskError

__all__ = ["ChunkLog", "ChunkUnwanted"]

_Line = FinishedItem | ChunkEnd
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


class ChunkUnwanted(Exception):
    """The log was removed: nobody waits for the chunk any more."""


class ChunkLog:
    """The log of one chunk.

    Args:
        folder: of the temporary outputs.
        chunk: the chunk's id.
    """

    def __init__(self, folder: str, chunk: str) -> None:
        self._path = f"{folder}/chunk-{chunk}"

    async def begin(self) -> bool:
        """Take the right to send the chunk; False when somebody has it.

        Raises:
            DiskError: the disk refuses.
        """
        return await _create(self._path)

    async def append(self, *lines: _Line) -> None:
        """Append `lines`; without any, an empty one.

        Raises:
            ChunkUnwanted: it was removed.
            DiskError: the disk refuses.
        """
        await _append_line(self._path, b"".join(_encoder.encode(line) + b"\n" for line in lines) or b"\n")

    async def read(self) -> tuple[ChunkReport, int]:
        """What it tells, and its size, which grows while the worker lives.

        Raises:
            DiskError: the disk refuses.
        """
        data = await _read(self._path)
        lines = [_decoder.decode(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line]
        items = [line for line in lines if isinstance(line, FinishedItem)]
        return ChunkReport(items, next((line for line in lines if isinstance(line, ChunkEnd)), None)), len(data)

    async def remove(self) -> None:
        """Remove it; does nothing when it is not there."""
        await _remove(self._path)


@threaded
def _create(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    except OSError as error:
        raise DiskError(f"cannot write {path!r}: {error.strerror}") from None
    return True


def _append(path: str, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_APPEND | os.O_WRONLY)  # never creates it
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ChunkUnwanted from None
    except OSError as error:
        raise DiskError(f"cannot write {path!r}: {error.strerror}") from None


@threaded
def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as elsewhere for files that come by the thousand
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DiskError(f"cannot read {path!r}: {error.strerror}") from None


@threaded
def _remove(path: str) -> None:
    with suppress(OSError):  # the next run empties the folder
        os.unlink(path)  # noqa: PTH108 - likewise


_append_line = threaded(_append, pool="logs")
