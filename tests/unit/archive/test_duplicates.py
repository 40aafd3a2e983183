from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from support.archives import IMPROVED, client, fill, line_of, lines, outcomes, photo, restore, sent, temporaries, tree
from support.fake_service import Answer, FakeService, Request, expected, hold, items, until

from smarty_async.archive.duplicates import Duplicates, digest_of
from smarty_async.archive.journal import schema
from smarty_async.archive.journal.journal import Journal
from smarty_async.archive.journal.records import DuplicateAnswer, UnhashedPhoto
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.photos.reader import file_digest
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import Limits
from smarty_async.plan import plan_archive
from smarty_async.results import Kind

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


# outputs that are gone, or were not kept


async def redone(service: FakeService, source: Path | list[Path], out: Path, **choices: Any) -> tuple[int, int, int]:
    """A run with `redo_missing`: images sent, photos copied, and photos sent; the plan must have said so."""
    before = len(sent(service))
    plan = await plan_archive(source, out=out, redo_missing=True, **choices)
    counts = Counter(outcomes(await restore(service, source, out, redo_missing=True, **choices)).values())
    assert (plan.photos, plan.duplicates, plan.skipped) == (
        counts["restored"],
        counts["duplicate"],
        counts["skipped"],
    )
    return len(sent(service)) - before, counts["duplicate"], counts["restored"]


async def test_outputs_that_are_gone_are_copied_from_a_duplicate_or_made_once(source: Path, out: Path) -> None:
    photos = copies(source, *(f"{number:02}.jpg" for number in range(20)), of=photo("a"))
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "improved/00.jpg").unlink()
        assert await redone(service, source, out) == (0, 1, 0)
        for number in range(19):
            (out / f"improved/{number:02}.jpg").unlink()
        assert await redone(service, source, out) == (0, 19, 0)
        for path in (out / "improved").iterdir():
            path.unlink()
        assert await redone(service, source, out) == (1, 19, 1)
    assert_right(out, photos)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> Counter[bool]:
    """How many outputs were copied, and how many were to be and were not there."""
    counts: Counter[bool] = Counter()
    copy_to = OutputDirectory._copy_to

    async def counting(outputs: OutputDirectory, *output: Any) -> bool:
        is_there = await copy_to(outputs, *output)
        counts[is_there] += 1
        return is_there

    monkeypatch.setattr(OutputDirectory, "_copy_to", counting)
    return counts


async def test_no_output_is_copied_in_vain_where_others_of_the_photo_are_gone(
    source: Path, out: Path, copied: Counter[bool]
) -> None:
    photos = copies(source, *(f"{number:02}.jpg" for number in range(20)), of=photo("a"))
    async with FakeService() as service:
        await restore(service, source, out)
        for path in (out / "improved").iterdir():
            path.unlink()
        copied.clear()
        assert await redone(service, source, out) == (1, 19, 1)
    assert copied == {True: 19 * len(IMPROVED)}
    assert_right(out, photos)


async def test_copying_ends_at_the_first_output_that_was_changed(
    source: Path, out: Path, copied: Counter[bool]
) -> None:
    data = fill(source, "a.jpg")["a.jpg"]
    async with FakeService() as service:
        await restore(service, source, out)
        for kind in IMPROVED:
            (out / kind / "a.jpg").write_bytes(b"")
        photos = copies(source, "b.jpg", of=data)
        assert outcomes(await restore(service, source / "b.jpg", out)) == {"b.jpg": "restored"}
    assert copied == {False: 1}
    assert (out / "improved/b.jpg").read_bytes() == expected("improved", photos["b.jpg"])
    assert not temporaries(out)


async def test_a_duplicate_of_a_photo_whose_outputs_are_gone_is_sent(source: Path, out: Path) -> None:
    data = fill(source, "a.jpg")["a.jpg"]
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "improved/a.jpg").unlink()
        copies(source, "b.jpg", of=data)
        plan = await plan_archive(source, out=out)
        assert (plan.photos, plan.duplicates, plan.skipped) == (1, 0, 1)
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "skipped", "b.jpg": "restored"}


