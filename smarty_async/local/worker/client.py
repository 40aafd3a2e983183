"""An engine in a process of its own: neither its hold on Python's lock nor its use of the cores delays the service."""

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

import msgspec

from smarty_async.errors import ConfigurationError
from smarty_async.local.engine.protocol import Abandoned, EngineOptions, Improved, ItemRefused, check_wanted
from smarty_async.local.worker.ipc import REPLIES, Cancel, Done, Job, Ready, Refused, Reply, Request, read, write

__all__ = ["EngineProcess"]

_COMMAND: Final = (sys.executable, "-P", "-m", "smarty_async.local.worker.main")
"""-P: a `types.py` in a folder of photos must not be imported instead of Python's."""

_CHECK_SECONDS: Final = 0.1
"""How often a waiting thread checks whether its client has disconnected."""

_STOP_SECONDS: Final = 5.0

_MALLOC: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}
"""For glibc: keep the memory of one tile for the next. Returning and requesting it took up to a third of the time."""

_DIED: Final = Refused(text="internal error", status=2)

logger = logging.getLogger(__name__)


class EngineProcess:
    """Runs an engine in a process of its own, and starts it again when a photo has killed it.

    The process ends with this object, and with this process, however that ends.
    """

    def __init__(self, name: str, options: EngineOptions | None = None) -> None:
        """Start it.

        Raises:
            ConfigurationError: it does not start, or cannot use its options.
        """
        self._name = name
        self._options = options or EngineOptions()
        self._numbers = count(1)
        self._lock = Lock()
        self._process = self._start()

    def _start(self) -> _Process:
        process = _Process(self._name, self._options)
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
            Abandoned: the client has disconnected.
        """
        done = self._done(Job(job=next(self._numbers), image=image))
        return done.improved or Improved()

    def enlarge(self, image: bytes, /, *, factor: int, rtype: str) -> bytes:
        """Enlarge the photo in an image file's bytes; a JPEG file's bytes.

        Raises:
            ItemRefused: it cannot be done with this image.
            Abandoned: the client has disconnected.
        """
        done = self._done(Job(job=next(self._numbers), image=image, factor=factor, rtype=rtype))
        return done.resolved or b""

    def _done(self, job: Job) -> Done:
        with self._lock:
            if self._process.ended:
                self._process = self._start()
            process = self._process
        reply = process.run(job)
        if isinstance(reply, Refused):
            raise ItemRefused(reply.text, status=reply.status)
        return cast("Done", reply)


def _started(engine: str, options: EngineOptions) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
    """The process, its standard input and its standard output."""
    environment = {**os.environ, **_MALLOC}
    command = [*_COMMAND, engine, msgspec.json.encode(options).decode()]
    process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, env=environment)  # noqa: S603 - our own
    return process, cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)


def _reason_for_not_starting(replies: IO[bytes], engine: str) -> str | None:
    """Wait until the process has started; None when it has."""
    with suppress(EOFError):
        reply = read(replies, REPLIES)
        return reply.text if isinstance(reply, Refused) else None
    return f"the engine {engine!r} does not start"


class _Process:
    """The process, and the threads that wait for its replies."""

    def __init__(self, engine: str, options: EngineOptions) -> None:
        self.ended = False
        self._engine = engine
        self._waiting: dict[int, SimpleQueue[Reply]] = {}
        self._lock = Lock()
        self._writing = Lock()
        self._popen, self._requests, replies = _started(engine, options)
        reason = _reason_for_not_starting(replies, engine)
        if reason:
            replies.close()
            self.stop()
            raise ConfigurationError(reason)
        Thread(target=self._receive, args=(replies,), name=f"{engine}-replies", daemon=True).start()

    def _receive(self, replies: IO[bytes]) -> None:
        with suppress(EOFError), replies:
            while True:
                reply = read(replies, REPLIES)
                with self._lock:
                    waiting = self._waiting.get(reply.job)
                if waiting and not isinstance(reply, Ready):
                    waiting.put(reply)
        with self._lock:
            self.ended = True
            left = list(self._waiting.values())
        for waiting in left:
            logger.error("the process of the engine %s died at an image", self._engine)
            waiting.put(_DIED)

    def run(self, job: Job) -> Reply:
        """Send the job and wait for its reply.

        Raises:
            Abandoned: the client has disconnected.
        """
        replies: SimpleQueue[Reply] = SimpleQueue()
        with self._lock:
            if self.ended:
                return _DIED
            self._waiting[job.job] = replies
        try:
            self._send(job)
            while True:
                check_wanted()
                with suppress(Empty):
                    return replies.get(timeout=_CHECK_SECONDS)
        except Abandoned:
            self._send(Cancel(job=job.job))
            raise
        finally:
            with self._lock:
                del self._waiting[job.job]

    def _send(self, request: Request) -> None:
        # Nothing can be sent to a process that died; the receiving thread fails the jobs that wait for it.
        with self._writing, suppress(OSError, ValueError):
            write(self._requests, request)

    def stop(self) -> None:
        """End it, whatever it is doing."""
        with suppress(OSError):
            self._requests.close()
        try:
            self._popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
