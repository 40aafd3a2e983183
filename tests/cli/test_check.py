"""``check``: the account and the connection, without sending a photo."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.fake_service import FakeService, http
from support.program import QUOTED, TOKEN, Ended, invoke, run, service
from support.proxy import connect_proxy

from smarty_async.cli.check_run import Connectivity, check_lines

__all__ = ["service"]

PATH = "/api/v1/photo/improve"


def service_with(status: int, body: object, *, ahead: float = 0.0) -> tuple[TestServer, list[web.Request]]:
    """A service that answers all requests alike, with a clock that is `ahead` seconds ahead."""
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(request)
        form = await request.post()
        assert json.loads(str(form["meta"]))["images"] == []
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers={"Date": date})

    app = web.Application()
    app.router.add_post(PATH, answer)
    return TestServer(app), requests


async def check_credentials(url: str, auth_url: str, *options: str, proxy: str = "") -> Ended:
    """Run the command with OAuth credentials instead of a token."""
    return await run(
        *("check", "--base-url", url, *options),
        SMARTY_CLIENT_ID="me",
        SMARTY_CLIENT_SECRET="a-long-secret",
        SMARTY_AUTH_URL=auth_url,
        HTTPS_PROXY=proxy,
        NO_PROXY="",
    )


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 400])
async def test_a_refused_request_without_images_means_that_all_is_well(status: int) -> None:
    server, requests = service_with(status, {"status": 400, "body": "empty images"})
    async with server:
        ended = await run("check", "--base-url", str(server.make_url("")), SMARTY_TOKEN=TOKEN)
    assert ended.status == 0, ended.err
    assert "a token (SMARTY_TOKEN or SMARTY_TOKEN_FILE)" in ended.out
    assert "status 400" in ended.out
    assert "Clock:    right" in ended.out
    assert "accepts the account" in ended.out
    [request] = requests
    assert request.query["oauth_token"] == TOKEN
    assert TOKEN not in ended.out + ended.err


@pytest.mark.slow
async def test_json_and_a_clock_that_is_wrong() -> None:
    server, _ = service_with(400, {"status": 400, "body": "empty images"}, ahead=-3600)
    async with server:
        ended = await run("check", "--base-url", str(server.make_url("")), "--json", SMARTY_TOKEN=TOKEN)
    found = json.loads(ended.out)
    assert found["accepted"] is True
    assert 3590 < found["clock_ahead"] < 3700
    line = "Clock:    1 h 0 min ahead of the service's: set it, or tokens may be refused"
    assert line in list(check_lines(Connectivity(address="a", account="b", clock_ahead=3600)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "body", "ends", "says"),
    [
        (403, {"status": 403, "body": f'oauth_token "{TOKEN}": Access Token invalid'}, 3, "the token is not accepted"),
        (200, {"status": 401, "body": "authorization failed"}, 3, "the token is not accepted: authorization failed"),
        (400, {"status": 400, "body": "authorization failed"}, 3, "the token is not accepted: authorization failed"),
        (404, "<html>not here</html>", 3, "what answers there is not the service"),
        (503, "<html>later</html>", 4, "the service has trouble (status 503)"),
    ],
)
async def test_what_is_wrong_is_said(status: int, body: object, ends: int, says: str) -> None:
    server, _ = service_with(status, body)
    async with server:
        ended = await run("check", "--base-url", str(server.make_url("")), SMARTY_TOKEN=TOKEN)
        found = json.loads(
            (await run("check", "--base-url", str(server.make_url("")), "--json", SMARTY_TOKEN=TOKEN)).out
        )
    assert found["accepted"] is (False if "token" in says else None)
    assert ended.status == ends, ended.err
    assert says in ended.err
    assert "accepts the account" not in ended.out
    for form in (TOKEN, QUOTED):
        assert form not in ended.out + ended.err


@pytest.mark.slow
async def test_a_service_that_cannot_be_reached() -> None:
    ended = await run("check", "--base-url", "http://127.0.0.1:9")
    assert ended.status == 4
    assert "cannot connect to 127.0.0.1:9" in ended.err
    assert "Service:  http://127.0.0.1:9" in ended.out


def test_nothing_is_said_of_a_proxy_whose_address_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTY_TOKEN", TOKEN)
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    monkeypatch.delenv("no_proxy", raising=False)
    ended = invoke("check")
    assert ended.status == 3
    assert "Service:" in ended.out
    assert "Proxy" not in ended.out
    assert "proxy" not in json.loads(invoke("check", "--json").out)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", ["inf", "1e300"])
async def test_an_answer_may_be_waited_for_without_an_end(service: FakeService, seconds: str) -> None:
    ended = await check_credentials(service.url, service.auth_url, "--timeout", seconds)
    assert ended.status == 0, ended.err


@pytest.mark.slow
async def test_without_an_account_there_is_nothing_to_check() -> None:
    ended = await run("check")
    assert ended.status == 0
    assert "restored on this machine" in ended.out
    assert json.loads((await run("check", "--json")).out)["accepted"] is None


@pytest.mark.slow
async def test_oauth_credentials_are_exchanged_for_a_token() -> None:
    server, requests = service_with(400, {"status": 400, "body": "empty images"})

    async def grant(_: web.Request) -> web.Response:
        return web.json_response({"access_token": TOKEN, "refresh_token": "r", "expired_in": "3600"})

    server.app.router.add_post("/token", grant)
    async with server:
        ended = await check_credentials(str(server.make_url("")), str(server.make_url("/token")))
    assert ended.status == 0, ended.err
    assert requests[0].query["oauth_token"] == TOKEN


@pytest.mark.slow
async def test_credentials_go_nowhere_unencrypted(service: FakeService) -> None:
    another_host = service.auth_url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 - it leads to this machine
    ended = await check_credentials(service.url, another_host)
    assert ended.status == 3, ended.err
    assert "plain http would show the token to the network: use https:// for 0.0.0.0" in ended.err
    assert (service.grants, service.requests) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("http://127.0.0.1:9/token", 4, "the authorization server did not answer: cannot connect to 127.0.0.1:9"),
        ("ftp://x", 2, "an address begins with https:// and names a host, unlike 'ftp://x'"),
        ("/auth", 2, "an address begins with https:// and names a host, unlike '/auth'"),
        ("localhost:18701/auth", 2, "an address begins with https:// and names a host, unlike 'localhost:18701/auth'"),
    ],
)
async def test_an_authorization_server_that_cannot_be_reached(
    service: FakeService, address: str, status: int, says: str
) -> None:
    ended = await check_credentials(service.url, address)
    assert (ended.status, service.requests) == (status, [])
    assert says in ended.err
    assert f"Service:  {service.url}" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500])
async def test_an_authorization_server_that_has_trouble(service: FakeService, status: int) -> None:
    service.script_grants(http(status))
    ended = await check_credentials(service.url, service.auth_url)
    assert (ended.status, service.requests) == (4, [])
    assert f"the authorization server answered {status}" in ended.err


@pytest.mark.slow
async def test_the_authorization_server_is_reached_through_its_own_proxy(service: FakeService) -> None:
    """No proxy leads to the service, which is of this machine."""
    async with connect_proxy() as proxy:
        proxy.status = 502
        ended = await check_credentials(service.url, "https://localhost:1/token", proxy=proxy.url)
    assert "the proxy cannot reach the service (502)" in ended.err
    assert proxy.asked == ["localhost:1"]


@pytest.mark.slow
@pytest.mark.parametrize("address", ["https://user:{}@127.0.0.1:1", "https://127.0.0.1:1/?oauth_token={}"])
async def test_an_address_that_holds_a_secret_is_refused_and_not_shown(address: str) -> None:
    ended = await run("check", "--base-url", address.format("a-password"), SMARTY_TOKEN=TOKEN)
    assert ended.status == 2
    assert "127.0.0.1" in ended.err
    assert "a-password" not in ended.out + ended.err
