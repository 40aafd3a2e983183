"""How many pixels may be worked on at a time, which bounds memory: large photos wait for each other."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from threading import Condition
from typing import Final

from smarty_async.local.cancellation import check_wanted

__all__ = ["PixelBudget"]

_CHECK_SECONDS: Final = 0.5
"""How often a waiting thread checks whether its client has disconnected."""


class PixelBudget:
    """A number of pixels that may be worked on at once; a single photo may exceed it when it is alone."""

    def __init__(self, pixels: int) -> None:
        self._total = pixels
        self._free = pixels
        self._changed = Condition()

    @contextmanager
    def reserved(self, pixels: int) -> Generator[None, None, None]:
        """Wait until so many pixels are free, and reserve them during the block.

        Raises:
            Abandoned: the client has disconnected.
        """
        pixels = min(pixels, self._total)
        with self._changed:
            while self._free < pixels:
                check_wanted()
                self._changed.wait(_CHECK_SECONDS)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()
