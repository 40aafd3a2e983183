"""Ctrl-C and SIGTERM: the first asks for a good end, the second leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from smarty_async.cli.errors import Exit
from smarty_async.cli.output import say

__all__ = ["Interrupts"]

_LEAVE_WITHIN = 1.7
"""Seconds after the second signal; then the process ends, whatever is still closing."""

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


class Interrupts:
    """Counts signals and acts on them. Until there is something to `drain`, the first one leaves too.

    Args:
        paid: whether the open answers cost something.

    Attributes:
        say: where to tell it.
        drain: what asks for a good end.
    """

    def __init__(self, *, paid: bool = True) -> None:
        self._paid = paid
        self.say: Callable[[str], None] = say
        self.drain: Callable[[], None] | None = None
        self._count = 0
        self._backstop: threading.Timer | None = None

    @property
    def asked(self) -> bool:
        """Whether a good end was asked for."""
        return self._count > 0

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Take the signals while this lasts; for the task that calls it, in the main thread."""
        spec = asyncio.current_task()
        assert spec is not None  # noqa: S101 - a coroutine calls it

        def received() -> None:
            self._received(spec.cancel)

        put_back = _install(asyncio.get_running_loop(), received)
        try:
            yield
        finally:
            put_back()

    def _received(self, leave: Callable[[], object]) -> None:
        self._count += 1
        if self._count == 1 and self.drain is not None:
            self.say(
                f"Stopping: nothing new is sent; the open answers {'are paid for and ' if self._paid else 'are '}"
                "being waited for. Press Ctrl-C again to leave at once."
            )
            self.drain()
            return
        if self._backstop is None:
            # Threads may hang in a read or an fsync; whatever is cut off there, the next run mends.
            self._backstop = threading.Timer(_LEAVE_WITHIN, os._exit, [int(Exit.INTERRUPTED)])
            self._backstop.daemon = True
            self._backstop.start()
        leave()


def _install(loop: asyncio.AbstractEventLoop, received: Callable[[], None]) -> Callable[[], None]:
    """Have `received` called in `loop` on each signal; returns what undoes it."""
    try:
        for number in _SIGNALS:
            loop.add_signal_handler(number, received)
    except NotImplementedError:
        return _install_without_loop(loop, received)

    def put_back() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    return put_back


def _install_without_loop(loop: asyncio.AbstractEventLoop, received: Callable[[], None]) -> Callable[[], None]:
    """For Windows, whose loops take no signal handlers."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(received)

    before = [(number, signal.signal(number, handler)) for number in _SIGNALS]

    def put_back() -> None:
        for number, old in before:
            signal.signal(number, old)

    return put_back
