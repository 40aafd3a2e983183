"""Keeps what image libraries have to say about broken files off the terminal.

Pillow warns of odd EXIF and large dimensions, tifffile logs each tag that it does not understand. Whatever is
worth knowing about a photo is in its result; a warning would be noise, or an exception under ``-W error``.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from PIL import _imaging

__all__ = ["mute_libtiff", "silenced"]

_LIBRARIES = ("PIL", "pillow_heif", "rawpy", "tifffile", "imagecodecs", "numpy")
_MODULES = rf"({'|'.join(_LIBRARIES)}|smarty_async\.archive\.photos)(\.|$)"

_lock = threading.Lock()
_active = 0
_filters: list[Any] = []
_here = threading.local()


@contextmanager
def silenced() -> Generator[None, None, None]:
    """Ignore warnings of image libraries, and what they log in this thread, during the block.

    Not `warnings.catch_warnings`: that one saves and restores the filters of the whole process, and two threads
    that leave it in another order than they entered it leave the wrong ones behind. Here the first block adds one
    filter, limited to the modules of these libraries, and the last one takes it away.
    """
    _enter()
    depth = getattr(_here, "depth", 0)
    _here.depth = depth + 1
    try:
        yield
    finally:
        _here.depth = depth
        _leave()


def _enter() -> None:
    global _active  # noqa: PLW0603 - one count for the process
    with _lock:
        _active += 1
        if _active == 1:
            warnings.filterwarnings("ignore", module=_MODULES)
            _filters.append(warnings.filters[0])


def _leave() -> None:
    global _active  # noqa: PLW0603 - as above
    with _lock:
        _active -= 1
        if _active == 0:
            with suppress(ValueError):  # somebody has reset the filters meanwhile
                warnings.filters.remove(_filters.pop())  # type: ignore[attr-defined]


@cache
def mute_libtiff() -> None:
    """Keep the libtiff inside Pillow from printing what it dislikes in a file; Pillow gets its error codes anyway.

    Once for the process. Where the library hides its functions (Windows), it goes on printing.
    """
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(_imaging.__file__)  # looks in the libraries that it loads, too
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)


class _DropInProbe(logging.Filter):
    """Drops the records of threads that are inside `silenced`; those of others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not getattr(_here, "depth", 0)


for _name in ("tifffile", "pillow_heif", "rawpy", "PIL.TiffImagePlugin", "PIL.PngImagePlugin", "PIL.Image"):
    logging.getLogger(_name).addFilter(_DropInProbe())
