"""No token and no secret shows in a log, error, repr, journal or result, whatever fails."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import web
from rich.pretty import pretty_repr
from support.clients import TOKEN, client_of, hasty, photos
from support.fake_service import Answer, FakeService, Request, drop, envelope, hold, http, items, ok, raw, redirect
from support.pictures import jpeg
from yarl import URL

from smarty_async.client import SmartyClient
from smarty_async.errors import SmartyError
from smarty_async.options import OAuthCredentials, Timeouts

SECRET = "oauth/s3cret+тайна ="
REFRESH = "refresh/t0ken+слово ="
ACCESS = "access/t0ken+ключ ="


def spellings(secret: str) -> dict[str, str]:
    """What a service may make of a token that it echoes."""
    return {
        "base64": base64.b64encode(secret.encode()).decode(),
        "base64 of a header": base64.b64encode(f"x:{secret}".encode()).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(f"xy{secret}".encode()).decode(),
        "hexadecimal": secret.encode().hex(),
        "percent twice": quote(quote(secret, safe=""), safe=""),
        "entities": "".join(f"&#{ord(char)};" for char in secret),
        "hexadecimal entities": "".join(f"&#x{ord(char):x};" for char in secret),
        "JSON": "".join(f"\\u{ord(char):04x}" for char in secret),
        "zero-width spaces": "\u200b".join(secret),
        "soft hyphens": "\u00ad".join(secret),
    }


FORMS = tuple(
    form.encode()
    for secret in (TOKEN, SECRET, REFRESH, ACCESS)
    for form in {
        secret,
        secret.split(" ")[0],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        URL("http://h/").with_query(t=secret).raw_query_string.removeprefix("t="),
        quote(secret[:8], safe=""),
        secret[:8],
        *spellings(secret).values(),
    }
)


def shows(text: str | bytes) -> list[bytes]:
    """The secrets in `text`."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return [form for form in FORMS if form in data]


