"""Hooks that are called with frozen details of what happens, and those that count progress and write the log.

    logger ``smarty_async``     DEBUG   one line a request
                                INFO    what changes: a retry, fewer requests at once, the service down and back, a
                                        token refreshed

The fields of the details are also fields of the log records (``extra``), so that a structured formatter can write
them. No text holds a token: texts of the service are redacted before they become part of an error.

Three hooks come with the package: `ProgressHooks` counts what a run's progress reports, `LoggingHooks` writes the log,
and `smarty_async.report.metrics.MetricsHooks` counts for Prometheus.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeVar

import msgspec

from smarty_async.errors import OptionsError
from smarty_async.progress import Progress
from smarty_async.results import Result

__all__ = [
    "Hooks",
    "LoggingHooks",
    "ProgressHooks",
    "RequestDetails",
    "ResponseDetails",
    "RetryDetails",
    "all_hooks",
]

_log = logging.getLogger("smarty_async")

T = TypeVar("T")


class RequestDetails(msgspec.Struct, frozen=True):
    """A request whose first byte is about to be sent.

    Attributes:
        number: counts the requests of a client, from 1.
        images: images in it.
        size: bytes of its body.
        attempts: how many requests its most often sent image was in, this one included.
        permits: how many requests may be open at once now.
    """

    number: int
    images: int
    size: int
    attempts: int
    permits: int


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
        bytes_sent: bytes of its body that were sent.
        bytes_received: bytes of its answer.
        paid: whether it was probably paid for (the rule: `smarty_async.transport.request.was_refused`).
        error: why it failed, None when it did not.
    """

    number: int
    images: int
    size: int
    attempts: int
    status: int | None
    seconds: float
    received: int
    bytes_sent: int
    bytes_received: int
    paid: bool
    error: str | None = None


class RetryDetails(msgspec.Struct, frozen=True):
    """A request that failed and is going to be retried, or an image that the service answered with "later".

    Attributes:
        images: images in it.
        attempt: which attempt has failed, from 1.
        wait: seconds until the next one.
        error: why it failed.
        failing_for: seconds for which the service has failed every request.
        giving_up_in: seconds until the service is given up on, if it goes on failing; None while it is not taken to
            be down.
        scope: ``request`` when the request failed, ``photo`` when one image of a good answer is to be sent again.
    """

    images: int
    attempt: int
    wait: float
    error: str
    failing_for: float = 0.0
    giving_up_in: float | None = None
    scope: Literal["request", "photo"] = "request"


class Hooks(Protocol):
    """What is called when something happens. Calls come from the event loop and must not block."""

    def on_request(self, details: RequestDetails) -> None:
        """A request is about to be sent."""
        ...

    def on_response(self, details: ResponseDetails) -> None:
        """A request that was sent has ended."""
        ...

    def on_retry(self, details: RetryDetails) -> None:
        """A failed request, or an image, is going to be sent again."""
        ...

    def on_photo(self, result: Result) -> None:
        """A photo of an archive has come to an end."""
        ...


_METHODS = ("on_request", "on_response", "on_retry", "on_photo")


class ProgressHooks:
    """Counts requests, images, bytes and photos in the progress of a run.

    Args:
        progress: what is counted in.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_request(self, details: RequestDetails) -> None:
        """Count a request, and its images as paid for until it turns out otherwise."""
        progress = self._progress
        progress.requests += 1
        progress.images += details.images
        progress.images_paid += details.images
        progress.permits = details.permits

    def on_response(self, details: ResponseDetails) -> None:
        """Count the bytes, and how long an answer took."""
        progress = self._progress
        progress.bytes_sent += details.bytes_sent
        progress.bytes_received += details.bytes_received
        if not details.paid:
            progress.images_paid -= details.images
        if details.error is None:
            progress.latencies.add(details.seconds)
            progress.status_message = None

    def on_retry(self, details: RetryDetails) -> None:
        """Count it, and say what is the matter with a request."""
        self._progress.retries += 1
        if details.scope == "request":
            self._progress.status_message = _status_message(details)

    def on_photo(self, result: Result) -> None:
        """Count the outcome."""
        outcomes = self._progress.outcomes
        outcomes[result.outcome] = outcomes.get(result.outcome, 0) + 1


def _status_message(details: RetryDetails) -> str:
    again = f"next try in {details.wait:.0f} s"
    if details.giving_up_in is None:
        return f"{details.error}: {again}"
    return (
        f"the service has been down for {details.failing_for:.0f} s ({details.error}): {again}, "
        f"giving up in {details.giving_up_in:.0f} s"
    )


class LoggingHooks:
    """Writes to the standard log."""

    def on_request(self, details: RequestDetails) -> None:
        """Nothing: the line is written when the request has ended."""

    def on_response(self, details: ResponseDetails) -> None:
        """One line a request."""
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "request %d: %s, %d bytes, attempt %d, status %s, %.3f s, %d answered%s",
                details.number,
                _images(details.images),
                details.size,
                details.attempts,
                details.status,
                details.seconds,
                details.received,
                f": {details.error}" if details.error else "",
                extra=msgspec.structs.asdict(details),
            )

    def on_retry(self, details: RetryDetails) -> None:
        """One line a retry; that of a single photo changes nothing for the others."""
        _log.log(
            logging.INFO if details.scope == "request" else logging.DEBUG,
            "retrying %s in %.1f s, after attempt %d: %s",
            _images(details.images),
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


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


class _AllHooks:
    """Calls several hooks; one that raises is logged, and changes nothing else."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self._hooks = hooks

    def on_request(self, details: RequestDetails) -> None:
        for hooks in self._hooks:
            _call(hooks.on_request, details)

    def on_response(self, details: ResponseDetails) -> None:
        for hooks in self._hooks:
            _call(hooks.on_response, details)

    def on_retry(self, details: RetryDetails) -> None:
        for hooks in self._hooks:
            _call(hooks.on_retry, details)

    def on_photo(self, result: Result) -> None:
        for hooks in self._hooks:
            _call(hooks.on_photo, result)


def _call(hook: Callable[[T], None], details: T) -> None:
    try:
        hook(details)
    except (Exception, asyncio.CancelledError):  # noqa: BLE001 - whatever it is, it is the hook's
        # A CancelledError, too: a task is cancelled only where it awaits something, and a hook is a plain call.
        _log.exception("a hook failed: %r", hook)


def all_hooks(hooks: Sequence[Hooks]) -> Hooks:
    """The log and `hooks` as one; a hook that raises is logged, and changes nothing else.

    Raises:
        OptionsError: one of `hooks` has not all methods of `Hooks`, or has coroutines for them.
    """
    for one in hooks:
        if any(inspect.iscoroutinefunction(getattr(one, name, None)) for name in _METHODS):
            raise OptionsError(f"hooks are called, and not awaited: {type(one).__name__} has an 'async def'")
        if missing := [name for name in _METHODS if not callable(getattr(one, name, None))]:
            raise OptionsError(
                f"hooks must have the methods {', '.join(_METHODS)}: {type(one).__name__} has no {', '.join(missing)}"
            )
    return _AllHooks([LoggingHooks(), *hooks])
