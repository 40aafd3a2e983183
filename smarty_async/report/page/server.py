"""The before/after page on loopback: a JSON interface, thumbnails, pictures and the page's own files. Read-only.

What the page gets of photos and folders are small structs, encoded as JSON.
"""

from __future__ import annotations

import asyncio
import os
import webbrowser
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast, get_args

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from smarty_async.archive.journal.catalog import STATES, Catalog, Folder, Photo, State
from smarty_async.archive.paths import STATE, display_path
from smarty_async.errors import DiskError, PhotoRejected
from smarty_async.report.page.previews import LARGE_SIDE, THUMBNAIL_SIDE, Previews, browser_type
from smarty_async.results import ErrorInfo, Kind
from smarty_async.web.assets import SHARED, add_assets
from smarty_async.web.guard import guard
from smarty_async.web.listening import listen

__all__ = [
    "ASSETS",
    "Card",
    "Page",
    "Section",
    "Summary",
    "Which",
    "card_of",
    "page_of",
    "path_of",
    "summary_of",
    "view",
]


T = TypeVar("T")

ASSETS: Final[dict[str, str]] = SHARED | dict.fromkeys(("view.css", "view.html", "view.js"), "smarty_async.report.page")
"""The page's files: {name: package}."""

_HOST: Final = "127.0.0.1"
_MOST_PHOTOS: Final = 200
"""Photos of one answer at most."""

_MOST_DIGITS: Final = 18
"""Of a number in an address: more do not fit into SQLite's integers."""

_GRACE: Final = 5.0
"""Seconds that open answers have left once the server stops; pictures that wait to be decoded are given up at once."""

_CONDITIONS: Final = ("If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range")
"""Headers of a request that say what of a file is sent."""

_NO_PREVIEW: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"><path fill="none" stroke="#8888" stroke-width=".08"'
    b' d="M1 .8h2v1.4H1zM1 2.2l2-1.4"/></svg>'
)
Which = Literal["before", "improved", "colorized_improved", "colorized", "resolved"]
"""One picture of a photo: the original, or an output."""

_WHICH: Final[tuple[Which, ...]] = get_args(Which)


def _make_app(out: str | os.PathLike[str]) -> web.Application:
    """The page for the output folder `out` as an application.

    Raises:
        ConfigurationError: there is no journal, or a newer version of this program wrote it.
        DiskError: the journal cannot be read.
    """
    viewer = _Viewer(Catalog(out))
    app = web.Application()
    guard(app, browsers_only=True)
    app.on_startup.append(viewer.prepare)
    app.on_shutdown.append(viewer.stop)
    app.on_cleanup.append(viewer.close)
    add_assets(app, ASSETS, page="view.html")
    which = f"{{which:{'|'.join(_WHICH)}}}"
    app.router.add_get("/api/summary", viewer.summary)
    app.router.add_get("/api/photos", viewer.photos)
    app.router.add_get(f"/thumbnails/{{id:[0-9]{{1,{_MOST_DIGITS}}}}}/{which}", viewer.thumbnail)
    app.router.add_get(f"/pictures/{{id:[0-9]{{1,{_MOST_DIGITS}}}}}/{which}", viewer.picture)
    return app


@asynccontextmanager
async def view(
    out_dir: str | os.PathLike[str], *, port: int = 0, open_browser: bool = True
) -> AsyncGenerator[str, None]:
    """Serve the page for the output folder `out_dir` on loopback while the block lasts; gives its address.

    Args:
        out_dir: the folder given to ``improve`` as ``--out``.
        port: the port to listen on; 0 picks a free one.
        open_browser: show the page in the user's browser.

    Raises:
        ConfigurationError: there is no journal in `out_dir`, or the port is in use.
        DiskError: the journal cannot be read.
    """
    app = await asyncio.to_thread(_make_app, out_dir)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        url = f"http://{_HOST}:{await listen(runner, host=_HOST, port=port, choose='--port')}/"
        if open_browser:
            await asyncio.to_thread(webbrowser.open, url)
        yield url
    finally:
        await runner.cleanup()


