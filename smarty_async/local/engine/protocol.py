"""The interface between the service and an engine, and how the service cancels an engine's work.

A thread cannot be interrupted, so its work calls `check_wanted` at intervals.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from typing import Final, Literal, Protocol

import msgspec

from smarty_async.errors import SmartyError

__all__ = [
    "UNDECODABLE",
    "Abandoned",
    "Engine",
    "EngineOptions",
    "Improved",
    "ItemRefused",
    "check_wanted",
    "wanted_until",
]


UNDECODABLE: Final = "unable decode input image"
"""The published text for an image that cannot be decoded; published with status 2, although it is permanent."""


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can be configured with.

    Attributes:
        toning: whether black-and-white photos get toned outputs, `colorized` and `colorized_improved`, too.
        colourist: the path of an ONNX file that colours black-and-white photos instead; only for ``restore``.
    """

    toning: bool = True
    colourist: str | None = None


class Improved(msgspec.Struct, frozen=True, kw_only=True):
    """What `improve` makes of a photo: the bytes of JPEG files, None where there was nothing to do.

    Attributes:
        improved: defects corrected.
        colorized_improved: defects corrected and colour added.
        colorized: colour added.
        bw: whether the photo was taken for black-and-white.
    """

    improved: bytes | None = None
    colorized_improved: bytes | None = None
    colorized: bytes | None = None
    bw: bool = False


class ItemRefused(SmartyError):
    """An engine cannot process this image; other images of the request are not affected.

    Attributes:
        status: the item's status, 1 permanent or 2 temporary.
    """

    def __init__(self, text: str, *, status: Literal[1, 2]) -> None:
        super().__init__(text)
        self.status: Literal[1, 2] = status


class Engine(Protocol):
    """Restores and enlarges photos. Its methods block and use the processor; they are called from several threads."""

    @property
    def name(self) -> str:
        """What the engine is called on the command line."""
        ...  # protocol

    def improve(self, image: bytes, /) -> Improved:
        """Restore the photo in an image file's bytes.

        Raises:
            ItemRefused: it cannot be done with this image.
        """
        ...  # protocol

    def enlarge(self, image: bytes, /, *, factor: int, rtype: str) -> bytes:
        """Enlarge the photo in an image file's bytes; a JPEG file's bytes.

        Args:
            image: the file's bytes.
            factor: 2 or 4, on each side.
            rtype: ``art`` or ``photo``.

        Raises:
            ItemRefused: it cannot be done with this image.
        """
        ...  # protocol


_cancelled: ContextVar[Event | None] = ContextVar("cancelled", default=None)


class Abandoned(SmartyError):
    """The client has disconnected: the result is not needed."""


@contextmanager
def wanted_until(cancelled: Event) -> Generator[None, None, None]:
    """Let `check_wanted` raise in the block, in this thread, once the event is set."""
    token = _cancelled.set(cancelled)
    try:
        yield
    finally:
        _cancelled.reset(token)


def check_wanted() -> None:
    """Raise if the result is no longer needed. Long work calls this at intervals.

    Raises:
        Abandoned: the client has disconnected.
    """
    cancelled = _cancelled.get()
    if cancelled is not None and cancelled.is_set():
        raise Abandoned("the client has disconnected")
