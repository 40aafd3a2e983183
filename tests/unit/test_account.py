"""The account as the environment describes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smarty_async import errors
from smarty_async.account import Account, account_from_env
from smarty_async.options import AUTH_URL, BASE_URL, PROVIDER
from smarty_async.redaction import redactor

TOKEN = "bait-token-0123456789"


@pytest.mark.parametrize("env", [{}, {"SMARTY_TOKEN": "  ", "SMARTY_BASE_URL": ""}])
def test_without_an_account_there_is_no_address(env: dict[str, str]) -> None:
    account = account_from_env(env)
    assert (account.base_url, account.provider, account.token, account.credentials) == (None, PROVIDER, None, None)
    assert account.secrets == []


def test_the_default_of_the_authorization_server() -> None:
    account = account_from_env({"SMARTY_CLIENT_ID": "me", "SMARTY_CLIENT_SECRET": TOKEN})
    assert account.credentials is not None
    assert (account.base_url, account.credentials.auth_url) == (BASE_URL, AUTH_URL)


def test_what_was_read_is_never_printed() -> None:
    account = account_from_env({"SMARTY_TOKEN": "bait-token-of-the-environment"})
    assert redactor.redact(f"{account.token} is wrong") == "<redacted> is wrong"


def test_a_token_goes_to_the_service_unless_another_address_is_given() -> None:
    account = account_from_env({"SMARTY_TOKEN": f" {TOKEN}\n", "SMARTY_PROVIDER": "mr"})
    assert (account.base_url, account.token, account.provider) == (BASE_URL, TOKEN, "mr")
    env = {"SMARTY_TOKEN": TOKEN, "SMARTY_BASE_URL": "https://a.example", "SMARTY_PROVIDER": "mr"}
    assert account_from_env(env).base_url == "https://a.example"
    account = account_from_env(env, base_url="https://b.example", provider="mcs")
    assert (account.base_url, account.provider) == ("https://b.example", "mcs")


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080", "http://localhost:1/x", "http://[::1]:8080"])
def test_loopback_needs_no_account(address: str) -> None:
    account = account_from_env({}, base_url=address)
    assert (account.base_url, account.token) == (address, None)


def test_a_token_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbf" + TOKEN.encode() + b"\r\n")
    assert account_from_env({"SMARTY_TOKEN_FILE": str(file)}).token == TOKEN


def test_oauth_credentials() -> None:
    env = {
        "SMARTY_CLIENT_ID": "me",
        "SMARTY_CLIENT_SECRET": TOKEN,
        "SMARTY_AUTH_URL": "https://a.example/token",
    }
    account = account_from_env(env)
    assert account.credentials is not None
    assert account.credentials.client_id == "me"
    assert account.credentials.client_secret == TOKEN
    assert account.credentials.auth_url == "https://a.example/token"
    assert account.token is None
    assert account.secrets == [TOKEN]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"SMARTY_TOKEN": TOKEN, "SMARTY_TOKEN_FILE": "f"}, "SMARTY_TOKEN and SMARTY_TOKEN_FILE"),
        (
            {"SMARTY_TOKEN": TOKEN, "SMARTY_CLIENT_ID": "i", "SMARTY_CLIENT_SECRET": TOKEN},
            "SMARTY_TOKEN and SMARTY_CLIENT_ID",
        ),
        ({"SMARTY_CLIENT_ID": "i"}, "SMARTY_CLIENT_SECRET is not set"),
        ({"SMARTY_CLIENT_SECRET": TOKEN}, "SMARTY_CLIENT_ID is not set"),
        ({"SMARTY_TOKEN": f"Bearer {TOKEN}"}, "one word"),
        ({"SMARTY_TOKEN": os.fsdecode(TOKEN.encode() + b"\xff")}, "one word"),
        ({"SMARTY_TOKEN_FILE": "/no/such/file"}, "cannot read the token"),
        ({"SMARTY_BASE_URL": "https://a.example"}, "no account for https://a.example"),
    ],
)
def test_a_muddled_environment(env: dict[str, str], says: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=says) as caught:
        account_from_env(env)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("address", ["http://[::1", "https://[x]/", "https://[]", f"https://me:{TOKEN}@a.example"])
def test_without_an_account_an_address_is_one(address: str) -> None:
    with pytest.raises(errors.OptionsError, match="address") as caught:
        account_from_env({"SMARTY_BASE_URL": address})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(("content", "says"), [(b" \n", "empty"), (b"\xff\xd8\xff\xe0", "is not a text file")])
def test_a_token_file_without_a_token(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(errors.ConfigurationError, match=says):
        account_from_env({"SMARTY_TOKEN_FILE": str(file)})


def test_an_account_shows_no_secret() -> None:
    assert TOKEN not in repr(Account(base_url=BASE_URL, token=TOKEN))
