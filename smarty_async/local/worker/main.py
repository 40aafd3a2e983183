"""The engine process: `python -m smarty_async.local.worker.main NAME OPTIONS`, started by `client.py`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import IO, Final, NoReturn

import msgspec

from smarty_async.errors import SmartyError
from smarty_async.local.engine import in_process_engine
from smarty_async.local.engine.protocol import Abandoned, Engine, EngineOptions, ItemRefused, wanted_until
from smarty_async.local.worker.ipc import REQUESTS, Done, Job, Ready, Refused, Reply, read, write

__all__ = ["Worker", "run_worker"]

_NICE: Final = 5
"""How much lower the priority of the process is than that of the service, and of the user's other programs."""

logger = logging.getLogger(__name__)


class Worker:
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
            elif request.job in self._cancelled:
                self._cancelled[request.job].set()

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


def run_worker(make_engine: Callable[[], Engine]) -> NoReturn:
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
    Worker(engine, requests=sys.stdin.buffer, replies=replies).run()
    # Nobody waits for jobs that are still running.
    os._exit(0)


if __name__ == "__main__":
    options = msgspec.json.decode(sys.argv[2], type=EngineOptions)
    run_worker(lambda: in_process_engine(sys.argv[1], options))
