"""Answers made to last, by the group."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smarty_async.archive import keeper, placing
from smarty_async.archive.entry import Claim, Kept, Received
from smarty_async.archive.journal import Journal
from smarty_async.archive.keeper import Keeper
from smarty_async.archive.ledger import Ledger
from smarty_async.archive.walk import Found
from smarty_async.archive.writer import Workplace
from smarty_async.errors import DiskError
from smarty_async.options import Task

IMPROVE = Task("improve")


class Desk:
    """A workplace with a journal and what keeps answers."""

    def __init__(self, workplace: Workplace, journal: Journal) -> None:
        self.workplace = workplace
        self.journal = journal
        self.keeper = Keeper(workplace, journal)

    async def received(self, name: str) -> Received:
        """An answer to a photo, its output in a temporary."""
        [claim] = await self.journal.claim([Found("/photos", name, f"/photos/{name}", 9, 7)])
        file = self.workplace.open()
        await file.write([name.encode()])
        return Received(claim, IMPROVE, {"improved": Kept(file.name, len(name))}, None)

    def output(self, claim: Claim) -> Path:
        return self.workplace.out / "improved" / claim.place


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    workplace = Workplace(tmp_path / "out")
    workplace.claim()
    workplace.clear()
    path = workplace.own / "journal.sqlite"
    results = workplace.out / "results.jsonl"
    return Desk(workplace, await Journal.open(path, results=results, temporary=workplace.temporary, out=workplace.out))


async def closed(desk: Desk) -> dict[str, bool]:
    """Whether the journal has each photo's answer at its place, after everything was closed."""
    await desk.keeper.close()
    await desk.journal.close()
    desk.workplace.release()
    ledger = Ledger(desk.workplace.own / "journal.sqlite")
    names = sorted(name for (name,) in ledger._sql.execute("SELECT CAST(photo AS TEXT) FROM photos"))
    claims = ledger.claim([Found("/photos", name, "", 9, 7) for name in names])
    ledger.close()
    return {claim.found.photo: claim.has(IMPROVE) for claim in claims}


async def test_many_answers_share_the_sync_of_their_folder(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [await desk.received(f"{number:03}.jpg") for number in range(100)]
    synced: list[Path] = []
    monkeypatch.setattr(placing, "sync_folder", synced.append)
    await asyncio.gather(*map(desk.keeper.keep, answers))
    assert all(desk.output(answer.claim).read_bytes() == answer.claim.found.photo.encode() for answer in answers)
    assert synced.count(desk.workplace.out / "improved") < 10
    assert set((await closed(desk)).values()) == {True}


async def test_whoever_comes_as_the_last_group_ends_is_not_forgotten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_GROUPS", 1)
    answers = [await desk.received(f"{name}.jpg") for name in "abc"]
    async with asyncio.timeout(20):
        for answer in answers:
            await desk.keeper.keep(answer)
    assert set((await closed(desk)).values()) == {True}


async def test_what_the_disk_refuses_is_the_error_of_that_answer_alone(desk: Desk) -> None:
    answers = [await desk.received(f"{name}.jpg") for name in "abcd"]
    lost, _, blocked, _ = answers
    desk.workplace.temporary(lost.outputs["improved"].temporary).unlink()
    desk.output(blocked.claim).mkdir(parents=True)
    told = await asyncio.gather(*map(desk.keeper.keep, answers), return_exceptions=True)
    assert [type(error) for error in told] == [DiskError, type(None), DiskError, type(None)]
    assert await closed(desk) == {"a.jpg": False, "b.jpg": True, "c.jpg": False, "d.jpg": True}
    waiting = desk.workplace.temporary(blocked.outputs["improved"].temporary)
    assert waiting.read_bytes() == b"c.jpg"  # the next run brings it to its place


async def test_a_journal_that_fails_is_the_error_of_all_and_hangs_nobody(desk: Desk) -> None:
    answers = [await desk.received(f"{name}.jpg") for name in "ab"]
    desk.journal._ledger.keep = lambda *_: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    async with asyncio.timeout(20):
        told = await asyncio.gather(*map(desk.keeper.keep, answers), return_exceptions=True)
    assert [type(error) for error in told] == [ZeroDivisionError] * 2
    assert await closed(desk) == {"a.jpg": False, "b.jpg": False}


@pytest.mark.parametrize("turns", range(4))
async def test_whoever_stops_waiting_does_not_stop_it(desk: Desk, turns: int) -> None:
    answers = [await desk.received(f"{name}.jpg") for name in "abc"]
    (desk.workplace.out / "improved").mkdir()
    desk.output(answers[2].claim).mkdir()
    waits = [asyncio.create_task(desk.keeper.keep(answer)) for answer in answers]
    for _ in range(turns):
        await asyncio.sleep(0)
    for wait in (waits[0], waits[2]):
        wait.cancel()
    told = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(error) for error in told] == [asyncio.CancelledError, type(None), asyncio.CancelledError]
    # One that is cancelled before its first step never asked.
    assert await closed(desk) == {"a.jpg": turns > 0, "b.jpg": True, "c.jpg": False}


async def test_closing_waits_for_what_nobody_waits_for(desk: Desk) -> None:
    answer = await desk.received("a.jpg")
    wait = asyncio.create_task(desk.keeper.keep(answer))
    await asyncio.sleep(0)
    wait.cancel()
    await desk.keeper.close()
    assert desk.output(answer.claim).read_bytes() == b"a.jpg"
    assert await closed(desk) == {"a.jpg": True}