async def test_a_kind_that_was_not_kept_is_said_and_made_again_only_with_redo_missing(source: Path, out: Path) -> None:
    photos = copies(source, "a.jpg", "b.jpg", of=photo("a")) | fill(source, "c.jpg")
    async with FakeService() as service:
        await restore(service, source, out, outputs=("improved",))
        expected_of: dict[tuple[Kind, ...], dict[Kind, int]] = {
            ("improved",): {},
            ("colorized",): {"colorized": 3},
            (): {"colorized_improved": 3, "colorized": 3},
        }
        for outputs, not_kept in expected_of.items():
            async with client(service) as open_client:
                run = open_client.improve_archive(source, out=out, outputs=outputs)
                results = [result async for result in run]
            assert {result.outcome for result in results} == {"skipped"}
            assert all(set(result.outputs) == {"improved"} for result in results)
            assert run.progress.not_kept == not_kept
            assert (await plan_archive(source, out=out, outputs=outputs)).not_kept == not_kept
        assert len(sent(service)) == 2
        assert await redone(service, source, out, outputs=("improved",)) == (0, 0, 0)
        assert await redone(service, source, out, outputs=("colorized",)) == (2, 1, 2)
        assert await redone(service, source, out, outputs=("colorized", "improved")) == (0, 0, 0)
    assert_right(out, photos, kinds=("improved", "colorized"))


async def test_a_kind_that_is_gone_and_not_asked_for_is_neither_reported_nor_made_again(
    source: Path, out: Path
) -> None:
    fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "colorized/a.jpg").unlink()
        assert await redone(service, source, out, outputs=("improved",)) == (0, 0, 0)
        async with client(service) as open_client:
            run = open_client.improve_archive(source, out=out, outputs=("improved",))
            assert {result.outcome async for result in run} == {"skipped"}
        assert run.progress.missing == 0
        (out / "improved/a.jpg").unlink()
        assert await redone(service, source, out, outputs=("improved",)) == (1, 0, 1)
        assert tree(out) == {f"{kind}/{name}" for kind in IMPROVED for name in ("a.jpg", "b.jpg")} - {"colorized/a.jpg"}
        assert await redone(service, source, out) == (1, 0, 1)
    assert len(tree(out)) == 2 * len(IMPROVED)


async def test_a_duplicate_is_copied_though_it_lacks_a_kind_that_is_gone_and_not_asked_for(
    source: Path, out: Path
) -> None:
    data = fill(source, "a.jpg")["a.jpg"]
    async with FakeService() as service:
        await restore(service, source, out)
        copies(source, "b.jpg", of=data)
        for path in ("colorized/a.jpg", "improved/a.jpg"):
            (out / path).unlink()
        await restore(service, source / "b.jpg", out, outputs=("improved", "colorized_improved"))
        assert await redone(service, source, out, outputs=("improved",)) == (0, 1, 0)
    assert (out / "improved/a.jpg").read_bytes() == expected("improved", data)


async def test_a_new_duplicate_gets_no_copy_where_a_kind_that_is_asked_for_was_not_kept(
    source: Path, out: Path
) -> None:
    data = fill(source, "a.jpg")["a.jpg"]
    async with FakeService() as service:
        await restore(service, source, out, outputs=("improved",))
        copies(source, "b.jpg", of=data)
        plan = await plan_archive(source, out=out, outputs=("colorized",))
        assert (plan.photos, plan.duplicates, plan.skipped) == (1, 0, 1)
        await restore(service, source, out, outputs=("colorized",))
    assert tree(out) == {"improved/a.jpg", "colorized/b.jpg"}


