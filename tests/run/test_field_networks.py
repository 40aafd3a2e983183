"""Archives over the networks that people have: deploys, edges, proxies, private authorities, other spellings."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any

import pytest
from aiohttp import web
from support.archives import assert_right, at_once, client, fill, lines, outcomes, restore, sent
from support.fake_service import FakeService, Request, answer_body, drop, http, ok
from support.program import TOKEN, Ended, run
from support.proxy import ConnectProxy, PrivateAuthority, connect_proxy, tls_in_front_of

from smarty_async.options import Limits, Retries
from smarty_async.results import Result

PHOTOS = tuple(f"{number:02}.jpg" for number in range(24))
PAGE = "<html><head><title>404</title></head><body><h1>Not here right now</h1></body></html>"
EDGE = "<!DOCTYPE html><title>Attention Required!</title><p>You have been blocked. Ray ID: 7d1f"
HOST = "service.example:443"


class Deploy:
    """An answer's factory: good answers, then pages for some requests, then good answers again."""

    def __init__(self, service: FakeService, *, good: int, status: int, text: str, pages: int = 6) -> None:
        self._right, self._good, self._pages = service.answer_rightly, good, pages
        self._page = http(status, text, {"Content-Type": "text/html"})

    def __call__(self, request: Request) -> Any:
        if self._good > 0 or self._pages <= 0:
            self._good -= 1
            return self._right(request)
        self._pages -= 1
        return self._page


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize(
    ("status", "text"),
    [(404, PAGE), (403, EDGE), (401, EDGE), (410, PAGE), (499, ""), (200, PAGE), (405, PAGE)],
    ids=["404", "403", "401", "410", "499", "200", "405"],
)
async def test_pages_in_the_middle_of_a_run_fail_no_photo(
    source: Path, out: Path, status: int, text: str, concurrency: int
) -> None:
    photos = fill(source, *PHOTOS)
    async with FakeService() as service:
        service.default = Deploy(service, good=2, status=status, text=text)
        results = await restore(service, source, out, limits=Limits(max_images=2), concurrency=concurrency)
        assert outcomes(results) == dict.fromkeys(photos, "restored")
    assert_right(out, photos)


async def test_a_deploy_that_drops_connections_before_its_page(source: Path, out: Path) -> None:
    photos = fill(source, *PHOTOS)
    async with FakeService() as service:
        service.script(ok(), drop(), drop(after_bytes=300), http(404, PAGE), http(502), http(404, PAGE))
        results = await restore(service, source, out, limits=Limits(max_images=4), concurrency=2)
        assert outcomes(results) == dict.fromkeys(photos, "restored")
    assert_right(out, photos)


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("times", [1, 5])
async def test_a_retry_after_at_the_very_start_is_respected(source: Path, out: Path, status: int, times: int) -> None:
    photos = fill(source, *PHOTOS)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await at_once(seconds)

    async with FakeService() as service:
        service.script(*[http(status, headers={"Retry-After": "41"})] * times)
        async with client(service, sleep=sleep, retries=Retries(), concurrency=1) as open_client:
            results = [result async for result in open_client.improve_archive(source, out=out)]
    assert outcomes(results) == dict.fromkeys(photos, "restored")
    assert [round(wait) for wait in waits if wait > 20][:times] == [41] * times  # the others are backoffs
    assert_right(out, photos)


# how an answer is spelled

Spelling = Callable[[str], str]
SPELLINGS: dict[str, Spelling] = {
    "unpadded": lambda text: text.rstrip("="),
    "wrapped at 76": lambda text: "\n".join(wrap(text, 76)) + "\n",
    "wrapped at 64 as Windows does": lambda text: "\r\n".join(wrap(text, 64)),
    "wrapped and unpadded": lambda text: "\n".join(wrap(text.rstrip("="), 76)),
    "spaces and tabs around": lambda text: f" \t{text} \n",
    "data URL": lambda text: f"data:image/jpeg;base64,{text}",
    "data URL of another type": lambda text: f"data:image/jpg;charset=utf-8;base64,{text}",
    "data URL without a type": lambda text: f"data:;base64,{text}",
    "data URL in capitals": lambda text: f"DATA:IMAGE/JPEG;BASE64,{text}",
    "data URL, wrapped, unpadded": lambda text: "data:image/jpeg;base64,\n" + "\n".join(wrap(text.rstrip("="), 76)),
}


