"""An engine in a process of its own: neither its hold on Python's lock nor its use of the cores delays the service.

The process is `python -m smarty_async.local.engine_process NAME OPTIONS`. Messages are msgpack with a length before
each, over two pipes. `multiprocessing.connection` has the same framing, but not over the anonymous pipes of a child
process on Windows.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from subprocess import PIPE
from threading import Event, Lock, Thread
from typing import IO, Final, Literal, NoReturn, TypeVar, cast

import msgspec

from smarty_async.errors import ConfigurationError, SmartyError
from smarty_async.local.engine import in_process_engine
from smarty_async.local.engine.protocol import (
    Abandoned,
    Engine,
    EngineOptions,
    Improved,
    ItemRefused,
    check_wanted,
    wanted_until,
)

__all__ = ["REPLIES", "Done", "EngineProcess", "read", "run_engine", "write"]

logger = logging.getLogger(__name__)

_LENGTH: Final = 8
"""Bytes of the length before each message, big-endian."""

_LARGEST: Final = 1 << 40
"""Bytes of a message at most. Text that is taken for a length, such as what a `sitecustomize` prints, is above it."""


# messages


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Any message.

    Attributes:
        job: the number of the job it belongs to.
    """

    job: int = 0


class Job(_Message, frozen=True, kw_only=True):
    """Work on `image`: enlarge it if there is a `factor`, else improve it."""

    image: bytes
    factor: int | None = None
    rtype: str = "photo"


class Cancel(_Message, frozen=True):
    """Stop working on a job: its client has disconnected."""


class Ready(_Message, frozen=True):
    """The engine process has started."""


class Done(_Message, frozen=True, kw_only=True):
    """What a job made: `improved` of an improvement, `resolved` of an enlargement."""

    improved: Improved | None = None
    resolved: bytes | None = None


class Refused(_Message, frozen=True, kw_only=True):
    """A job failed, and this is the item's error and status."""

    text: str
    status: Literal[1, 2]


Request = Job | Cancel
Reply = Ready | Done | Refused

REQUESTS: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
REPLIES: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)

M = TypeVar("M")


def write(pipe: IO[bytes], message: Request | Reply) -> None:
    """Send a message; two threads must not do so at once.

    Raises:
        OSError: the other end is closed.
    """
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(_LENGTH))
    pipe.write(data)
    pipe.flush()


def read(pipe: IO[bytes], decoder: msgspec.msgpack.Decoder[M]) -> M:
    """Wait for the next message.

    Raises:
        EOFError: the other end is closed, perhaps in the middle of a message, or something else is in the pipe.
    """
    head = pipe.read(_LENGTH)
    size = int.from_bytes(head)
    data = pipe.read(size) if len(head) == _LENGTH and size <= _LARGEST else b""
    if not data or len(data) < size:
        raise EOFError
    return decoder.decode(data)


# in the service

_COMMAND: Final = (sys.executable, "-P", "-m", "smarty_async.local.engine_process")
"""-P: a `types.py` in a folder of photos must not be imported instead of Python's."""

_CHECK_SECONDS: Final = 0.1
"""How often a waiting thread checks whether its client has disconnected."""

_STOP_SECONDS: Final = 5.0

_MALLOC: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}
"""For glibc: keep the memory of one tile for the next. Returning and requesting it took up to a third of the time."""

_DIED: Final = Refused(text="internal error", status=2)


class EngineProcess:
    """Runs an engine in a process of its own, and starts it again when a photo has killed it.

    The process ends with this object, and with this process, however that ends.
    """

    def __init__(self, name: str, options: EngineOptions | None = None) -> None:
        """Start it.

        Raises:
            ConfigurationError: it does not start, or cannot use its options.
        """
        self.name = name
        self._options = options or EngineOptions()
        self._numbers = count(1)
        self._lock = Lock()
        self._process = self._start()

    def _start(self) -> _Process:
        process = _Process(self.name, self._options)
        weakref.finalize(self, process.stop)
        return process

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
                self._process.stop()
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


