"""Everything about HTTP that requests share: addresses, sessions, proxies, certificates, errors."""

from __future__ import annotations

import math
import os
import re
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypedDict
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from smarty_async.errors import ConfigurationError, OptionsError, RequestError
from smarty_async.options import Timeouts, is_loopback
from smarty_async.redaction import address_without_secrets, redactor

__all__ = [
    "UNCOMPRESSED",
    "RequestOptions",
    "finite",
    "make_session",
    "proxy_for",
    "read_prefix",
    "request_options",
    "service_url",
    "translate_error",
    "trusted_certificates",
]

_BUFFER_BYTES: Final = 1 << 18
"""Bytes of an answer that wait in aiohttp before it stops reading; twice as many may. As many as asyncio reads at a
time: with 64 KiB, the default of aiohttp before 3.14, reading would stop and start again for every piece."""
_PREFIX_BYTES: Final = 1 << 16
"""Bytes that are read of a response that should be short."""
_UNSAFE = re.compile(r"[\\\s\x00-\x1f\x7f]")
"""Characters that programs read differently in an address."""
_PROXY_SCHEMES: Final = ("http", "https")


# addresses


def service_url(base_url: str, path: str = "") -> URL:
    """Return the URL of `path` at `base_url`, exactly as requests are sent to it.

    Raises:
        OptionsError: it is no address, or it says more than scheme, host, port and path.
        ConfigurationError: the token would travel unencrypted: plain http is for this machine only.
    """
    if path and (not path.startswith("/") or path.startswith("//")):
        raise OptionsError(f"path must begin with one slash, unlike {address_without_secrets(path)!r}")
    text = base_url.rstrip("/") + path if path else base_url
    try:
        url = _parsed(text)
    except ValueError:
        raise OptionsError(f"not an address: {address_without_secrets(base_url)!r}") from None
    if url.scheme not in ("http", "https") or not url.raw_host or not url.port:
        raise OptionsError(
            f"an address begins with https:// and names a host, unlike {address_without_secrets(base_url)!r}"
        )
    if _UNSAFE.search(text) or url.raw_user is not None or url.raw_password is not None:
        raise OptionsError(
            f"an address holds no user name, space or backslash, unlike {address_without_secrets(text)!r}"
        )
    if "?" in text or "#" in text:
        raise OptionsError(f"an address ends with its path, without ? and #, unlike {address_without_secrets(text)!r}")
    if url.scheme == "http" and not is_loopback(url.raw_host):
        raise ConfigurationError(f"plain http would show the token to the network: use https:// for {url.host}")
    return url


def _parsed(address: str) -> URL:
    """The parts of an address.

    Raises:
        ValueError: its port or the name of its host is not valid.
    """
    url = URL(address)
    _ = url.port, (url.raw_host or "").encode("idna")  # both raise; the name is encoded like this when it is looked up
    return url


# sessions


def make_session(
    url: URL,
    *,
    timeouts: Timeouts,
    proxy: str | None = None,
    ssl: ssl.SSLContext | None = None,
) -> aiohttp.ClientSession:
    """Open a session for requests to `url`; to be called inside of an event loop.

    The proxy and the trusted certificates come from the environment (`proxy_for`, `trusted_certificates`) unless
    they are given. Credentials in ``~/.netrc`` are never used.

    Args:
        url: where the requests go.
        timeouts: when to stop waiting.
        proxy: the proxy's address, which may hold a user name and password.
        ssl: the TLS settings, for example with the certificate of a private authority.

    Raises:
        ConfigurationError: the proxy's address or the file of certificates cannot be used, or plain http would go
            through a proxy on another machine.
    """
    through = _given_proxy(proxy, url) if proxy else proxy_for(url)
    if ssl is None and "https" in (url.scheme, through and through.scheme):
        ssl = trusted_certificates(os.environ)  # which takes a twentieth of a second for those of a whole system
    return aiohttp.ClientSession(
        timeout=_timeout(timeouts),
        connector=aiohttp.TCPConnector(limit=0, ssl=ssl or True),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"smarty_async/{version('smarty_async')}"},
        proxy=through,
    )


class RequestOptions(TypedDict):
    """Arguments of every request: they hold in a session of the caller, too, whatever its own settings are."""

    allow_redirects: bool
    raise_for_status: bool
    read_bufsize: int
    timeout: aiohttp.ClientTimeout


UNCOMPRESSED: Final[Mapping[str, str]] = {"Accept-Encoding": "identity"}
"""The header of every request that asks for an answer without compression."""


def request_options(timeouts: Timeouts) -> RequestOptions:
    """Return the arguments of a request: no redirects, and no bound on the answer's total time.

    Args:
        timeouts: when to stop waiting for a connection.
    """
    return {
        "allow_redirects": False,
        "raise_for_status": False,
        "read_bufsize": _BUFFER_BYTES,
        "timeout": _timeout(timeouts),
    }


def _timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    """Bounds on connecting alone: an answer takes as long as it takes."""
    connect = finite(timeouts.connect)
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect, sock_read=None)


