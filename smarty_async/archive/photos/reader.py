"""Reads a photo's file: whole for those who parse it, and again, unchanged, when its turn in a request comes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import aiofiles
import msgspec
from aiofiles.threadpool.binary import AsyncFileIO

from smarty_async.archive.threads import finish_despite_cancel, threaded
from smarty_async.errors import DiskError, PhotoRejected

__all__ = [
    "FileBody",
    "HeldFile",
    "HeldFiles",
    "PhotoData",
    "WholeFile",
    "WholeFileStream",
    "file_digest",
    "open_for_parsing",
    "open_unchanged",
    "read_in_thread",
    "unreadable",
]

PhotoData = str | os.PathLike[str] | bytes | Callable[[], BinaryIO]
"""A photo: the path of its file, its bytes, or what opens it, where it is no file."""

T = TypeVar("T")

_PIECE_BYTES = 1 << 18
"""Bytes that are sent at a time."""
_READ_AT_ONCE = 1 << 20
"""Bytes that are read at a time, so that a file up to this size is read at once: each read is a call to a thread."""


_CHANGED = "it changed while the run was under way"


def file_digest(path: str, *, size: int, version: str) -> bytes:
    """The SHA-256 of a file, empty when it cannot be read or is not of that size and version; blocks."""
    try:
        with open_for_parsing(path) as opened:
            digest = hashlib.file_digest(opened, "sha256").digest()  # type: ignore[arg-type] # a file, or all its bytes
        status = os.stat(path)  # noqa: PTH116 - as below
    except (OSError, ValueError):
        return b""
    return digest if (status.st_size, str(status.st_mtime_ns)) == (size, version) else b""


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class FileBody:
    """An image in a file.

    Args:
        path: of the file.
        size: bytes that are sent, from its beginning on.
        version: its modification time when it was probed, in nanoseconds, as text; None when that does not matter.
        content_type: of the image.
        file_size: bytes the file had when it was probed; None when the image goes to its end.
        held: all its bytes, as they were when it was probed; where it has not changed, they need not be read again.

    Attributes:
        digest: SHA-256 of the whole file, also of what is not sent; None until it was read to its end once.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: int,
        version: str | None,
        content_type: str,
        file_size: int | None = None,
        held: HeldFile | None = None,
    ) -> None:
        self._path = path
        self._held = held
        self._version = version
        self._file_size = size if file_size is None else file_size
        self.size = size
        self.content_type = content_type
        self.digest: bytes | None = None

    async def read(self) -> AsyncIterator[bytes]:
        """The image's bytes in pieces, exactly `size` of them. `digest` is there before the last piece is.

        Raises:
            PhotoRejected: it cannot be read, or has changed since it was probed.
            DiskError: the system opens no more files.
        """
        if (read_whole := self.read_whole) is not None:
            for piece in _cut(await read_in_thread(read_whole)):
                yield piece
            return
        try:
            async with _opened(self._path) as file:
                self.check(file.fileno())
                async for data in self._pieces(file):
                    for piece in _cut(data):
                        yield piece
        except OSError as error:
            raise unreadable(error) from None

    @property
    def read_whole(self) -> Callable[[], bytes] | None:
        """Reads a small image at once, with its `digest`, and blocks; raises as `read` does. None for a large file."""
        return self._read_whole if self._held is not None or self._file_size <= _READ_AT_ONCE else None

    async def _pieces(self, file: AsyncFileIO) -> AsyncIterator[bytes]:
        digest = hashlib.sha256() if self.digest is None else None
        left = self.size
        while left:
            piece = await file.read(min(left, _READ_AT_ONCE))
            if not piece:
                raise self._changed()
            left -= len(piece)
            if digest is not None:
                digest.update(piece)
            if not left:
                if digest is not None:
                    await self._hash(file, digest, self._file_size - self.size)
                self.check(file.fileno())
                self.digest = digest.digest() if digest is not None else self.digest
            yield piece

    async def _hash(self, file: AsyncFileIO, digest: _Digest, size: int) -> None:
        """Take the file's last `size` bytes, which are not sent, into the digest."""
        while size:
            piece = await file.read(min(size, _READ_AT_ONCE))
            if not piece:
                raise self._changed()
            digest.update(piece)
            size -= len(piece)

    def _read_whole(self) -> bytes:
        try:
            return self._read_file()
        except OSError as error:
            raise unreadable(error) from None

    def _read_file(self) -> bytes:
        if self._held is not None and (data := self._held.take()) is not None:
            self.check(self._path)
        else:
            descriptor = os.open(self._path, _OPENING)
            try:
                self.check(descriptor)
                data = _read_all(descriptor, self._file_size)
            finally:
                os.close(descriptor)
        if len(data) != self._file_size:
            raise self._changed()
        if self.digest is None:
            self.digest = hashlib.sha256(data).digest()
        return data[: self.size]

    def is_in(self, folder: str) -> bool:
        """Whether the file is in `folder`."""
        return os.path.dirname(self._path) == folder.rstrip("/")  # noqa: PTH120 - no Path for each photo

    def check(self, file: str | Path | int) -> None:
        """Raise PhotoRejected if the file, by its path or as it is open, is not the one that was probed."""
        now = os.stat(file)  # noqa: PTH116 - a descriptor has no Path
        if now.st_size != self._file_size or self._version not in (None, str(now.st_mtime_ns)):
            raise self._changed()

    def _changed(self) -> PhotoRejected:
        return PhotoRejected(_CHANGED, type="changed")


