"""Secrets are removed from texts in every usual spelling, and other texts stay as they are."""

from __future__ import annotations

import base64
import html
import json
import re
import string
from collections.abc import Callable
from itertools import product
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from smarty_async import redaction
from smarty_async.redaction import REDACTED, Redactor, quotable, redact, redactor

TOKEN = "gAAAAABl/0+Zq-тайна_x=="
PLAIN = "gAAAAABl_0-Zqabc123XYZ"
LETTERS = string.ascii_letters + string.digits + string.punctuation + " тайна€😀"
secrets = st.text(LETTERS, min_size=6, max_size=30).filter(lambda text: text.strip() == text)


def lower_percent(text: str) -> str:
    return re.sub("%..", lambda found: found[0].lower(), quote(text, safe=""))


def entities(text: str) -> str:
    return "".join(f"&#{ord(char)};" for char in text)


def hex_entities(text: str) -> str:
    return "".join(f"&#x{ord(char):X};" for char in text)


def base64_of(text: str, before: str = "", after: str = "") -> str:
    return base64.b64encode((before + text + after).encode()).decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": quote,
    "percent, everything": lambda text: quote(text, safe=""),
    "percent, lower case": lower_percent,
    "percent, every byte": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "form": quote_plus,
    "yarl": lambda text: URL("http://h/").with_query(t=text).raw_query_string.removeprefix("t="),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent three times": lambda text: quote(quote(quote(text, safe=""), safe=""), safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, everything": lambda text: "".join(f"\\u{unit:04x}" for unit in units(text)),
    "JSON twice": lambda text: json.dumps(json.dumps(text))[3:-3],
    "repr": lambda text: repr("'\"" + text)[4:-1],
    "repr of bytes": lambda text: repr(b"'\"" + text.encode())[5:-1],
    "entities": entities,
    "entities, hexadecimal": hex_entities,
    "entities, named": html.escape,
    "percent in entities": lambda text: entities(quote(text, safe="")),
    "entities in JSON": lambda text: json.dumps(entities(text))[1:-1],
    "zero-width spaces": "\u200b".join,
    "soft hyphens": "\u00ad".join,
    "joiners": "\u2060\u034f".join,
    "line ends": "\r\n".join,
    "zero-width in entities": "&#8203;".join,
    "zero-width, percent": lambda text: quote("\u200b".join(text), safe=""),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, upper case": lambda text: text.encode().hex().upper(),
}


def units(text: str) -> list[int]:
    data = text.encode("utf-16-be")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


@pytest.mark.slow
@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=60)
@given(secrets)
@example(TOKEN)
@example("%41%42%43x&amp;y\\u0041")
@example("a\\\\/b\"c'd&lt;")
def test_no_spelling_survives(spelling: str, secret: str) -> None:
    assert Redactor([secret]).redact(f"¡{SPELLINGS[spelling](secret)}!") == f"¡{REDACTED}!"


