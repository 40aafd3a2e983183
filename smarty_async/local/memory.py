"""How much memory this process may use, and how large photos may be for it."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["largest_output", "largest_photo", "usable_memory"]

_UNKNOWN: Final = 4 << 30
"""Bytes that are assumed where the system does not say."""
_CGROUP_FILES: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may use: version 2 and version 1."""

_PHOTO_BYTES: Final = 96
"""Bytes for each pixel of a photo: the engines take up to 60 to restore it, the file and the outputs some more."""
_OUTPUT_BYTES: Final = 24
"""Bytes for each pixel of an enlargement: the engines take up to 9."""


def largest_photo() -> int:
    """Return how many pixels a photo may have to be restored in the memory that there is."""
    return usable_memory() // _PHOTO_BYTES


def largest_output() -> int:
    """Return how many pixels an enlargement may have to be made in the memory that there is."""
    return usable_memory() // _OUTPUT_BYTES


@cache
def usable_memory() -> int:
    """Return the bytes of memory that the machine, or the container, has in all."""
    physical = _of_windows() if sys.platform == "win32" else _of_posix()
    return min([physical or _UNKNOWN, *_limits_of_container()])


def _of_posix() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _of_windows() -> int:
    import ctypes  # noqa: PLC0415 - for Windows only

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((f"field_{number}", ctypes.c_ulonglong) for number in range(7)),
        ]

    status = Status(length=ctypes.sizeof(Status))
    windows = getattr(ctypes, "windll")  # noqa: B009 - not there on other systems, as type checkers know
    if not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return 0
    return int(status.field_0)  # ullTotalPhys


def _limits_of_container() -> list[int]:
    limits: list[int] = []
    for path in _CGROUP_FILES:
        try:
            text = Path(path).read_text("ascii").strip()
        except (OSError, ValueError):
            continue
        if text.isdigit():  # version 2 says "max" for no limit
            limits.append(int(text))
    return limits