@asynccontextmanager
async def _opened(path: str | Path) -> AsyncGenerator[AsyncFileIO]:
    """The file at `path`, which is closed also where a thread has opened it and the wait for that is cancelled."""
    opening = asyncio.ensure_future(aiofiles.open(path, "rb", buffering=0))
    try:
        yield await finish_despite_cancel(opening)
    finally:
        if not opening.cancelled() and opening.exception() is None:
            await opening.result().close()


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES))


_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
"""What the system says of a file while others are open: any other photo would meet it, too."""


def unreadable(error: OSError) -> PhotoRejected | DiskError:
    """The error for a photo whose file the system does not read; no photo is to blame for too many open files."""
    reason = error.strerror or str(error)
    if error.errno in _TOO_MANY_FILES:
        return DiskError(f"no more photos can be opened: {reason}", errno=error.errno)
    return PhotoRejected(f"it cannot be read: {reason}", type="unreadable")


def _call(call: Callable[[], T]) -> T:
    return call()


read_in_thread = threaded(_call)
"""Makes a call that reads photos, in a thread."""


_OPENING = os.O_RDONLY | getattr(os, "O_BINARY", 0)


class WholeFile(msgspec.Struct, frozen=True):
    """A file that was read at once.

    Attributes:
        data: its bytes.
        version: its modification time before it was read, in nanoseconds, as text.
    """

    data: bytes
    version: str


class WholeFileStream(io.BytesIO):
    """A stream of the bytes of `file`."""

    def __init__(self, file: WholeFile) -> None:
        super().__init__(file.data)
        self.file = file


def open_for_parsing(photo: PhotoData) -> BinaryIO:
    """Open `photo` for many small reads; blocks. A file of up to 1 MiB is read at once: a `WholeFileStream`.

    Every read and seek of an open file lets another thread take the interpreter's lock. For a photo of 20 KB, which
    takes some eighty of them, that costs more than the parsing.

    Raises:
        OSError: it cannot be opened or read, or is no regular file.
    """
    if isinstance(photo, bytes):
        return io.BytesIO(photo)
    if callable(photo):
        return photo()
    status = os.stat(photo)  # noqa: PTH116 - a Path for each costs more
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")  # opening a pipe would keep us waiting
    if status.st_size > _READ_AT_ONCE:
        return open(photo, "rb")  # noqa: PTH123 - by its path: tifffile reads no stream whose name is a number
    descriptor = os.open(photo, _OPENING)
    try:
        data = _read_all(descriptor, status.st_size)
    finally:
        os.close(descriptor)
    return WholeFileStream(WholeFile(data, str(status.st_mtime_ns)))


def open_unchanged(path: str, *, size: int, version: str) -> BinaryIO:
    """Open the file at `path` as `open_for_parsing` does, if it has that size and version; blocks.

    Raises:
        OSError: it cannot be opened or read, or is another one.
    """
    stream = open_for_parsing(path)
    status = os.stat(path)  # noqa: PTH116 - as above
    if (status.st_size, str(status.st_mtime_ns)) != (size, version):
        stream.close()
        raise OSError(errno.ESTALE, _CHANGED)
    return stream


def _read_all(descriptor: int, size: int) -> bytes:
    """All bytes of an open file that should have `size`, in the fewest calls that tell that it has no more."""
    data = os.read(descriptor, size + 1)
    while len(data) != size and (more := os.read(descriptor, _PIECE_BYTES)):
        data += more  # it grows, or the system gives less than it has
    return data


_MOST_HELD = 4 << 20
"""Bytes of all files that are kept."""


class HeldFiles:
    """How many bytes of files are kept in memory from when they are probed until they are sent."""

    def __init__(self) -> None:
        self._left = _MOST_HELD

    def hold(self, data: bytes) -> HeldFile | None:
        """Keep `data`; None where there is no room."""
        if len(data) > self._left:
            return None
        self._left -= len(data)
        return HeldFile(self, data)

    def release(self, data: bytes) -> None:
        """`data` is not kept any more."""
        self._left += len(data)


class HeldFile:
    """The bytes of one file, to be taken once."""

    def __init__(self, files: HeldFiles, data: bytes) -> None:
        self._files = files
        self._data: bytes | None = data

    def take(self) -> bytes | None:
        """The bytes; None when they were taken."""
        data, self._data = self._data, None
        if data is not None:
            self._files.release(data)
        return data

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """For another process there is nothing: it reads the file."""
        return _nothing, ()


def _nothing() -> None:
    return None