LONG = "baitTokenAlpha7/Beta+9=Gamma.Delta-Eps_Zeta~42"
DISGUISES: dict[str, Callable[[str], str]] = {
    "spaces": " ".join,
    "capitals": str.upper,
    "small letters": str.lower,
    "full width": lambda text: "".join(chr(ord(char) + 0xFEE0) for char in text),
    "blank letters": "\u3164".join,
    "backwards": lambda text: text[::-1],
    "hexadecimal, spaces": lambda text: text.encode().hex(" "),
    "hexadecimal, colons": lambda text: text.encode().hex(":"),
    "hexadecimal, 0x": lambda text: " ".join(f"0x{byte:02x}" for byte in text.encode()),
    "UTF-16, hexadecimal": lambda text: text.encode("utf-16-be").hex(),
    "list of bytes": lambda text: repr(list(text.encode()))[1:-1],
    "octal": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    "long escapes": lambda text: "".join(f"\\U{ord(char):08x}" for char in text),
    "escapes in braces": lambda text: "".join(f"\\u{{{ord(char):x}}}" for char in text),
    "entities without an end": lambda text: "".join(f"&#{ord(char)}" for char in text),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "base64 twice": lambda text: base64_of(base64_of(text)),
    "its end": lambda text: text[-20:],
    "its middle": lambda text: text[8:38],
    "in two parts": lambda text: f"{text[:15]}<b>{text[15:]}",
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_disguise_of_a_long_secret_survives(disguise: str) -> None:
    cleaned = Redactor([LONG]).redact(f"the token «{DISGUISES[disguise](LONG)}» is wrong")
    assert re.fullmatch(r"the token «\W{0,2}.{0,12}<redacted>.{0,12}» is wrong", cleaned), cleaned


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "URL alphabet": lambda text: text.replace("+", "-").replace("/", "_"),
    "unpadded": lambda text: text.rstrip("="),
    "percent": lambda text: quote(text, safe=""),
    "JSON": lambda text: text.replace("/", "\\/"),
    "entities": entities,
    "wrapped": lambda text: "\n".join(text[at : at + 7] for at in range(0, len(text), 7)),
    "zero-width spaces": "\u200b".join,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("secret", [TOKEN, PLAIN, "s3cret", quote(TOKEN, safe="")])
def test_base64_does_not_survive_at_any_alignment(encoding: str, secret: str) -> None:
    known = Redactor([TOKEN if secret == quote(TOKEN, safe="") else secret])
    for before, after in product(("", "x", "xy", "oauth_token=", 'token: "'), ("", "&", '"}')):
        text = ENCODINGS[encoding](base64_of(secret, before, after))
        cleaned = known.redact(f"the header is {text} and no more")
        assert cleaned.startswith("the header is "), text
        assert cleaned.endswith(" and no more"), text
        assert REDACTED in cleaned, text
        left = cleaned.removeprefix("the header is ").removesuffix(" and no more").replace(REDACTED, "")
        assert len(re.sub(r"\W", "", left)) <= 16, text  # of what stands around the secret


@pytest.mark.parametrize("length", [12, 15, 21])
def test_the_beginning_of_a_long_secret_does_not_survive(length: int) -> None:
    assert Redactor([PLAIN]).redact(f"token {PLAIN[:length]}…") == f"token {REDACTED}…"


def test_several_secrets_in_one_text() -> None:
    text = f"{PLAIN}{TOKEN} and {quote(TOKEN)}, {PLAIN}"
    assert Redactor([PLAIN, TOKEN]).redact(text) == f"{REDACTED} and {REDACTED}, {REDACTED}"


def test_a_secret_inside_of_another_one() -> None:
    assert Redactor(["abcdef", "xxabcdefyy"]).redact("-xxabcdefyy-abcdef-") == f"-{REDACTED}-{REDACTED}-"


@given(st.text(max_size=60))
def test_what_holds_no_secret_stays(text: str) -> None:
    assert Redactor([PLAIN, "no-such-secret", ""]).redact(text) == text
    assert Redactor().redact(text) == text


@pytest.mark.parametrize("secret", ["a", "to", "file", "photo"])
def test_a_short_secret_does_not_shred_messages(secret: str) -> None:
    message = "could not get image by name file_0: http: no such file; a photo goes to the service (https://a.example)"
    assert Redactor([secret]).redact(message) == message


@pytest.mark.parametrize("text", ["oauth_token={}", "oauth_token={}&x=1", 'token "{}" is wrong', "invalid: {}", "={};"])
@pytest.mark.parametrize("secret", ["abc", "abcd", "ab/de"])
def test_a_short_secret_is_removed_where_a_value_stands(text: str, secret: str) -> None:
    for spelling in (str, lambda text: quote(text, safe=""), entities):
        assert Redactor([secret]).redact(text.format(spelling(secret))) == text.format(REDACTED)


@pytest.mark.parametrize("secret", ["AT2", "abcde"])
def test_a_short_secret_is_removed_from_a_strangers_text_where_it_is_a_word(secret: str) -> None:
    known = Redactor([secret])
    assert known.redact_foreign(f"Access Token {secret} invalid, x{secret}y") == (
        f"Access Token {REDACTED} invalid, x{secret}y"
    )
    assert known.redact(f"{secret} is a folder") == f"{secret} is a folder"


@pytest.mark.slow
def test_hostile_texts_end_soon() -> None:
    known = Redactor([PLAIN, "aaaaaaaaaaaaaaaa", "%25%25%25%25"])
    for text in ("%" * 60_000, "%25" * 20_000, "&amp;" * 10_000, "\\u0041" * 10_000, "\\" * 60_000, "a" * 60_000):
        known.redact(text)
    assert known.redact("a" * 60_000) == REDACTED


def test_the_oldest_secrets_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_MAX_SECRETS", 2)
    known = Redactor(["first-secret", "second-secret"])
    known.add("first-secret", None, "third-secret")
    assert known.redact("first-secret second-secret third-secret") == f"{REDACTED} second-secret {REDACTED}"


def test_the_secrets_of_the_process_and_of_the_call() -> None:
    redactor.add("known-to-the-process")
    assert redact("known-to-the-process, caller-knows-this") == f"{REDACTED}, caller-knows-this"
    assert redact("known-to-the-process, caller-knows-this", "caller-knows-this", None, "") == (
        f"{REDACTED}, {REDACTED}"
    )


class TestStart:
    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_nothing_is_left_of_a_secret_that_is_cut(self, spelling: str) -> None:
        spelled = SPELLINGS[spelling](TOKEN)
        of = Redactor([TOKEN])
        for kept in range(1, len(spelled), 7):
            text = "." * (redaction._START - kept) + spelled + "." * 5_000
            assert of.redact_foreign(text).strip(".") in ("…", f"{REDACTED}…")

    def test_a_short_text_is_whole(self) -> None:
        assert Redactor([TOKEN]).redact_foreign(f"{TOKEN} {'x ' * 500}") == f"{REDACTED} {'x ' * 500}"

    def test_secrets_alone(self) -> None:
        assert Redactor([TOKEN]).redact_foreign(TOKEN * 1_000) == f"{REDACTED}…"

    def test_what_stands_before_a_long_secret_is_shown(self) -> None:
        known = Redactor([secret := "ey" + "A1b2" * 600])
        assert known.redact_foreign(f"Access Token {secret} invalid") == f"Access Token {REDACTED}…"


class TestQuotable:
    @pytest.mark.parametrize(
        "text",
        ["invalid_grant", "no\n such  client", "Токен не подходит", "authorization failed: Access Token invalid", ""],
    )
    def test_a_short_plain_text_is_quoted_as_one_line(self, text: str) -> None:
        assert quotable(text) == " ".join(text.split())

    def test_known_secrets_are_removed(self) -> None:
        redactor.add("known-to-the-process")
        assert quotable("who is known-to-the-process?") == f"who is {REDACTED}?"

    @pytest.mark.parametrize(
        "text",
        [
            "<html><body>Bad gateway</body></html>",
            "<!doctype html>",
            "word " * 50,
            "x" * 100_000,
            "unknown " + "k3y" * 20,
            '{"access_token": "unknown"}',
            "oauth_token=unknown",
            "client_secret: unknown",
            "Authorization: Bearer",
            "bell \x07 and \x1b[31m",
            "bytes \udcff",
        ],
    )
    def test_any_other_text_is_not(self, text: str) -> None:
        assert quotable(text) == ""