async def test_a_kind_that_was_not_kept_is_known_where_nothing_was_kept(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        service.script(items({"file_0": {"colorized": None, "colorized_improved": None}}))
        await restore(service, source, out, outputs=("colorized",))
        assert not tree(out)
        assert (await plan_archive(source, out=out, outputs=("improved",))).not_kept == {"improved": 1}
        assert await redone(service, source, out, outputs=("improved",)) == (1, 0, 1)
    assert tree(out) == {"improved/a.jpg"}


@pytest.fixture
def answers_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The entry of each answer that was read to copy its outputs, as often as it was."""
    read: list[int] = []
    answers_to = JournalStore.answers_to

    def counting(store: JournalStore, *wanted: Any, after: int = 0) -> list[DuplicateAnswer]:
        answers = answers_to(store, *wanted, after=after)
        read.extend(answer.photo for answer in answers)
        return answers

    monkeypatch.setattr(JournalStore, "answers_to", counting)
    return read


@pytest.mark.parametrize("ending", ["copied", "limited", "failed"])
async def test_answers_whose_outputs_are_gone_are_read_once_for_all_photos_of_a_content(
    source: Path, out: Path, answers_read: list[int], ending: str
) -> None:
    count = 24
    copies(source, *(f"{number:02}.jpg" for number in range(count)), of=photo("a"))
    async with FakeService() as service:
        await restore(service, source, out)
        for path in (out / "improved").iterdir():
            path.unlink()
        limits: dict[str, Any] = {"max_photos": 0} if ending == "limited" else {}
        answers_read.clear()
        plan = await plan_archive(source, out=out, redo_missing=True, **limits)
        assert plan.duplicates == (0 if ending == "limited" else count - 1)
        assert len(answers_read) < 2 * count
        if ending == "failed":
            service.script(*(items({"file_0": {"status": 1, "error": "no"}}) for _ in range(count)))
        answers_read.clear()
        ended = Counter(outcomes(await restore(service, source, out, redo_missing=True, **limits)).values())
        assert (
            ended
            == {"copied": {"restored": 1, "duplicate": count - 1}, "limited": {}, "failed": {"failed": count}}[ending]
        )
        # Of each answer that is copied, the journal is asked once more whether it still has it, with some that follow.
        assert len(answers_read) < 2 * count + 8 * ended["duplicate"]


async def test_an_answer_that_cannot_be_copied_is_tried_once_for_all_photos_of_a_content(
    source: Path, out: Path, copied: Counter[bool]
) -> None:
    data = photo("a")
    copies(source, *(f"a/{number}.jpg" for number in range(9)), of=data)
    async with FakeService() as service:
        await restore(service, source, out)
        for number in range(8):
            (out / f"colorized/a/{number}.jpg").write_bytes(b"changed")
        copied.clear()
        copies(source, *(f"b/{number}.jpg" for number in range(9)), of=data)
        assert Counter(outcomes(await restore(service, source / "b", out)).values()) == {"duplicate": 9}
        assert len(sent(service)) == 1
    assert copied[True] >= 9 * len(IMPROVED)
    assert copied[False] <= 8 * 2


def test_digests_of_many_photos_of_one_size_are_looked_for_among_new_ones(tmp_path: Path) -> None:
    with closing(JournalStore(tmp_path, opener=lambda _: schema.empty())) as store, store.transaction():
        queries: list[str] = []
        files = [PhotoFile("/photos", f"{number}.jpg", f"/photos/{number}.jpg", 9, "7") for number in range(50)]
        for number, file in enumerate(files):
            [entry] = store.look_up([file])
            assert [one.id for one in store.unhashed(9)] == [entry.id]
            store.note_digests({entry.id: b"%d" % number})
            assert store.unhashed(9) == []
        store.sql.set_trace_callback(queries.append)
        assert store.unhashed(9) == []
        assert " id > 50 " in queries[0]


@pytest.mark.parametrize(
    ("order", "counts"),
    [
        ("abc", (1, 2, 1)),  # none has what the first one lacks
        ("bac", (0, 3, 0)),  # the first one has all, once it has a copy of what it lacks
    ],
)
async def test_one_answer_serves_photos_of_which_different_kinds_were_kept(
    source: Path, out: Path, order: str, counts: tuple[int, int, int]
) -> None:
    photos = copies(source, "a.jpg", "b.jpg", "c.jpg", of=photo("a"))
    async with FakeService() as service:
        kinds: tuple[Kind, ...] = ("improved", "colorized_improved", "colorized")
        for name, kind in zip(photos, kinds, strict=True):
            await restore(service, source / name, out, outputs=(kind,))
        assert len(sent(service)) == 3
        assert await redone(service, source, out, outputs=("improved",)) == (0, 2, 0)
        (out / "improved/c.jpg").unlink()
        (out / "improved/b.jpg").unlink()
        (out / "improved/a.jpg").unlink()
        assert await redone(service, source, out, outputs=("improved",)) == (1, 2, 1)
        assert tree(out) == {
            "improved/a.jpg",
            *(f"improved/{name}" for name in photos),
            *(f"{kind}/{name}" for name, kind in zip(photos, kinds, strict=True)),
        }
        assert await redone(service, [source / f"{name}.jpg" for name in order], out) == counts
        assert await redone(service, source, out) == (0, 0, 0)
    assert_right(out, photos)


async def test_a_photo_that_changed_is_not_taken_for_its_former_content(source: Path, tmp_path: Path) -> None:
    copies(source, "a.jpg", "b.jpg", of=b"former")
    directory = OutputDirectory(tmp_path / "out")
    directory.state_dir.mkdir(parents=True)
    journal = await Journal.open(directory.state_dir / "journal.sqlite", outputs=directory)

    def files(version: str) -> list[PhotoFile]:
        return [PhotoFile(str(source), name, str(source / name), 6, version) for name in ("a.jpg", "b.jpg")]

    def digest(path: str, *, size: int, version: str) -> bytes:  # noqa: ARG001 - what a source is asked
        return Path(path).read_bytes()

    try:
        for entry in await journal.look_up(files("1")):
            await journal.note_digests({entry.id: b"former"}, asking=[])
    finally:
        await journal.close()
    (source / "b.jpg").write_bytes(b"latter")
    journal = await Journal.open(directory.state_dir / "journal.sqlite", outputs=directory)
    duplicates = Duplicates(journal, directory, redo_missing=False, digest=digest)
    try:
        [first] = await journal.look_up(files("1")[:1])
        [changed] = await journal.look_up(files("2")[1:])
        assert changed.version_changed
        duplicates.begin(changed)
        duplicates.begin(first)
        assert await duplicates.compare(first)  # as far as is known
        changed = await duplicates.identify(changed)
        assert not await duplicates.compare(changed)
    finally:
        await journal.close()


def test_a_photo_that_gets_the_id_of_a_deleted_entry_is_read(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    moved, former, new = (
        PhotoFile(folder, name, str(tmp_path / folder / name), 9, "7")
        for folder, name in (("x", "a.jpg"), ("y", "a.jpg"), ("x", "b.jpg"))
    )
    with closing(JournalStore(journal)) as store, store.transaction():
        [*_, last] = entries = store.look_up([moved, former])
        store.note_digests(dict.fromkeys([entry.id for entry in entries], b"same"))
    with closing(JournalStore(journal)) as store, store.transaction():
        [entry] = store.look_up([moved])
        assert store.unhashed(9) == []
        assert store.follow_moved(entry) is not entry
        [entry] = store.look_up([new])
        assert entry.id == last.id
        assert [one.id for one in store.unhashed(9)] == [entry.id]


def test_digests_are_not_known_any_more_when_they_could_not_be_noted(tmp_path: Path) -> None:
    with closing(JournalStore(tmp_path, opener=lambda _: schema.empty())) as store:
        with store.transaction():
            [entry] = store.look_up([PhotoFile("/x", "a.jpg", "/x/a.jpg", 9, "7")])
        with suppress(ZeroDivisionError), store.transaction():
            store.note_digests({entry.id: b"digest"})
            assert store.unhashed(9) == []
            raise ZeroDivisionError
        assert [one.id for one in store.unhashed(9)] == [entry.id]


@pytest.mark.parametrize("names", ["ab", "abc"])
async def test_photos_that_exchange_their_names_are_planned_as_they_are_sent(
    source: Path, out: Path, names: str
) -> None:
    photos = fill(source, *(f"{name}.jpg" for name in names))
    async with FakeService() as service:
        await restore(service, source, out)
        for name in names:
            (source / f"{name}.jpg").rename(source / f"{name}.old")
        turned = names[1:] + names[0]
        for name, new in zip(names, turned, strict=True):
            (source / f"{name}.old").rename(source / f"{new}.jpg")
        before = len(sent(service))
        plan = await plan_archive(source, out=out)
        await restore(service, source, out)
        assert (plan.photos, plan.duplicates) == (len(sent(service)) - before, 0)
    assert_right(out, {f"{new}.jpg": photos[f"{name}.jpg"] for name, new in zip(names, turned, strict=True)})
