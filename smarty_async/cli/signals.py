"""Ctrl-C, SIGTERM and a closed terminal: the first ends the run in good order, the second leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from smarty_async.cli.errors import Exit
from smarty_async.cli.output import say, terminal_to_nowhere
from smarty_async.report.wording import count, estimated

__all__ = ["Interrupts"]

_LEAVE_WITHIN: Final = 1.7
"""Seconds after the second signal; then the process ends, whatever is still closing."""

_HANGUP: Final = getattr(signal, "SIGHUP", None)
"""The terminal was closed, or the connection to it was lost; Windows has no such signal."""


class Interrupts:
    """Counts signals and acts on them. Until there is something to `drain`, the first one leaves too.

    Args:
        paid: whether photos that have been sent cost something.

    Attributes:
        say: where to print what happens.
        drain: sends nothing new, and ends the run when the open requests are answered.
        open_work: how many photos have been sent and are not answered, and how many seconds they will take; None
            when that is not known.
    """

    def __init__(self, *, paid: bool = True) -> None:
        self._paid = paid
        self.say: Callable[[str], None] = say
        self.drain: Callable[[], None] | None = None
        self.open_work: Callable[[], tuple[int, float | None]] = lambda: (0, None)
        self._count = 0
        self._backstop: threading.Timer | None = None

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self._count > 0

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Handle the signals during the block, for the task that enters it, in the main thread."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine calls it

        def received(number: int) -> None:
            self._received(number, task.cancel)

        put_back = _install(asyncio.get_running_loop(), received)
        try:
            yield
        finally:
            put_back()

    def _received(self, number: int, leave: Callable[[], object]) -> None:
        if number == _HANGUP:
            terminal_to_nowhere()
        self._count += 1
        if self._count == 1 and self.drain is not None:
            sentence = self._sentence(number)
            self.drain()
            self.say(sentence)
            return
        if self._backstop is None:
            self._backstop = _end_soon()
        leave()

    def _sentence(self, number: int) -> str:
        photos, seconds = self.open_work()
        again = " Press Ctrl-C again to leave at once." if number == signal.SIGINT else ""
        if not photos:
            return f"Stopping: no photo is being worked on.{again}"
        about = f" ({estimated(seconds)})" if seconds is not None else ""
        if self._paid:
            return f"Sending nothing new; waiting for {count(photos, 'answer')} already paid for{about}.{again}"
        return f"Starting nothing new; finishing {count(photos, 'photo')} already begun{about}.{again}"


def _end_soon() -> threading.Timer:
    """A timer that ends the process soon, whatever hangs: threads may, in a read or an fsync.

    The next run repairs what is cut off there.
    """
    timer = threading.Timer(_LEAVE_WITHIN, os._exit, [int(Exit.INTERRUPTED)])
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # can't start new thread
        asyncio.get_running_loop().call_later(_LEAVE_WITHIN, os._exit, int(Exit.INTERRUPTED))
        if hasattr(signal, "setitimer"):  # when the event loop hangs, too
            signal.setitimer(signal.ITIMER_REAL, _LEAVE_WITHIN + 0.2)
    return timer


def _signals() -> list[int]:
    """Those that end the run; not SIGHUP where it is ignored: ``nohup`` lets a run outlive its terminal."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    return numbers if _HANGUP is None or signal.getsignal(_HANGUP) == signal.SIG_IGN else [*numbers, _HANGUP]


def _install(loop: asyncio.AbstractEventLoop, received: Callable[[int], None]) -> Callable[[], None]:
    """Have `received` called in `loop` with the number of each signal; returns what undoes it."""
    numbers = _signals()
    try:
        for number in numbers:
            loop.add_signal_handler(number, received, number)
    except NotImplementedError:
        return _install_without_loop(loop, received)

    def put_back() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return put_back


def _install_without_loop(loop: asyncio.AbstractEventLoop, received: Callable[[int], None]) -> Callable[[], None]:
    """For Windows, whose loops take no signal handlers."""

    def handler(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(received, number)

    before = [(number, signal.signal(number, handler)) for number in _signals()]

    def put_back() -> None:
        for number, old in before:
            signal.signal(number, old)

    return put_back
