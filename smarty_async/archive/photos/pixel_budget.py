"""How much may be decoded at a time: large pictures wait for each other, small ones do not."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from threading import Condition

__all__ = ["DECODING", "PixelBudget"]


class PixelBudget:
    """Bytes of decoded pixels that may be in memory at once. One picture alone may always be, whatever its size.

    Safe to use from any thread.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._changed = Condition()

    @contextmanager
    def acquire(self, pixels: int, bytes_per_pixel: int) -> Generator[None, None, None]:
        """Wait until there is room for the picture, and hold it during the block. Blocks the thread.

        Args:
            pixels: of the picture.
            bytes_per_pixel: what decoding and converting one takes at its peak.
        """
        wanted = min(pixels * bytes_per_pixel, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


DECODING = PixelBudget(1 << 30)
"""The budget of the process, 1 GiB: six 12-megapixel photos at once, or one of 64 megapixels with transparency."""
