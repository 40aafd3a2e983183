"""Where the token comes from, and where it never shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import pytest
from support.clients import TOKEN, client_of, hasty
from support.fake_service import FakeService, drop, hold, http, raw, until
from support.pictures import jpeg
from yarl import URL

from smarty_async.errors import AuthorizationError, ConfigurationError, RequestError, ServiceUnavailable
from smarty_async.options import OAuthCredentials, Timeouts
from smarty_async.redaction import redactor
from smarty_async.transport.tokens import OAuthTokens, ServiceToken, open_tokens

SECRET = "oauth/s3cret+тайна ="


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def tokens_of(
    service: FakeService, *, clock: Callable[[], float] | None = None, silence: float = 20, **credentials: str
) -> AsyncIterator[OAuthTokens]:
    given_ = {"client_id": "me", "auth_url": service.auth_url} | (credentials or {"client_secret": SECRET})
    async with aiohttp.ClientSession() as session:
        timeouts = Timeouts(connect=5, silence=silence)
        yield OAuthTokens(OAuthCredentials(**given_), session, timeouts=timeouts, clock=clock or Clock())


async def no_session(_: URL) -> aiohttp.ClientSession:
    raise AssertionError("no session is needed")


def grant(**fields: object) -> str:
    return json.dumps({"access_token": "access", "scope": "objects"} | fields)


class TestServiceToken:
    async def test_it_is_always_the_same_and_cannot_be_renewed(self) -> None:
        token = ServiceToken(TOKEN)
        assert await token.get() == TOKEN
        assert not await token.renew(TOKEN)
        assert await token.renew("another")
        assert redactor.redact(f"no {TOKEN}!") == "no <redacted>!"


class TestGrants:
    async def test_concurrent_callers_share_one_request(self) -> None:
        gate = asyncio.Event()
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(hold(gate, http(200, grant())))
            asking = [asyncio.create_task(tokens.get()) for _ in range(20)]
            await until(lambda: bool(service.grants))
            gate.set()
            assert set(await asyncio.gather(*asking)) == {"access"}
            assert service.grants == [{"client_id": "me", "client_secret": SECRET, "grant_type": "client_credentials"}]

    async def test_cancelling_the_first_caller_does_not_cancel_the_others(self) -> None:
        gate = asyncio.Event()
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(hold(gate))
            asking = [asyncio.create_task(tokens.get()) for _ in range(3)]
            await until(lambda: bool(service.grants))
            asking[0].cancel()
            gate.set()
            assert set(await asyncio.gather(*asking[1:])) == {"access-2"}

    @pytest.mark.parametrize(
        ("fields", "lives"),
        [
            ({"expired_in": "3600"}, 3540),
            ({"expires_in": 3600}, 3540),
            ({"expired_in": "100"}, 90),
            ({"expired_in": "soon"}, 3540),
            ({"expired_in": "soon", "expires_in": 100}, 90),
            ({"expires_in": True}, 3540),
            ({"expires_in": [1]}, 3540),
            ({"expires_in": 10**400}, 3540),
            ({}, 3540),
        ],
    )
    async def test_it_is_renewed_before_its_end(self, fields: dict[str, object], lives: float) -> None:
        clock = Clock()
        async with FakeService() as service, tokens_of(service, clock=clock) as tokens:
            service.script_grants(http(200, grant(**fields)))
            assert await tokens.get() == "access"
            clock.now += lives - 1
            assert await tokens.get() == "access"
            clock.now += 1
            assert await tokens.get() == "access-2"

    async def test_a_refresh_token_is_used_and_the_next_one_after_it(self) -> None:
        clock = Clock()
        async with FakeService() as service, tokens_of(service, clock=clock, refresh_token="first") as tokens:
            await tokens.get()
            clock.now += 4000
            await tokens.get()
            kinds = [(one["grant_type"], one["refresh_token"]) for one in service.grants]
            assert kinds == [("refresh_token", "first"), ("refresh_token", "refresh-1")]
            assert "client_secret" not in service.grants[0]

    @pytest.mark.parametrize("odd", [7, True, ["first"], ""])
    async def test_a_refresh_token_that_is_no_text_counts_as_none(self, odd: object) -> None:
        clock = Clock()
        async with FakeService() as service, tokens_of(service, clock=clock, refresh_token="first") as tokens:
            service.script_grants(http(200, grant(refresh_token=odd)))
            assert await tokens.get() == "access"
            clock.now += 4000
            assert await tokens.get() == "access-2"
            assert [one["refresh_token"] for one in service.grants] == ["first", "first"]

    async def test_a_refresh_token_that_has_ended_falls_back_to_the_secret(self) -> None:
        async with FakeService() as service:
            async with tokens_of(service, refresh_token="old", client_secret=SECRET) as tokens:
                service.script_grants(http(400, "invalid_grant"))
                assert await tokens.get() == "access-2"
            assert [one["grant_type"] for one in service.grants] == ["refresh_token", "client_credentials"]

    async def test_without_a_secret_there_is_nothing_to_fall_back_to(self) -> None:
        async with FakeService() as service, tokens_of(service, refresh_token="old") as tokens:
            service.script_grants(http(400, "invalid_grant"))
            with pytest.raises(AuthorizationError, match="invalid_grant") as caught:
                await tokens.get()
            assert caught.value.status == 400

    async def test_a_grant_may_come_in_pieces(self) -> None:
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(raw(grant().encode(), chunk=7))
            assert await tokens.get() == "access"

    @pytest.mark.parametrize(
        "text",
        [
            "<html>",
            "[]",
            "{}",
            grant(access_token=""),
            grant(access_token=["hidden-token"]),
            '{"access_token": "hidden-token',
            "",
        ],
    )
    async def test_an_invalid_grant_is_reported_without_its_text(self, text: str) -> None:
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(http(200, text))
            with pytest.raises(AuthorizationError) as caught:
                await tokens.get()
            assert "hidden-token" not in str(caught.value)

    async def test_a_grant_that_is_not_utf8_is_invalid(self) -> None:
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(raw(b'{"access_token": "\xff"}'))
            with pytest.raises(AuthorizationError):
                await tokens.get()

    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_a_server_error_is_temporary(self, status: int) -> None:
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(http(status, "no"))
            with pytest.raises(RequestError) as caught:
                await tokens.get()
            assert caught.value.status == 503
            assert await tokens.get() == "access-2"

    async def test_a_lost_connection_is_temporary(self) -> None:
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(drop(of=http(200, grant())))
            with pytest.raises(RequestError, match="did not answer"):
                await tokens.get()
            assert await tokens.get() == "access-2"

    async def test_a_silent_server_is_given_up_after_the_timeout(self) -> None:
        async with FakeService() as service, tokens_of(service, silence=0.02) as tokens:
            service.script_grants(hold(asyncio.Event()))
            with pytest.raises(RequestError, match="did not answer"):
                await tokens.get()

    async def test_a_redirect_is_not_followed(self) -> None:
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(http(307, headers={"Location": service.auth_url}))
            with pytest.raises(AuthorizationError, match="307"):
                await tokens.get()
            assert len(service.grants) == 1


class TestRenewal:
    async def test_a_token_that_many_requests_find_stale_is_renewed_once(self) -> None:
        async with FakeService() as service, tokens_of(service) as tokens:
            stale = await tokens.get()
            assert await asyncio.gather(*(tokens.renew(stale) for _ in range(9))) == [True] * 9
            assert len(service.grants) == 2
            assert await tokens.get() == "access-2"

    async def test_the_same_token_again_does_not_count_as_renewed(self) -> None:
        async with FakeService() as service, tokens_of(service) as tokens:
            service.script_grants(http(200, grant()), http(200, grant()))
            assert not await tokens.renew(await tokens.get())


class TestOnTheWay:
    async def test_a_401_renews_the_token_once_and_the_photos_are_sent_again(self) -> None:
        async with FakeService(valid_tokens=set()) as service:
            credentials = OAuthCredentials(client_id="me", client_secret=SECRET, auth_url=service.auth_url)
            async with client_of(service, credentials=credentials) as client:
                await client.improve(jpeg())
                assert service.valid_tokens
                service.valid_tokens.clear()
                results = await asyncio.gather(*(client.improve(jpeg(seed=seed)) for seed in range(9)))
            assert all(result.improved for result in results)
            assert len(service.grants) == 2

    async def test_a_401_after_the_renewal_stops(self) -> None:
        async with FakeService(valid_tokens=set()) as service:
            service.default_grant = lambda _: http(200, grant(access_token=f"other-{len(service.grants)}"))
            credentials = OAuthCredentials(client_id="me", client_secret=SECRET, auth_url=service.auth_url)
            async with client_of(service, credentials=credentials) as client:
                with pytest.raises(AuthorizationError, match="does not accept"):
                    await client.improve(jpeg())
            assert len(service.requests) == 2

    async def test_a_401_on_a_service_token_stops_at_once(self) -> None:
        async with FakeService(valid_tokens={"other"}, error_http_status=None) as service:
            async with client_of(service, concurrency=1) as client:
                asked = await asyncio.gather(
                    *(client.improve(jpeg(seed=seed)) for seed in range(100)), return_exceptions=True
                )
            assert {type(one) for one in asked} == {AuthorizationError}
            assert len(service.requests) == 1

    async def test_credentials_that_are_refused_stop_before_anything_is_sent(self) -> None:
        async with FakeService() as service:
            service.default_grant = lambda _: http(401, f"who is {SECRET}?")
            credentials = OAuthCredentials(client_id="me", client_secret=SECRET, auth_url=service.auth_url)
            async with client_of(service, credentials=credentials) as client:
                with pytest.raises(AuthorizationError, match="who is <redacted>"):
                    await client.improve(jpeg())
            assert not service.requests

    @pytest.mark.parametrize("stale", [False, True], ids=["from the start", "at the renewal"])
    async def test_an_authorization_server_that_is_down_is_an_outage_and_fails_no_photo(self, *, stale: bool) -> None:
        async with FakeService(valid_tokens=set()) as service:
            credentials = OAuthCredentials(client_id="me", client_secret=SECRET, auth_url=service.auth_url)
            async with client_of(service, credentials=credentials, retries=hasty()) as client:
                if stale:
                    await client.improve(jpeg())
                    assert service.valid_tokens
                    service.valid_tokens.clear()
                service.default_grant = lambda _: http(503)
                with pytest.raises(ServiceUnavailable, match="authorization server"):
                    await client.improve(jpeg(seed=1))


class TestRedaction:
    async def test_all_tokens_old_and_new_and_the_secret_are_known(self) -> None:
        clock = Clock()
        async with (
            FakeService() as service,
            tokens_of(service, clock=clock, refresh_token="reborn", client_secret=SECRET) as tokens,
        ):
            for _ in range(5):
                await tokens.get()
                clock.now += 4000
            text = f"access-1 access-2 access-3 access-4 access-5 refresh-1 refresh-5 reborn {SECRET} {quote(SECRET)}"
            assert set(redactor.redact(text).split()) == {"<redacted>"}

    async def test_without_a_token_errors_are_not_redacted(self) -> None:
        await open_tokens(token=None, credentials=None, timeouts=Timeouts(), session_to=no_session)
        assert redactor.redact("cannot connect to localhost, local") == "cannot connect to localhost, local"


class TestAddress:
    @pytest.mark.parametrize("address", ["http://auth.intranet.example/token", "http://10.0.0.1:80/token"])
    async def test_credentials_do_not_travel_in_the_open(self, address: str) -> None:
        credentials = OAuthCredentials(client_id="me", client_secret=SECRET, auth_url=address)
        with pytest.raises(ConfigurationError, match="plain http"):
            await open_tokens(token=None, credentials=credentials, timeouts=Timeouts(), session_to=no_session)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ConfigurationError, match="plain http"):
                OAuthTokens(credentials, session, timeouts=Timeouts())
