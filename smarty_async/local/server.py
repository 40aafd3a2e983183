"""The service itself: an aiohttp application around an engine."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from threading import Event
from typing import Final, Literal

from aiohttp import web

from smarty_async.local import contract
from smarty_async.local.contract import Asked, Limits, Mode, Refusal
from smarty_async.local.engine.protocol import Engine
from smarty_async.local.faults import Fate, Faults
from smarty_async.local.items import failed_item, worked_item
from smarty_async.local.page import add_page
from smarty_async.local.response import Answer
from smarty_async.local.upload import Upload

__all__ = ["PATHS", "ErrorStyle", "make_app"]

PATHS: Final = ("/api/v1/photo/improve", "/api/v1/photo/improve/")
"""Both published paths."""

ErrorStyle = Literal["http", "envelope"]
"""How errors travel: ``http``, the envelope under its own status; ``envelope``, the envelope under HTTP 200."""

_NO_FAULTS: Final = Faults()
_LIMITS: Final = Limits()

logger = logging.getLogger(__name__)


def make_app(
    *,
    engine: Engine,
    faults: Faults = _NO_FAULTS,
    limits: Limits = _LIMITS,
    error_style: ErrorStyle = "http",
    workers: int | None = None,
    accepts: Callable[[str], bool] | None = None,
    hosts: Collection[str] = (),
) -> web.Application:
    """The embedded service as an application, to be run by whatever runs aiohttp applications.

    Args:
        engine: what makes the pictures.
        faults: trouble to make on purpose.
        limits: what a request may carry.
        error_style: how errors travel.
        workers: images worked on at a time; by default as many as there are cores.
        accepts: which tokens are good; by default any. A bad one is answered with 403 and, as the real service
            does, echoed in the answer's text.
        hosts: names that a browser may call the service by, beside ``localhost`` and every IP address.
    """
    service = _Service(
        engine=engine,
        faults=faults,
        limits=limits,
        error_style=error_style,
        workers=workers or os.cpu_count() or 1,
        accepts=accepts,
    )
    app = web.Application()
    app.cleanup_ctx.append(service.lifetime)
    app.add_routes([web.post(path, service.improve) for path in PATHS])
    app.add_routes([web.get("/healthz", service.health)])
    add_page(app, hosts=hosts)
    return app


class _Service:
    def __init__(
        self,
        *,
        engine: Engine,
        faults: Faults,
        limits: Limits,
        error_style: ErrorStyle,
        workers: int,
        accepts: Callable[[str], bool] | None,
    ) -> None:
        self._engine = engine
        self._faults = faults
        self._limits = limits
        self._error_style = error_style
        self._workers = workers
        self._accepts = accepts
        self._numbers = count()
        self._pool: ThreadPoolExecutor | None = None

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        """Threads for the engine while the application runs: work for the processor never holds the loop."""
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix=f"{self._engine.name}-engine")
        yield
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def health(self, _request: web.Request) -> web.Response:
        """That the service is up, and with which engine."""
        return web.json_response({"engine": self._engine.name})

    async def improve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of the API."""
        upload = Upload(self._limits)
        try:
            asked, fate = await self._admit(request, upload)
            return await self._answer(request, upload, asked, fate)
        except Refusal as refusal:
            return self._refused(refusal)
        finally:
            upload.close()

    async def _admit(self, request: web.Request, upload: Upload) -> tuple[Asked, Fate]:
        """Take the request in and check all that would be answered with an error: once begun, an answer is 200."""
        token = request.query.get("oauth_token")
        contract.check_access(request.query.get("oauth_provider"), token)
        if token and self._accepts and not self._accepts(token):
            raise Refusal(403, f'authorization failed: oauth_token "{token}": Access Token invalid')
        await upload.receive(request)
        asked = contract.parse_meta(upload.meta, self._limits)
        contract.check_images(asked.names, upload.sizes, self._limits)
        items = len(asked.names) * len(asked.modes)
        fate = Fate(self._faults, number=next(self._numbers), items=items)
        await asyncio.sleep(self._faults.latency)
        fate.refuse()
        return asked, fate

    async def _answer(self, request: web.Request, upload: Upload, asked: Asked, fate: Fate) -> web.StreamResponse:
        """Write the lists one after the other: the second is worked out when the first has gone out."""
        pause = self._faults.latency_per_image
        answer = await Answer.begin(request, drop_after=fate.drop_after, pause=pause)
        try:
            async with answer.kept_alive():
                for mode in asked.modes:
                    await answer.begin_list(mode)
                    await self._write_items(answer, mode, upload, asked, fate)
                    await answer.end_list()
            await answer.end()
        except* ConnectionError:
            logger.debug("the client left before its answer was whole")
        return answer.response

    async def _write_items(self, answer: Answer, mode: Mode, upload: Upload, asked: Asked, fate: Fate) -> None:
        # One more than can be worked on, so that no thread waits for the network; all of them hold their
        # output until it is written, which bounds the memory of a client that reads slowly.
        slots = asyncio.Semaphore(self._workers + 1)

        async def one(name: str) -> None:
            async with slots:
                await answer.write_item(await self._item(mode, name, upload, asked, fate))

        async with asyncio.TaskGroup() as group:
            for name in asked.names:
                group.create_task(one(name))

    async def _item(self, mode: Mode, name: str, upload: Upload, asked: Asked, fate: Fate) -> list[bytes]:
        if fate.fails(mode, name):
            return failed_item(mode, name, status=2, error="temporary error")
        left = Event()
        work = partial(
            worked_item, mode, name, asked=asked, upload=upload, engine=self._engine, faults=self._faults, left=left
        )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            # A thread cannot be cancelled; it is told, and asks now and then.
            left.set()

    def _refused(self, refusal: Refusal) -> web.Response:
        headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
        return web.Response(
            status=refusal.status if self._error_style == "http" else 200,
            body=contract.encode_envelope(refusal.status, refusal.text),
            content_type="application/json",
            headers=headers,
        )
