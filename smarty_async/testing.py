"""A fake service for tests of code that uses this package: real HTTP on loopback, no account, no learned engine.

    async def test_my_code():
        async with FakeService() as service:
            service.fail_next(503)
            async with SmartyClient(base_url=service.url) as client:
                photo = await client.improve("old.jpg")
            assert len(service.requests) == 2

Every output is the photo that was sent, as a JPEG with a comment that names the output's kind (`kind_of`). The service
is the embedded one with its ``echo`` engine, so it checks requests as that does. Use it with ``async with``, or with
``with``: then it runs in a thread of its own, for tests without an event loop or with one of another framework. With
pytest, the fixture ``smarty_service`` gives one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from threading import Thread
from types import TracebackType
from typing import Self

from smarty_async.errors import OptionsError, SmartyError
from smarty_async.local.contract import Limits, Mode, RequestMeta
from smarty_async.local.engine.echo import EchoEngine, unstamp
from smarty_async.local.faults import Faults, RequestFaults
from smarty_async.local.server import ReceivedRequest, make_app, serving

__all__ = ["FakeService", "Faults", "Limits", "ReceivedRequest", "RequestFaults", "RequestMeta", "kind_of"]


def kind_of(output: bytes) -> str:
    """Return the kind that an output of the fake service says it is: ``improved``, ``resolved`` and so on.

    Raises:
        ValueError: it does not come from the fake service.
    """
    return unstamp(output)[0]


class FakeService:
    """A fake service on loopback, running during a ``with`` or ``async with`` block.

    Args:
        tokens: the tokens that it accepts; any when None.
        limits: what a request may carry; by default the published limits.
        faults: random faults, the same for the same seed and requests.

    Attributes:
        url: its address, for ``SmartyClient(base_url=…)``. No token is needed there unless `tokens` are given.
        requests: the requests that it has received whole, in order, with what they asked and their images.
    """

    def __init__(
        self, *, tokens: Iterable[str] | None = None, limits: Limits | None = None, faults: Faults | None = None
    ) -> None:
        self.url = ""
        self.requests: list[ReceivedRequest] = []
        self._tokens = None if tokens is None else frozenset(tokens)
        self._limits = limits or Limits(max_image_bytes=8_000_000, max_request_bytes=30_000_000)
        self._faults = faults or Faults()
        self._script: deque[RequestFaults | None] = deque()
        self._open = AsyncExitStack()
        self._thread: Thread | None = None
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def script(self, *faults: RequestFaults | None) -> None:
        """Give the next requests these faults, one each; None is an answer without faults."""
        self._script.extend(faults)

    def fail_next(
        self, status: int = 500, text: str = "scripted failure", *, times: int = 1, retry_after: int | None = None
    ) -> None:
        """Answer the next requests with an error.

        Args:
            status: the error's status, as the service would give it.
            text: its text.
            times: how many requests fail.
            retry_after: what `Retry-After` says, in seconds; None for no header.
        """
        if not 400 <= status <= 599:  # noqa: PLR2004 - HTTP's own numbers
            raise OptionsError(f"status must be from 400 to 599, not {status}")
        self.script(*[RequestFaults(status=status, text=text, retry_after=retry_after)] * times)

    def drop_next(self, *, after: int = 0, times: int = 1) -> None:
        """Break the connection of the next requests in the middle of the answer.

        Args:
            after: how many whole items are sent before.
            times: how many requests this happens to.
        """
        self.script(*[RequestFaults(drop_after=after)] * times)

    def fail_items_next(self, *names: str, mode: Mode = "improve", permanent: bool = False) -> None:
        """Answer the next request with failed items.

        Args:
            names: the items, by their names in the request: ``file_0`` and so on.
            mode: the mode that fails.
            permanent: whether they fail for good (status 1) or for now (status 2).
        """
        items: frozenset[tuple[Mode, str]] = frozenset((mode, name) for name in names)
        self.script(RequestFaults(permanent=items) if permanent else RequestFaults(temporary=items))

    @property
    def images(self) -> list[bytes]:
        """Every image that it has received, in order."""
        return [image for request in self.requests for image in request.images.values()]

    def __repr__(self) -> str:
        return f"FakeService(url={self.url!r}, requests={len(self.requests)})"

    async def __aenter__(self) -> Self:
        app = make_app(
            engine=EchoEngine(),
            faults=self._faults,
            limits=self._limits,
            accepts=None if self._tokens is None else self._tokens.__contains__,
            script=self._on_request,
        )
        port = await self._open.enter_async_context(serving(app))
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def __enter__(self) -> Self:
        started: Future[None] = Future()
        self._thread = Thread(target=lambda: asyncio.run(self._serve(started)), name="smarty_async fake service")
        self._thread.start()
        started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stop is None or self._thread is None:
            raise SmartyError("the fake service was not started with a 'with' block")
        loop, stop = self._stop
        loop.call_soon_threadsafe(stop.set)
        self._thread.join()

    async def _serve(self, started: Future[None]) -> None:
        """Run until the block of `with` ends."""
        stop = asyncio.Event()
        self._stop = asyncio.get_running_loop(), stop
        try:
            async with self:
                started.set_result(None)
                await stop.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    def _on_request(self, request: ReceivedRequest) -> RequestFaults | None:
        self.requests.append(request)
        return self._script.popleft() if self._script else None
