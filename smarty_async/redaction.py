"""Removal of secrets from texts: every token of the process, in every usual spelling.

A text is decoded layer by layer (percent-encoding, HTML entities, escapes of JSON and Python; invisible characters are
dropped) while each character keeps the place that it came from. Each layer is searched for the secrets as they are, in
base64 and in hexadecimal digits, and then without everything but its letters and digits, in lower case: so a secret is
found that is written with spaces, in capitals, in full width, or as the numbers of its characters. What is found is
replaced in the original text.
"""

from __future__ import annotations

import html
import re
import unicodedata
from base64 import b32encode, b64encode
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus

__all__ = ["REDACTED", "Redactor", "address_without_secrets", "quotable", "redact", "redactor", "without_long_words"]

REDACTED: Final = "<redacted>"
"""What replaces a secret."""

_MAX_SECRETS: Final = 512
"""Secrets that are remembered; the oldest ones are forgotten first. An access token lives for an hour."""
_MAX_LAYERS: Final = 16
"""Versions of a text that are searched: it may be encoded several times, and in several ways at once."""
_SHORT: Final = 6
"""Characters from which a secret is looked for everywhere. A shorter one is part of too many words."""
_SHORTEST: Final = 3
"""Characters from which a short secret is looked for where a value is expected."""
_LONG, _PREFIX = 16, 12
"""Characters of a long secret, and those by which it is recognised where the rest is cut off."""
_FOLDED: Final = 12
"""Letters and digits of a secret from which it is looked for among letters and digits alone."""
_MAX_NUMBERED: Final = 512
"""Characters of a secret that is also looked for as the numbers of its characters."""
_MAX_FOLDED_TEXT: Final = 4096
"""Characters of a text of which the letters and digits are searched: far more than are shown of a foreign one."""
_START: Final = 2048
"""Characters of a long text that `redact_foreign` searches; half as many at their end may be a part of a secret."""
_MAX_EDGE: Final = 64
"""Characters around a part of an encoded secret that are removed with it."""
_MAX_QUOTED: Final = 200
"""Characters of a foreign text that is quoted."""
_MAX_WORD: Final = 40
"""Characters of one word in it: a longer one may be a key or a token."""

