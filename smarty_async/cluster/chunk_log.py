"""The log of one chunk, a file or an object that the caller and every worker see.

The process that creates it has the right to send the chunk: the storage lets one do that, also when Dask runs a task a
second time because its worker went, or its result was lost. The first line tells which photos it carries; each item is
a line once its outputs are durable, an empty line every few seconds says that the worker lives, and the last line tells
how the request ended. When a worker is gone, the caller reads here what it has done; when the caller is gone, the next
run does.

Closing the log tells workers that nobody waits for the chunk: one that has not created it cannot do so any more, and
one that has learns it from its next line, of which one comes immediately before the request is sent. What was sent by
then is paid for: no message from here stops the service.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import msgspec

from smarty_async.archive.object_store import Bucket, ObjectChanged, ObjectExists, ObjectMissing
from smarty_async.archive.outputs.store import METADATA_KEY
from smarty_async.archive.threads import threaded
from smarty_async.cluster.messages import ChunkBegin, ChunkEnd, ChunkReport, FinishedItem
from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import DiskError, StoreError

__all__ = ["NEVER_SENT", "ChunkLog", "ChunkUnwanted", "LogFile", "LogObject", "LogStorage"]

_Line = ChunkBegin | FinishedItem | ChunkEnd

NEVER_SENT: Final = ChunkEnd(seconds=0.0, sent=False)
"""The last line of a log that no worker has created: nobody waits for one."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Line)


class ChunkUnwanted(Exception):
    """The log was closed: nobody waits for the chunk any more."""


class LogStorage(Protocol):
    """What holds one log. Everything blocks."""

    def create(self, data: bytes) -> bool:
        """Create it with `data`; False when it exists.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def append(self, data: bytes) -> None:
        """Append `data`; only the process that created it does.

        Raises:
            ChunkUnwanted: it was closed or removed.
            DiskError: the storage refuses.
        """
        ...

    def close(self, data: bytes) -> None:
        """Let nobody create it or append to it any more; `read` and `remove` are for what it was until then.

        Args:
            data: what is written in its place, or at its end.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def read(self) -> bytes:
        """All of it; empty when it does not exist.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def remove(self) -> None:
        """Remove it; does nothing when it is not there."""
        ...


_in_thread = partial(threaded, pool="logs")


class ChunkLog:
    """The log of one chunk."""

    def __init__(self, storage: LogStorage) -> None:
        self._storage = storage

    async def begin(self, *lines: _Line) -> bool:
        """Take the right to send the chunk, and note `lines`; False when somebody has it.

        Raises:
            DiskError: the storage refuses.
        """
        return await _in_thread(self._storage.create)(_encoded(lines))

    async def append(self, *lines: _Line) -> None:
        """Append `lines`; without any, an empty one.

        Raises:
            ChunkUnwanted: it was closed or removed.
            DiskError: the storage refuses.
        """
        await _in_thread(self._storage.append)(_encoded(lines) or b"\n")

    async def close(self) -> None:
        """Give up the chunk: no worker sends it any more, unless it has begun to, and none reports of it.

        What was reported before can still be read, and removed. That the log was closed stays known until the next run.

        Raises:
            DiskError: the storage refuses.
        """
        await _in_thread(self._storage.close)(_encoded([NEVER_SENT]))

    async def read(self) -> tuple[ChunkReport, int]:
        """What it tells, and its size, which grows while the worker lives. A damaged line tells nothing.

        Raises:
            DiskError: the storage refuses.
        """
        data = await _in_thread(self._storage.read)()
        lines = list(_decoded(_whole_lines(data)))
        items = [line for line in lines if isinstance(line, FinishedItem)]
        begin = next((line for line in lines if isinstance(line, ChunkBegin)), None)
        end = next((line for line in lines if isinstance(line, ChunkEnd)), None)
        return ChunkReport(items, end, begin=begin), len(data)

    async def remove(self) -> None:
        """Remove it; does nothing when it is not there."""
        await _in_thread(self._storage.remove)()


def _encoded(lines: Sequence[_Line]) -> bytes:
    return b"".join(_encoder.encode(line) + b"\n" for line in lines)


def _whole_lines(data: bytes) -> bytes:
    """`data` without what stands behind the last line end: a line that was not written whole."""
    return data[: data.rfind(b"\n") + 1]


def _decoded(data: bytes) -> Iterator[_Line]:
    for line in data.splitlines():
        with suppress(*DAMAGED_JSON):
            yield _decoder.decode(line)


class LogFile:
    """A log in a file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._created = 0  # its number in the file system
        self._parts: list[str] = []  # what it was until it was closed
        self._is_closed = False

    def create(self, data: bytes) -> bool:
        """Create it, as one process can (``O_EXCL``); see `LogStorage.create`."""
        try:
            with open(self._path, "xb", buffering=0) as file:  # noqa: PTH123 - as elsewhere for files by the thousand
                self._created = os.fstat(file.fileno()).st_ino
                file.write(data)
        except FileExistsError:
            return False
        except OSError as error:
            raise DiskError(f"cannot write {self._path!r}: {error.strerror}") from None
        return True

    def append(self, data: bytes) -> None:
        """Append to it; see `LogStorage.append`."""
        try:
            descriptor = os.open(self._path, os.O_APPEND | os.O_WRONLY)  # never creates it
            try:
                if os.fstat(descriptor).st_ino != self._created:  # `close` has put another in its place
                    raise ChunkUnwanted
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise ChunkUnwanted from None
        except OSError as error:
            raise DiskError(f"cannot write {self._path!r}: {error.strerror}") from None

    def close(self, data: bytes) -> None:
        """Rename it, and create one in its place that has no worker; see `LogStorage.close`."""
        while not self._is_closed:
            part = f"{self._path}.closed-{len(self._parts)}"
            with suppress(FileNotFoundError):
                self._rename(self._path, part)
                self._parts.append(part)
            self._is_closed = self.create(data)  # else a worker has begun just now

    def _rename(self, path: str, other: str) -> None:
        try:
            os.replace(path, other)  # noqa: PTH105 - see above
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DiskError(f"cannot rename {path!r}: {error.strerror}") from None

    def read(self) -> bytes:
        """All of it; see `LogStorage.read`. Its parts end with their last whole lines."""
        parts = b"".join(_whole_lines(self._read(path)) for path in self._parts)
        return parts if self._is_closed else parts + self._read(self._path)

    def _read(self, path: str) -> bytes:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as elsewhere for files that come by the thousand
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise DiskError(f"cannot read {path!r}: {error.strerror}") from None

    def remove(self) -> None:
        """Remove it; see `LogStorage.remove`."""
        for path in self._parts + ([] if self._is_closed else [self._path]):
            with suppress(OSError):  # the next run empties the folder
                os.unlink(path)  # noqa: PTH108 - likewise


