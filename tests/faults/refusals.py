"""Requests that are never answered, or refused as a whole."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

from faults.listener import Exchange
from faults.turn import Turn, early, envelope, late

# before the body


@early
async def lost_at_once(exchange: Exchange, dice: Random) -> None:
    exchange.abort() if dice.random() < 0.5 else exchange.hang_up()


@early
async def lost_in_upload(exchange: Exchange, dice: Random) -> None:
    await exchange.some(dice.randrange(max(1, exchange.length)))
    exchange.abort() if dice.random() < 0.5 else exchange.hang_up()


@early
async def refused_in_upload(exchange: Exchange, dice: Random) -> None:
    await exchange.some(dice.randrange(max(1, exchange.length)))
    await exchange.plain(503, b"busy", {"Retry-After": "0", "Connection": "close"})
    exchange.hang_up()


@early
async def stalled_upload(exchange: Exchange, dice: Random) -> None:
    await exchange.some(dice.randrange(max(1, exchange.length)))
    await asyncio.sleep(2)
    exchange.abort()


# whole requests refused


@late("whole")
async def throttled(turn: Turn) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=turn.dice.choice([-5, 0, 1])), usegmt=True)
    wait = turn.dice.choice(["0", "1", date, "soon", "-1", "9" * 30, "Fri, 99 Foo 9999 99:99:99 GMT"])
    status = turn.dice.choice([429, 503])
    if status == 429:  # with 503, work may have begun
        turn.book.refuses(turn.ask)
    text = turn.dice.choice([b"slow down", envelope(status, "slow down")])
    await turn.exchange.plain(
        turn.dice.choice([status, 200]) if text[:1] == b"{" else status, text, {"Retry-After": wait}
    )


@late("whole")
async def out_of_order(turn: Turn) -> None:
    status = turn.dice.choice([500, 502, 504, 520])
    text = turn.dice.choice([b"<html><h1>Bad Gateway</h1></html>", b"", envelope(status, "Internal Server Error")])
    under = turn.dice.choice([status, 200]) if text[:1] == b"{" else status
    await turn.exchange.plain(under, text)


@late("whole")
async def html(turn: Turn) -> None:
    page = b"<!DOCTYPE html><html><body>We will be back soon</body></html>"
    await turn.exchange.plain(200, turn.dice.choice([page, b"", b"[]", b"null", b'"text"', b"{}", b"\xff\xfe\x00"]))


@late("whole")
async def redirected(turn: Turn) -> None:
    turn.book.refuses(turn.ask)
    where = turn.dice.choice(["http://example.invalid/", "/elsewhere", "https://smarty.mail.ru/"])
    await turn.exchange.plain(turn.dice.choice([301, 302, 307, 308]), b"", {"Location": where})
