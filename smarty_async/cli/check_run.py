"""What `check` does: one request without an image, and what its answer says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import monotonic
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from smarty_async.account import Account
from smarty_async.errors import AuthorizationError, NotTheService, RequestError, ServiceUnavailable, SmartyError
from smarty_async.options import ModeSpec, Timeouts
from smarty_async.redaction import quotable
from smarty_async.report.wording import duration, plain
from smarty_async.transport.http import (
    UNCOMPRESSED,
    finite,
    make_session,
    proxy_for,
    read_prefix,
    request_options,
    service_url,
    translate_error,
)
from smarty_async.transport.tokens import open_tokens
from smarty_async.wire.messages import encode_meta, parse_envelope
from smarty_async.wire.verdict import Refresh, judge

__all__ = ["Connectivity", "check_connection", "check_lines"]

_CLOCK_TOLERANCE: Final = 60.0
"""Seconds by which two clocks may differ; past that tokens and certificates may be refused."""


class Connectivity(msgspec.Struct, kw_only=True):
    """What was found out.

    Attributes:
        address: of the service; None for the embedded service.
        account: how requests are authorized, in words.
        proxy: the proxy's host and port, None for none; left out where its address cannot be used.
        status: the status of the service's answer, None while there is none.
        seconds: how long it took.
        clock_ahead: by how many seconds this machine's clock is ahead of the service's; None when it does not say.
        accepted: whether the service accepted the account; None where it was not asked, or did not say.
    """

    address: str | None
    account: str
    proxy: str | msgspec.UnsetType | None = None
    status: int | None = None
    seconds: float = 0.0
    clock_ahead: float | None = None
    accepted: bool | None = None


async def check_connection(
    account: Account, *, path: str, seconds: float, report: Callable[[Connectivity], None]
) -> None:
    """Send one request without an image, which the service refuses before any work.

    Args:
        account: the address and the credentials.
        path: the method's path.
        seconds: how long to wait for an answer.
        report: called once with what was found out, also before an error is raised, except one about the service's
            address.

    Raises:
        AuthorizationError: the account is not accepted.
        ConfigurationError: the address, the proxy or a certificate is wrong.
        ServiceUnavailable: the service, or the authorization server, cannot be reached or has trouble.
    """
    # First: an address that is no service's, because it holds a password, say, is not shown.
    url = None if account.base_url is None else service_url(account.base_url, path)
    found = Connectivity(address=account.base_url, account=_account_words(account))
    try:
        if url is not None:
            await _ask(account, url, found, seconds)
    finally:
        report(found)


async def _ask(account: Account, url: URL, found: Connectivity, seconds: float) -> None:
    found.proxy = msgspec.UNSET  # until its address has been read
    proxy = proxy_for(url)
    found.proxy = f"{proxy.host}:{proxy.port}" if proxy else None
    timeouts = Timeouts(connect=seconds, silence=seconds)
    began = monotonic()
    async with AsyncExitStack() as opened:

        async def session_to(address: URL) -> aiohttp.ClientSession:
            return await opened.enter_async_context(make_session(address, timeouts=timeouts))

        session = await session_to(url)
        tokens = await open_tokens(
            token=account.token, credentials=account.credentials, timeouts=timeouts, session_to=session_to
        )
        try:
            query = {"oauth_provider": account.provider, "oauth_token": await tokens.get()}
            status, text = await _post(session, url.update_query(query), timeouts, found)
        except RequestError as error:
            raise ServiceUnavailable(str(error), seconds=monotonic() - began) from None
    _judge(status, text, found)


async def _post(session: aiohttp.ClientSession, url: URL, timeouts: Timeouts, found: Connectivity) -> tuple[int, bytes]:
    """Send a request without an image; the status and the beginning of its answer."""
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("meta", encode_meta([], [ModeSpec("improve")]).decode())
    options = request_options(timeouts)
    options["timeout"] = aiohttp.ClientTimeout(total=finite(timeouts.silence))
    began = monotonic()
    try:
        async with session.post(url, data=form, headers=UNCOMPRESSED, **options) as response:
            text = await read_prefix(response)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise translate_error(error) from None
    found.seconds = round(monotonic() - began, 3)
    found.clock_ahead = _clock_ahead(response.headers.get("Date"))
    return response.status, text


def _judge(status: int, text: bytes, found: Connectivity) -> None:
    """What the answer means; the service's own errors come in an envelope."""
    try:
        envelope = parse_envelope(text)
    except (ValueError, SmartyError):
        envelope = None
    found.status = status if envelope is None else envelope.status
    if found.status >= HTTPStatus.INTERNAL_SERVER_ERROR or found.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise ServiceUnavailable(f"the service has trouble (status {found.status})", seconds=found.seconds)
    if envelope is None:
        raise NotTheService(f"what answers there is not the service (status {status})", status=status)
    error = RequestError(envelope.body or "", status=found.status, enveloped=True)
    if isinstance(judge(error, ()), Refresh):
        found.accepted = False
        said = quotable(str(error))
        raise AuthorizationError(f"the token is not accepted{f': {said}' if said else ''}", status=found.status)
    found.accepted = True


def _clock_ahead(date: str | None) -> float | None:
    try:
        return None if date is None else round(time.time() - parsedate_to_datetime(date).timestamp(), 1)
    except (ValueError, OverflowError):
        return None


def _account_words(account: Account) -> str:
    if account.credentials is not None:
        return "OAuth credentials (SMARTY_CLIENT_ID)"
    return "a token (SMARTY_TOKEN or SMARTY_TOKEN_FILE)" if account.token else "none"


def check_lines(found: Connectivity) -> Iterator[str]:
    """What was found out, for people."""
    if found.address is None:
        yield "Account:  none. Photos are restored on this machine, for free."
        return
    yield f"Account:  {found.account}"
    yield f"Service:  {plain(found.address)}"
    if found.proxy is not msgspec.UNSET:
        yield f"Proxy:    {plain(found.proxy) if found.proxy else 'none'}"
    if found.status is not None:
        yield f"Answer:   status {found.status} after {found.seconds:.2f} s"
    if found.clock_ahead is not None:
        yield f"Clock:    {_clock_words(found.clock_ahead)}"
    if found.accepted:
        yield "The service can be reached and accepts the account. Nothing was sent that costs anything."


def _clock_words(ahead: float) -> str:
    if abs(ahead) <= _CLOCK_TOLERANCE:
        return "right"
    direction = "ahead" if ahead > 0 else "behind"
    return f"{duration(abs(ahead))} {direction} of the service's: set it, or tokens may be refused"
