"""What a failed request means: the table "What each failure means" of the API's contract, as a pure function."""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus
from typing import Protocol

import msgspec

from smarty_async.errors import (
    AuthorizationError,
    ConfigurationError,
    NotTheService,
    RequestError,
    RequestRefused,
)

__all__ = [
    "Abort",
    "Drop",
    "Judge",
    "Refresh",
    "Retry",
    "Shrink",
    "SlowDown",
    "Split",
    "Verdict",
    "judge",
]


class Retry(msgspec.Struct, frozen=True):
    """Temporary failure of the request: resend with backoff what has not arrived."""


class SlowDown(msgspec.Struct, frozen=True):
    """Resend, and keep fewer requests open from now on."""


class Drop(msgspec.Struct, frozen=True):
    """The request fails because of one named image: resend the rest without it.

    Attributes:
        name: the part's name.
    """

    name: str


class Split(msgspec.Struct, frozen=True):
    """The request fails because of an unnamed image: halve it until the image is alone."""


class Shrink(msgspec.Struct, frozen=True):
    """The request is too large: halve the bytes of requests from now on."""


class Refresh(msgspec.Struct, frozen=True):
    """The token is not accepted: renew it once and resend, or stop the job.

    Attributes:
        error: what the job ends with if the token cannot be renewed.
    """

    error: ConfigurationError


class Abort(msgspec.Struct, frozen=True):
    """Every request will fail like this one: stop the job, so that nothing more is paid.

    Attributes:
        error: what the job ends with.
    """

    error: ConfigurationError


Verdict = Retry | SlowDown | Drop | Split | Shrink | Refresh | Abort


class Judge(Protocol):
    """Decides what a failed request means. The default is `judge`."""

    def __call__(self, error: RequestError, names: Collection[str], /) -> Verdict:
        """Return the verdict on `error`, for a request whose parts have these `names`."""
        ...


_NAMED = re.compile(r"\bfile_\d+\b")
_AUTHORIZATION = re.compile(r"authorization failed|access token", re.IGNORECASE)
_OPTIONS = re.compile(r"\b(rfactor|rtype|ftype|oauth_\w+|provider)\b", re.IGNORECASE)
_MODES = re.compile(r"\b(modes?|meta)\b", re.IGNORECASE)  # an option, or the colour mode or the metadata of an image
_IMAGE = re.compile(r"\b(images?|photos?|pictures?|files?|decod\w*)\b", re.IGNORECASE)


def judge(error: RequestError, names: Collection[str], /) -> Verdict:
    """Return the verdict on a request that has no complete answer."""
    status = error.status
    if status is None or status < HTTPStatus.MULTIPLE_CHOICES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        too_much = status == HTTPStatus.SERVICE_UNAVAILABLE or error.timed_out
        return SlowDown() if too_much else Retry()
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Refresh(AuthorizationError(f"the service does not accept the token: {error}", status=status))
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return Shrink()
        case HTTPStatus.TOO_MANY_REQUESTS:
            return SlowDown()
        case HTTPStatus.REQUEST_TIMEOUT:
            return Retry()
        case _ if status < HTTPStatus.BAD_REQUEST:
            return Abort(NotTheService(f"the address answers with a redirect ({status}): check it", status=status))
        case _:
            return _judge_complaint(error, status, names)


def _judge_complaint(error: RequestError, status: int, names: Collection[str]) -> Verdict:
    """Judge 400 and every other 4xx by its text: is it an image, the options or the token?"""
    text = str(error)
    culprit = next((name for name in _NAMED.findall(text) if name in names), None)
    if culprit is not None:
        return Drop(culprit)
    if _AUTHORIZATION.search(text):
        return Refresh(AuthorizationError(f"the service does not accept the token: {error}", status=status))
    # Of several images, one may have the colour mode that is meant: it is looked for first.
    may_be_options = _MODES.search(text) and not _IMAGE.search(text) and len(names) <= 1
    if status == HTTPStatus.BAD_REQUEST and (_OPTIONS.search(text) or may_be_options):
        return Abort(RequestRefused(f"the service refuses the request's options: {error}", status=status))
    return Split()