class _Viewer:
    """The handlers. The journal has a thread of its own, decoding has several."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._previews = Previews(catalog.out / STATE / "thumbnails")
        self._stopping = False
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._decoding = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="thumbnails")

    async def prepare(self, _app: web.Application) -> None:
        """Read the folders while the browser starts."""
        self._reading.submit(self._catalog.folders)

    async def stop(self, _app: web.Application) -> None:
        """Give up the pictures that wait to be decoded, so that the server ends soon."""
        self._stopping = True

    async def close(self, _app: web.Application) -> None:
        """Close the journal and the threads."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._decoding.shutdown()
        self._reading.shutdown()
        self._previews.close()
        self._catalog.close()

    async def summary(self, _request: web.Request) -> web.Response:
        """Counts and folders."""
        return _json(await self._read(lambda: summary_of(self._catalog)))

    async def photos(self, request: web.Request) -> web.Response:
        """One page of photos; ``after``, ``folder``, ``state`` and ``limit`` as `Catalog.page` takes them."""
        state = request.query.get("state")
        if state is not None and state not in STATES:
            raise web.HTTPBadRequest(text="no such state\n")
        read = partial(
            self._page,
            after=_number(request, "after"),
            folder=_number(request, "folder"),
            state=state,
            limit=min(_number(request, "limit") or 60, _MOST_PHOTOS),
        )
        return _json(await self._read(read))

    def _page(self, *, after: int | None, folder: int | None, state: State | None, limit: int) -> Page:
        # One more than asked for shows whether more follow.
        found = self._catalog.page(after=after, folder=folder, state=state, limit=limit + 1)
        return Page(photos=[card_of(self._catalog, photo) for photo in found[:limit]], more=len(found) > limit)

    async def thumbnail(self, request: web.Request) -> web.StreamResponse:
        """A small JPEG of one picture."""
        path, page = await self._path_and_page(request)
        return await self._preview(path, page=page, side=THUMBNAIL_SIDE)

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """One picture as it is, or as a JPEG when browsers do not show its format."""
        path, page = await self._path_and_page(request)
        try:
            kind = await self._decode(partial(browser_type, path))
        except (DiskError, OSError, ValueError):
            return _no_preview()
        if kind is None:
            return await self._preview(path, page=page, side=LARGE_SIDE)
        return _file(path, kind)

    async def _path_and_page(self, request: web.Request) -> tuple[Path, int]:
        """Path and page of the picture that the request names by the photo's id; the address holds no path."""
        number, which = int(request.match_info["id"]), _which(request)
        photo = await self._read(lambda: self._catalog.photo(number))
        path = None if photo is None else path_of(self._catalog.out, photo, which)
        if photo is None or path is None:
            raise web.HTTPNotFound
        return path, page_of(photo, which)

    async def _preview(self, path: Path, *, page: int, side: int) -> web.StreamResponse:
        try:
            kept = await self._decode(partial(self._previews.get, path, side=side, page=page))
        except (PhotoRejected, DiskError, OSError):
            return _no_preview()
        return _file(kept, "image/jpeg")

    async def _read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work)

    async def _decode(self, work: Callable[[], T]) -> T:
        def unless_stopping() -> T:
            if self._stopping:
                raise web.HTTPServiceUnavailable
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._decoding, unless_stopping)


def _which(request: web.Request) -> Which:
    return cast("Which", request.match_info["which"])  # the route takes no other


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise web.HTTPBadRequest(text=f"{name} must be a number\n")
    return int(text)


def _json(value: Any) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), content_type="application/json", headers={"Cache-Control": "no-store"}
    )


class _File(web.FileResponse):
    """Sends the file itself: to a request with Accept-Encoding, aiohttp's sends an ``a.jpg.gz`` for ``a.jpg``."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        headers = {name: request.headers[name] for name in _CONDITIONS if name in request.headers}
        return await super().prepare(request.clone(headers=headers))


def _file(path: Path, kind: str) -> web.FileResponse:
    return _File(path, headers={"Content-Type": kind, "Cache-Control": "private, no-cache"})


def _no_preview() -> web.Response:
    return web.Response(body=_NO_PREVIEW, content_type="image/svg+xml", headers={"Cache-Control": "no-store"})


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One photo.

    Attributes:
        id: its id in the journal.
        name: path relative to its source.
        folder: the id of its folder.
        state: its outcome, or ``unfinished``.
        pictures: {picture: version} for those that are on the disk, the original first. A version changes with
            the file.
        missing: pictures that the journal knows a place for, and that are not there or cannot be read.
        bw: whether the service took it for black-and-white; None when it did not say.
        error: why it failed or was rejected, else None.
    """

    id: int
    name: str
    folder: int
    state: State
    pictures: dict[Which, str]
    missing: list[Which]
    bw: bool | None
    error: ErrorInfo | None


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that holds photos directly.

    Attributes:
        id: its id.
        name: path relative to its source; empty for the source itself.
        source: its source.
        counts: photos in it by state.
    """

    id: int
    name: str
    source: str
    counts: dict[State, int]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole journal.

    Attributes:
        title: the output folder's name.
        counts: photos by state.
        folders: every folder, sorted.
    """

    title: str
    counts: dict[State, int]
    folders: list[Section]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some photos.

    Attributes:
        photos: the photos.
        more: whether more follow.
    """

    photos: list[Card]
    more: bool


def summary_of(catalog: Catalog) -> Summary:
    """The summary of a journal; blocks."""
    return Summary(
        title=display_path(catalog.out.name or str(catalog.out)),
        counts=catalog.counts(),
        folders=[_section(folder) for folder in catalog.folders()],
    )


def _section(folder: Folder) -> Section:
    return Section(id=folder.id, name=folder.name, source=display_path(folder.source), counts=folder.counts)


def card_of(catalog: Catalog, photo: Photo) -> Card:
    """What the page gets of `photo`; blocks."""
    pictures: dict[Which, str] = {}
    missing: list[Which] = []
    wanted: tuple[Which, ...] = ("before", *photo.outputs)
    for which in wanted:
        path = path_of(catalog.out, photo, which)
        version = None if path is None else _version(path)
        if version is not None:
            pictures[which] = version
        elif path is not None:
            missing.append(which)
    return Card(
        id=photo.id,
        name=photo.name,
        folder=catalog.folder_of(photo),
        state=photo.state,
        pictures=pictures,
        missing=missing,
        bw=photo.bw,
        error=photo.error,
    )


def path_of(out: Path, photo: Photo, which: Which) -> Path | None:
    """Where a picture of `photo` is, None when the journal knows of none."""
    if which == "before":
        return photo.path
    kind: Kind = which
    return out / photo.outputs[kind] if kind in photo.outputs else None


def page_of(photo: Photo, which: Which) -> int:
    """Which picture of its file a picture of `photo` is, from 1."""
    return photo.page if which == "before" else 1


def _version(path: Path) -> str | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - many at a time
    except (OSError, ValueError):
        return None
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"
