"""The process an engine works in: `python -m smarty_async.local.worker.main NAME`, for `apart.py`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import IO, Final, NoReturn

from smarty_async.local.cancellation import Abandoned, wanted_until
from smarty_async.local.engine import engine_here
from smarty_async.local.engine.protocol import Engine, ItemRefused
from smarty_async.local.worker.ipc import READY, REQUESTS, Ask, Made, Refused, Reply, read, write

__all__ = ["Workshop", "work_for_parent"]

_NICE: Final = 5
"""How far the work steps back behind the service's loop, and behind the user's other programs."""

logger = logging.getLogger(__name__)


class Workshop:
    """Works on images as they come in, each in a thread: the service bounds how many come at a time."""

    def __init__(self, engine: Engine, *, entry: IO[bytes], exit: IO[bytes]) -> None:  # noqa: A002 - the other door
        self._engine = engine
        self._entry = entry
        self._exit = exit
        self._turn = Lock()
        self._left: dict[int, Event] = {}

    def run(self) -> None:
        """Work until nothing more can come in."""
        self._exit.write(READY)
        self._exit.flush()
        while True:
            try:
                request, parts = read(self._entry, REQUESTS)
            except EOFError:
                return
            if isinstance(request, Ask):
                self._left[request.job] = Event()
                Thread(target=self._answer, args=(request, parts["image"]), daemon=True).start()
            elif request.job in self._left:
                self._left[request.job].set()

    def _answer(self, ask: Ask, image: bytes) -> None:
        reply, pictures = self._tried(ask, image)
        del self._left[ask.job]
        self._say(reply, pictures)

    def _tried(self, ask: Ask, image: bytes) -> tuple[Reply, dict[str, bytes]]:
        try:
            with wanted_until(self._left[ask.job]):
                return self._made(ask, image)
        except ItemRefused as refused:
            return Refused(job=ask.job, text=str(refused), status=refused.status), {}
        except MemoryError:
            return Refused(job=ask.job, text="out of memory", status=2), {}
        except Abandoned:
            return Refused(job=ask.job, text="the client left", status=2), {}
        except Exception:
            logger.exception("the engine %s failed at an image", self._engine.name)
            return Refused(job=ask.job, text="internal error", status=2), {}

    def _made(self, ask: Ask, image: bytes) -> tuple[Reply, dict[str, bytes]]:
        if ask.factor is not None:
            large = self._engine.enlarge(image, factor=ask.factor, rtype=ask.rtype)
            return Made(job=ask.job), {"resolved": large}
        made = self._engine.improve(image)
        outputs = {
            "improved": made.improved,
            "colorized_improved": made.colorized_improved,
            "colorized": made.colorized,
        }
        return Made(job=ask.job, bw=made.bw), {name: data for name, data in outputs.items() if data is not None}

    def _say(self, reply: Reply, pictures: dict[str, bytes] | None = None) -> None:
        with self._turn, suppress(OSError):  # a parent that is gone misses nothing
            write(self._exit, reply, pictures)


def work_for_parent(engine: Engine) -> NoReturn:
    """Work until the parent closes standard input, as its end does too; then end at once."""
    # A terminal's Ctrl-C reaches this process too; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints does not belong among the frames
    Workshop(engine, entry=sys.stdin.buffer, exit=own).run()
    # Whatever is still worked on: there is nobody to give it to.
    os._exit(0)


if __name__ == "__main__":
    work_for_parent(engine_here(sys.argv[1]))
