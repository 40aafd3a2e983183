"""The system's limit on threads: how Python shows that it is reached, and the error for it.

It is a state of the machine, often a passing one, and nothing that one photo or one request is to blame for.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from smarty_async.errors import DiskError

__all__ = ["is_thread_limit", "no_more_threads", "thread_limit"]


def is_thread_limit(error: BaseException) -> bool:
    """Whether `error` is Python's for a thread that the system does not start."""
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)


def no_more_threads() -> DiskError:
    """The error for a system that starts no more threads (a container's limit on processes, for example)."""
    message = "the system starts no more threads: raise the limit on processes (ulimit -u, pids-limit)"
    return DiskError(message, errno=errno.EAGAIN)


@contextmanager
def thread_limit() -> Generator[None]:
    """Raise `no_more_threads` for a thread that the system does not start in the block.

    Raises:
        DiskError: it starts none.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_thread_limit(error):
            raise
        raise no_more_threads() from None
