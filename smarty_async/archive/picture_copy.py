"""Copies of pictures: whole or not at all, with the modification time of the photo. Blocking."""

from __future__ import annotations

import errno
import stat
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final, Self

import msgspec

from smarty_async.archive.outputs.metadata.copier import set_modified

__all__ = ["Origin", "PictureProblem", "copy_picture"]

_BAD_NAME: Final = frozenset({errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ})
"""What a disk says to a name that it cannot hold: the next picture may well have a good one."""


_CLOCK_NS: Final = 2_000_000_000
"""How exactly FAT keeps modification times, in nanoseconds."""

_PIECE_BYTES: Final = 1 << 20
"""Bytes that are copied at a time."""


class PictureProblem(Exception):
    """One picture cannot be copied; others can."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """A file to copy.

    Attributes:
        path: where it is.
        size: bytes.
        version_ns: its modification time, in nanoseconds since 1970.
        mtime_ns: the modification time that the copy gets.
    """

    path: str
    size: int
    version_ns: int
    mtime_ns: int

    @classmethod
    def at(cls, path: Path, *, mtime_ns: int | None) -> Self | None:
        """The regular file at `path`, None when there is none.

        Args:
            path: where it is.
            mtime_ns: the modification time that the copy gets; None for the file's own.

        Raises:
            PictureProblem: it may be there, and cannot be looked at.
        """
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise PictureProblem(f"cannot read {str(path)!r}: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            return None
        version_ns = status.st_mtime_ns
        return cls(str(path), status.st_size, version_ns, version_ns if mtime_ns is None else mtime_ns)

    def is_copied_at(self, path: Path) -> bool:
        """Whether the file at `path` looks like its copy, by size and modification time."""
        status = path.lstat()
        near = abs(status.st_mtime_ns - self.mtime_ns) <= _CLOCK_NS
        return stat.S_ISREG(status.st_mode) and status.st_size == self.size and near


def copy_picture(origin: Origin, target: Path, *, temporary: Path) -> tuple[int, int]:
    """Copy `origin` to `target`, replacing what is there. A disk that does not take the time gives it its own.

    Args:
        origin: the file.
        target: where the copy goes; its folder is made.
        temporary: a path on the same disk for the copy while it is not whole.

    Returns:
        Size and modification time of the copy, as the disk holds them.

    Raises:
        PictureProblem: the origin cannot be read, or the disk cannot hold the name.
        OSError: the disk refuses.
    """
    _fill(temporary, origin.path)
    set_modified(temporary, origin.mtime_ns)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in _BAD_NAME:
            raise PictureProblem(f"the disk cannot hold a file named {str(target)!r}: {error.strerror}") from None
        raise
    status = target.lstat()
    return status.st_size, status.st_mtime_ns


def _fill(temporary: Path, origin: str) -> None:
    try:
        with closing(_pieces(origin)) as pieces, temporary.open("wb") as copy:
            copy.writelines(pieces)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _pieces(path: str) -> Generator[bytes]:
    """The bytes of the file at `path`. Its errors are of reading alone: those of writing arise outside."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - the path may hold bytes that are no text
            while piece := file.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise PictureProblem(f"cannot read {path!r}: {error.strerror}") from None
