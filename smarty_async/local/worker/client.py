"""An engine in a process of its own: neither its hold on Python's lock nor its hunger for cores stalls the service."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import weakref
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from subprocess import PIPE
from threading import Lock, Thread
from typing import IO, Final, cast

from smarty_async.errors import ConfigurationError
from smarty_async.local.cancellation import Abandoned, check_wanted
from smarty_async.local.engine.protocol import Improved, ItemRefused
from smarty_async.local.worker.ipc import READY, REPLIES, Ask, Left, Made, Refused, Reply, Request, read, write

__all__ = ["EngineApart"]

_COMMAND: Final = (sys.executable, "-P", "-m", "smarty_async.local.worker.main")
"""-P: a photo folder's own `types.py` must not be taken for Python's."""

_LOOK_EVERY: Final = 0.1
"""Seconds after which one who waits for pictures sees that its client has left."""

_STOP_SECONDS: Final = 5.0

_MALLOC: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}
"""For glibc: keep the memory of one tile for the next. Given back and taken anew, it cost up to a third of the time."""

_DIED: Final = Refused(text="internal error", status=2)

Answer = tuple[Reply, dict[str, bytes]]

logger = logging.getLogger(__name__)


class EngineApart:
    """Has an engine work in a process of its own, and starts it again when it died: a photo may kill it.

    The process ends with this object, and with this process, however that ends.
    """

    def __init__(self, name: str) -> None:
        """Start it.

        Raises:
            ConfigurationError: it does not start.
        """
        self._name = name
        self._numbers = count()
        self._lock = Lock()
        self._process = self._start()

    def _start(self) -> _Process:
        process = _Process(self._name)
        weakref.finalize(self, process.stop)
        return process

    @property
    def name(self) -> str:
        """What the engine is called on the command line."""
        return self._name

    def improve(self, image: bytes, /) -> Improved:
        """Restore the photo in an image file's bytes.

        Raises:
            ItemRefused: it cannot be done with this image.
            Abandoned: nobody wants it any more.
        """
        made, pictures = self._made(Ask(job=next(self._numbers)), image)
        return Improved(**pictures, bw=made.bw)

    def enlarge(self, image: bytes, /, *, factor: int, rtype: str) -> bytes:
        """Enlarge the photo in an image file's bytes; a JPEG file's bytes.

        Raises:
            ItemRefused: it cannot be done with this image.
            Abandoned: nobody wants it any more.
        """
        return self._made(Ask(job=next(self._numbers), factor=factor, rtype=rtype), image)[1]["resolved"]

    def _made(self, ask: Ask, image: bytes) -> tuple[Made, dict[str, bytes]]:
        with self._lock:
            if self._process.ended:
                self._process = self._start()
            process = self._process
        reply, pictures = process.ask(ask, image)
        if isinstance(reply, Made):
            return reply, pictures
        raise ItemRefused(reply.text, status=reply.status)


def _started(engine: str) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
    """The process, its standard input and its standard output."""
    environment = {**os.environ, **_MALLOC}
    process = subprocess.Popen([*_COMMAND, engine], stdin=PIPE, stdout=PIPE, env=environment)  # noqa: S603 - our own
    return process, cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)


class _Process:
    """The process, and those who wait for what it makes."""

    def __init__(self, engine: str) -> None:
        self.ended = False
        self._engine = engine
        self._waiting: dict[int, SimpleQueue[Answer]] = {}
        self._lock = Lock()
        self._turn = Lock()
        self._popen, self._entry, said = _started(engine)
        if said.readline() != READY:
            said.close()
            self.stop()
            raise ConfigurationError(f"the engine {engine!r} does not start")
        Thread(target=self._listen, args=(said,), name=f"{engine}-answers", daemon=True).start()

    def _listen(self, said: IO[bytes]) -> None:
        with suppress(EOFError), said:
            while True:
                reply, pictures = read(said, REPLIES)
                with self._lock:
                    waiting = self._waiting.get(reply.job)
                if waiting:
                    waiting.put((reply, pictures))
        with self._lock:
            self.ended = True
            waited = list(self._waiting.values())
        for waiting in waited:
            logger.error("the process of the engine %s died at an image", self._engine)
            waiting.put((_DIED, {}))

    def ask(self, ask: Ask, image: bytes) -> Answer:
        """What becomes of the image.

        Raises:
            Abandoned: nobody wants it any more.
        """
        answer: SimpleQueue[Answer] = SimpleQueue()
        with self._lock:
            if self.ended:
                return _DIED, {}
            self._waiting[ask.job] = answer
        try:
            self._tell(ask, {"image": image})
            while True:
                check_wanted()
                with suppress(Empty):
                    return answer.get(timeout=_LOOK_EVERY)
        except Abandoned:
            self._tell(Left(job=ask.job))
            raise
        finally:
            with self._lock:
                del self._waiting[ask.job]

    def _tell(self, request: Request, parts: dict[str, bytes] | None = None) -> None:
        # A process that died is told nothing; who waits for it learns of that from the one who listens.
        with self._turn, suppress(OSError, ValueError):
            write(self._entry, request, parts)

    def stop(self) -> None:
        """End it, at what it is doing."""
        with suppress(OSError):
            self._entry.close()
        try:
            self._popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
