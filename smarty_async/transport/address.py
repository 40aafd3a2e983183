"""Where a token may be sent."""

from __future__ import annotations

import ipaddress

from yarl import URL

from smarty_async.errors import ConfigurationError, OptionsError

__all__ = ["address", "is_loopback"]


def address(base_url: str, path: str) -> URL:
    """The whole address, if a token may be sent there.

    Raises:
        OptionsError: it is none.
        ConfigurationError: a token would travel in the open.
    """
    try:
        url = URL(base_url)
    except ValueError:
        raise OptionsError(f"not an address: {base_url!r}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise OptionsError(f"an address begins with https:// and names a host, unlike {base_url!r}")
    if url.scheme == "http" and not is_loopback(url):
        raise ConfigurationError(f"plain http would show the token to the network: use https:// for {url.host}")
    return URL(base_url.rstrip("/") + path) if path else url


def is_loopback(url: URL) -> bool:
    """Whether it leads to this machine, where a token travels no network."""
    host = url.host or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
