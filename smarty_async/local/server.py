"""The service as an aiohttp application around an engine, with a page at ``/``, and the running of it on a socket.

The page takes photos, compares before and after, and downloads the results. It uses the service's own API from the same
origin. Pages of other sites are refused the whole service; clients that are no browsers are not concerned.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import Final, Literal

import msgspec
from aiohttp import web

from smarty_async.errors import DiskError
from smarty_async.local import contract
from smarty_async.local.contract import (
    Health,
    ImproveItem,
    Limits,
    Mode,
    Refusal,
    RequestMeta,
    ResolutionItem,
    encode_item,
)
from smarty_async.local.engine.decoding import MAX_PIXELS
from smarty_async.local.engine.protocol import Abandoned, Engine, ItemRefused, wanted_until
from smarty_async.local.faults import Faults, RequestFaults
from smarty_async.local.response import Pace, ResponseWriter, failed_item
from smarty_async.local.upload import Upload
from smarty_async.web.assets import SHARED, add_assets
from smarty_async.web.guard import guard
from smarty_async.web.listening import listen, url_host

__all__ = ["PATHS", "ErrorStyle", "ReceivedRequest", "make_app", "serve_until_stopped", "serving"]


PATHS: Final = ("/api/v1/photo/improve", "/api/v1/photo/improve/")
"""Both published paths."""

_ASSETS: Final[dict[str, str]] = SHARED | dict.fromkeys(
    ("service.css", "service.html", "service.js"), "smarty_async.web"
)
"""The page's files: {name: package}."""

ErrorStyle = Literal["http", "envelope"]
"""How errors are sent: ``http``, the envelope under its own status; ``envelope``, the envelope under HTTP 200."""

_NO_FAULTS: Final = Faults()
_LIMITS: Final = Limits()

_GRACE: Final = 1.0
"""Seconds that open answers have left when the service is stopped."""

_INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells count it."""

logger = logging.getLogger(__name__)


class ReceivedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was received whole, and is well-formed.

    Attributes:
        number: its place among all, from 0.
        provider: ``oauth_provider`` of the query.
        token: ``oauth_token`` of the query.
        meta: what it asks.
        images: the bytes of each image, by name.
    """

    number: int
    provider: str
    token: str
    meta: RequestMeta
    images: dict[str, bytes]

    def __repr__(self) -> str:
        return f"ReceivedRequest(number={self.number}, meta={self.meta})"


def make_app(
    *,
    engine: Engine,
    faults: Faults = _NO_FAULTS,
    limits: Limits = _LIMITS,
    error_style: ErrorStyle = "http",
    workers: int | None = None,
    accepts: Callable[[str], bool] | None = None,
    script: Callable[[ReceivedRequest], RequestFaults | None] | None = None,
    hosts: Collection[str] = (),
) -> web.Application:
    """Make the embedded service, for anything that runs aiohttp applications.

    Args:
        engine: what makes the pictures.
        faults: faults to make on purpose.
        limits: what a request may carry.
        error_style: how errors are sent.
        workers: images that are worked on at a time; by default as many as there are cores.
        accepts: says which tokens are valid; by default all. An invalid one is answered with 403 and, as the real
            service does, repeated in the answer's text.
        script: called with each request when it is received; what it returns goes before `faults`.
        hosts: names that a browser may call the service by, beside ``localhost`` and every IP address.
    """
    service = _Service(
        engine=engine,
        faults=faults,
        limits=limits,
        error_style=error_style,
        threads=workers or os.cpu_count() or 1,
        accepts=accepts,
        script=script,
    )
    app = web.Application()
    app.cleanup_ctx.append(service.lifetime)
    app.add_routes([web.post(path, service.improve) for path in PATHS])
    app.add_routes([web.get("/healthz", service.health)])
    guard(app, hosts=hosts, browsers_only=False)
    add_assets(app, _ASSETS, page="service.html")
    return app


