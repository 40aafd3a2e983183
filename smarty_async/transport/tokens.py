"""Tokens: where they come from, and when they are renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import monotonic
from typing import Protocol

import aiohttp
import msgspec
from yarl import URL

from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import AuthorizationError, ConfigurationError, RequestError
from smarty_async.options import OAuthCredentials, Timeouts
from smarty_async.redaction import quotable, redactor
from smarty_async.transport.http import finite, read_prefix, service_url, translate_error
from smarty_async.wire.messages import BOM

__all__ = ["OAuthTokens", "ServiceToken", "Tokens", "open_tokens"]

_MARGIN = 60.0
"""Seconds before its end at which a token is renewed."""
_HOUR = 3600.0
"""Lifetime of a token, in seconds, when the grant does not say (the API's documents)."""
_NO_TOKEN = "no-token-given"  # noqa: S105 - that is what it says
"""The token sent to a loopback service, which needs none: the parameter must be there, and the word must not occur in
error messages, from which tokens are redacted."""


class Tokens(Protocol):
    """Source of tokens."""

    async def get(self) -> str:
        """Return a token that is valid now, as far as is known."""
        ...

    async def renew(self, stale: str) -> bool:
        """Replace `stale`, which the service did not accept; False when there is no other token."""
        ...


class ServiceToken:
    """A service token: it does not expire and cannot be renewed."""

    def __init__(self, token: str) -> None:
        self._token = token
        redactor.add(token)

    async def get(self) -> str:
        """Return the token."""
        return self._token

    async def renew(self, stale: str) -> bool:
        """Return whether `stale` is another token: this one cannot be renewed."""
        return stale != self._token


class _Grant(msgspec.Struct):
    """A grant that holds a token; of the rest, what is not as it should be counts as missing."""

    access_token: str
    refresh_token: object = None
    expired_in: object = None
    expires_in: object = None

    @property
    def seconds(self) -> float:
        """How long the token is valid; an hour when it does not say. A token that ends before is renewed at a 401."""
        return _seconds(self.expired_in) or _seconds(self.expires_in) or _HOUR

    @property
    def next_refresh(self) -> str | None:
        """The refresh token that replaces the one before, None when there is none."""
        return self.refresh_token if self.refresh_token and isinstance(self.refresh_token, str) else None


def _seconds(value: object) -> float | None:
    """The number of seconds that `value` stands for, None when it stands for none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < float("inf") else None


class OAuthTokens:
    """Access tokens by client credentials or a refresh token.

    All requests share one token, and only one request for a token is open at a time: a project may have at most 25
    valid tokens.

    Args:
        credentials: what to authorize with.
        session: what requests go through.
        timeouts: when to stop waiting.
        clock: monotonic seconds.

    Raises:
        OptionsError: the authorization server's address is not valid.
        ConfigurationError: the credentials would travel unencrypted.
    """

    def __init__(
        self,
        credentials: OAuthCredentials,
        session: aiohttp.ClientSession,
        *,
        timeouts: Timeouts,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._credentials = credentials
        self._url = service_url(credentials.auth_url)
        self._session = session
        # The answer is short, so the bound on silence is taken for the whole.
        self._timeout = aiohttp.ClientTimeout(total=finite(timeouts.silence), connect=finite(timeouts.connect))
        self._clock = clock
        self._granting = asyncio.Lock()
        self._access: str | None = None
        self._refresh = credentials.refresh_token
        self._renew_at = 0.0
        redactor.add(credentials.client_secret, credentials.refresh_token)

    async def get(self) -> str:
        """Return a token that stays valid for a while.

        Raises:
            AuthorizationError: the credentials are not accepted.
            RequestError: the authorization server did not answer.
            ConfigurationError: it cannot be reached this way: its certificate or the proxy.
        """
        async with self._granting:
            if self._access is None or self._clock() >= self._renew_at:
                await self._grant()
            assert self._access is not None  # noqa: S101 - _grant sets it or raises
            return self._access

    async def renew(self, stale: str) -> bool:
        """Ask for another token, unless another request has just done so.

        Raises:
            AuthorizationError: the credentials are not accepted.
            RequestError: the authorization server did not answer.
            ConfigurationError: it cannot be reached this way: its certificate or the proxy.
        """
        async with self._granting:
            if self._access == stale:
                await self._grant()
            return self._access != stale

    async def _grant(self) -> None:
        asked = self._clock()
        if self._refresh is not None:
            try:
                grant = await self._post(grant_type="refresh_token", refresh_token=self._refresh)
            except AuthorizationError:
                if self._credentials.client_secret is None:
                    raise
                self._refresh = None
                grant = await self._post_credentials()
        else:
            grant = await self._post_credentials()
        self._access = grant.access_token
        self._refresh = grant.next_refresh or self._refresh
        self._renew_at = asked + grant.seconds - min(_MARGIN, grant.seconds / 10)

    async def _post_credentials(self) -> _Grant:
        return await self._post(grant_type="client_credentials", client_secret=self._credentials.client_secret or "")

    async def _post(self, **fields: str) -> _Grant:
        body = msgspec.json.encode({"client_id": self._credentials.client_id, **fields})
        status, text = await self._ask(body)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RequestError(f"the authorization server answered {status}", status=HTTPStatus.SERVICE_UNAVAILABLE)
        if status != HTTPStatus.OK:
            # Below 400, the text may hold tokens that are not known here.
            said = quotable(text.decode("utf-8", "replace")) if status >= HTTPStatus.BAD_REQUEST else ""
            message = f"the authorization server grants no token ({status}): {said}"
            raise AuthorizationError(message.rstrip(": "), status=status)
        grant = _read_grant(text)
        if grant is None:  # its text may hold a token that is not known here
            raise AuthorizationError("the authorization server's grant holds no token", status=status)
        redactor.add(grant.access_token, grant.next_refresh)
        return grant

    async def _ask(self, body: bytes) -> tuple[int, bytes]:
        problem: RequestError | ConfigurationError
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                allow_redirects=False,
                raise_for_status=False,
                timeout=self._timeout,
            ) as response:
                return response.status, await read_prefix(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            problem = translate_error(error)
        if isinstance(problem, RequestError):
            raise RequestError(f"the authorization server did not answer: {problem}", timed_out=problem.timed_out)
        raise problem


def _read_grant(text: bytes) -> _Grant | None:
    """The grant in `text`, None when there is none."""
    try:
        grant = msgspec.json.decode(text.removeprefix(BOM), type=_Grant)
    except DAMAGED_JSON:
        return None
    return grant if grant.access_token else None


async def open_tokens(
    *,
    token: str | None,
    credentials: OAuthCredentials | None,
    timeouts: Timeouts,
    session_to: Callable[[URL], Awaitable[aiohttp.ClientSession]],
) -> Tokens:
    """Return the tokens of an account; the only place that makes them.

    Args:
        token: a service token; None for none, which a service of this machine accepts.
        credentials: what to get access tokens with, instead of `token`.
        timeouts: when to stop waiting for the authorization server.
        session_to: opens a session for requests to an address: the authorization server may be reached in another
            way than the service.

    Raises:
        OptionsError: the authorization server's address is not valid.
        ConfigurationError: the credentials would travel unencrypted, or the proxy or the certificates cannot be used.
    """
    if credentials is None:
        return ServiceToken(token or _NO_TOKEN)
    session = await session_to(service_url(credentials.auth_url))
    return OAuthTokens(credentials, session, timeouts=timeouts)
