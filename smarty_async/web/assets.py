"""The files of a page, read from the installed package and served under fixed names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Final

from aiohttp import web

__all__ = ["SHARED", "add_assets", "read_asset"]


SHARED: Final[dict[str, str]] = dict.fromkeys(("icon.svg", "slider.js", "strings.js", "theme.css"), "smarty_async.web")
"""The assets of both pages: {name: package that holds it in its folder ``static``}."""

_TYPES: Final = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}


def read_asset(package: str, name: str) -> str:
    """The text of the file `name` in the folder ``static`` of `package`.

    An HTML file holds the body of a page; what is around it, the same for all pages, is in ``page.html``.
    """
    text = (files(package) / "static" / name).read_text("utf-8")
    stem, _, suffix = name.rpartition(".")
    if suffix != "html":
        return text
    frame = (files("smarty_async.web") / "static" / "page.html").read_text("utf-8")
    return frame.replace("{name}", stem).replace("{body}", text)


def add_assets(app: web.Application, assets: Mapping[str, str], *, page: str) -> None:
    """Serve `page` at ``/`` and every other asset at ``/assets/<name>``; no other name exists.

    Args:
        app: the application.
        assets: {name: package}.
        page: the name of the HTML file among them.
    """
    for name, package in assets.items():
        path = "/" if name == page else f"/assets/{name}"
        app.router.add_get(path, _handler(package, name))


def _handler(package: str, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    text = read_asset(package, name)

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(
            text=text,
            content_type=_TYPES[name.rpartition(".")[2]],
            charset="utf-8",
            headers={"Cache-Control": "no-cache"},
        )

    return serve
