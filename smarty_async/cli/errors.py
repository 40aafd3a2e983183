"""Every way in which the program ends: from an error to a sentence with a remedy, and an exit status."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from enum import IntEnum

import typer

from smarty_async.cli.output import say, to_nowhere
from smarty_async.errors import (
    AuthorizationError,
    ConfigurationError,
    DiskError,
    NotTheService,
    OptionsError,
    ServiceUnavailable,
    SmartyError,
    StoreError,
)
from smarty_async.thread_limit import is_thread_limit, no_more_threads

__all__ = ["Exit", "error_boundary", "sentences", "status_of"]


class Exit(IntEnum):
    """The program's exit statuses; the README lists them."""

    FINE = 0
    PHOTOS_FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNAVAILABLE = 4
    DISK = 5
    SPEND_LIMIT = 6
    INTERRUPTED = 130


_STATUS: tuple[tuple[type[BaseException], Exit], ...] = (
    (OptionsError, Exit.USAGE),
    (ConfigurationError, Exit.CONFIGURATION),
    (ServiceUnavailable, Exit.UNAVAILABLE),
    (DiskError, Exit.DISK),
    (KeyboardInterrupt, Exit.INTERRUPTED),
)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Numbers of errors of a disk that cannot be written to; such an error of stdout names no file."""

_ANOTHER_PATH = "Nothing can be stored at this path: choose another one, or remove what is in the way."
_GET_PERMISSION = "Change the permissions, run the same command as a user who has them, or choose another place."
_ANOTHER_DISK = "This disk can only be read: choose a place on another one."
_MAKE_ROOM = "Make room on the disk, and run the same command again."
_PAYS_AGAIN = (
    "These photos may have been paid for, and would be again: ask the service's support first, and then try one photo "
    "with --max-photos 1."
)
_OPEN_MORE = "Raise the limit on open files (ulimit -n), and run the same command again."
_MAKE_FOLDER = "Check that the folder is there and its disk is connected, or choose another path."

_WAY_OUT_OF: Mapping[int | None, str] = {
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP), _ANOTHER_PATH),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _GET_PERMISSION),
    errno.EROFS: _ANOTHER_DISK,
    **dict.fromkeys((errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)), _MAKE_ROOM),
    errno.ENOENT: _MAKE_FOLDER,
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _OPEN_MORE),
    errno.EAGAIN: "Run the same command again then, or when fewer programs run.",
}
"""What to do about errors of a disk, by their number: a path may lead through a file, say, or be protected."""

_WAY_OUT: tuple[tuple[type[SmartyError], str], ...] = (
    (AuthorizationError, "Check SMARTY_TOKEN, or the other SMARTY_ variables."),
    (NotTheService, "Check the address: --base-url, --path and SMARTY_BASE_URL."),
    (ServiceUnavailable, "Run the same command again later; it starts from the beginning."),
)
"""What to do about errors; the first that fits counts."""

_WAY_OUT_IF_RESUMED: tuple[tuple[type[SmartyError], str], ...] = (
    (
        AuthorizationError,
        "Check SMARTY_TOKEN (or the other SMARTY_ variables), or restore on this machine with --local.",
    ),
    (ServiceUnavailable, "Nothing is lost: run the same command again later, and it continues from here."),
    (StoreError, "Nothing is lost: once the store can be used again, the same command continues from here."),
    (DiskError, "Once the disk can be written to, the same command continues from here."),
    *_WAY_OUT,
)
"""The same after a command that keeps what it has done."""


def status_of(error: BaseException) -> Exit:
    """The exit status for `error`."""
    import asyncio  # noqa: PLC0415 - help is quick

    if is_thread_limit(error) or (
        isinstance(error, OSError) and (error.filename is not None or error.errno in _NO_ROOM)
    ):
        return Exit.DISK
    if isinstance(error, asyncio.CancelledError):
        return Exit.INTERRUPTED
    return next((status for kind, status in _STATUS if isinstance(error, kind)), Exit.PHOTOS_FAILED)


def sentences(error: BaseException, *, resumes: bool = False, traced: bool = False) -> list[str]:
    """The message for a person about `error`: what is wrong, and what to do.

    Args:
        error: what ended the program.
        resumes: whether the same command goes on from where it ended.
        traced: whether its traceback was printed before.
    """
    if is_thread_limit(error):  # asyncio starts one when it closes, too
        error = no_more_threads()
    if isinstance(error, DiskError) and (way := _WAY_OUT_OF.get(error.errno)):
        return [str(error), f"{way} Nothing is lost." if resumes else way]
    if isinstance(error, ServiceUnavailable) and error.pays_again:
        return [str(error), _PAYS_AGAIN]
    if isinstance(error, SmartyError):
        ways = _WAY_OUT_IF_RESUMED if resumes else _WAY_OUT
        way_out = next((way for kind, way in ways if isinstance(error, kind)), None)
        return [str(error), way_out] if way_out else [str(error)]
    if status_of(error) is Exit.INTERRUPTED:
        return ["stopped at once. The same command continues from here." if resumes else "stopped at once."]
    if isinstance(error, OSError) and error.filename is not None:
        return [f"cannot use {str(error.filename)!r}: {error.strerror}"]
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return [f"cannot write: {error.strerror}"]
    return [
        f"unexpected {type(error).__name__}: {error}",
        "This is a bug. Please report it with the lines above."
        if traced
        else "This is a bug. Run the command again with --verbose to see the traceback.",
    ]


def _trace(error: BaseException, secrets: Iterable[str]) -> None:
    import traceback  # noqa: PLC0415 - help is quick

    for line in "".join(traceback.format_exception(error)).splitlines():
        say(_without(line, secrets))


def _without(text: str, secrets: Iterable[str]) -> str:
    from smarty_async.redaction import redact  # noqa: PLC0415 - help is quick

    return redact(text, *secrets)


@contextmanager
def error_boundary(*, verbose: bool, resumes: bool = False) -> Generator[list[str], None, None]:
    """Turn what is raised inside into sentences on stderr and an exit status; the one place that does.

    Args:
        verbose: print tracebacks of unexpected errors.
        resumes: whether the same command goes on from where it ended.

    Yields:
        The secrets to keep out of all messages; the block adds those that it learns.
    """
    secrets = [os.environ.get(name, "").strip() for name in ("SMARTY_TOKEN", "SMARTY_CLIENT_SECRET")]
    try:
        yield secrets
    except (typer.Exit, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - every end of the program passes here
        ours = isinstance(error, SmartyError) or status_of(error) is not Exit.PHOTOS_FAILED
        traced = verbose and not ours
        if traced:
            _trace(error, secrets)
        for line in sentences(error, resumes=resumes, traced=traced):
            say(f"smarty-async: {_without(line, secrets)}")
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
            to_nowhere(sys.stdout.fileno())
        raise SystemExit(status_of(error)) from None
