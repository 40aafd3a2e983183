"""One image's work, as a thread does it: from the upload through the engine to the item's JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Event, Lock
from time import monotonic
from typing import Literal

import msgspec

from smarty_async.local.contract import ImproveItem, Mode, RequestMeta, ResolutionItem, encode_item
from smarty_async.local.engine.decoding import pixel_count
from smarty_async.local.engine.protocol import Abandoned, Engine, ItemRefused, wanted_until
from smarty_async.local.faults import Faults
from smarty_async.local.upload import Upload

__all__ = ["Pace", "failed_item", "process_item"]

logger = logging.getLogger(__name__)


class Pace:
    """Measures how long the engine takes for a megapixel, over all images that it works on at the same time.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._active = 0
        self._since = 0.0
        self._seconds = 0.0
        self._megapixels = 0.0

    @property
    def seconds(self) -> float | None:
        """Seconds a megapixel of the images that were sent; None before the first one is finished."""
        with self._lock:
            busy = self._seconds + (self._clock() - self._since if self._active else 0.0)
            return busy / self._megapixels if self._megapixels else None

    @contextmanager
    def measured(self, image: bytes) -> Generator[None, None, None]:
        """Count the block as work on `image`, if it does not raise."""
        with self._lock:
            if not self._active:
                self._since = self._clock()
            self._active += 1
        megapixels = 0.0
        try:
            yield
            megapixels = _megapixels(image)
        finally:
            with self._lock:
                self._active -= 1
                self._megapixels += megapixels
                if not self._active:
                    self._seconds += self._clock() - self._since


def _megapixels(image: bytes) -> float:
    """The size of an image, by its header; 0 when it has none."""
    try:
        return pixel_count(image) / 1e6
    except ItemRefused:
        return 0.0


def process_item(
    mode: Mode,
    name: str,
    *,
    meta: RequestMeta,
    upload: Upload,
    engine: Engine,
    faults: Faults,
    pace: Pace,
    cancelled: Event,
) -> list[bytes]:
    """Return the item's JSON in pieces. Whatever is wrong with one image is its item's error.

    Args:
        mode: what is asked of the image.
        name: the image's name.
        meta: what the request asks.
        upload: the request's images.
        engine: what makes the pictures.
        faults: faults to make on purpose.
        pace: where the work is measured.
        cancelled: set when the item is not needed any more.
    """
    image = upload.read(name)
    if faults.fails(image):
        return failed_item(mode, name, status=1, error="permanent error")
    try:
        with wanted_until(cancelled), pace.measured(image):
            item = _process(engine, image, mode, name, meta)
        return encode_item(item)
    except ItemRefused as refused:
        return failed_item(mode, name, status=refused.status, error=str(refused))
    except MemoryError:
        return failed_item(mode, name, status=2, error="out of memory")
    except Abandoned:
        return []
    except Exception:
        logger.exception("the engine %s failed on an image", engine.name)
        return failed_item(mode, name, status=2, error="internal error")


def _process(engine: Engine, image: bytes, mode: Mode, name: str, meta: RequestMeta) -> ImproveItem | ResolutionItem:
    if mode == "improve":
        return ImproveItem(status=0, name=name, **msgspec.structs.asdict(engine.improve(image)))
    resolved = engine.enlarge(image, factor=meta.rfactor, rtype=meta.rtype)
    return ResolutionItem(status=0, name=name, resolved=resolved)


def failed_item(mode: Mode, name: str, *, status: Literal[1, 2], error: str) -> list[bytes]:
    """Return the JSON, in pieces, of an item that failed."""
    make = ImproveItem if mode == "improve" else ResolutionItem
    return encode_item(make(status=status, name=name, error=error))