_PERCENT = r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
_ENTITY = r"(?P<entity>&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});)"
_ESCAPE = r"(?P<unicode>(?:\\u[0-9A-Fa-f]{4})+)|(?P<bytes>(?:\\x[0-9A-Fa-f]{2})+)|(?P<escape>\\[^ux])"
_ENCODINGS: Final = {
    hints: re.compile(pattern)
    for hints, pattern in {
        "%": _PERCENT,
        "&": _ENTITY,
        "\\": _ESCAPE,
        "%&": f"{_PERCENT}|{_ENTITY}",
        "%\\": f"{_PERCENT}|{_ESCAPE}",
        "&\\": f"{_ENTITY}|{_ESCAPE}",
        "%&\\": f"{_PERCENT}|{_ENTITY}|{_ESCAPE}",
    }.items()
}
"""What is encoded, by the characters that it begins with."""
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_INVISIBLE = re.compile(r"[^\x20-\x7e]")
_HIDDEN: Final = frozenset({"Cc", "Cf", "Me", "Mn", "Zl", "Zp"})
"""Unicode categories of characters that take no room of their own, and so can split a word unseen."""
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters that show as nothing."""
_WORD = re.compile(r"[A-Za-z0-9+/_=-]*")
_VALUE_BEFORE = re.compile(r"(?:[=:\"'`«(]\s?)\Z")
_VALUE_AFTER = re.compile(r"[\s\"'`»)&,.;<]|\Z")
_MARKUP = re.compile(r"<[A-Za-z!/?]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/+")
_SENSITIVE = re.compile(r"(?:token|secret|password|authorization)[\"']?\s*[=:]\s*[\"']?\w", re.IGNORECASE)


class _Layer(NamedTuple):
    """A text, and for each of its characters where it begins and ends in the original."""

    text: str
    spans: list[tuple[int, int]] | None  # None: the characters are where they were

    def span(self, start: int, end: int) -> tuple[int, int]:
        if self.spans is None:
            return start, end
        return self.spans[start][0], self.spans[end - 1][1]


class Redactor:
    """Remembers secrets and removes them from texts.

    Needles are indexed by their first characters, so the time that a text takes does not grow with the number of
    secrets.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: dict[str, None] = {}
        self._index: _Index = {}
        self._folded: _Index = {}
        self._short: set[str] = set()
        self.add(*secrets)

    def add(self, *secrets: str | None) -> None:
        """Remember secrets; empty ones are ignored."""
        for secret in filter(None, secrets):
            if secret not in self._secrets:
                self._add_needles(secret)
            self._secrets.pop(secret, None)
            self._secrets[secret] = None  # the last one to be forgotten
        if len(self._secrets) > _MAX_SECRETS:
            self._secrets = dict.fromkeys(list(self._secrets)[-_MAX_SECRETS:])
            self._index, self._folded, self._short = {}, {}, set()
            for secret in self._secrets:
                self._add_needles(secret)

    def _add_needles(self, secret: str) -> None:
        if len(secret) < _SHORT:
            self._short |= {form for form in (secret, secret.replace(" ", "+")) if len(form) >= _SHORTEST}
            return
        for index, needles in ((self._index, _needles(secret)), (self._folded, _folded_needles(secret))):
            for needle in needles:
                index.setdefault(needle.text[:_SHORT], set()).add(needle)

    def redact(self, text: str, *, is_foreign: bool = False) -> str:
        """Return `text` with `REDACTED` in place of every secret.

        Args:
            text: the text.
            is_foreign: whether a stranger wrote it, who may repeat a secret anywhere: a short one is removed wherever
                it stands as a word, and not only where a value does.
        """
        if not text or not self._secrets:
            return text
        found: list[tuple[int, int]] = []
        for layer in _layers(text):
            found += [layer.span(*place) for place in self._find(layer.text, is_foreign=is_foreign)]
            if self._folded:
                folded = _without_marks(layer)
                found += [folded.span(*place) for place in _find(self._folded, folded.text)]
        return _replaced(text, found) if found else text

    def redact_foreign(self, text: str) -> str:
        """Return a stranger's `text` likewise; of a long one the start, with an ellipsis.

        The time that it takes does not grow with `text`. A secret that is cut is no longer recognised: so the end of
        what was searched is not returned, as far as it may be a part of one.
        """
        if len(text) <= _START:
            return self.redact(text, is_foreign=True)
        before, mark, end = self.redact(text[:_START], is_foreign=True).rpartition(REDACTED)
        return f"{before}{mark}{end[: -_START // 2]}…"

    def _find(self, text: str, *, is_foreign: bool) -> Iterator[tuple[int, int]]:
        """Yield where secrets are in `text`, in characters."""
        yield from _find(self._index, text)
        for secret in self._short:
            for start, end in _occurrences(secret, text):
                if _is_value(text, start, end) or (is_foreign and _is_word(text, start, end)):
                    yield start, end


redactor: Final = Redactor()
"""The secrets of this process: every token, old and new, is added when it becomes known."""


def redact(text: str, *secrets: str | None) -> str:
    """Return `text` without the secrets of this process and without `secrets`."""
    text = redactor.redact(text)
    return Redactor(filter(None, secrets)).redact(text) if any(secrets) else text


def address_without_secrets(address: str) -> str:
    """An address for a message: without what may be a user name and password, and without its query.

    A password may hold any character, also ``/`` and ``@`` that were not escaped: all before the last ``@`` counts as
    one. Where a ``?`` or ``#`` comes before that, it may be in a password, or begin a query with a token: only the
    scheme is shown.
    """
    scheme = _SCHEME.match(address)
    shown = scheme[0] if scheme else ""
    user, at, rest = address[len(shown) :].rpartition("@")
    if "?" in user or "#" in user:
        return f"{shown}…"
    rest, mark, _ = rest.partition("?")
    return f"{shown}{'…@' if at else ''}{rest}{'?…' if mark else ''}"


def quotable(text: str) -> str:
    """Return a stranger's `text` as one line if it is short and plain; else an empty text.

    A text that holds markup, very long words or what looks like a credential is not quoted: it may hold a secret
    that nobody here knows.
    """
    if len(text) > 4 * _MAX_QUOTED:
        return ""
    line = " ".join(redactor.redact(text, is_foreign=True).split())
    plain = line.replace(REDACTED, "")
    if len(line) > _MAX_QUOTED or not line.isprintable() or _MARKUP.search(plain) or _SENSITIVE.search(line):
        return ""
    return "" if any(len(word) > _MAX_WORD for word in plain.split()) else line


