"""The web application in `docs/how-to/library.md`, under uvicorn; skipped without FastAPI."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.clients import client_of
from support.fake_service import FakeService, expected, hold, until
from support.pictures import jpeg

from smarty_async.client import SmartyClient
from smarty_async.options import Limits

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "library.md"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PAGE.exists(), reason="needs the documentation beside the tests"),
]


def sample() -> Any:
    """The application of the page."""
    pytest.importorskip("python_multipart")
    pytest.importorskip("fastapi")
    [code] = [
        block
        for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        if "FastAPI(" in block
    ]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the documentation's own
    return names["app"]


@asynccontextmanager
async def served(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[str, set[Any]]]:
    """The address of the running application, and its open requests; its client sends one photo at a time."""
    uvicorn: Any = pytest.importorskip("uvicorn")

    def from_env() -> SmartyClient:
        return client_of(service, concurrency=1, limits=Limits(max_images=1))

    app = sample()
    monkeypatch.setattr(SmartyClient, "from_env", from_env)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started or serving.done())
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/restore", server.server_state.tasks
    finally:
        server.should_exit = True
        await serving


def form(photo: bytes) -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("photo", photo, filename="a.jpg")
    return data


async def test_a_photo_is_answered_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeService() as service, served(service, monkeypatch) as (url, _), aiohttp.ClientSession() as session:
        async with session.post(url, data=form(jpeg())) as response:
            assert await response.read() == expected("colorized_improved", jpeg())
        async with session.post(url, data=form(b"no photo")) as response:
            assert response.status == 422


async def test_a_photo_whose_user_has_left_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    async with (
        FakeService() as service,
        served(service, monkeypatch) as (url, handled),
        aiohttp.ClientSession() as session,
    ):
        service.script(hold(gate))

        async def posted(seed: int) -> bytes:
            async with session.post(url, data=form(jpeg(seed=seed))) as response:
                return await response.read()

        first = asyncio.create_task(posted(0))
        await until(lambda: service.open_now == 1)
        leaving = [asyncio.create_task(posted(seed)) for seed in range(1, 6)]
        await until(lambda: len(handled) == 6)
        for one in leaving:
            one.cancel()
        await until(lambda: len(handled) == 1)
        gate.set()
        await first
        await posted(6)
    assert [len(service.requests), *service.requests[-1].images.values()] == [2, jpeg(seed=6)]
