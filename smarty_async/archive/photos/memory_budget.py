"""The memory that decoding takes: pictures wait for each other where they would take too much together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from threading import Condition

__all__ = ["DECODING", "MemoryBudget"]


class MemoryBudget:
    """Bytes that decoding pictures may take at once. One picture alone may always be decoded, whatever it takes.

    Safe to use from any thread.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._changed = Condition()

    @contextmanager
    def acquire(self, size: int) -> Generator[None, None, None]:
        """Wait until there is room for a picture, and hold it during the block. Blocks the thread.

        Args:
            size: what decoding and converting it takes at its peak, in bytes.
        """
        wanted = min(size, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


DECODING = MemoryBudget(1 << 30)
"""The budget of the process, 1 GiB: six 12-megapixel photos at once, or one of 64 megapixels with transparency."""
