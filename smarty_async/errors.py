"""Every error this package raises on purpose, in one tree.

    SmartyError
    ├── OptionsError              what the caller chose cannot be done (also a ValueError)
    ├── ConfigurationError        nothing can be sent as things are
    │   ├── AuthorizationError    the token is missing, wrong or expired
    │   ├── RequestRefused        the service refuses the options of every request
    │   ├── NotTheService         something answered, and it is not this service
    │   ├── OutputInUse           another run is writing to the same folder
    │   └── MissingExtra          an optional part is not installed
    ├── ServiceUnavailable        the service was given up on; everything is resumable
    ├── DiskError                 the disk refused; everything is resumable
    ├── RequestError              one request did not bring a whole answer
    └── PhotoError                one photo did not come to a good end
        ├── PhotoRejected         never sent: unreadable, or over the limits
        └── PhotoFailed           the service, or the bound on retries, said no

Errors carry what they are about as fields. No message and no field ever holds a token: text that came from
outside is redacted before it enters one (see `redaction`).
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
]


class SmartyError(Exception):
    """The root of the tree."""

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception's own way calls `__init__` with the message alone, and the fields are keyword-only.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class OptionsError(SmartyError, ValueError):
    """What the caller chose cannot be done; the message names the option and its allowed values."""


class ConfigurationError(SmartyError):
    """Nothing can be sent as things are: every request would fail the same way."""


class AuthorizationError(ConfigurationError):
    """The token is missing, wrong or expired.

    Attributes:
        status: the HTTP or envelope status (401 or 403), None when no request was made.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RequestRefused(ConfigurationError):
    """The service refuses the options of the request, so every request like it would be refused.

    Attributes:
        status: the HTTP or envelope status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotTheService(ConfigurationError):
    """Something answered at the configured address, and it does not speak this service's language.

    Attributes:
        status: the HTTP status it answered with.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class OutputInUse(ConfigurationError):
    """Another run is writing to the same output folder.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"another run is writing to {str(path)!r}: wait for it to end, or choose another --out")
        self.path = path


class MissingExtra(ConfigurationError):
    """An optional part of the package is not installed.

    Attributes:
        extra: the name to install, as in ``pip install "smarty_async[extra]"``.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} is not installed: pip install "smarty_async[{extra}]"')
        self.extra = extra


class ServiceUnavailable(SmartyError):
    """The service was given up on. No photo failed for it: a later run goes on from there.

    Attributes:
        status: the last HTTP or envelope status seen, None when nothing answered.
        seconds: how long it had been failing, in seconds.
    """

    def __init__(self, message: str, *, status: int | None = None, seconds: float) -> None:
        super().__init__(message)
        self.status = status
        self.seconds = seconds


class DiskError(SmartyError):
    """The disk refused: full, read-only, or not ours to write. A later run goes on from there.

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
        """The error for an `OSError` met while `doing` something to `path`."""
        reason = error.strerror or type(error).__name__
        return cls(f"cannot {doing} {str(path)!r}: {reason}", path=path, errno=error.errno)


class RequestError(SmartyError):
    """One request did not bring a whole answer; `wire.verdict.judge` says what that means.

    Attributes:
        status: the real status (the envelope's, where there is one), None when no answer came or it broke off.
        retry_after: what the service asked us to wait, in seconds, None when it did not.
        enveloped: whether the answer was in the service's own envelope: a stranger's 404 is not.
        timed_out: whether it was waited for in vain.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        enveloped: bool = False,
        timed_out: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.enveloped = enveloped
        self.timed_out = timed_out


class PhotoError(SmartyError):
    """One photo did not come to a good end.

    Attributes:
        photo: the photo, as its results name it.
        type: a short stable word for the reason, the one `results.jsonl` carries.
        attempts: how many requests the photo rode in.
    """

    def __init__(self, message: str, *, photo: str = "", type: str, attempts: int = 0) -> None:  # noqa: A002 - the field's name in results.jsonl
        super().__init__(message)
        self.photo = photo
        self.type = type
        self.attempts = attempts


class PhotoRejected(PhotoError):
    """Never sent: unreadable, not an image, or over the limits."""


class PhotoFailed(PhotoError):
    """The service said no for good, or the bound on attempts was reached.

    Attributes:
        restored: what was made and paid for nevertheless, when one of two modes failed; else None.
    """

    restored: Restored | None = None
