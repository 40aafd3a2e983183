"""API.md's table of failures, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from smarty_async.errors import AuthorizationError, ConfigurationError, NotTheService, RequestError, RequestRefused
from smarty_async.results import ErrorInfo
from smarty_async.wire.messages import Answered, Blob, judge_item
from smarty_async.wire.verdict import (
    Abort,
    Drop,
    Judge,
    Refresh,
    Retry,
    Shrink,
    SlowDown,
    Split,
    Verdict,
    judge,
)

NAMES = frozenset({"file_0", "file_1", "file_10"})
RETRY, SLOW_DOWN, SPLIT, SHRINK = Retry(), SlowDown(), Split(), Shrink()
NO_SUCH_FILE = "could not get image by name {}: http: no such file"


def verdict(status: int | None, text: str = "no", **fields: Any) -> Verdict:
    return judge(RequestError(text, status=status, **fields), NAMES)


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        pytest.param(400, NO_SUCH_FILE.format("file_1"), Drop("file_1"), id="400 could not get image by name, named"),
        pytest.param(400, NO_SUCH_FILE.format("file_10"), Drop("file_10"), id="400 named, another name's beginning"),
        pytest.param(400, NO_SUCH_FILE.format("file_7"), SPLIT, id="400 named, and not ours"),
        pytest.param(400, NO_SUCH_FILE.format("file_7") + ", file_0", Drop("file_0"), id="400 named, ours second"),
        pytest.param(400, NO_SUCH_FILE.format("xfile_0"), SPLIT, id="400 named, ours inside a longer name"),
        pytest.param(400, "empty image file_0", Drop("file_0"), id="400 empty image, named"),
        pytest.param(400, "empty image", SPLIT, id="400 empty image, not named"),
        pytest.param(400, "could not decode image: unsupported mode", SPLIT, id="400 the colour mode of an image"),
        pytest.param(400, "wrong meta in file", SPLIT, id="400 the metadata of a file"),
        pytest.param(400, "mode CMYK is not supported", SPLIT, id="400 a mode, perhaps of one of several images"),
        pytest.param(413, "Request Entity Too Large", SHRINK, id="413"),
        pytest.param(413, "file_0 is too large", SHRINK, id="413 whatever it says"),
        pytest.param(429, "slow down", SLOW_DOWN, id="429"),
        pytest.param(503, "Service Unavailable", SLOW_DOWN, id="503"),
        pytest.param(500, "Internal Server Error", RETRY, id="500"),
        pytest.param(502, "Bad Gateway", RETRY, id="502"),
        pytest.param(504, "Gateway Timeout", RETRY, id="504"),
        pytest.param(520, "rfactor, file_0: Access Token", RETRY, id="any other 5xx, whatever it says"),
        pytest.param(None, "Connection reset by peer", RETRY, id="connection lost"),
        pytest.param(None, "no byte for too long", RETRY, id="timeout"),
        pytest.param(408, "Request Timeout", RETRY, id="408, the service's own timeout"),
        pytest.param(404, "not found", SPLIT, id="any other 4xx: 404"),
        pytest.param(415, "unsupported", SPLIT, id="any other 4xx: 415"),
        pytest.param(422, "bad mode", SPLIT, id="any other 4xx: 422, which names an option"),
        pytest.param(422, "file_1 is bad", Drop("file_1"), id="any other 4xx: 422, named"),
        pytest.param(None, "the answer is not JSON", RETRY, id="body not JSON"),
        pytest.param(None, "the answer broke off", RETRY, id="body truncated"),
        pytest.param(0, "status 0", RETRY, id="an envelope's status that is none"),
        pytest.param(204, "status 204", RETRY, id="2xx without an answer"),
    ],
)
def test_what_a_request_s_failure_means(status: int | None, text: str, expected: Verdict) -> None:
    assert verdict(status, text) == expected
    assert verdict(status, text, enveloped=True, retry_after=3.0) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("rfactor must be 2 or 4", id="rfactor"),
        pytest.param("ftype must be art or photo", id="ftype"),
        pytest.param("invalid rtype", id="rtype"),
        pytest.param("unknown mode", id="mode"),
        pytest.param("no modes", id="modes"),
        pytest.param("could not parse Meta", id="meta, in any case"),
        pytest.param("oauth_provider is required", id="oauth_provider"),
        pytest.param("unknown provider", id="provider"),
    ],
)
def test_a_complaint_about_the_options_stops_the_job(text: str) -> None:
    found = judge(RequestError(text, status=400, enveloped=True), {"file_0"})
    assert isinstance(found, Abort)
    assert isinstance(found.error, RequestRefused)
    assert found.error.status == 400
    assert text in str(found.error)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param(401, "no", id="401"),
        pytest.param(403, "no", id="403"),
        pytest.param(403, "authorization failed: file_0", id="403 that names an image"),
        pytest.param(400, "authorization failed: Access Token invalid", id="authorization failed under 400"),
        pytest.param(400, "ACCESS TOKEN invalid for provider", id="access token, in any case, beside an option"),
        pytest.param(404, "Authorization failed", id="authorization failed under any other 4xx"),
    ],
)
def test_a_token_that_is_not_accepted_is_renewed(status: int, text: str) -> None:
    found = verdict(status, text)
    assert isinstance(found, Refresh)
    assert isinstance(found.error, AuthorizationError)
    assert found.error.status == status
    assert text in str(found.error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_stops_the_job(status: int) -> None:
    found = verdict(status, "Moved")
    assert isinstance(found, Abort)
    assert isinstance(found.error, NotTheService)
    assert found.error.status == status


def test_the_judge_can_be_replaced() -> None:
    replaceable: Judge = judge
    assert replaceable(RequestError("x", status=429), ()) == SLOW_DOWN


def test_every_stop_is_a_configuration_error() -> None:
    for status, text in ((401, "x"), (302, "x"), (400, "rfactor")):
        found = verdict(status, text)
        assert isinstance(found, Refresh | Abort)
        assert isinstance(found.error, ConfigurationError)


# items

JPEG = Blob(0, 500, b"\xff\xd8\xff")


def item(status: int, error: str | None = None, **blobs: Blob) -> Answered:
    return Answered("improve", "file_0", status, error, None, dict(blobs))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answered", "meaning", "why"),
    [
        pytest.param(item(0, improved=JPEG, colorized=JPEG), "done", None, id="0 with its outputs"),
        pytest.param(item(0), "done", None, id="0 without outputs: already good"),
        pytest.param(item(0, "a remark", improved=JPEG), "done", None, id="0 with a text"),
        pytest.param(item(1, "too old"), "permanent", ("permanent", "too old"), id="1"),
        pytest.param(item(1), "permanent", ("permanent", "the service gave no reason"), id="1 without a text"),
        pytest.param(item(1, "no", improved=JPEG), "permanent", ("permanent", "no"), id="1 with an output"),
        pytest.param(
            item(2, "unable decode input image"),
            "temporary",
            ("temporary", "unable decode input image"),
            id="2",
        ),
        pytest.param(item(2, ""), "temporary", ("temporary", "the service gave no reason"), id="2 without a text"),
        pytest.param(item(3, "?"), "temporary", ("temporary", "?"), id="a status nobody has documented"),
        pytest.param(item(-1, "?"), "temporary", ("temporary", "?"), id="a negative status"),
        pytest.param(
            item(0, improved=JPEG, colorized=Blob(1, 0, b"", "its base64 is broken")),
            "temporary",
            ("broken_output", "colorized came back unusable: its base64 is broken"),
            id="base64 broken",
        ),
        pytest.param(
            item(0, improved=Blob(0, 9, b"GIF")),
            "temporary",
            ("broken_output", "improved came back unusable: it is not a JPEG"),
            id="not a JPEG",
        ),
        pytest.param(
            item(0, improved=Blob(0, 2, b"\xff\xd8")),
            "temporary",
            ("broken_output", "improved came back unusable: it is not a JPEG"),
            id="too short for a JPEG",
        ),
    ],
)
def test_what_an_item_s_answer_means(answered: Answered, meaning: str, why: tuple[str, str] | None) -> None:
    assert judge_item(answered) == (meaning, why and ErrorInfo(*why))