class LogObject:
    """A log in an object, which is written again as a whole; the store must keep to conditional writes.

    Each write carries a mark of its own. A write whose answer was lost is tried again, and then refused because of
    itself: by the mark it is recognised.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._process = secrets.token_hex(8)
        self._written, self._etag = b"", ""
        self._is_closed = False

    def create(self, data: bytes) -> bool:
        """Create it, as one process can (``If-None-Match``); see `LogStorage.create`."""
        try:
            self._write(data, create=True)
        except ObjectExists:
            return False
        return True

    def append(self, data: bytes) -> None:
        """Write it with `data` at its end, if it is still there; see `LogStorage.append`."""
        try:
            self._write(self._written + data, replaces=self._etag)
        except (ObjectChanged, ObjectMissing):
            raise ChunkUnwanted from None

    def close(self, data: bytes) -> None:
        """Write it with `data` at its end, so that its worker cannot any more; see `LogStorage.close`."""
        while not self._is_closed:
            with suppress(ObjectExists, ObjectChanged, ObjectMissing):  # a worker has written it meanwhile
                self._close(data)
                self._is_closed = True

    def _close(self, data: bytes) -> None:
        found = self._bucket.head(self._key)
        if found is None:
            self._write(data, create=True)
        else:
            self._write(self._bucket.get(self._key, etag=found.etag) + data, replaces=found.etag)

    def _write(self, data: bytes, *, create: bool = False, replaces: str | None = None) -> None:
        """Write all of it; raises as `Bucket.put` does."""
        mark = f"{self._process}-{len(data)}"
        try:
            self._etag = self._bucket.put(
                self._key,
                data,
                content_type="application/jsonl",
                metadata={METADATA_KEY: mark},
                create=create,
                replaces=replaces,
            )
        except (ObjectExists, ObjectChanged):
            found = self._bucket.head(self._key)
            if found is None or self._bucket.about(self._key, name=METADATA_KEY) != mark:
                raise
            self._etag = found.etag
        self._written = data

    def read(self) -> bytes:
        """All of it; see `LogStorage.read`."""
        try:
            return self._bucket.get(self._key)
        except ObjectMissing:
            return b""

    def remove(self) -> None:
        """Remove it, unless it is closed: then the next run does; see `LogStorage.remove`."""
        with suppress(StoreError):  # likewise
            if not self._is_closed:
                self._bucket.delete(self._key)