def respelled(spelling: Spelling, *, before: bytes = b"", ascii_only: bool = True) -> Any:
    async def respond(request: Request) -> web.StreamResponse:
        body = answer_body(request, {}, {})
        for item in body["improve"]:
            item |= {kind: spelling(text) for kind, text in item.items() if kind.startswith(("improved", "color"))}
        text = json.dumps({"status": 200, "body": body}, ensure_ascii=ascii_only)
        return web.Response(body=before + text.encode(), content_type="application/json")

    return respond


@pytest.mark.slow
@pytest.mark.parametrize("name", SPELLINGS)
async def test_every_spelling_of_base64_is_paid_for_once(source: Path, out: Path, name: str) -> None:
    photos = fill(source, *PHOTOS)
    async with FakeService() as service:
        service.default = lambda _: respelled(SPELLINGS[name])
        results = await restore(service, source, out)
        assert outcomes(results) == dict.fromkeys(photos, "restored")
        assert len(sent(service)) == len(photos)
    assert_right(out, photos)


@pytest.mark.slow
@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n", b"\n\n"])
async def test_an_answer_that_begins_with_a_byte_order_mark(source: Path, out: Path, before: bytes) -> None:
    photos = fill(source, *PHOTOS)
    async with FakeService() as service:
        service.default = lambda _: respelled(str, before=before)
        assert outcomes(await restore(service, source, out)) == dict.fromkeys(photos, "restored")
        assert len(sent(service)) == len(photos)
    assert_right(out, photos)


