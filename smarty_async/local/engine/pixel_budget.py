"""How much may be in the works at a time: large photos wait for each other, small ones do not."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from threading import Condition
from typing import Final

from smarty_async.local.cancellation import check_wanted

__all__ = ["Room"]

_LOOK_EVERY: Final = 0.5
"""Seconds after which one who waits sees that its client has left."""


class Room:
    """A number of pixels that may be in the works at once; one photo alone may always be."""

    def __init__(self, pixels: int) -> None:
        self._all = pixels
        self._free = pixels
        self._changed = Condition()

    @contextmanager
    def taken(self, pixels: int) -> Generator[None, None, None]:
        """Wait until there is room for so many pixels, and hold it during the block.

        Raises:
            Abandoned: nobody wants it any more.
        """
        pixels = min(pixels, self._all)
        with self._changed:
            while self._free < pixels:
                check_wanted()
                self._changed.wait(_LOOK_EVERY)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()