def finite(seconds: float) -> float | None:
    """A timeout as aiohttp takes it: None for one without an end."""
    return None if seconds == math.inf else seconds


def proxy_for(url: URL) -> URL | None:
    """Return the proxy that the environment names for `url`: ``HTTPS_PROXY``, unless ``NO_PROXY`` excludes the host.

    On macOS and Windows the system's settings count, too. Plain http, which is for this machine only, never goes
    through a proxy of the environment.

    Raises:
        ConfigurationError: the proxy's address cannot be used.
    """
    host = url.raw_host or ""
    if url.scheme == "http":
        return None
    proxy = getproxies().get(url.scheme)
    spellings = (host, f"[{host}]") if ":" in host else (host,)
    if not proxy or any(proxy_bypass(f"{spelling}:{url.port}") for spelling in spellings):
        return None
    return _checked_proxy(proxy, f"{url.scheme.upper()}_PROXY")


def _given_proxy(address: str, url: URL) -> URL:
    proxy = _checked_proxy(address, "proxy")
    if url.scheme == "http" and not is_loopback(proxy.raw_host or ""):
        raise ConfigurationError(f"a proxy would show the token to the network: use https:// for {url.host}")
    return proxy


def _checked_proxy(address: str, source: str) -> URL:
    shown = address_without_secrets(address)
    try:
        proxy = _parsed(address if "://" in address else f"http://{address}")
    except ValueError:
        raise ConfigurationError(f"{source} is not the address of a proxy: {shown!r}") from None
    if proxy.scheme not in _PROXY_SCHEMES or not proxy.raw_host or not proxy.port:
        raise ConfigurationError(f"{source} must name an http or https proxy, unlike {shown!r}")
    if proxy.raw_path_qs != "/" or proxy.raw_fragment:  # perhaps the rest of a password with a slash in it
        raise ConfigurationError(
            f"{source} must end with the proxy's port, unlike {shown!r}; in a password, / is written %2F, and @ %40"
        )
    redactor.add(proxy.password)
    return proxy


def trusted_certificates(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return TLS settings that trust the certificates of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``; None without them.

    Raises:
        ConfigurationError: the file or the folder cannot be used.
    """
    file, folder = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if not file and not folder:
        return None
    if folder and not file and not Path(folder).is_dir():
        raise ConfigurationError(f"SSL_CERT_DIR is not a folder: {folder!r}")
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except OSError as error:  # also SSLError, for a file that holds no certificates
        raise ConfigurationError(
            f"cannot read certificates from {file!r} (SSL_CERT_FILE): {error.strerror or error}"
        ) from None


# responses and errors


async def read_prefix(response: aiohttp.ClientResponse) -> bytes:
    """Read the beginning of a body that should be short: an error or a token."""
    text = bytearray()
    async for data in response.content.iter_any():
        text += data
        if len(text) >= _PREFIX_BYTES:
            break
    return bytes(text[:_PREFIX_BYTES])


def translate_error(
    error: Exception, *, clean: Callable[[str], str] = redactor.redact
) -> RequestError | ConfigurationError:
    """Return the error of this package for an exception of aiohttp or the operating system."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return _proxy_refusal(error)
        case aiohttp.ClientProxyConnectionError():
            return RequestError(clean(f"cannot connect to the proxy {error.host}:{error.port}: {_reason(error)}"))
        case aiohttp.ClientConnectorCertificateError():
            return ConfigurationError(
                clean(
                    f"the certificate of {error.host}:{error.port} is not trusted: {error.certificate_error}; "
                    "if it is of a private authority, name its certificates in SSL_CERT_FILE"
                )
            )
        case TimeoutError():
            message = f"no answer in time ({error})" if str(error) else "no byte for too long"
        case aiohttp.ClientConnectorError():
            message = f"cannot connect to {error.host}:{error.port}: {_reason(error)}"
        case aiohttp.ClientResponseError():  # its status is aiohttp's own, not the service's
            message = f"the answer is not HTTP: {error.message}"
        case OSError(errno=int(), strerror=str(reason)):
            message = f"the connection broke: {reason}"
        case _:
            message = str(error) or type(error).__name__
    return RequestError(clean(message), timed_out=isinstance(error, TimeoutError))


def _reason(error: aiohttp.ClientConnectorError) -> str:
    number = error.os_error.errno
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return error.os_error.strerror or type(error.os_error).__name__


def _proxy_refusal(error: aiohttp.ClientHttpProxyError) -> RequestError | ConfigurationError:
    """The error for a proxy that does not open a tunnel; its own text is not quoted."""
    if error.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return ConfigurationError(
            "the proxy asks for a user name and a password (407): put them into the proxy's address, "
            "as in HTTPS_PROXY=http://user:password@host:port"
        )
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status == HTTPStatus.TOO_MANY_REQUESTS:
        return RequestError(f"the proxy cannot reach the service ({error.status})")
    return ConfigurationError(
        f"the proxy does not allow a connection to the service ({error.status}): ask who runs it, or exclude the "
        "service's host in NO_PROXY"
    )