BROKEN: dict[str, Spelling] = {
    "a stray character": lambda text: text[:40] + "!" + text[41:],
    "padding in the middle": lambda text: text[:40] + "=" + text[41:],
    "no JPEG": lambda _: base64.b64encode(b"GIF89a" + bytes(40)).decode(),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.slow
async def test_what_is_no_picture_is_not_paid_for_again_and_again(source: Path, out: Path, name: str) -> None:
    fill(source, *PHOTOS)
    async with FakeService() as service:
        service.default = lambda _: respelled(BROKEN[name])
        ended = await improved(service.url, source, out)
        assert ended.status == 4, ended.err
        assert len(sent(service)) <= len(PHOTOS)
    assert not lines(out)


# proxies and authorities


async def improved(url: str, source: Path, out: Path, *options: str, **env: str) -> Ended:
    return await run("improve", source, "--out", out, "--base-url", url, "--json", *options, stdin=b"", **env)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of the machine that runs the tests is out of the way."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def port_of(service: FakeService) -> int:
    return int(service.url.rpartition(":")[2])


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.slow
async def test_a_service_behind_a_proxy_and_a_private_authority(source: Path, out: Path, variable: str) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    authority = PrivateAuthority()
    trusted = authority.write(source.with_name("authority.pem"))
    async with (
        FakeService() as service,
        tls_in_front_of(port_of(service), authority.server_context()) as port,
        connect_proxy() as proxy,
    ):
        proxy.routes[HOST] = ("127.0.0.1", port)
        env = {variable: proxy.url, "SSL_CERT_FILE": str(trusted), "SMARTY_TOKEN": TOKEN}
        ended = await improved("https://service.example", source, out, **env)
        assert ended.status == 0, ended.err
        assert set(proxy.asked) == {HOST}
        assert not any(TOKEN in head for head in proxy.heads)
    assert_right(out, photos)


@pytest.mark.slow
async def test_a_private_authority_alone(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    authority = PrivateAuthority()
    trusted = authority.write(source.with_name("authority.pem"))
    async with FakeService() as service, tls_in_front_of(port_of(service), authority.server_context()) as port:
        url = f"https://localhost:{port}"
        refused = await improved(url, source, out, "--give-up-after", "1", SMARTY_TOKEN=TOKEN)
        assert refused.status in (3, 4), refused.err
        assert "certificate" in refused.err
        assert "SSL_CERT_FILE" in refused.err
        ended = await improved(url, source, out, SSL_CERT_FILE=str(trusted), SMARTY_TOKEN=TOKEN)
        assert ended.status == 0, ended.err
    assert_right(out, photos)


@pytest.mark.slow
async def test_a_host_of_no_proxy_is_reached_directly(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    async with FakeService() as service, connect_proxy() as proxy:
        ended = await improved(
            service.url, source, out, HTTP_PROXY=proxy.url, HTTPS_PROXY=proxy.url, NO_PROXY="127.0.0.1"
        )
        assert ended.status == 0, ended.err
        assert not proxy.asked
    assert_right(out, photos)


def _refusing(status: int) -> Callable[[ConnectProxy], None]:
    return lambda proxy: setattr(proxy, "status", status)


def _login(proxy: ConnectProxy) -> None:
    proxy.login = "me:secret-of-the-proxy"


@pytest.mark.parametrize(
    ("prepare", "said"), [(_refusing(403), "403"), (_refusing(502), "502"), (_login, "407")], ids=["403", "502", "407"]
)
@pytest.mark.slow
async def test_a_refusal_by_the_proxy_is_reported_as_such(
    source: Path, out: Path, prepare: Callable[[ConnectProxy], None], said: str
) -> None:
    fill(source, "a.jpg")
    async with connect_proxy() as proxy:
        prepare(proxy)
        env = {"HTTPS_PROXY": proxy.url, "SMARTY_TOKEN": TOKEN}
        ended = await improved("https://service.example", source, out, "--give-up-after", "1", **env)
    assert ended.status in (3, 4), ended.err
    assert "proxy" in ended.err
    assert said in ended.err
    assert "token" not in ended.err.lower()
    assert TOKEN not in ended.err
    assert not lines(out)


@pytest.mark.slow
async def test_an_unreachable_proxy_is_reported_as_such(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    env = {"HTTPS_PROXY": "http://127.0.0.1:9", "SMARTY_TOKEN": TOKEN}
    ended = await improved("https://service.example", source, out, "--give-up-after", "1", **env)
    assert ended.status in (3, 4), ended.err
    assert "proxy" in ended.err


@pytest.mark.slow
async def test_a_proxys_password_is_never_shown(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with connect_proxy() as proxy:
        proxy.status = 403
        address = proxy.url.replace("http://", "http://me:secret-of-the-proxy@")
        env = {"HTTPS_PROXY": address, "SMARTY_TOKEN": TOKEN}
        ended = await improved("https://service.example", source, out, "--give-up-after", "1", "--verbose", **env)
    assert "secret-of-the-proxy" not in ended.err + ended.out


async def test_a_gateways_error_in_the_tunnel_is_retried(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    authority = PrivateAuthority()
    async with (
        FakeService() as service,
        tls_in_front_of(port_of(service), authority.server_context()) as port,
        connect_proxy() as proxy,
    ):
        proxy.routes[HOST] = ("127.0.0.1", port)
        proxy.statuses.extend([502, 503])
        given: dict[str, Any] = {"base_url": "https://service.example", "token": TOKEN, "proxy": proxy.url}
        async with client(service, **given, ssl=authority.client_context()) as open_client:
            results: list[Result] = [result async for result in open_client.improve_archive(source, out=out)]
        assert outcomes(results) == {"a.jpg": "restored"}
        assert len(proxy.asked) == 3
    assert_right(out, photos)
