"""Whom to send to, and as whom: from the options and the environment. No option takes a secret."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from smarty_async.errors import AuthorizationError, ConfigurationError, OptionsError
from smarty_async.options import AUTH_URL, BASE_URL, PROVIDER, OAuthCredentials

__all__ = ["Account", "read_account"]

_LONGEST_TOKEN = 65_536
"""Bytes read of a token file: a photo named by mistake is not read whole."""

_KINDS = ("SMARTY_TOKEN", "SMARTY_TOKEN_FILE", "SMARTY_CLIENT_ID")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to send to, and as whom; its `repr` shows no secret.

    Attributes:
        base_url: the service; None for the embedded one, which has yet to start.
        provider: the API's ``oauth_provider``.
        token: a service token; on this machine none is needed.
        credentials: what to get tokens with, instead of one.
        why_local: why the embedded service does it, for people.
    """

    base_url: str | None
    provider: str = PROVIDER
    token: str | None = None
    credentials: OAuthCredentials | None = None
    why_local: str = "no account given"

    def __repr__(self) -> str:
        return f"Account(base_url={self.base_url!r}, provider={self.provider!r})"

    @property
    def local(self) -> bool:
        """Whether the embedded service does the work."""
        return self.base_url is None

    @property
    def secrets(self) -> list[str]:
        """What must never be printed."""
        secret = self.credentials and self.credentials.client_secret
        return [text for text in (self.token, secret) if text]


def read_account(
    environ: Mapping[str, str],
    *,
    base_url: str | None = None,
    provider: str | None = None,
    local: bool = False,
) -> Account:
    """The account for what was chosen; with neither credentials nor an address, the embedded service.

    Args:
        environ: the environment; empty variables count as absent.
        base_url: the address from the command line; it goes before the environment's.
        provider: likewise.
        local: use the embedded service whatever else is there.

    Raises:
        OptionsError: `local` with an address.
        ConfigurationError: the environment names two accounts, half of one, or a file that cannot be read.
        AuthorizationError: an address is given and no account for it.
    """
    if local and base_url is not None:
        raise OptionsError("--local and --base-url exclude each other: leave one of them out")
    env = {name: value.strip() for name, value in environ.items() if value.strip()}
    provider = provider or env.get("SMARTY_PROVIDER", PROVIDER)
    if local:
        return Account(base_url=None, provider=provider, why_local="--local")
    address = base_url or env.get("SMARTY_BASE_URL")
    token, credentials = _token(env), _credentials(env)
    if token is None and credentials is None:
        if address is not None and not _is_loopback(address):
            raise AuthorizationError(f"there is no account for {address}: set SMARTY_TOKEN")
        return Account(base_url=address, provider=provider)
    return Account(base_url=address or BASE_URL, provider=provider, token=token, credentials=credentials)


def _token(env: Mapping[str, str]) -> str | None:
    kinds = [name for name in _KINDS if name in env]
    if len(kinds) > 1:
        raise ConfigurationError(f"{' and '.join(kinds)} are both set: keep one, unset the other")
    if "SMARTY_TOKEN_FILE" in env:
        return _whole(_read(Path(env["SMARTY_TOKEN_FILE"])), "the file SMARTY_TOKEN_FILE names")
    return _whole(env["SMARTY_TOKEN"], "SMARTY_TOKEN") if "SMARTY_TOKEN" in env else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_TOKEN).decode("utf-8-sig").strip()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the token from {str(path)!r} (SMARTY_TOKEN_FILE): {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{str(path)!r} (SMARTY_TOKEN_FILE) is no text and holds no token") from None
    if not text:
        raise ConfigurationError(f"{str(path)!r} (SMARTY_TOKEN_FILE) is empty: put the token into it")
    return text


def _whole(token: str, where: str) -> str:
    """`token`, unless something else was pasted with it: a space or a line end is in no token."""
    if not token.isprintable() or " " in token:
        raise AuthorizationError(f"{where} holds more than a token: it must be one word, without spaces")
    return token


def _credentials(env: Mapping[str, str]) -> OAuthCredentials | None:
    identity, secret = env.get("SMARTY_CLIENT_ID"), env.get("SMARTY_CLIENT_SECRET")
    if identity is None and secret is None:
        return None
    if identity is None or secret is None:
        missing = "SMARTY_CLIENT_ID" if identity is None else "SMARTY_CLIENT_SECRET"
        raise ConfigurationError(f"{missing} is not set: SMARTY_CLIENT_ID and SMARTY_CLIENT_SECRET go together")
    return OAuthCredentials(client_id=identity, client_secret=secret, auth_url=env.get("SMARTY_AUTH_URL", AUTH_URL))


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
