"""The fault server: who may ask, what befalls the request, and what it was worth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import monotonic

from faults.listener import Exchange, Gone
from faults.mischief import EARLY, LATE, Ending, Turn, envelope
from faults.service import AUTH_PATH, PATH, Ask, Book, RequestOutcome, read_ask

_UNSEEN = 0.3
"""Seconds before the loss of a connection within which what was written may not have been seen."""

_SLOW = ("silent", "stalled_upload")
"""Faults that last until a client times out; they come more rarely."""


@dataclass(frozen=True)
class Mood:
    """What the server is out for.

    Attributes:
        seed: of all its dice.
        faults: which may happen, by name.
        rate: how often one does, 0 to 1.
        poison: contents that spoil the request they are in, and the text that the service has for each.
        max_images: images a request may carry.
        max_bytes: bytes a request with several images may have.
        token_requests: how many requests an access token lasts; None for ever.
        token_refusals: the requests, by number, whose token is refused for once.
    """

    seed: str
    faults: tuple[str, ...] = ()
    rate: float = 0.0
    poison: dict[str, str] = field(default_factory=dict[str, str])
    max_images: int = 48
    max_bytes: int = 30_000_000
    token_requests: int | None = None
    token_refusals: frozenset[int] = frozenset()


@dataclass
class FaultServer:
    """Handles one exchange after another; give it to a `Listener`.

    Attributes:
        book: what it was paid for.
        mood: what it does; may be changed between the lives of a client.
        secret: the start of every token, which must never be seen anywhere.
    """

    book: Book
    mood: Mood
    secret: str
    happened: Callable[[str], None] = lambda _: None
    grants: int = 0
    befallen: list[str] = field(default_factory=list[str])
    story: list[str] = field(default_factory=list[str])
    _token_left: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        dice = Random(f"{self.mood.seed}:{exchange.number}")  # noqa: S311 - dice, not secrets
        if exchange.path == AUTH_PATH:
            await self._grant(exchange, dice)
            return
        if exchange.method != "POST" or exchange.path.rstrip("/") != PATH:
            self.book.wrong.append(f"a request to {exchange.method} {exchange.path}")
            await exchange.plain(404, b"404 page not found")
            return
        fault = dice.choice(self.mood.faults) if self.mood.faults and dice.random() < self.mood.rate else None
        if fault in _SLOW and dice.random() < 0.7:
            fault = None
        self.happened("request")
        if fault in EARLY:
            self.befallen.append(fault)
            await EARLY[fault](exchange, dice)
            return
        ask = read_ask(exchange, await exchange.body(), self.book)
        if isinstance(ask, str):
            self.book.wrong.append(f"a request that the service does not understand: {ask}")
            await exchange.plain(200, envelope(400, ask))
        elif (refusal := self._refusal(ask)) is not None:
            self.befallen.append(f"refused {refusal[0]}")
            await exchange.plain(dice.choice([200, refusal[0]]), envelope(*refusal))
        else:
            self.book.asks(ask)
            await self._answer(Turn(exchange, ask, dice, self.book), fault)

    def _refusal(self, ask: Ask) -> tuple[int, str] | None:
        """What the service says to `ask` before it looks at a picture."""
        mood, token = self.mood, ask.exchange.query.get("oauth_token", "")
        number, self._token_left = ask.exchange.number, self._token_left - 1
        current = mood.token_requests is None or (token.endswith(f"-{self.grants}") and self._token_left >= 0)
        if not token.startswith(self.secret) or not current or number in mood.token_refusals:
            return 403, f"authorization failed: mcs: Access Token invalid: {token}"
        if len(ask.names) > mood.max_images:
            self.book.wrong.append(f"{len(ask.names)} images in a request")
        if ask.size > mood.max_bytes:
            self.book.permanent.update(ask.contents if len(ask.contents) == 1 else ())
            return 413, "request entity too large"
        for name, content in zip(ask.names, ask.contents, strict=True):
            if content in mood.poison:
                self.book.permanent.add(content)
                return 400, mood.poison[content].format(name=name)
        return None

    async def _answer(self, turn: Turn, fault: str | None) -> None:
        ending: Ending = "whole"
        gone = True
        try:
            if fault is None:
                await turn.whole(turn.segments())
            else:
                self.befallen.append(fault)
                act, ending = LATE[fault]
                await act(turn)
            gone = False
            self.happened("answer")
        finally:
            contents = " ".join(turn.ask.contents)
            self.story.append(
                f"request {turn.exchange.number} for {contents}: {fault}, {'left' if gone else 'answered'}"
            )
            self._reckon(turn.handed, ending, gone=gone)

    def _reckon(self, handed: list[tuple[float, RequestOutcome]], ending: Ending, *, gone: bool) -> None:
        """Enter what was handed over, but for what may have been lost on the way."""
        now = monotonic()
        for at, asked in handed:
            lost = (gone and ending == "whole") or (ending == "cut" and (gone or now - at < _UNSEEN))
            if not lost:
                self.book.paid[asked] += 1
            self.story.append(f"  {asked[1]} of {asked[0]} {'may be lost' if lost else 'handed over'}")

    async def _grant(self, exchange: Exchange, dice: Random) -> None:
        asked = json.loads(await exchange.body())
        if asked.get("grant_type") not in ("client_credentials", "refresh_token") or not asked.get("client_id"):
            self.book.wrong.append("a grant was asked for in a way the contract does not know")
        if self.mood.faults and dice.random() < self.mood.rate / 2:
            if dice.random() < 0.5:
                exchange.abort()
                return
            await exchange.plain(dice.choice([500, 503]), b"later")
            return
        self.grants += 1
        self._token_left = self.mood.token_requests or 0
        tokens: dict[str, object] = {"scope": "objects"}
        tokens |= {
            "access_token": f"{self.secret}/+a-{self.grants}",
            "refresh_token": f"{self.secret}/+r-{self.grants}",
        }
        tokens |= dice.choice([{"expired_in": "3600"}, {"expires_in": 3600}, {}])
        await exchange.plain(200, json.dumps(tokens).encode())


__all__ = ["FaultServer", "Gone", "Mood"]
