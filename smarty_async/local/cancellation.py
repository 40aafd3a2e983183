"""Cancellation of work in threads: a thread cannot be interrupted, so its work asks now and then."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event

from smarty_async.errors import SmartyError

__all__ = ["Abandoned", "check_wanted", "wanted_until"]

_cancelled: ContextVar[Event | None] = ContextVar("cancelled", default=None)


class Abandoned(SmartyError):
    """The client has disconnected, so nobody needs the result."""


@contextmanager
def wanted_until(cancelled: Event) -> Generator[None, None, None]:
    """Let `check_wanted` raise in the block, in this thread, once the event is set."""
    token = _cancelled.set(cancelled)
    try:
        yield
    finally:
        _cancelled.reset(token)


def check_wanted() -> None:
    """Raise if the result is no longer needed. Long work calls this now and then.

    Raises:
        Abandoned: the client has disconnected.
    """
    cancelled = _cancelled.get()
    if cancelled is not None and cancelled.is_set():
        raise Abandoned("the client has disconnected")
