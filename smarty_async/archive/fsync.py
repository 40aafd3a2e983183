"""Making writes outlast a power cut; what differs between systems stands here and nowhere else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["sync_file", "sync_folder"]


def sync_file(path: str | Path) -> None:
    """Wait until the bytes of the file at `path` are on the disk itself."""
    # Windows' FlushFileBuffers wants a handle that may write.
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        if sys.platform == "darwin":
            import fcntl  # noqa: PLC0415 - not there on Windows

            # On macOS fsync(2) leaves the bytes in the drive's cache; its manual names this instead.
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names in the folder at `path` are on the disk itself.

    Windows cannot open a folder for this; NTFS journals its names itself.
    """
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
