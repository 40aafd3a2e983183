"""Which requests are refused, and which headers every answer has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from smarty_async.web.guard import HEADERS, guard

CROSS_SITE_VISIT = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


async def answer(_request: web.Request) -> web.Response:
    return web.Response(text="private")


@asynccontextmanager
async def guarded(*, browsers_only: bool) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    guard(app, hosts=("photos.lan",), browsers_only=browsers_only)
    app.router.add_route("*", "/", answer)
    app.router.add_route("*", "/api", answer)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize("browsers_only", [True, False])
@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/api", {"Origin": "https://evil.example"}),
        ("GET", "/api", {"Origin": "https://evil.example"}),
        ("POST", "/api", {"Origin": "null"}),
        ("POST", "/api", {"Origin": "http://127.0.0.1:1"}),
        ("POST", "/api", {"Origin": "http://["}),
        ("GET", "/api", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        ("GET", "/api", {"Sec-Fetch-Site": "same-site"}),
        ("GET", "/api", CROSS_SITE_VISIT),
        ("POST", "/", CROSS_SITE_VISIT),
        ("GET", "/", CROSS_SITE_VISIT | {"Sec-Fetch-Dest": "iframe"}),
        # DNS rebinding: the name is the other site's, the address ours.
        ("GET", "/api", {"Host": "evil.example:8080", "Sec-Fetch-Site": "same-origin"}),
        ("POST", "/api", {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}),
        ("POST", "/api", {"Host": "127.0.0.1.evil.example", "Origin": "http://127.0.0.1.evil.example"}),
        ("POST", "/api", {"Host": "[", "Origin": "http://["}),
    ],
)
async def test_pages_of_other_sites_are_refused(
    method: str, path: str, headers: dict[str, str], *, browsers_only: bool
) -> None:
    async with guarded(browsers_only=browsers_only) as client:
        response = await client.request(method, path, headers=headers)
        assert response.status == 403
        text = await response.text()
        assert "private" not in text
        assert response.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("browsers_only", [True, False])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api", {}),
        ("/api", {"Sec-Fetch-Site": "same-origin"}),
        ("/api", {"Sec-Fetch-Site": "none"}),
        ("/", CROSS_SITE_VISIT),
        ("/api", {"Host": "localhost:5", "Origin": "http://localhost:5"}),
        ("/api", {"Host": "LOCALHOST:5", "Origin": "http://localhost:5"}),
        ("/api", {"Host": "[::1]:5", "Origin": "http://[::1]:5"}),
        ("/api", {"Host": "192.168.1.7:5", "Origin": "http://192.168.1.7:5"}),
        ("/api", {"Host": "photos.lan", "Origin": "https://photos.lan"}),
    ],
)
async def test_our_own_page_is_served(path: str, headers: dict[str, str], *, browsers_only: bool) -> None:
    async with guarded(browsers_only=browsers_only) as client:
        response = await client.get(path, headers=headers)
        assert (response.status, await response.text()) == (200, "private")
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        assert not [name for name in response.headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize(("browsers_only", "status"), [(True, 403), (False, 200)])
async def test_programs_may_call_a_service_by_any_name(*, browsers_only: bool, status: int) -> None:
    async with guarded(browsers_only=browsers_only) as client:
        response = await client.post("/api", headers={"Host": "smarty-in-docker:8080"})
        assert response.status == status


def test_no_inline_script_and_no_other_host_is_allowed() -> None:
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert not {"*", "http:", "https:", "'unsafe-inline'", "'unsafe-eval'"} & set(" ".join(policy.values()).split())