class _Service(msgspec.Struct, kw_only=True, eq=False):
    """The handlers; see `make_app` for the fields."""

    engine: Engine
    faults: Faults
    limits: Limits
    error_style: ErrorStyle
    threads: int
    accepts: Callable[[str], bool] | None
    script: Callable[[ReceivedRequest], RequestFaults | None] | None
    pace: Pace = msgspec.field(default_factory=Pace)
    numbers: Iterator[int] = msgspec.field(default_factory=count)
    pool: ThreadPoolExecutor | None = None

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        """Run threads for the engine as long as the application runs, so that it never blocks the event loop."""
        self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix=f"{self.engine.name}-engine")
        yield
        self.pool.shutdown(wait=False, cancel_futures=True)

    async def health(self, _request: web.Request) -> web.Response:
        """Answer that the service is up, with its engine and its limits."""
        pixels: int = getattr(self.engine, "max_pixels", MAX_PIXELS)
        health = Health(
            engine=self.engine.name,
            workers=self.threads,
            max_images=self.limits.max_images,
            max_image_bytes=self.limits.image_bytes,
            max_request_bytes=self.limits.max_request_bytes,
            max_pixels=pixels,
            pace=self.pace.seconds,
        )
        return web.Response(body=msgspec.json.encode(health), content_type="application/json")

    async def improve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of the API."""
        upload = Upload(self.limits)
        try:
            meta, faults = await self._admit(request, upload)
            return await self._answer(request, upload, meta, faults)
        except Refusal as refusal:
            return self._refused(refusal)
        finally:
            upload.close()

    async def _admit(self, request: web.Request, upload: Upload) -> tuple[RequestMeta, RequestFaults]:
        """Receive the request and check everything that is answered with an error: an answer begins with 200."""
        token, provider = request.query.get("oauth_token", ""), request.query.get("oauth_provider", "")
        contract.check_access(provider, token)
        if self.accepts and not self.accepts(token):
            raise Refusal(403, f'authorization failed: oauth_token "{token}": Access Token invalid')
        await upload.receive(request)
        meta = contract.parse_meta(upload.meta, self.limits)
        contract.check_images(meta.names, upload.sizes, self.limits)
        number = next(self.numbers)
        faults = self.faults.draw(meta, number=number)
        if self.script is not None:
            images = {name: await asyncio.to_thread(upload.read, name) for name in meta.names}
            received = ReceivedRequest(number=number, provider=provider, token=token, meta=meta, images=images)
            faults = self.script(received) or faults
        await asyncio.sleep(faults.latency)
        faults.refuse()
        return meta, faults

    async def _answer(
        self, request: web.Request, upload: Upload, meta: RequestMeta, faults: RequestFaults
    ) -> web.StreamResponse:
        """Write one list after the other: work on the second begins when the first has been sent."""
        pause = self.faults.latency_per_image
        writer = await ResponseWriter.begin(request, drop_after=faults.drop_after, pause=pause)
        try:
            async with writer.kept_alive():
                for mode in meta.modes:
                    await writer.begin_list(mode)
                    await self._write_items(writer, mode, upload, meta, faults)
                    await writer.end_list()
            await writer.end()
        except* ConnectionError:
            logger.debug("the client disconnected before its answer was complete")
        return writer.response

    async def _write_items(
        self, writer: ResponseWriter, mode: Mode, upload: Upload, meta: RequestMeta, faults: RequestFaults
    ) -> None:
        # One more than can be worked on, so that no thread waits for the network. Each holds its output until it
        # is written, which bounds the memory that a slow client costs.
        places = asyncio.Semaphore(self.threads + 1)

        async def write_one(name: str) -> None:
            async with places:
                await writer.write_item(await self._item(mode, name, upload, meta, faults))

        async with asyncio.TaskGroup() as group:
            for name in meta.names:
                group.create_task(write_one(name))

    async def _item(
        self, mode: Mode, name: str, upload: Upload, meta: RequestMeta, faults: RequestFaults
    ) -> list[bytes]:
        if (mode, name) in faults.permanent:
            return failed_item(mode, name, status=1, error="permanent error")
        if (mode, name) in faults.temporary:
            return failed_item(mode, name, status=2, error="temporary error")
        cancelled = Event()
        work = partial(self._process, mode, name, upload, meta, cancelled)
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, work)
        finally:
            cancelled.set()  # a thread cannot be cancelled: its work asks for this now and then

    def _process(self, mode: Mode, name: str, upload: Upload, meta: RequestMeta, cancelled: Event) -> list[bytes]:
        """The item's JSON in pieces; runs in a thread. Whatever is wrong with one image is its item's error."""
        image = upload.read(name)
        if self.faults.fails(image):
            return failed_item(mode, name, status=1, error="permanent error")
        try:
            with wanted_until(cancelled), self.pace.measured(image):
                if mode == "improve":
                    made = msgspec.structs.asdict(self.engine.improve(image))
                    item: ImproveItem | ResolutionItem = ImproveItem(status=0, name=name, **made)
                else:
                    resolved = self.engine.enlarge(image, factor=meta.rfactor, rtype=meta.rtype)
                    item = ResolutionItem(status=0, name=name, resolved=resolved)
            return encode_item(item)
        except ItemRefused as refused:
            return failed_item(mode, name, status=refused.status, error=str(refused))
        except MemoryError:
            return failed_item(mode, name, status=2, error="out of memory")
        except Abandoned:
            return []
        except Exception:
            logger.exception("the engine %s failed on an image", self.engine.name)
            return failed_item(mode, name, status=2, error="internal error")

    def _refused(self, refusal: Refusal) -> web.Response:
        headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
        return web.Response(
            status=refusal.status if self.error_style == "http" else 200,
            body=contract.encode_envelope(refusal.status, refusal.text),
            content_type="application/json",
            headers=headers,
        )


@asynccontextmanager
async def serving(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[int, None]:
    """Serve the application during the block; yield the port, which for 0 is a free one.

    The work of a client that disconnects is cancelled. Accesses are not logged: the query holds tokens.

    Raises:
        ConfigurationError: it is not possible to listen on the address.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=_GRACE,
        auto_decompress=False,  # compressed requests are refused, and their bodies read past
    )
    await runner.setup()
    try:
        yield await listen(runner, host=host, port=port, choose="--host or --port")
    finally:
        await runner.cleanup()


