"""The token: got, renewed before it ends, and kept out of every text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import aiohttp
import msgspec

from smarty_async.errors import AuthorizationError, RequestError
from smarty_async.options import OAuthCredentials, Timeouts
from smarty_async.transport.excerpt import beginning

__all__ = ["OAuthTokens", "ServiceToken", "Tokens", "redact"]

_REDACTED = "<redacted>"
_MARGIN = 60.0
"""Seconds before its end at which a token is renewed."""
_HOUR = 3600.0
"""What a token lives when the grant does not say, in seconds (API.md)."""


def redact(text: str, *secrets: str | None) -> str:
    """`text` without the `secrets`, in any form they may take in a URL or in JSON."""
    for secret in filter(None, secrets):
        text = re.sub("".join(map(_any_form, secret)), _REDACTED, text)
    return text


def _any_form(char: str) -> str:
    """A pattern of `char` as it is, percent-encoded or escaped: encoders differ in what they leave as it is."""
    percent = "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    units = char.encode("utf-16-be", "surrogatepass").hex()
    escaped = "".join(rf"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
    space = r"|\+" if char == " " else ""
    return rf"(?:(?i:{percent}|{escaped})|\\?{re.escape(char)}{space})"  # the longer ones first: a % may begin one


class Tokens(Protocol):
    """Where the token comes from."""

    async def get(self) -> str:
        """A token that is good now, as far as is known."""
        ...

    async def renew(self, stale: str) -> bool:
        """Replace `stale`, which the service did not accept; False when there is no other."""
        ...

    def redact(self, text: str) -> str:
        """`text` without any secret known here."""
        ...


class ServiceToken:
    """A service token: it does not expire and cannot be renewed."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def get(self) -> str:
        """The token."""
        return self._token

    async def renew(self, stale: str) -> bool:
        """It is the only one there is."""
        return stale != self._token

    def redact(self, text: str) -> str:
        """`text` without the token."""
        return redact(text, self._token)


class _Grant(msgspec.Struct):
    access_token: str
    refresh_token: str | None = None
    expired_in: str | float | None = None
    expires_in: str | float | None = None

    @property
    def seconds(self) -> float:
        try:
            return float(self.expired_in or self.expires_in or _HOUR)
        except ValueError:
            return _HOUR


class OAuthTokens:
    """Access tokens by client credentials or a refresh token.

    One flight at a time: a project may have at most 25 tokens alive, so one is shared by all requests.

    Args:
        credentials: what to ask with.
        session: what to ask through.
        timeouts: when to stop waiting.
        clock: monotonic seconds.
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
        self._session = session
        # An answer this short comes at once or not at all: the time without a byte bounds the whole.
        self._timeout = aiohttp.ClientTimeout(total=timeouts.silence, connect=timeouts.connect)
        self._clock = clock
        self._flight = asyncio.Lock()
        self._access: str | None = None
        self._previous: str | None = None
        self._refresh = credentials.refresh_token
        self._renew_at = 0.0

    async def get(self) -> str:
        """A token that is good for a while yet.

        Raises:
            AuthorizationError: the credentials are not accepted.
            RequestError: the authorization server did not answer.
        """
        async with self._flight:
            if self._access is None or self._clock() >= self._renew_at:
                await self._grant()
            assert self._access is not None  # noqa: S101 - _grant sets it or raises
            return self._access

    async def renew(self, stale: str) -> bool:
        """Ask for another token, unless somebody just did.

        Raises:
            AuthorizationError: the credentials are not accepted.
            RequestError: the authorization server did not answer.
        """
        async with self._flight:
            if self._access == stale:
                await self._grant()
            return self._access != stale

    def redact(self, text: str) -> str:
        """`text` without the tokens and the secret."""
        given = self._credentials
        return redact(text, self._access, self._previous, self._refresh, given.refresh_token, given.client_secret)

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
        self._previous, self._access = self._access, grant.access_token
        self._refresh = grant.refresh_token or self._refresh
        self._renew_at = asked + grant.seconds - min(_MARGIN, grant.seconds / 10)

    async def _post_credentials(self) -> _Grant:
        return await self._post(grant_type="client_credentials", client_secret=self._credentials.client_secret or "")

    async def _post(self, **fields: str) -> _Grant:
        body = msgspec.json.encode({"client_id": self._credentials.client_id, **fields})
        status, text = await self._ask(body)
        if status >= 500 or status == 429:  # noqa: PLR2004 - HTTP's own numbers
            raise RequestError(f"the authorization server answered {status}", status=503)
        if status != 200:  # noqa: PLR2004
            said = " ".join(self.redact(text.decode("utf-8", "replace")).split())[:200]
            raise AuthorizationError(f"the authorization server grants no token ({status}): {said}", status=status)
        grant = _read_grant(text)
        if grant is None:  # what it said may hold a token that nobody knows to redact
            raise AuthorizationError("the authorization server's grant holds no token", status=status)
        return grant

    async def _ask(self, body: bytes) -> tuple[int, bytes]:
        try:
            async with self._session.post(
                self._credentials.auth_url,
                data=body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                return response.status, await beginning(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = self.redact(str(error) or type(error).__name__)
        raise RequestError(f"the authorization server did not answer: {why}")


def _read_grant(text: bytes) -> _Grant | None:
    try:
        grant = msgspec.json.decode(text, type=_Grant)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return grant if grant.access_token else None
