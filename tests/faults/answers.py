"""Answers that break off, or go on as no answer should."""

from __future__ import annotations

import asyncio
import zlib

from faults.service import Segment
from faults.turn import JSON, Turn, late, length

_LINGER = 0.35
"""Seconds between an item's last byte and the loss of the connection, after which a client has certainly seen it."""


async def _broken_off(turn: Turn, *, declared: int | None, at: int) -> None:
    """Write the answer up to byte `at` under a Content-Length of `declared`, and lose the connection."""
    segments = turn.segments()
    headers = JSON | ({"Connection": "close"} if declared is None else {"Content-Length": str(declared)})
    await turn.exchange.head(200, headers)
    left = at
    for segment in segments:
        if len(segment.data) > left:
            await turn.exchange.send(segment.data[:left])
            break
        await turn.write([segment])
        left -= len(segment.data)
    turn.exchange.keep_alive = False


@late("cut")
async def lost_in_answer(turn: Turn) -> None:
    size = length(turn.segments())
    await _broken_off(turn, declared=turn.dice.choice([size * 2, None]), at=turn.dice.randrange(size))
    if turn.dice.random() < 0.5:
        await asyncio.sleep(_LINGER)
    turn.exchange.abort() if turn.dice.random() < 0.5 else turn.exchange.hang_up()


@late("cut")
async def lying_length(turn: Turn) -> None:
    """A Content-Length that is shorter than the answer."""
    segments = turn.segments()
    end = turn.dice.randrange(1, length(segments))
    await turn.exchange.head(200, JSON | {"Content-Length": str(end)})
    rest = b""
    for segment in segments:
        if rest or len(segment.data) > end:
            rest += segment.data
        else:
            await turn.write([segment])
            end -= len(segment.data)
    await turn.exchange.send(rest[:end])
    if turn.dice.random() < 0.5:
        await asyncio.sleep(_LINGER)
    await turn.exchange.send(rest[end:])
    turn.exchange.hang_up()


@late("spoiled")
async def garbage(turn: Turn) -> None:
    """Good items, and then something that is no JSON, or goes beyond all bounds."""
    segments = turn.segments()
    keep = turn.dice.randrange(len(segments))
    item = next((segment.item for segment in segments[keep:] if segment.item), None)
    deep = b',"x":' + b"[" * 100_000
    junk = [b"\x00\xff\xfe garbage", b"}}}}]]]]", b'{"', deep, b",,,,", b"<html>", b"1" * 2_000_000]
    rest = turn.dice.choice([turn.dice.choice(junk) + (segments[keep].data if item else b""), turn.dice.choice(junk)])
    await turn.exchange.head(200, JSON | {"Content-Length": str(length(segments[:keep]) + len(rest))})
    await turn.write(segments[:keep])
    await turn.exchange.send(rest)


@late("spoiled")
async def deep(turn: Turn) -> None:
    """Nesting a hundred thousand deep, well-formed, before the first item."""
    first, *others = turn.segments()
    nest = b'{"undocumented":' + b"[" * 100_000 + b"]" * 100_000 + b","
    others = [Segment(segment.data) for segment in others]
    await turn.whole([Segment(nest + first.data[1:]), *others])


@late("spoiled")
async def endless(turn: Turn) -> None:
    """An answer that never ends: all its items, and then noise while anybody listens."""
    *items, _ = turn.segments()
    await turn.exchange.head(200, JSON | {"Connection": "close"})
    await turn.write(items)
    noise = turn.dice.choice([b"1" * 60_000 + b",", b'"' + b"a" * 60_000 + b'",', b" " * 60_000])
    await turn.exchange.send(b'],"noise":[')
    for _ in range(100):
        await turn.exchange.send(noise)
    turn.exchange.hang_up()


@late("whole")
async def compressed(turn: Turn) -> None:
    """A compressed answer, which nobody asked for: it might be a bomb."""
    squeeze = zlib.compressobj(wbits=31)
    plain = b"".join(segment.data for segment in turn.segments()) if turn.dice.random() < 0.5 else bytes(1 << 20)
    data = squeeze.compress(plain) + squeeze.flush()
    await turn.exchange.plain(200, data, JSON | {"Content-Encoding": turn.dice.choice(["gzip", "GZIP", "br"])})


@late("whole")
async def dripping(turn: Turn) -> None:
    """A right answer, in small pieces with pauses."""
    segments = turn.segments()
    size = max(1, length(segments) // turn.dice.randint(3, 30))
    await turn.exchange.head(200, JSON | {"Content-Length": str(length(segments))})
    for segment in segments:
        pieces = [segment.data[at : at + size] for at in range(0, len(segment.data), size)] or [b""]
        for piece in pieces[:-1]:
            await turn.exchange.send(piece)
            await asyncio.sleep(0.01)
        await turn.write([Segment(pieces[-1], segment.item)])


@late("spoiled")
async def silent(turn: Turn) -> None:
    """Some items, and then nothing more: the client has to time out."""
    segments = turn.segments()
    keep = turn.dice.randrange(len(segments))
    await turn.exchange.head(200, JSON | {"Content-Length": str(length(segments))})
    await turn.write(segments[:keep])
    await asyncio.sleep(2)
    turn.exchange.abort()


@late("cut")
async def chunked_badly(turn: Turn) -> None:
    """Chunked transfer whose framing breaks after some items."""
    segments = turn.segments()
    keep = turn.dice.randrange(len(segments))
    await turn.exchange.head(200, JSON | {"Transfer-Encoding": "chunked"})
    for segment in segments[:keep]:
        await turn.exchange.send(b"%x\r\n" % len(segment.data))
        await turn.write([segment])
        await turn.exchange.send(b"\r\n")
    await asyncio.sleep(_LINGER)
    await turn.exchange.send(turn.dice.choice([b"zz\r\nno\r\n", b"5\r\nab", b"-1\r\n"]))
    turn.exchange.hang_up()