def _check_started(replies: IO[bytes], engine: str) -> None:
    """Wait until the process has started.

    Raises:
        ConfigurationError: it does not start.
    """
    try:
        reply = read(replies, REPLIES)
    except EOFError:
        raise ConfigurationError(
            f"the engine {engine!r} does not start: its process ended, or Python prints something before it begins:"
            f" see what {shlex.join(_COMMAND[:2])} -c pass prints"
        ) from None
    if isinstance(reply, Refused):
        raise ConfigurationError(reply.text)


class _Process:
    """The process, and the threads that wait for its replies."""

    def __init__(self, engine: str, options: EngineOptions) -> None:
        self.ended = False
        self._engine = engine
        self._waiting: dict[int, SimpleQueue[Reply]] = {}
        self._lock = Lock()
        self._writing = Lock()
        self._popen, self._requests, replies = _started(engine, options)
        try:
            _check_started(replies, engine)
            Thread(target=self._receive, args=(replies,), name=f"{engine}-replies", daemon=True).start()
        except BaseException:
            replies.close()
            self.stop()
            raise

    def _receive(self, replies: IO[bytes]) -> None:
        try:
            self._take(replies)
        except EOFError:
            pass
        finally:
            self._end()

    def _take(self, replies: IO[bytes]) -> None:
        with replies:
            while True:
                reply = read(replies, REPLIES)
                with self._lock:
                    waiting = self._waiting.get(reply.job)
                if waiting and not isinstance(reply, Ready):
                    waiting.put(reply)

    def _end(self) -> None:
        """Fail the jobs that wait for a process that is gone."""
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


# in the process

_NICE: Final = 5
"""How much lower the priority of the process is than that of the service, and of the user's other programs."""


class JobLoop:
    """Runs each job in a thread of its own; the service bounds how many there are at a time."""

    def __init__(self, engine: Engine, *, requests: IO[bytes], replies: IO[bytes]) -> None:
        self._engine = engine
        self._requests = requests
        self._replies = replies
        self._writing = Lock()
        self._cancelled: dict[int, Event] = {}

    def run(self) -> None:
        """Work until the other end closes the requests."""
        self.send(Ready())
        while True:
            try:
                request = read(self._requests, REQUESTS)
            except EOFError:
                return
            if isinstance(request, Job):
                self._cancelled[request.job] = Event()
                Thread(target=self._answer, args=(request,), daemon=True).start()
            elif cancelled := self._cancelled.get(request.job):
                cancelled.set()

    def _answer(self, job: Job) -> None:
        reply = self._reply(job)
        del self._cancelled[job.job]
        self.send(reply)

    def _reply(self, job: Job) -> Reply:
        try:
            with wanted_until(self._cancelled[job.job]):
                return self._done(job)
        except ItemRefused as refused:
            return Refused(job=job.job, text=str(refused), status=refused.status)
        except MemoryError:
            return Refused(job=job.job, text="out of memory", status=2)
        except Abandoned:
            return Refused(job=job.job, text="the client disconnected", status=2)
        except Exception:
            logger.exception("the engine %s failed at an image", self._engine.name)
            return Refused(job=job.job, text="internal error", status=2)

    def _done(self, job: Job) -> Done:
        if job.factor is None:
            return Done(job=job.job, improved=self._engine.improve(job.image))
        return Done(job=job.job, resolved=self._engine.enlarge(job.image, factor=job.factor, rtype=job.rtype))

    def send(self, reply: Reply) -> None:
        """Write a reply; a parent that has ended does not need it."""
        with self._writing, suppress(OSError):
            write(self._replies, reply)


def run_engine(make_engine: Callable[[], Engine]) -> NoReturn:
    """Make the engine and work until the parent closes standard input, as its end does too; then end at once.

    An engine that cannot be made is reported as `Refused` instead of `Ready`.
    """
    # A terminal's Ctrl-C reaches this process too; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the messages
    try:
        engine = make_engine()
    except SmartyError as error:
        write(replies, Refused(text=str(error), status=1))
        os._exit(1)
    JobLoop(engine, requests=sys.stdin.buffer, replies=replies).run()
    # Nobody waits for jobs that are still running.
    os._exit(0)


if __name__ == "__main__":
    options = msgspec.json.decode(sys.argv[2], type=EngineOptions)
    run_engine(lambda: in_process_engine(sys.argv[1], options))
