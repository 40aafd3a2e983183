from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.archives import IMPROVED, client, fill, line_of, lines, outcomes, photo, restore, sent, temporaries, tree
from support.fake_service import Answer, FakeService, Request, expected, hold, items, until

from smarty_async.archive.duplicates import digest_of
from smarty_async.archive.journal.records import UnhashedPhoto
from smarty_async.archive.photos.reader import file_digest
from smarty_async.options import Limits
from smarty_async.plan import plan_archive

BOTH: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2}
EVERY = (*IMPROVED, "resolved")


def copies(folder: Path, *names: str, of: bytes) -> dict[str, bytes]:
    """The same photo under each of `names`."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(of)
    return dict.fromkeys(names, of)


def assert_right(out: Path, photos: dict[str, bytes], *, kinds: tuple[str, ...] = IMPROVED) -> None:
    right = {f"{kind}/{name}": expected(kind, data) for name, data in photos.items() for kind in kinds}
    assert tree(out) == set(right)
    assert all((out / path).read_bytes() == data for path, data in right.items())
    assert not temporaries(out)


async def test_the_same_photo_under_two_names_is_sent_once_and_written_twice(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg") | copies(source, "b/copy.jpg", of=photo("a.jpg"))
    async with FakeService() as service:
        reported = await restore(service, source, out)
        assert len(sent(service)) == 1
        again = await restore(service, source, out)
        assert len(sent(service)) == 1
    assert Counter(result.outcome for result in reported) == {"restored": 1, "duplicate": 1}
    assert Counter(result.outcome for result in again) == {"skipped": 2}
    copy = next(result for result in reported if result.outcome == "duplicate")
    other = next(result for result in reported if result.outcome == "restored")
    assert (copy.bw, copy.attempts, copy.error) == (other.bw, 0, None)
    assert copy.outputs == {kind: f"{kind}/{copy.photo}" for kind in IMPROVED}
    assert Counter(line["outcome"] for line in lines(out)) == {"restored": 1, "duplicate": 1}
    assert_right(out, photos)


@pytest.mark.slow
async def test_photos_of_the_same_size_with_different_contents_are_all_sent(source: Path, out: Path) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(100)))
    assert len({len(data) for data in photos.values()}) == 1
    async with FakeService() as service:
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"restored": 100}
        assert Counter(sent(service)) == Counter(photos.values())
    assert_right(out, photos)


@pytest.mark.slow
async def test_one_of_many_duplicates_is_sent(source: Path, out: Path) -> None:
    names = [f"{number % 5}/{number}.jpg" for number in range(150)]
    photos = fill(source, *names)
    for number in range(3):
        photos |= copies(source, *(f"{name}-{number}.jpg" for name in names), of=photo("x"))
    async with FakeService() as service:
        reported = await restore(service, source, out, limits=Limits(max_images=7))
        assert Counter(sent(service).count(data) for data in set(photos.values())) == {1: 151}
    assert Counter(result.outcome for result in reported) == {"restored": 151, "duplicate": 449}
    assert_right(out, photos)


async def test_a_copy_of_a_photo_that_was_finished_earlier_is_not_sent(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        photos |= copies(source, "later.jpg", of=photos["b.jpg"])
        assert outcomes(await restore(service, source, out))["later.jpg"] == "duplicate"
        assert len(sent(service)) == 2
    assert_right(out, photos)


async def test_a_duplicate_waits_while_the_other_photo_is_retried(source: Path, out: Path) -> None:
    photos = copies(source, "a.jpg", "b.jpg", of=photo("a"))
    async with FakeService() as service:
        service.script(*(items({"file_0": {"status": 2, "error": "later"}}) for _ in range(3)))
        reported = await restore(service, source, out)
        assert len(sent(service)) == 4
        assert all(len(request.images) == 1 for request in service.requests)
    assert Counter(result.outcome for result in reported) == {"restored": 1, "duplicate": 1}
    assert_right(out, photos)


async def test_a_failure_is_not_taken_over_by_a_duplicate(source: Path, out: Path) -> None:
    copies(source, "a.jpg", "b.jpg", of=photo("a"))
    async with FakeService() as service:
        service.script(items({"file_0": {"status": 1, "error": "no"}}))
        reported = await restore(service, source, out)
        assert len(sent(service)) == 2
    assert Counter(result.outcome for result in reported) == {"failed": 1, "restored": 1}


async def test_a_copy_of_a_photo_with_nothing_to_restore(source: Path, out: Path) -> None:
    copies(source, "a.jpg", "b.jpg", of=photo("a"))
    nothing = dict.fromkeys((*IMPROVED, "bw"), None)
    async with FakeService() as service:
        service.script(items({"file_0": nothing}))
        reported = await restore(service, source, out)
        assert len(sent(service)) == 1
    assert Counter(result.outcome for result in reported) == {"already_good": 1, "duplicate": 1}
    assert not tree(out)


async def test_only_modes_that_the_other_photo_has_are_taken_over(source: Path, out: Path) -> None:
    data = fill(source, "a.jpg")["a.jpg"]
    async with FakeService() as service:
        await restore(service, source, out)
        photos = copies(source, "b.jpg", of=data)
        assert outcomes(await restore(service, source / "b.jpg", out, **BOTH)) == {"b.jpg": "restored"}
        assert [request.meta["mode"] for request in service.requests] == [["improve"], ["resolution"]]
    assert line_of(out, "b.jpg")["outputs"] == {kind: f"{kind}/b.jpg" for kind in EVERY}
    assert (out / "improved" / "b.jpg").read_bytes() == expected("improved", photos["b.jpg"])


async def test_another_mode_is_sent_for_one_of_the_duplicates(source: Path, out: Path) -> None:
    photos = copies(source, "a.jpg", "b.jpg", of=photo("a"))
    async with FakeService() as service:
        await restore(service, source, out)
        reported = await restore(service, source, out, **BOTH)
        assert [request.meta["mode"] for request in service.requests] == [["improve"], ["resolution"]]
        assert len(sent(service)) == 2
    assert Counter(result.outcome for result in reported) == {"restored": 1, "duplicate": 1}
    assert_right(out, photos, kinds=EVERY)


@pytest.mark.parametrize("damage", ["gone", "grown"])
async def test_outputs_that_were_modified_or_removed_are_not_copied(source: Path, out: Path, damage: str) -> None:
    data = fill(source, "a.jpg")["a.jpg"]
    async with FakeService() as service:
        await restore(service, source, out)
        output = out / "improved" / "a.jpg"
        if damage == "gone":
            output.unlink()
        else:
            output.write_bytes(output.read_bytes() + b"!")
        copies(source, "b.jpg", of=data)
        assert outcomes(await restore(service, source / "b.jpg", out)) == {"b.jpg": "restored"}
        assert len(sent(service)) == 2
    assert (out / "improved" / "b.jpg").read_bytes() == expected("improved", data)
    assert not temporaries(out)


async def test_outputs_of_a_photo_that_has_changed_since_serve_a_copy_of_its_former_content(
    source: Path, out: Path
) -> None:
    data = fill(source, "a.jpg")["a.jpg"]
    async with FakeService() as service:
        await restore(service, source, out)
        (source / "a.jpg").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        os.utime(source / "a.jpg", ns=(5, 5))
        copies(source, "b.jpg", of=data)
        assert outcomes(await restore(service, source / "b.jpg", out)) == {"b.jpg": "duplicate"}
        assert sent(service) == [data]
    assert (out / "improved" / "b.jpg").read_bytes() == expected("improved", data)


async def test_duplicates_do_not_count_against_limits(source: Path, out: Path) -> None:
    copies(source, "a.jpg", "b.jpg", "c.jpg", of=photo("a"))
    async with FakeService() as service:
        reported = await restore(service, source, out, max_photos=1, max_cost=0.06)
        assert len(sent(service)) == 1
    assert Counter(result.outcome for result in reported) == {"restored": 1, "duplicate": 2}


async def test_a_plan_counts_duplicates(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source / "a.jpg", out)
        copies(source, "c.jpg", "d.jpg", of=photo("b.jpg"))
        copies(source, "e.jpg", of=photo("a.jpg"))
        plan = await plan_archive(source, out=out)
        assert (plan.photos, plan.duplicates, plan.skipped) == (1, 3, 1)
        await restore(service, source, out)
        assert len(sent(service)) == 2


async def test_leaving_while_a_duplicate_waits_leaves_no_files(source: Path, out: Path) -> None:
    copies(source, "a.jpg", "b.jpg", of=photo("a"))
    async with FakeService() as service:
        service.script(hold(asyncio.Event()))
        async with client(service) as open_client:
            run = open_client.improve_archive(source, out=out)
            results = aiter(run)
            first = asyncio.ensure_future(anext(results))
            await until(lambda: len(service.requests) == 1)
            first.cancel()
            await asyncio.wait([first])
            await run.aclose()
        assert not temporaries(out)
        assert not tree(out)
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"restored": 1, "duplicate": 1}
        assert len(sent(service)) == 2


async def test_draining_lets_a_waiting_duplicate_finish(source: Path, out: Path) -> None:
    copies(source, "a.jpg", "b.jpg", of=photo("a"))
    going_on = asyncio.Event()

    def slow(_: Request) -> Answer:
        return hold(going_on, items({}))

    async with FakeService() as service:
        service.default = slow
        async with client(service) as open_client:
            run = open_client.improve_archive(source, out=out)
            following = asyncio.ensure_future(_all(run))
            await until(lambda: len(service.requests) == 1)
            run.drain()
            going_on.set()
            reported = await following
        assert Counter(result.outcome for result in reported) == {"restored": 1, "duplicate": 1}
        assert len(sent(service)) == 1


async def _all(run: Any) -> list[Any]:
    return [result async for result in run]


def test_a_digest_requires_the_size_and_version_of_the_entry(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    look = path.stat()
    photo = UnhashedPhoto(1, str(path), look.st_size, str(look.st_mtime_ns))
    assert (
        digest_of(photo, digest=file_digest).hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert digest_of(UnhashedPhoto(1, str(path), look.st_size, "5"), digest=file_digest) == b""
    assert digest_of(UnhashedPhoto(1, f"{path}\0", 3, "5"), digest=file_digest) == b""
    path.unlink()
    assert digest_of(photo, digest=file_digest) == b""
