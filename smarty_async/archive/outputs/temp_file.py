"""Outputs in temporary files, until they are committed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from smarty_async.archive.fsync import sync_file
from smarty_async.archive.threads import threaded
from smarty_async.errors import DiskError

__all__ = ["Appendable", "TempFile", "append_all", "copy_file", "sync_all"]

_COPY_BYTES = 1 << 20
"""Bytes of an output that are copied at a time."""


class Appendable(Protocol):
    """A file that pieces can be appended to."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...


class TempFile:
    """One output in a temporary file. It is open only while it is written to: thousands may exist at a time.

    Args:
        folder: the folder it is in.
        name: its name.
    """

    def __init__(self, folder: str, name: str) -> None:
        # No Path: creating one costs more than anything else done here for a small output.
        self.name = name
        self._path = f"{folder}/{name}"

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self._path)

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; blocks. The first call creates the file.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        try:
            with open(self._path, "ab", buffering=0) as file:  # noqa: PTH123 - see above
                data = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                while data:
                    data = data[file.write(data) :]
        except OSError as error:
            raise DiskError.of(error, self.path, "write") from None

    async def write(self, pieces: list[bytes]) -> None:
        """Append `pieces`; raises as `append` does."""
        await append_all([(self, pieces)])

    async def discard(self) -> None:
        """Remove the file if it exists. One that the disk does not remove is removed by the next run."""
        await _remove(self._path)


def _append_all(writes: Sequence[tuple[Appendable, list[bytes]]]) -> None:
    for file, pieces in writes:
        file.append(pieces)


append_all = threaded(_append_all, pool="appending")
"""Append its pieces to each file, all in one call to a thread. Raises DiskError."""


@threaded
def copy_file(source: Path, target: TempFile) -> int | None:
    """Append the bytes of `source` to `target`; returns their number, None when there is no such file.

    Raises:
        DiskError: `source` cannot be read or `target` cannot be written.
    """
    try:
        with source.open("rb") as file:
            while piece := file.read(_COPY_BYTES):
                target.append([piece])
            return file.tell()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DiskError.of(error, source, "read") from None


@threaded
def sync_all(folder: str, names: Sequence[str]) -> DiskError | None:
    """Wait until the files called `names` in `folder` are durable; returns what the disk refuses."""
    for name in names:
        try:
            sync_file(f"{folder}/{name}")
        except OSError as error:
            return DiskError.of(error, Path(folder, name), "write")
    return None


@threaded
def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - see above
