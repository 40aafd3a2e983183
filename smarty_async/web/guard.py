"""The guard around the application of a page.

It keeps the web pages of other sites from using a server on this machine, and our own pages from loading anything else.
Three attacks are refused. A page of another site that reads from or posts to the server: the browser says so in
``Origin`` or ``Sec-Fetch-Site``. DNS rebinding, where the other site's name is made to point at this machine: ``Host``
is then that name. Text in a photo's name or a service's answer that is taken for markup: the Content-Security-Policy
allows no inline script and no other host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

__all__ = ["HEADERS", "guard"]

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of every answer. https://owasp.org/www-project-secure-headers/"""

_SAME: Final = ("same-origin", "none")
"""Values of ``Sec-Fetch-Site`` for our own page, and for an address that the user typed."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(app: web.Application, *, hosts: Collection[str] = (), browsers_only: bool) -> None:
    """Check every request to `app` before it is handled, and add `HEADERS` to every answer.

    Args:
        app: the application.
        hosts: names the server may be called by, beside ``localhost`` and every IP address.
        browsers_only: check ``Host`` of every request. When False, a request without ``Origin`` and ``Sec-Fetch-``
            headers comes from a program that is no browser, and may call the server by any name.
    """
    allowed = frozenset({"localhost", *(host.lower() for host in hosts)})

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if (browsers_only or _from_browser(request)) and not _is_ours(request.headers.get("Host", ""), allowed):
            raise web.HTTPForbidden(text="Refused: the Host header names another server.\n")
        if not _same_site(request):
            raise web.HTTPForbidden(text="Refused: the request comes from a page of another site.\n")
        return await handler(request)

    async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)

    app.middlewares.append(check)
    app.on_response_prepare.append(add_headers)


def _from_browser(request: web.Request) -> bool:
    return "Origin" in request.headers or "Sec-Fetch-Site" in request.headers


def _is_ours(host: str, allowed: Collection[str]) -> bool:
    """Whether `host` is an allowed name or an IP address. DNS rebinding needs a name of the attacker's own."""
    name = _name_of(host)
    if name in allowed:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> str:
    """The name or address in a ``Host`` header, without the port; empty for one that is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_site(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    if origin is not None:
        # The scheme is not compared: a proxy in front may use https.
        return origin.partition("://")[2].lower() == request.headers.get("Host", "").lower()
    site = request.headers.get("Sec-Fetch-Site", "none")
    return site in _SAME or _is_visit(request)


def _is_visit(request: web.Request) -> bool:
    """Whether a user followed a link to the page. The other site cannot read what it then shows."""
    return (
        request.method == "GET"
        and request.path == "/"
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
    )
