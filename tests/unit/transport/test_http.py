"""Addresses are checked as they are sent; proxies and certificates come from the environment or the caller."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from support.clients import client_of, hasty, retries
from support.fake_service import FakeService
from support.pictures import jpeg
from support.proxy import ConnectProxy, PrivateAuthority, connect_proxy, tls_in_front_of
from yarl import URL

import smarty_async
from smarty_async.client import SmartyClient
from smarty_async.errors import ConfigurationError, OptionsError, RequestError, ServiceUnavailable, SmartyError
from smarty_async.options import OAuthCredentials, Timeouts, is_loopback
from smarty_async.redaction import redactor
from smarty_async.transport.http import make_session, proxy_for, service_url, translate_error, trusted_certificates

HOST = "service.example"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates of the machine that the tests run on."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


class TestAddress:
    @pytest.mark.parametrize(
        ("base", "path", "sent"),
        [
            ("https://smarty.mail.ru", "/api/v1/photo/improve", "https://smarty.mail.ru/api/v1/photo/improve"),
            ("https://smarty.mail.ru/", "/api/", "https://smarty.mail.ru/api/"),
            ("https://host/prefix/", "/api", "https://host/prefix/api"),
            ("https://host:8443", "/a//b", "https://host:8443/a//b"),
            ("http://127.0.0.1:80", "/@example.org/x", "http://127.0.0.1/@example.org/x"),
            ("http://127.0.0.2:8080", "/x", "http://127.0.0.2:8080/x"),
            ("http://localhost:8080", "/x", "http://localhost:8080/x"),
            ("http://LOCALHOST:8080", "/x", "http://localhost:8080/x"),
            ("http://[::1]:8080", "/x", "http://[::1]:8080/x"),
            ("https://пример.рф", "/x", "https://xn--e1afmkfd.xn--p1ai/x"),
            ("https://mcs.mail.ru/auth/oauth/v1/token", "", "https://mcs.mail.ru/auth/oauth/v1/token"),
        ],
    )
    def test_it_is_what_is_sent(self, base: str, path: str, sent: str) -> None:
        assert str(service_url(base, path)) == sent

    @pytest.mark.parametrize("path", ["@example.org/x", ":80@example.org/x", ".example.org", "x", "//example.org/x"])
    def test_a_path_that_could_change_the_host_is_refused(self, path: str) -> None:
        with pytest.raises(OptionsError, match="path must begin with one slash"):
            service_url("http://127.0.0.1:80", path)
        with pytest.raises(OptionsError, match="path must begin with one slash"):
            SmartyClient(base_url="http://127.0.0.1:80", path=path)

    @pytest.mark.parametrize(
        "base",
        [
            "http://127.0.0.1@example.org",
            "http://127.0.0.1:80@example.org",
            "http://user:password@127.0.0.1",
            "https://user:password@host",
            "https://user:pass/password@host",
            "https://user:p@password@host",
            "https:/user:password@host",
            "https://user:a?b@password@host",
            "https://user:a#b/password@host",
            "user:pass/password@host",
            "https://host\\@example.org",
            "http://127.0.0.1\\.example.org",
            "https://host/a b",
            "https://host\t",
            "https://host/\nx",
            "https://host?x=1",
            "https://host/#x",
            "https://host#@example.org",
            "https://",
            "https:///x",
            "ftp://host",
            "host",
            "//host",
            "",
            "https://host:port",
            "https://[::1",
            "https://host:99999",
            "https://a..b",
            f"https://{'a' * 64}.example",
        ],
    )
    def test_other_texts_are_refused_without_showing_a_password(self, base: str) -> None:
        with pytest.raises(SmartyError) as caught:
            service_url(base, "/x")
        assert isinstance(caught.value, OptionsError | ConfigurationError)
        assert "password" not in str(caught.value)

    @pytest.mark.parametrize("path", ["/x?y=1", "/x#y", "/x\\y", "/x y", "/\r\nHost: example.org"])
    def test_a_path_is_a_path_only(self, path: str) -> None:
        with pytest.raises(OptionsError):
            service_url("https://host", path)

    @pytest.mark.parametrize(
        "host",
        [
            "example.org",
            "127.0.0.1.example.org",
            "localhost.example.org",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
        ],
    )
    def test_plain_http_is_for_this_machine_only(self, host: str) -> None:
        assert not is_loopback(host)
        with pytest.raises(ConfigurationError, match="https://"):
            service_url(f"http://{host}", "/x")

    @pytest.mark.parametrize("host", ["１２７.0.0.1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "127。0。0。1", "lоcalhost", "localhost\u0338"])
    def test_a_host_that_is_not_ascii_is_judged_as_it_is_sent(self, host: str) -> None:
        try:
            url = service_url(f"http://{host}:80", "/x")
        except SmartyError:
            return
        assert url.raw_host in {"127.0.0.1", "localhost"}


class TestProxyOfTheEnvironment:
    def test_https_goes_through_it_and_plain_http_never(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
        assert proxy_for(URL(f"https://{HOST}/x")) == URL("http://proxy:3128")
        assert proxy_for(URL("http://127.0.0.1:8080/x")) is None

    @pytest.mark.parametrize("excluded", [HOST, ".example", "example", "other, service.example", "*", f"{HOST}:443"])
    def test_no_proxy_excludes_hosts(self, monkeypatch: pytest.MonkeyPatch, excluded: str) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        monkeypatch.setenv("NO_PROXY", excluded)
        assert proxy_for(URL(f"https://{HOST}/x")) is None
        assert (proxy_for(URL("https://mcs.mail.ru/x")) is None) == (excluded == "*")

    @pytest.mark.parametrize("excluded", ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:8443"])
    def test_no_proxy_excludes_addresses_with_brackets_and_without(
        self, monkeypatch: pytest.MonkeyPatch, excluded: str
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        monkeypatch.setenv("NO_PROXY", excluded)
        assert proxy_for(URL("https://[2001:db8::1]:8443/x")) is None
        assert proxy_for(URL("https://[2001:db8::2]:8443/x")) == URL("http://proxy:3128")

    def test_a_proxy_without_a_scheme_is_an_http_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
        assert proxy_for(URL(f"https://{HOST}/x")) == URL("http://proxy:3128")

    @pytest.mark.parametrize(
        "proxy",
        [
            "socks5://user:passw0rd@proxy:1080",
            "http://user:passw0rd@",
            "http://proxy:x",
            "http://user:a/passw0rd@proxy:1",
            "user:a/passw0rd@proxy:1",
            "http://user:p@a/passw0rd@proxy:1",
            "http://proxy:1/proxy.pac",
        ],
    )
    def test_what_cannot_be_used_is_named_without_its_password(
        self, monkeypatch: pytest.MonkeyPatch, proxy: str
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
            proxy_for(URL(f"https://{HOST}/x"))
        assert "passw0rd" not in str(caught.value)

    def test_its_password_is_a_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://user:proxy-passw0rd@proxy:3128")
        proxy_for(URL(f"https://{HOST}/x"))
        assert redactor.redact("is it proxy-passw0rd?") == "is it <redacted>?"


class TestCertificates:
    def test_without_the_variables_the_system_decides(self) -> None:
        assert trusted_certificates({}) is None

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE.*No such file"):
            trusted_certificates({"SSL_CERT_FILE": str(tmp_path / "none.pem")})

    def test_a_file_without_certificates(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("no certificate")
        with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
            trusted_certificates({"SSL_CERT_FILE": str(tmp_path / "ca.pem")})

    def test_a_folder(self, tmp_path: Path) -> None:
        assert isinstance(trusted_certificates({"SSL_CERT_DIR": str(tmp_path)}), ssl.SSLContext)
        with pytest.raises(ConfigurationError, match="SSL_CERT_DIR"):
            trusted_certificates({"SSL_CERT_DIR": str(tmp_path / "none")})

    @pytest.mark.parametrize(
        ("url", "proxy", "read"),
        [
            ("http://127.0.0.1", None, False),
            ("http://127.0.0.1", "http://localhost:3128", False),
            ("http://127.0.0.1", "https://localhost:3128", True),
            ("https://host", None, True),
        ],
    )
    async def test_they_are_read_only_where_something_is_encrypted(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, proxy: str | None, *, read: bool
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        with pytest.raises(ConfigurationError, match="SSL_CERT_FILE") if read else nullcontext():
            await make_session(URL(url), timeouts=Timeouts(), proxy=proxy).close()


class Office(NamedTuple):
    """A service behind TLS of a private authority, and a proxy that leads to it."""

    service: FakeService
    proxy: ConnectProxy
    authority: PrivateAuthority
    port: int

    def client(self, **options: Any) -> SmartyClient:
        """A client of the service by a name that only the proxy knows."""
        return client_of(self.service, **{"base_url": f"https://{HOST}", "retries": hasty()} | options)

    def direct_client(self, **options: Any) -> SmartyClient:
        """A client of the service itself."""
        return self.client(**{"base_url": f"https://localhost:{self.port}"} | options)


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    authority = PrivateAuthority()
    async with (
        FakeService() as service,
        connect_proxy() as proxy,
        tls_in_front_of(URL(service.url).port or 0, authority.server_context()) as port,
    ):
        proxy.routes[f"{HOST}:443"] = ("127.0.0.1", port)
        yield Office(service, proxy, authority, port)


@pytest.fixture
def trusted(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(office.authority.write(tmp_path / "ca.pem")))


@pytest.fixture
def proxied(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", office.proxy.url)


class TestBehindAProxy:
    @pytest.mark.usefixtures("trusted", "proxied")
    async def test_https_proxy_and_ssl_cert_file_are_enough(self, office: Office) -> None:
        async with office.client() as client:
            assert (await client.improve(jpeg())).improved
        assert office.proxy.asked == [f"{HOST}:443"]
        assert len(office.service.requests) == 1

    async def test_the_arguments_of_the_client(self, office: Office) -> None:
        async with office.client(proxy=office.proxy.url, ssl=office.authority.client_context()) as client:
            assert (await client.improve(jpeg())).improved
        assert office.proxy.asked == [f"{HOST}:443"]

    @pytest.mark.usefixtures("trusted", "proxied")
    async def test_no_proxy_goes_straight(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_PROXY", "localhost")
        async with office.direct_client() as client:
            assert (await client.improve(jpeg())).improved
        assert office.proxy.asked == []

    @pytest.mark.usefixtures("trusted", "proxied")
    async def test_tokens_are_got_through_it_too(self, office: Office) -> None:
        credentials = OAuthCredentials(
            client_id="me", client_secret="s3cret-s3cret", auth_url=f"https://{HOST}/auth/oauth/v1/token"
        )
        async with office.client(credentials=credentials) as client:
            assert (await client.improve(jpeg())).improved
        assert len(office.service.grants) == 1
        assert office.proxy.asked == [f"{HOST}:443"] * 2

    @pytest.mark.usefixtures("trusted")
    async def test_its_login(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        office.proxy.login = "me:proxy-passw0rd"
        monkeypatch.setenv("HTTPS_PROXY", office.proxy.url.replace("//", "//me:proxy-passw0rd@"))
        async with office.client() as client:
            assert (await client.improve(jpeg())).improved

    @pytest.mark.usefixtures("trusted", "proxied")
    async def test_a_login_that_is_missing(self, office: Office) -> None:
        office.proxy.login = "me:proxy-passw0rd"
        async with office.client() as client:
            with pytest.raises(ConfigurationError, match=r"the proxy asks for a user name and a password \(407\)"):
                await client.improve(jpeg())
        assert office.proxy.asked == [f"{HOST}:443"]

    @pytest.mark.usefixtures("trusted", "proxied")
    async def test_a_host_that_it_does_not_allow(self, office: Office) -> None:
        office.proxy.status = 403
        async with office.client() as client:
            with pytest.raises(ConfigurationError, match=r"the proxy does not allow .*\(403\).*NO_PROXY"):
                await client.improve(jpeg())

    @pytest.mark.usefixtures("trusted", "proxied")
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    async def test_a_host_that_it_cannot_reach_is_asked_for_again(self, office: Office, status: int) -> None:
        office.proxy.statuses.extend([status] * 2)
        async with office.client(retries=retries()) as client:
            assert (await client.improve(jpeg())).improved
        assert len(office.proxy.asked) == 3

    @pytest.mark.usefixtures("trusted", "proxied")
    async def test_a_host_that_it_never_reaches(self, office: Office) -> None:
        office.proxy.status = 502
        async with office.client() as client:
            with pytest.raises(ServiceUnavailable, match=r"the proxy cannot reach the service \(502\)"):
                await client.improve(jpeg())

    async def test_a_proxy_that_is_not_there(self, office: Office) -> None:
        async with office.client(proxy="http://127.0.0.1:9") as client:
            with pytest.raises(ServiceUnavailable, match=r"cannot connect to the proxy 127\.0\.0\.1:9"):
                await client.improve(jpeg())

    async def test_plain_http_does_not_go_through_a_proxy_elsewhere(self, office: Office) -> None:
        with pytest.raises(ConfigurationError, match="a proxy would show the token"):
            async with client_of(office.service, proxy="http://proxy.example:3128"):
                pytest.fail("it opened")

    @pytest.mark.usefixtures("trusted", "proxied")
    async def test_no_netrc_credentials_are_sent(
        self, office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {HOST} login me password bait\nmachine 127.0.0.1 login me password bait\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        async with office.client() as client:
            await client.improve(jpeg())
        assert "Authorization" not in office.service.requests[0].headers
        assert "uthorization" not in office.proxy.heads[0]


class TestTls:
    async def test_a_certificate_that_is_not_trusted(self, office: Office) -> None:
        async with office.direct_client() as client:
            with pytest.raises(ConfigurationError, match=r"certificate of localhost:\d+ is not trusted.*SSL_CERT_FILE"):
                await client.improve(jpeg())
        assert not office.service.requests

    @pytest.mark.usefixtures("trusted")
    async def test_a_private_authority(self, office: Office) -> None:
        async with office.direct_client() as client:
            assert (await client.improve(jpeg())).improved


class TestSessionOfTheCaller:
    async def test_it_is_used_and_not_closed(self) -> None:
        async with FakeService() as service, aiohttp.ClientSession(headers={"X-From": "caller"}) as session:
            async with client_of(service, session=session) as client:
                assert (await client.improve(jpeg())).improved
            assert not session.closed
            assert service.requests[0].headers["X-From"] == "caller"
            async with session.get(service.url) as response:
                assert response.status == 404

    async def test_its_own_settings_do_not_disturb(self) -> None:
        timeout = aiohttp.ClientTimeout(total=1e-9)
        async with (
            FakeService(error_http_status=None) as service,
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        ):
            credentials = OAuthCredentials(client_id="me", client_secret="s3cret", auth_url=service.auth_url)
            async with client_of(service, session=session, credentials=credentials) as client:
                assert (await client.improve(jpeg())).improved
            assert service.requests[0].headers["Accept-Encoding"] == "identity"
            async with client_of(service, session=session, path="/api/v1/none", retries=hasty()) as client:
                with pytest.raises(SmartyError, match="404"):
                    await client.improve(jpeg())

    async def test_it_goes_without_a_proxy_and_tls_settings(self) -> None:
        async with aiohttp.ClientSession() as session:
            for other in ({"proxy": "http://proxy:1"}, {"ssl": ssl.create_default_context()}):
                with pytest.raises(OptionsError, match="session"):
                    SmartyClient(token="some-token", session=session, **other)


FOREIGN: list[Callable[[], Exception]] = [
    aiohttp.ServerDisconnectedError,
    lambda: aiohttp.ClientPayloadError("broken"),
    lambda: aiohttp.ClientOSError(104, "Connection reset by peer"),
    aiohttp.ServerTimeoutError,
    TimeoutError,
    ConnectionResetError,
    lambda: OSError("odd"),
    lambda: aiohttp.InvalidURL("https://h/?oauth_token=known-t0ken"),
    lambda: ValueError("known-t0ken"),
]


@pytest.mark.parametrize("make", FOREIGN)
def test_foreign_exceptions_become_ours_without_secrets(make: Callable[[], Exception]) -> None:
    redactor.add("known-t0ken")
    error = translate_error(make())
    assert isinstance(error, RequestError)
    assert str(error)
    assert "known-t0ken" not in str(error)
    assert error.timed_out == isinstance(make(), TimeoutError)


@asynccontextmanager
async def refused_by(url: str) -> AsyncIterator[Exception]:
    """The exception of a request to `url`."""
    async with make_session(URL(url), timeouts=Timeouts(connect=5)) as session:
        try:
            await session.get(url)
        except (aiohttp.ClientError, OSError) as error:
            yield error
        else:
            pytest.fail("it was answered")


async def test_a_closed_port() -> None:
    async with refused_by("http://127.0.0.1:9/") as error:
        assert str(translate_error(error)).startswith("cannot connect to 127.0.0.1:9: ")


async def test_a_host_without_an_address() -> None:
    async with refused_by("https://no-such-host.invalid/") as error:
        assert str(translate_error(error)).startswith("cannot connect to no-such-host.invalid:443: ")


async def test_an_answer_that_is_not_http() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HELLO\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with refused_by(f"http://127.0.0.1:{port}/") as error:
            text = str(translate_error(error))
    assert text.startswith("the answer is not HTTP: ")
    assert "HELLO" in text
    assert "400" not in text


def test_a_broken_connection_without_its_number() -> None:
    error = aiohttp.ClientOSError(104, "Connection reset by peer")
    assert str(translate_error(error)) == "the connection broke: Connection reset by peer"


async def test_a_session_needs_no_environment() -> None:
    async with make_session(URL("https://host"), timeouts=Timeouts()) as session:
        assert session.trust_env is False
        await asyncio.sleep(0)


def test_foreign_exceptions_are_translated_in_one_place_only() -> None:
    package = Path(smarty_async.__file__).parent
    kinds = re.compile(r"aiohttp\.Client\w*(?:Proxy|Connector|SSL|Certificate|Payload|OS|Http)\w*")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if kinds.search(path.read_text("utf-8")) and "local" not in path.parts
    }
    assert found == {"transport/http.py"}