def without_long_words(text: str) -> str:
    """Return a stranger's `text` with an ellipsis for every very long word, which may be a secret in disguise."""
    return " ".join(word if len(word) <= _MAX_WORD else "…" for word in text.split())


class _Needle(NamedTuple):
    """A text that a secret is found by."""

    text: str
    extends_before: bool = False
    extends_after: bool = False

    def extent(self, text: str, start: int) -> tuple[int, int]:
        """Where the secret is in `text`, which holds the needle at `start`: with the rest of the word around it."""
        end = start + len(self.text)
        if self.extends_before:
            before = _WORD.match(text[max(0, start - _MAX_EDGE) : start][::-1])
            start -= before.end() if before else 0
        if self.extends_after:
            after = _WORD.match(text, end, end + _MAX_EDGE)
            end = after.end() if after else end
        return start, end


_Index = dict[str, set[_Needle]]
"""Needles by their first characters."""


def _find(index: _Index, text: str) -> Iterator[tuple[int, int]]:
    """Yield where needles of `index` are in `text`, in characters."""
    heads = [text[at : at + _SHORT] for at in range(len(text) - _SHORT + 1)]
    if index.keys().isdisjoint(heads):
        return
    for start, head in enumerate(heads):
        for needle in index.get(head, ()):
            if text.startswith(needle.text, start):
                yield needle.extent(text, start)


def _needles(secret: str) -> Iterator[_Needle]:
    """Yield what a secret is found by: as it is, its beginning, and in base64 and hexadecimal digits."""
    forms = {secret, secret.replace(" ", "+"), _decoded_fully(secret)}
    yield from (_Needle(form) for form in forms if len(form) >= _SHORT)
    if len(secret) >= _LONG:
        yield _Needle(secret[:_PREFIX], extends_after=True)
        for start in (*range(_PREFIX, len(secret) - _PREFIX, _PREFIX), len(secret) - _PREFIX):
            yield _Needle(secret[start : start + _PREFIX], extends_before=True, extends_after=True)
    data = secret.encode("utf-8", "surrogatepass")
    quoted = {quote(data, safe=""), quote_plus(data), quote(data, safe="/:@!$'()*,;=+?-._~")}
    for spelled in {secret, b64encode(data).decode().rstrip("="), *quoted}:
        for needle in _base64_needles(spelled):
            yield _Needle(needle, extends_before=True, extends_after=True)
    digits = data.hex()
    yield from (_Needle(digits), _Needle(digits.upper()))


def _folded_needles(secret: str) -> Iterator[_Needle]:
    """Yield what a secret is found by among letters and digits alone."""
    folded = _without_marks(_Layer(secret, None)).text
    if len(folded) < _FOLDED:
        return
    data = secret.encode("utf-8", "surrogatepass")
    yield from (_Needle(folded), _Needle(folded[::-1]), _Needle(data.hex()))
    yield from (_Needle(secret.encode(form, "surrogatepass").hex()) for form in ("utf-16-le", "utf-16-be"))
    yield _Needle(b32encode(data).decode().rstrip("=").lower())
    if len(secret) <= _MAX_NUMBERED:
        for form in ("0x{:02x}", "{:d}", "{:03o}", "u{:x}", "u{:08x}"):
            yield _Needle("".join(form.format(byte) for byte in data))


