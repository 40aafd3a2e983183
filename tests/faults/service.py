"""The service, as API.md has it, and the count of what it was paid for. It imports nothing of the package."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Any

from faults.album import content_of
from faults.listener import Exchange, Part, parts_of

PATH = "/api/v1/photo/improve"
AUTH_PATH = "/auth/oauth/v1/token"
KINDS = {"improve": ("improved", "colorized_improved", "colorized"), "resolution": ("resolved",)}

_GOOD = 40
"""Of 256: how often nothing is to be done."""

RequestOutcome = tuple[str, str]
"""A photo's content and a mode."""


def output(kind: str, content: str) -> bytes:
    """The output of `kind` made of a photo; empty when the service finds nothing to do. Each photo has its own."""
    seed = hashlib.sha256(f"{kind}:{content}".encode()).digest()
    good = kind != "resolved" and hashlib.sha256(content.encode()).digest()[0] < _GOOD
    if good or (kind != "colorized" and seed[0] < _GOOD):
        return b""
    noise = Random(seed).randbytes(seed[1] * seed[2] // 4)  # noqa: S311 - pictures, not secrets
    return b"\xff\xd8\xff\xe0" + seed + noise + b"\xff\xd9"


def expected_outputs(content: str, modes: tuple[str, ...]) -> dict[str, bytes]:
    """Every file that a photo's way must end in, by kind."""
    made = {kind: output(kind, content) for mode in modes for kind in KINDS[mode]}
    return {kind: data for kind, data in made.items() if data}


@dataclass
class Item:
    """One object of the answer.

    Attributes:
        asked: whose it is, and in which list; None for one that is nobody's.
        fields: of its object.
        good: whether it is worth its money: whole, right and of status 0.
    """

    asked: RequestOutcome | None
    mode: str
    fields: dict[str, Any]
    good: bool = True


@dataclass
class Segment:
    """A stretch of the answer; `item`'s object closes at its end."""

    data: bytes
    item: Item | None = None


@dataclass
class Ask:
    """A request that was understood."""

    exchange: Exchange
    names: list[str]
    contents: list[str]
    modes: tuple[str, ...]
    size: int

    @property
    def asked(self) -> list[RequestOutcome]:
        return [(content, mode) for mode in self.modes for content in self.contents]


@dataclass
class Book:
    """What went out, and what came that should not have.

    Attributes:
        known: the contents of the archive.
        paid: whole good answers handed over, by photo and mode, less those that were excused.
        received: what the client is known to have received for every photo of that content.
        wrong: violations seen while serving.
        permanent: contents that were answered with a permanent error.
        images: how many came in requests that may be paid for: all but those that were refused.
    """

    known: frozenset[str]
    paid: Counter[RequestOutcome] = field(default_factory=Counter[RequestOutcome])
    received: set[RequestOutcome] = field(default_factory=set[RequestOutcome])
    wrong: list[str] = field(default_factory=list[str])
    permanent: set[str] = field(default_factory=set[str])
    images: int = 0

    def refuses(self, ask: Ask) -> None:
        """A request that came whole is answered with a status that rejects it: nothing of it is paid for."""
        self.images -= len(ask.contents)

    def asks(self, ask: Ask) -> None:
        """A request has come whole."""
        self.images += len(ask.contents)
        for content, mode in ask.asked:
            if content not in self.known:
                self.wrong.append(f"what was sent is not a photo of the archive ({content})")
            if (content, mode) in self.received:
                self.wrong.append(f"asked again although it was received: {mode} of {content}")


def read_ask(exchange: Exchange, body: bytes, book: Book) -> Ask | str:
    """What the request asks for, or the service's text against it. What the service would bear goes into the book."""
    try:
        parts = parts_of(body, exchange.headers.get("content-type", ""))
    except (ValueError, KeyError):
        return "could not parse multipart"
    images = {part.name: part for part in parts if part.filename is not None}
    metas = [part for part in parts if part.name == "meta" and part.filename is None]
    try:
        meta = json.loads(metas[0].data)
        names, modes = [image["name"] for image in meta["images"]], tuple(meta["mode"])
    except (ValueError, KeyError, IndexError):
        return "could not parse meta"
    if not names or not modes or set(modes) - set(KINDS):
        return "could not parse meta"
    if "resolution" in modes and (meta.get("rfactor") not in (2, 4) or meta.get("rtype") not in ("art", "photo")):
        return "rfactor must be 2 or 4"
    if missing := [name for name in names if name not in images]:
        return f"could not get image by name {missing[0]}: http: no such file"
    book.wrong.extend(_sloppiness(meta, names, parts))
    return Ask(exchange, names, [content_of(images[name].data) for name in names], modes, len(body))


def _sloppiness(meta: dict[str, Any], names: list[str], parts: list[Part]) -> Iterator[str]:
    if [part.name for part in parts] != [*names, "meta"] or len(set(names)) != len(names):
        yield f"the parts are not the images in the order of meta, and then meta: {names}"
    if any(str(part.filename).split(".")[0] not in ("", part.name) for part in parts[:-1]):
        yield "a file name went to the service"
    if "resolution" in meta["mode"] and meta.get("ftype") != meta.get("rtype"):
        yield "ftype and rtype differ"


def right_items(ask: Ask, dice: Random) -> list[Item]:
    """What the service answers to `ask`: each list in an order of its own, every spelling the documents allow."""
    items: list[Item] = []
    for mode in ask.modes:
        some = [right_item(mode, name, content, dice) for name, content in zip(ask.names, ask.contents, strict=True)]
        dice.shuffle(some)
        items += some
    if dice.random() < 0.3 and len(ask.modes) > 1:
        items.sort(key=lambda item: item.mode, reverse=True)
    return items


def right_item(mode: str, name: str, content: str, dice: Random) -> Item:
    fields: dict[str, Any] = {"status": 0, "name": name}
    for kind in KINDS[mode]:
        data = output(kind, content)
        key = "colored" if kind == "colorized" and dice.random() < 0.3 else kind
        if data or dice.random() < 0.5:
            fields[key] = base64.b64encode(data).decode()
    if mode == "improve":
        fields["bw"] = len(content) % 2 == 1
    if dice.random() < 0.2:
        fields["undocumented"] = {"nested": [1, {"improved": "no"}, None], "text": 'a "quoted" \\ text'}
    pairs = list(fields.items())
    dice.shuffle(pairs)
    return Item((content, mode), mode, dict(pairs))


def segments_of(items: list[Item], dice: Random) -> list[Segment]:
    """The answer's bytes in stretches that end where an item's object closes."""
    spaces = dice.choice(["", " ", "\n  "])
    written: list[Segment] = []
    lead = f'{{"status":200,{spaces}"body":{{'
    if dice.random() < 0.3:
        lead += '"status":0,'
    last = None
    for item in items:
        if item.mode != last:
            lead += ("]," if last else "") + f'"{item.mode}":[{spaces}'
        else:
            lead += f",{spaces}"
        text = json.dumps(item.fields)
        if dice.random() < 0.3:
            text = text.replace("/", "\\/")
        written.append(Segment((lead + text).encode(), item))
        lead, last = "", item.mode
    end = f'{lead}{"]" if last else ""}}},"htmlencoded":false,{spaces}"last_modified":0}}'
    return [*written, Segment(end.encode())]


async def deliver(exchange: Exchange, segments: list[Segment], handed: list[tuple[float, RequestOutcome]]) -> None:
    """Write `segments`; each good item is noted when all of it is with the system."""
    for segment in segments:
        await exchange.send(segment.data)
        if segment.item is not None and segment.item.good and segment.item.asked is not None:
            handed.append((monotonic(), segment.item.asked))
