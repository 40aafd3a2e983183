"""Hooks that are called with frozen details of what happens, and the hook that writes the standard log.

    logger ``smarty_async``     DEBUG   one line a request
                                INFO    what changes: a retry, fewer requests at once, the service down and back, a
                                        token refreshed

The fields of the details are also fields of the log records (``extra``), so that a structured formatter can write
them. No text holds a token: texts of the service are redacted before they become part of an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from smarty_async.results import Result

__all__ = ["Hooks", "LoggingHooks", "RequestDetails", "ResponseDetails", "RetryDetails", "all_hooks"]

_log = logging.getLogger("smarty_async")


class RequestDetails(msgspec.Struct, frozen=True):
    """A request whose first byte is about to be sent.

    Attributes:
        number: counts the requests of a client, from 1.
        images: images in it.
        size: bytes of its body.
        attempts: how many requests its most often sent image was in, this one included.
    """

    number: int
    images: int
    size: int
    attempts: int


class ResponseDetails(msgspec.Struct, frozen=True):
    """How a request ended.

    Attributes:
        number: the request's.
        images: images in it.
        size: bytes of its body.
        attempts: how many requests its most often sent image was in, this one included.
        status: the status of the answer, 200 for a good one; None when none came, or it broke off.
        seconds: from its start to the end of its answer, or to the failure.
        received: images that were answered.
        error: why it failed, None when it did not.
    """

    number: int
    images: int
    size: int
    attempts: int
    status: int | None
    seconds: float
    received: int
    error: str | None = None


class RetryDetails(msgspec.Struct, frozen=True):
    """A request that is going to be retried.

    Attributes:
        images: images in it.
        attempt: which attempt has failed, from 1.
        wait: seconds until the next one.
        error: why it failed.
        failing_for: seconds for which the service has failed every request.
    """

    images: int
    attempt: int
    wait: float
    error: str
    failing_for: float


class Hooks(Protocol):
    """What is called when something happens. Calls come from the event loop and must not block."""

    def on_request(self, details: RequestDetails) -> None:
        """A request is about to be sent."""
        ...

    def on_response(self, details: ResponseDetails) -> None:
        """A request that was sent has ended."""
        ...

    def on_retry(self, details: RetryDetails) -> None:
        """A failed request is going to be retried."""
        ...

    def on_photo(self, result: Result) -> None:
        """A photo of an archive has come to an end."""
        ...


class LoggingHooks:
    """Writes to the standard log."""

    def on_request(self, details: RequestDetails) -> None:
        """Nothing: the line is written when the request has ended."""

    def on_response(self, details: ResponseDetails) -> None:
        """One line a request."""
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "request %d: %d images, %d bytes, attempt %d, status %s, %.3f s, %d answered%s",
                details.number,
                details.images,
                details.size,
                details.attempts,
                details.status,
                details.seconds,
                details.received,
                f": {details.error}" if details.error else "",
                extra=msgspec.structs.asdict(details),
            )

    def on_retry(self, details: RetryDetails) -> None:
        """One line a retry."""
        _log.info(
            "retrying %d images in %.1f s, after attempt %d: %s",
            details.images,
            details.wait,
            details.attempt,
            details.error,
            extra=msgspec.structs.asdict(details),
        )

    def on_photo(self, result: Result) -> None:
        """One line for a photo without outputs."""
        if result.error is not None and _log.isEnabledFor(logging.DEBUG):
            fields = {"photo": result.photo, "outcome": result.outcome, "type": result.error.type}
            _log.debug("%s %s: %s", result.photo, result.outcome, result.error.message, extra=fields)


class _AllHooks:
    """Calls several hooks; one that raises is logged, and changes nothing else."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self._hooks = hooks

    def on_request(self, details: RequestDetails) -> None:
        self._call(lambda hooks: hooks.on_request(details))

    def on_response(self, details: ResponseDetails) -> None:
        self._call(lambda hooks: hooks.on_response(details))

    def on_retry(self, details: RetryDetails) -> None:
        self._call(lambda hooks: hooks.on_retry(details))

    def on_photo(self, result: Result) -> None:
        self._call(lambda hooks: hooks.on_photo(result))

    def _call(self, call: Callable[[Hooks], None]) -> None:
        for hooks in self._hooks:
            try:
                call(hooks)
            except Exception:  # noqa: BLE001 - whatever it is, it is the hook's
                _log.exception("a hook failed: %r", hooks)


def all_hooks(hooks: Sequence[Hooks]) -> Hooks:
    """The log and `hooks` as one; a hook that raises is logged, and changes nothing else."""
    return _AllHooks([LoggingHooks(), *hooks])
