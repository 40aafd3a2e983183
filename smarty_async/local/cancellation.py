"""Whether anybody still waits for what a thread works on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event

from smarty_async.errors import SmartyError

__all__ = ["Abandoned", "check_wanted", "wanted_until"]

_left: ContextVar[Event | None] = ContextVar("left", default=None)


class Abandoned(SmartyError):
    """The client left: what was being made for it is wanted no more."""


@contextmanager
def wanted_until(left: Event) -> Generator[None, None, None]:
    """Work in the block, in this thread, is wanted until the event is set."""
    token = _left.set(left)
    try:
        yield
    finally:
        _left.reset(token)


def check_wanted() -> None:
    """Go on only if somebody waits; long work asks this now and then.

    Raises:
        Abandoned: nobody does.
    """
    left = _left.get()
    if left is not None and left.is_set():
        raise Abandoned("the client left")
