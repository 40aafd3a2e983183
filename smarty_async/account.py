"""The account: the service's address and what to authorize with. No option takes a secret: the environment has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from smarty_async.errors import AuthorizationError, ConfigurationError, OptionsError
from smarty_async.options import AUTH_URL, BASE_URL, PROVIDER, OAuthCredentials, is_loopback
from smarty_async.redaction import redactor
from smarty_async.transport.http import service_url

__all__ = ["Account", "account_from_env", "read_account"]

_MAX_TOKEN_BYTES = 65_536
"""Bytes that are read of a token file, so that a photo named by mistake is not read whole."""

_SOURCES = ("SMARTY_TOKEN", "SMARTY_TOKEN_FILE", "SMARTY_CLIENT_ID")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send requests, and what to authorize them with. Its `repr` shows no secret.

    Attributes:
        base_url: the service's address; None when neither an address nor an account is given.
        provider: the API's ``oauth_provider``.
        token: a service token. The service of this machine needs none.
        credentials: what to get access tokens with, instead of `token`.
        why_local: why the embedded service is used where there is no address, for people.
    """

    base_url: str | None = None
    provider: str = PROVIDER
    token: str | None = None
    credentials: OAuthCredentials | None = None
    why_local: str = "no account given"

    @property
    def local(self) -> bool:
        """Whether the embedded service is used."""
        return self.base_url is None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r}, provider={self.provider!r})"

    @property
    def secrets(self) -> list[str]:
        """What must never be printed."""
        secret = self.credentials and self.credentials.client_secret
        return [text for text in (self.token, secret) if text]


def read_account(
    environ: Mapping[str, str], *, base_url: str | None = None, provider: str | None = None, local: bool = False
) -> Account:
    """Return the account for a command's options; with neither credentials nor an address, the embedded service.

    Args:
        environ: the environment; empty variables count as absent.
        base_url: the address on the command line; it replaces that of the environment.
        provider: likewise.
        local: use the embedded service in any case.

    Raises:
        OptionsError: `local` with an address.
        ConfigurationError: as `account_from_env`.
        AuthorizationError: likewise.
    """
    if local and base_url is not None:
        raise OptionsError("--local and --base-url exclude each other: leave one of them out")
    if local:
        provider = provider or environ.get("SMARTY_PROVIDER", "").strip() or PROVIDER
        return Account(provider=provider, why_local="asked for with --local")
    return account_from_env(environ, base_url=base_url, provider=provider)


def account_from_env(
    environ: Mapping[str, str], *, base_url: str | None = None, provider: str | None = None
) -> Account:
    """Return the account that the environment describes.

    Read are ``SMARTY_TOKEN`` or ``SMARTY_TOKEN_FILE``, or ``SMARTY_CLIENT_ID`` with ``SMARTY_CLIENT_SECRET`` and
    ``SMARTY_AUTH_URL``; ``SMARTY_BASE_URL`` and ``SMARTY_PROVIDER``. Empty variables count as absent.

    Args:
        environ: the environment.
        base_url: an address that replaces the one of the environment.
        provider: a provider that replaces the one of the environment.

    Raises:
        ConfigurationError: the environment describes two accounts, half of one, or a file that cannot be read.
        OptionsError: there is no account, and the address is not valid.
        AuthorizationError: there is an address on another machine and no account for it.
    """
    env = {name: value.strip() for name, value in environ.items() if value.strip()}
    provider = provider or env.get("SMARTY_PROVIDER", PROVIDER)
    address = base_url or env.get("SMARTY_BASE_URL")
    token, credentials = _token(env), _credentials(env)
    if token is None and credentials is None:
        if address is not None and not is_loopback(service_url(address).raw_host or ""):
            raise AuthorizationError(f"there is no account for {address}: set SMARTY_TOKEN")
        return Account(base_url=address, provider=provider)
    return Account(base_url=address or BASE_URL, provider=provider, token=token, credentials=credentials)


def _token(env: Mapping[str, str]) -> str | None:
    given = [name for name in _SOURCES if name in env]
    if len(given) > 1:
        raise ConfigurationError(f"{' and '.join(given)} are both set: keep one, unset the other")
    if "SMARTY_TOKEN_FILE" in env:
        return _checked(_read(Path(env["SMARTY_TOKEN_FILE"])), "the file of SMARTY_TOKEN_FILE")
    return _checked(env["SMARTY_TOKEN"], "SMARTY_TOKEN") if "SMARTY_TOKEN" in env else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_TOKEN_BYTES).decode("utf-8-sig").strip()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the token from {str(path)!r} (SMARTY_TOKEN_FILE): {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{str(path)!r} (SMARTY_TOKEN_FILE) is not a text file and holds no token") from None
    if not text:
        raise ConfigurationError(f"{str(path)!r} (SMARTY_TOKEN_FILE) is empty: put the token into it")
    return text


def _checked(token: str, where: str) -> str:
    """Return `token` if it is one word: a space or a line end comes from pasting something else with it."""
    redactor.add(token)
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
    redactor.add(secret)
    return OAuthCredentials(client_id=identity, client_secret=secret, auth_url=env.get("SMARTY_AUTH_URL", AUTH_URL))
