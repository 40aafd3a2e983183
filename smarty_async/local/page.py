"""The embedded service's page: drop photos on it, compare before and after, download the results.

It uses the service's own API from the same origin. Pages of other sites are refused the whole service; clients that
are no browsers are not concerned.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from aiohttp import web

from smarty_async.web.assets import SHARED, add_assets
from smarty_async.web.guard import guard

__all__ = ["add_page"]

_ASSETS: Final[dict[str, str]] = SHARED | dict.fromkeys(
    ("service.css", "service.html", "service.js"), "smarty_async.web"
)


def add_page(app: web.Application, *, hosts: Collection[str] = ()) -> None:
    """Add the page at ``/`` to the service `app`, and guard the whole of it against other sites' pages.

    Args:
        app: the service.
        hosts: names that a browser may call it by, beside ``localhost`` and every IP address.
    """
    guard(app, hosts=hosts, browsers_only=False)
    add_assets(app, _ASSETS, page="service.html")
