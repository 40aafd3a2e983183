"""Answers in which single items are not what they should be."""

from __future__ import annotations

import base64
from collections.abc import Callable

from faults.service import KINDS, Item, output, right_items
from faults.turn import Turn, late


def _each(turn: Turn, spoil: Callable[[Item], Item | None]) -> list[Item]:
    """The right items, some of them spoiled; at least one."""
    items = right_items(turn.ask, turn.dice)
    chosen = {turn.dice.randrange(len(items))} | {n for n in range(len(items)) if turn.dice.random() < 0.2}
    done = [spoil(item) if number in chosen else item for number, item in enumerate(items)]
    return [item for item in done if item is not None]


@late("whole")
async def temporary(turn: Turn) -> None:
    def spoil(item: Item) -> Item:
        fields = {"status": turn.dice.choice([2, 2, 2, 3, -1]), "name": item.fields["name"], "error": "unable decode"}
        return Item(item.asked, item.mode, fields, good=False)

    await turn.whole(turn.segments(_each(turn, spoil)))


@late("whole")
async def permanent(turn: Turn) -> None:
    def spoil(item: Item) -> Item:
        assert item.asked is not None
        turn.book.permanent.add(item.asked[0])
        fields = {"status": 1, "name": item.fields["name"], "error": "no \u001b[31mphoto\n"}
        return Item(item.asked, item.mode, fields, good=False)

    await turn.whole(turn.segments(_each(turn, spoil)))


@late("whole")
async def strange_names(turn: Turn) -> None:
    """Names nobody asked for, beside the right items or in their place."""
    names: list[object] = ["../../x", "/etc/passwd", "file_999", "FILE_0", "", "file_0\x00", None, 7, "..", "a" * 5000]

    def spoil(item: Item) -> Item:
        return Item(None, item.mode, item.fields | {"name": turn.dice.choice(names)}, good=False)

    items = _each(turn, spoil)
    stranger = items[0].fields | {"name": turn.dice.choice(names)}
    items.insert(0, Item(None, items[0].mode, stranger, good=False))
    await turn.whole(turn.segments(items))


@late("whole")
async def twice(turn: Turn) -> None:
    """Names answered twice, the second time with a picture of somebody else."""
    items: list[Item] = []
    for item in right_items(turn.ask, turn.dice):
        items.append(item)
        if turn.dice.random() < 0.5:
            wrong = {kind: base64.b64encode(b"\xff\xd8\xffsomebody else").decode() for kind in KINDS[item.mode]}
            items.append(Item(None, item.mode, item.fields | wrong, good=False))
    await turn.whole(turn.segments(items))


@late("whole")
async def missing(turn: Turn) -> None:
    await turn.whole(turn.segments(_each(turn, lambda _: None)))


@late("whole")
async def not_asked_for(turn: Turn) -> None:
    """A list of a mode that nobody asked for, an unknown list, an item outside of any list."""
    other = "resolution" if turn.ask.modes == ("improve",) else "improve"
    items = right_items(turn.ask, turn.dice)
    if other not in turn.ask.modes:
        wrong = {kind: base64.b64encode(output(kind, "nobody")).decode() for kind in KINDS[other]}
        items.append(Item(None, other, {"status": 0, "name": "file_0"} | wrong, good=False))
    items.append(Item(None, "unheard_of", {"status": 0, "name": "file_0", "improved": "AAAA"}, good=False))
    await turn.whole(turn.segments(items))


@late("whole")
async def broken_picture(turn: Turn) -> None:
    """Base64 that is none, is cut, or holds something else than a JPEG."""
    text = base64.b64encode(b"\xff\xd8\xff" + b"x" * 50).decode()
    wrongs = [text + "!", text[:-3], f"={text}", f"{text[:8]}==={text[8:]}"]
    wrongs += [
        base64.b64encode(b"GIF89a" + b"x" * 50).decode(),
        base64.b64encode(b"\xff").decode(),
        "\u00e9" * 8,
        "null",
    ]

    def spoil(item: Item) -> Item:
        kind = turn.dice.choice(KINDS[item.mode])
        return Item(item.asked, item.mode, item.fields | {kind: turn.dice.choice(wrongs)}, good=False)

    await turn.whole(turn.segments(_each(turn, spoil)))


@late("whole")
async def odd_fields(turn: Turn) -> None:
    """Fields of a type they should not have."""

    def spoil(item: Item) -> Item:
        statuses: list[object] = ["0", None, 1e300, [0]]
        odds = [("status", status) for status in statuses] + [(KINDS[item.mode][0], {"a": [1]})]
        return Item(item.asked, item.mode, item.fields | dict([turn.dice.choice(odds)]), good=False)

    await turn.whole(turn.segments(_each(turn, spoil)))