async def serve_until_stopped(
    app: web.Application,
    *,
    host: str,
    port: int,
    port_file: Path | None = None,
    exit_with_stdin: bool = False,
    ready: Callable[[str], None],
) -> int:
    """Serve until a signal arrives; return the exit status: 0, or 130 after Ctrl-C.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port; 0 picks a free one.
        port_file: where to write the port, as soon as the service listens.
        exit_with_stdin: also stop when standard input ends, as it does when the parent process has ended.
        ready: called with the base URL, as soon as the service listens.

    Raises:
        ConfigurationError: it is not possible to listen on the address.
        DiskError: the port file cannot be written.
    """
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    if port_file is not None:  # a script that waits for it must not read the port of an earlier service
        await asyncio.to_thread(partial(port_file.unlink, missing_ok=True))
    with _signals_to(stopped):
        async with serving(app, host=host, port=port) as bound:
            if port_file is not None:
                await asyncio.to_thread(_write_whole, port_file, f"{bound}\n")
            if exit_with_stdin:
                _stop_at_end_of_stdin(stopped)
            ready(f"http://{url_host(host)}:{bound}")
            return await stopped


def _write_whole(path: Path, text: str) -> None:
    """Write a file at once, so that no reader sees a part of it."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DiskError.of(error, path, "write") from error


@contextmanager
def _signals_to(stopped: asyncio.Future[int]) -> Generator[None, None, None]:
    """Resolve `stopped` with the exit status of a signal. Windows has no signal handlers of the event loop."""
    loop = asyncio.get_running_loop()

    def stop(number: int, _frame: FrameType | None) -> None:
        _resolve(loop, stopped, _INTERRUPTED if number == signal.SIGINT else 0)

    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = [(number, signal.signal(number, stop)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _stop_at_end_of_stdin(stopped: asyncio.Future[int]) -> None:
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def watch() -> None:
        # Not through sys.stdin: a daemon thread that holds its lock breaks the interpreter's exit.
        with suppress(OSError):
            while os.read(descriptor, 4096):
                pass
        _resolve(loop, stopped, 0)

    Thread(target=watch, name="stdin", daemon=True).start()


def _resolve(loop: asyncio.AbstractEventLoop, stopped: asyncio.Future[int], status: int) -> None:
    def resolve() -> None:
        if not stopped.done():
            stopped.set_result(status)

    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(resolve)