def everything_in(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    """All that an error and what it comes from say, displayed or not."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield from (str(error), repr(error), *traceback.format_exception(error), repr(vars(error)), repr(error.args))
    yield from everything_in(error.__cause__, seen)
    yield from everything_in(error.__context__, seen)
    for inner in getattr(error, "exceptions", ()):
        yield from everything_in(inner, seen)


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every logger at its most talkative."""
    caplog.set_level(logging.DEBUG)
    for name in ("asyncio", "aiohttp", "aiohttp.client", "aiohttp.internal", "filelock", "smarty_async"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield caplog
    for record in caplog.records:
        said = record.getMessage() + repr(vars(record))
        assert not shows(said), said


def echo(status: int, http_status: int | None = None) -> Answer:
    """An error that quotes the request, as the service's 401 does."""

    async def respond(request: Request) -> web.StreamResponse:
        text = f"Access Token invalid: {request.query['oauth_token']} in {request.raw_path}"
        return await envelope(status, text, http_status or status)(request)

    return respond


async def plain_echo(request: Request) -> web.StreamResponse:
    return web.Response(status=502, text=f"<p>{request.raw_path}</p>{request.query['oauth_token']}")


async def item_echo(request: Request) -> web.StreamResponse:
    reported = {"error": f"{request.query['oauth_token']} {request.raw_path}"}
    return await items({name: {"status": 1} | reported for name in request.names})(request)


async def temporary_echo(request: Request) -> web.StreamResponse:
    reported = {"error": f"{request.query['oauth_token']} {request.raw_path}"}
    return await items({name: {"status": 2} | reported for name in request.names})(request)


FAILURES: dict[str, Answer] = {
    "400 envelope": echo(400, 200),
    "400": echo(400),
    "401 under 200": echo(401, 200),
    "401": echo(401),
    "403": echo(403),
    "404": echo(404),
    "413": echo(413),
    "429": echo(429),
    "500": echo(500),
    "503": echo(503),
    "a proxy's page": plain_echo,
    "an item's permanent error": item_echo,
    "an item's temporary error": temporary_echo,
    "redirect": redirect(f"https://elsewhere.example/?oauth_token={quote(TOKEN)}"),
    "html": http(200, f"<html>{TOKEN}</html>"),
    "lost": drop(),
    "broken off": drop(after_bytes=20),
    "no JSON": raw(b'{"status": 200, "body": {' + TOKEN.encode()),
    "stalled": hold(asyncio.Event()),
    "stray": items({TOKEN: {"status": 0}}),
    **{f"an envelope with {name}": envelope(500, f"no: {text}!", 200) for name, text in spellings(TOKEN).items()},
    **{f"a plain error with {name}": http(502, f"no: {text}!") for name, text in spellings(TOKEN).items()},
    **{
        f"an item with {name}": items({f"file_{number}": {"status": 1, "error": f"no: {text}!"} for number in range(3)})
        for name, text in spellings(TOKEN).items()
    },
}


@asynccontextmanager
async def failing(answer: Answer) -> AsyncIterator[tuple[FakeService, SmartyClient]]:
    async with FakeService() as service:
        service.default = lambda _: answer
        timeouts = Timeouts(connect=5, silence=0.03)
        async with client_of(service, retries=hasty(), timeouts=timeouts) as client:
            yield service, client


@pytest.mark.parametrize("kind", FAILURES)
class TestEveryFailure:
    @pytest.mark.slow
    async def test_of_one_photo(self, kind: str) -> None:
        asyncio.get_running_loop().set_debug(True)
        async with failing(FAILURES[kind]) as (_, client):
            asked = await asyncio.gather(
                *(client.improve(jpeg(seed=seed)) for seed in range(2)), return_exceptions=True
            )
            assert not shows(repr(client) + str(client))
        for error in asked:
            if isinstance(error, BaseException):
                assert isinstance(error, SmartyError)
                for text in everything_in(error, set()):
                    assert not shows(text), text
            else:
                assert kind == "stray"

    @pytest.mark.slow
    async def test_of_an_archive(self, tmp_path: Path, kind: str) -> None:
        source, out = photos(tmp_path / "in", 3), tmp_path / "out"
        async with failing(FAILURES[kind]) as (_, client):
            run = client.improve_archive(source, out=out)
            try:
                async for result in run:
                    assert not shows(repr(result))
            except SmartyError as error:
                for text in everything_in(error, set()):
                    assert not shows(text), text
            assert not shows(repr(run.progress))
        written = [path for path in out.rglob("*") if path.is_file()]
        assert any(path.suffix == ".sqlite" for path in written)
        for path in written:
            assert not shows(path.read_bytes()), path


def always(answer: Answer) -> Callable[[str], Answer]:
    return lambda _: answer


GRANTS: dict[str, Callable[[str], Answer]] = {
    "ok": lambda _: http(200, '{"access_token": "' + ACCESS + '", "refresh_token": "' + REFRESH + '"}'),
    "401": lambda said: http(401, said),
    "201": lambda said: http(201, '{"access_token": "' + ACCESS + '"}' + said),
    "201 without what is known": lambda _: http(201, '{"access_token": "' + ACCESS + '"}'),
    "204": lambda _: http(204),
    "400 with a token": lambda _: http(400, '{"access_token": "' + ACCESS + '"}'),
    "400 with a form": lambda _: http(400, "access_token=" + quote(ACCESS)),
    "302": lambda said: http(302, said, {"Location": f"http://127.0.0.1:9/?{quote(SECRET)}"}),
    "500": lambda said: http(500, said),
    **{f"401 with {name}": always(http(401, text)) for name, text in spellings(SECRET).items()},
    "no JSON": lambda said: http(200, said),
    "a token in a shape of its own": lambda _: http(200, '{"access_token": ["' + ACCESS + '"]}'),
    "no UTF-8": lambda _: raw(b'{"access_token": "' + ACCESS.encode() + b'\xff"}'),
    "lost": lambda _: drop(of=ok()),
}


@pytest.mark.slow
@pytest.mark.parametrize("first", ["secret", "refresh token"])
@pytest.mark.parametrize("kind", GRANTS)
async def test_every_failure_of_a_grant(kind: str, first: str) -> None:
    asyncio.get_running_loop().set_debug(True)
    async with FakeService() as service:
        service.default_grant = lambda request: GRANTS[kind](f"{request.meta} {SECRET}")
        service.default = lambda _: echo(401)
        credentials = OAuthCredentials(
            client_id="me",
            client_secret=SECRET,
            refresh_token=REFRESH if first == "refresh token" else None,
            auth_url=service.auth_url,
        )
        async with client_of(service, credentials=credentials, retries=hasty()) as client:
            with pytest.raises(SmartyError) as caught:
                await client.improve(jpeg())
            assert not shows(repr(client) + str(client))
        for text in everything_in(caught.value, set()):
            assert not shows(text), text


def test_credentials_show_nothing() -> None:
    credentials = OAuthCredentials(client_id="me", client_secret=SECRET, refresh_token=REFRESH)
    for text in (repr(credentials), str(credentials), f"{credentials}", pretty_repr(credentials)):
        assert not shows(text)


def test_a_client_shows_nothing() -> None:
    credentials = OAuthCredentials(client_id="me", client_secret=SECRET)
    for client in (SmartyClient(token=TOKEN), SmartyClient(credentials=credentials)):
        for text in (repr(client), str(client), pretty_repr(client)):
            assert not shows(text)


def test_the_search_for_secrets_finds_them() -> None:
    assert shows(f"…{TOKEN}…")
    assert shows(str(URL("http://h/").with_query(oauth_token=TOKEN)))
    assert shows(repr(SECRET))
    with suppress(ValueError):
        raise ValueError(TOKEN)
    assert any(map(shows, everything_in(ValueError(REFRESH), set())))