def _base64_needles(secret: str) -> Iterator[str]:
    """The characters of base64 that depend on the secret alone, for each of its three alignments."""
    data = secret.encode("utf-8", "surrogatepass")
    for offset in range(3):
        first, end = -(-8 * offset // 6), 8 * (offset + len(data)) // 6
        text = b64encode(bytes(offset) + data).decode()[first:end]
        yield text
        yield text.translate({ord("+"): "-", ord("/"): "_"})


def _occurrences(needle: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(needle)
    while start >= 0:
        yield start, start + len(needle)
        start = text.find(needle, start + 1)


def _is_value(text: str, start: int, end: int) -> bool:
    return bool(_VALUE_BEFORE.search(text[max(0, start - 2) : start]) and _VALUE_AFTER.match(text, end))


def _is_word(text: str, start: int, end: int) -> bool:
    return not any(beside.isalnum() or beside == "_" for beside in (text[:start][-1:], text[end : end + 1]))


def _layers(text: str) -> Iterator[_Layer]:
    """Yield `text` as it is, and as it becomes when its encodings are removed, all at once and each alone."""
    waiting = deque([_Layer(text, None)])
    seen = {text}
    while waiting:
        layer = waiting.popleft()
        yield layer
        visible = _without_invisible(layer)
        hints = "".join(hint for hint in "%&\\" if hint in visible.text)
        combinations = {hints, *hints} if hints else set[str]()
        for new in (visible, *(_decoded(visible, _ENCODINGS[one]) for one in sorted(combinations, key=len)[::-1])):
            if new.text not in seen and len(seen) < _MAX_LAYERS:
                seen.add(new.text)
                waiting.append(new)


def _decoded_fully(text: str) -> str:
    return min((layer.text for layer in _layers(text)), key=len)


def _without_invisible(layer: _Layer) -> _Layer:
    """The layer without control and format characters (zero-width ones), if there are any."""
    if not _INVISIBLE.search(layer.text):
        return layer
    kept = [at for at, char in enumerate(layer.text) if char == " " or unicodedata.category(char) not in _HIDDEN]
    if len(kept) == len(layer.text):
        return layer
    return _Layer("".join(layer.text[at] for at in kept), [layer.span(at, at + 1) for at in kept])


def _without_marks(layer: _Layer) -> _Layer:
    """The letters and digits of the layer, in lower case and without forms of their own (full width, bold, …)."""
    text = layer.text[:_MAX_FOLDED_TEXT]
    if text.isascii():
        pairs = [(char, at) for at, char in enumerate(text.lower()) if char.isalnum()]
    else:
        normal = ((unicodedata.normalize("NFKC", char).casefold(), at) for at, char in enumerate(text))
        pairs = [(char, at) for chars, at in normal for char in chars if char.isalnum() and char not in _BLANK]
    return _Layer("".join(char for char, _ in pairs), [layer.span(at, at + 1) for _, at in pairs])


def _decoded(layer: _Layer, encoded: re.Pattern[str]) -> _Layer:
    """The layer without one level of encoding; the same one when nothing is encoded."""
    text = layer.text
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    position = 0
    for match in encoded.finditer(text):
        start, end = match.span()
        parts.append(text[position:start])
        spans += [layer.span(at, at + 1) for at in range(position, start)]
        decoded = _decode(match)
        parts.append(decoded)
        spans += _spread(layer, start, end, decoded, match.lastgroup)
        position = end
    if not parts:
        return layer
    parts.append(text[position:])
    spans += [layer.span(at, at + 1) for at in range(position, len(text))]
    return _Layer("".join(parts), spans)


def _decode(match: re.Match[str]) -> str:
    text = match[0]
    match match.lastgroup:
        case "percent":
            return bytes.fromhex(text.replace("%", "")).decode("utf-8", "surrogateescape")
        case "bytes":
            return bytes.fromhex(text.replace("\\x", "")).decode("utf-8", "surrogateescape")
        case "unicode":
            return bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be", "surrogatepass")
        case "entity":
            return html.unescape(text)
        case _:
            return _ESCAPES.get(text[1], text[1])


def _spread(layer: _Layer, start: int, end: int, decoded: str, group: str | None) -> Iterator[tuple[int, int]]:
    """The place of each decoded character: its own part of a run of escapes."""
    position = start
    for char in decoded:
        match group:
            case "percent":
                length = 3 * len(char.encode("utf-8", "surrogateescape"))
            case "bytes":
                length = 4 * len(char.encode("utf-8", "surrogateescape"))
            case "unicode":
                length = 6 * (len(char.encode("utf-16-be", "surrogatepass")) // 2)
            case _:
                length = end - start
        yield layer.span(position, min(position + length, end))
        position = min(position + length, end - 1)


def _replaced(text: str, found: list[tuple[int, int]]) -> str:
    parts: list[str] = []
    position = 0
    for start, end in sorted(found):
        if end <= position:
            continue
        if start > position or not parts:
            parts += [text[position:start], REDACTED]
        position = end
    return "".join(parts) + text[position:]
