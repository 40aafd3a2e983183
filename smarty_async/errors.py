"""Every error that this package raises on purpose, in one tree.

    SmartyError
    ├── OptionsError              an option has a value that is not allowed (also a ValueError)
    ├── ConfigurationError        nothing can be sent with this configuration
    │   ├── AuthorizationError    the token is missing, wrong or expired
    │   ├── RequestRefused        the service refuses the options of every request
    │   ├── NotTheService         something else than the service answered
    │   ├── OutputInUse           another run is writing to the same folder
    │   └── MissingExtra          an optional dependency is not installed
    ├── ServiceUnavailable        the service failed for too long; a later run can resume
    ├── DiskError                 the disk failed; a later run can resume
    │   ├── DiskFull              the disk has no room for more answers
    │   └── StoreError            the object store failed
    ├── RequestError              one request has no complete answer
    └── PhotoError                one photo was not restored
        ├── PhotoRejected         not sent: unreadable, or over the limits
        └── PhotoFailed           sent, and failed for good or too often

Errors carry what they are about as fields. No message and no field holds a token: foreign text is redacted first
(`smarty_async.redaction`). Exceptions of aiohttp and the operating system are translated in one place
(`smarty_async.transport.http.translate_error`).
"""

from __future__ import annotations

import copyreg
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smarty_async.results import Restored

__all__ = [
    "AuthorizationError",
    "ConfigurationError",
    "DiskError",
    "DiskFull",
    "MissingExtra",
    "NotTheService",
    "OptionsError",
    "OutputInUse",
    "PhotoError",
    "PhotoFailed",
    "PhotoRejected",
    "RequestError",
    "RequestRefused",
    "ServiceUnavailable",
    "SmartyError",
    "StoreError",
]


class SmartyError(Exception):
    """The root of the tree."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls `__init__` with the message alone, and the fields are keyword-only.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class OptionsError(SmartyError, ValueError):
    """An option has a value that is not allowed. The message names the option and what is allowed."""


class ConfigurationError(SmartyError):
    """Nothing can be sent with this configuration: every request would fail in the same way."""


class AuthorizationError(ConfigurationError):
    """The token is missing, wrong or expired.

    Attributes:
        status: the HTTP or envelope status (401 or 403), None when no request was made.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RequestRefused(ConfigurationError):
    """The service refuses the options of a request, and so of every request like it.

    Attributes:
        status: the HTTP or envelope status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotTheService(ConfigurationError):
    """Something answers at the configured address that is not the service.

    Attributes:
        status: the HTTP status it answered with.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class OutputInUse(ConfigurationError):
    """Another run is writing to the same output folder.

    Attributes:
        path: the folder, or the address of the store.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"another run is writing to {str(path)!r}: wait for it to end, or choose another --out for other photos"
        )
        self.path = path


class MissingExtra(ConfigurationError):
    """An optional dependency is not installed.

    Attributes:
        extra: the name to install, as in ``pip install "smarty_async[extra]"``.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} is not installed: pip install "smarty_async[{extra}]"')
        self.extra = extra


class ServiceUnavailable(SmartyError):
    """The service failed for too long. No photo is marked as failed for that: a later run resumes.

    Attributes:
        status: the last HTTP or envelope status seen, None when nothing answered.
        seconds: how long it failed, in seconds.
        pays_again: whether it answers, and none of its answers can be used: a later run would pay for them again.
    """

    def __init__(self, message: str, *, status: int | None = None, seconds: float, pays_again: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.seconds = seconds
        self.pays_again = pays_again


class DiskError(SmartyError):
    """The disk failed: it is full, read-only or protected. A later run resumes.

    Attributes:
        path: what was being read or written.
        errno: the operating system's number, None when it gave none.
    """

    def __init__(self, message: str, *, path: Path | None = None, errno: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.errno = errno

    @classmethod
    def of(cls, error: OSError, path: Path, doing: str) -> DiskError:
        """Make the error for an `OSError` that occurred while `doing` something with `path`."""
        reason = error.strerror or type(error).__name__
        return cls(f"cannot {doing} {str(path)!r}: {reason}", path=path, errno=error.errno)


class DiskFull(DiskError):
    """The disk has no room for the answers to more requests. The open ones are answered; a later run resumes."""


class StoreError(DiskError):
    """The object store failed, or refused: a later run resumes.

    Attributes:
        status: the HTTP status it answered with, None when it did not answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RequestError(SmartyError):
    """One request has no complete answer. `smarty_async.judge` says what that means.

    Attributes:
        status: the real status (the envelope's, where there is one), None when no answer came or it broke off; one
            from 200 to 299 when the answer came whole and cannot be read.
        retry_after: how long the service asks to wait, in seconds; None when it does not.
        enveloped: whether the answer was in the service's envelope, an object with `status` and `body`. A page of a
            proxy or of another service is not.
        timed_out: whether waiting for the answer ended at a timeout.
        sent: False when not one byte of it was sent.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        enveloped: bool = False,
        timed_out: bool = False,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.enveloped = enveloped
        self.timed_out = timed_out
        self.sent = sent


class PhotoError(SmartyError):
    """One photo was not restored. As a text, the error begins with the photo's name, if it is known.

    Attributes:
        photo: the photo, as its results name it; empty when it has no name.
        type: a short, stable word for the reason, as in `results.jsonl`.
        attempts: how many requests the photo was part of.
    """

    def __init__(self, message: str, *, photo: str = "", type: str, attempts: int = 0) -> None:  # noqa: A002 - the field's name in results.jsonl
        super().__init__(message)
        self.photo = photo
        self.type = type
        self.attempts = attempts

    @property
    def message(self) -> str:
        """The reason, without the photo's name."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.photo}: {self.message}" if self.photo else self.message


class PhotoRejected(PhotoError):
    """Not sent: unreadable, not an image, or over the limits."""


class PhotoFailed(PhotoError):
    """Sent, and failed permanently or too often.

    Attributes:
        restored: the outputs of the other mode, when one of two modes failed; else None.
    """

    restored: Restored | None = None
