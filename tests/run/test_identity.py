"""A photo is identified by its content: under another time or path it is not sent again."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import ExifTags, Image
from support.archives import IMPROVED, STATE, assert_right, fill, line_of, lines, outcomes, photo, restore, sent, tree
from support.fake_service import FakeService, Request, expected, items
from support.pictures import encoded, heavy, opened, scene

from smarty_async.archive.album import make_album
from smarty_async.archive.journal.catalog import Catalog
from smarty_async.archive.photos import reader
from smarty_async.plan import plan_archive

NAMES = ("a.jpg", "b/c.png", "b/d.jpg", "e.jpg")
HOUR = 3_600_000_000_000


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read to compare its content."""
    counts: Counter[str] = Counter()
    whole = reader.open_for_parsing

    def counting(path: Any) -> Any:
        opened = whole(path)
        counts[str(path)] += 1
        return opened

    monkeypatch.setattr(reader, "open_for_parsing", counting)  # `file_digest` alone finds it there
    return counts


def shift_times(folder: Path) -> None:
    """Move all modification times by an hour, as a FAT disk does when daylight saving time begins."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(0, path.stat().st_mtime_ns + HOUR))


def rename(old: Path, new: Path) -> Path:
    new.parent.mkdir(exist_ok=True)
    return old.rename(new)


def restore_backup(folder: Path) -> None:
    """Replace all photos by copies without their modification times."""
    backup = folder.with_name("backup")
    shutil.copytree(folder, backup, copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    backup.rename(folder)
    shift_times(folder)


@pytest.mark.slow
@pytest.mark.parametrize("change", [shift_times, restore_backup])
async def test_other_modification_times_alone_send_nothing(
    source: Path, out: Path, change: Callable[[Path], None], hashed: Counter[str]
) -> None:
    photos = {name: heavy(2000 + number, seed=number) for number, name in enumerate(NAMES)}
    fill(source, *NAMES)
    for name, data in photos.items():
        (source / name).write_bytes(data)
    async with FakeService() as service:
        await restore(service, source, out)
        before = sorted(map(str, lines(out)))
        assert not hashed, "the digest is taken as a photo is sent"
        change(source)
        plan = await plan_archive(source, out=out)
        assert (plan.photos, plan.skipped) == (0, 4)
        hashed.clear()
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"skipped": 4}
        assert hashed == {str(source / name): 1 for name in NAMES}
        hashed.clear()
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"skipped": 4}
        assert not hashed, "the new times were not remembered"
        assert len(sent(service)) == 4
    assert sorted(map(str, lines(out))) == before
    assert_right(out, photos)


async def test_photos_of_the_same_size_with_other_modification_times_are_read_once(
    source: Path, out: Path, hashed: Counter[str]
) -> None:
    photos = fill(source, *(f"{number}.jpg" for number in range(40)))
    async with FakeService() as service:
        await restore(service, source, out)
        shift_times(source)
        hashed.clear()
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"skipped": 40}
        assert set(hashed.values()) == {1}
        assert len(sent(service)) == 40
    assert_right(out, photos)


@pytest.mark.slow
async def test_a_changed_photo_of_the_same_size_is_sent_among_others_with_another_time(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        await restore(service, source, out)
        photos["e.jpg"] = photo("another of the same size")
        (source / "e.jpg").write_bytes(photos["e.jpg"])
        shift_times(source)
        results = outcomes(await restore(service, source, out))
        assert results == dict.fromkeys(NAMES, "skipped") | {"e.jpg": "restored"}
        assert sent(service)[4:] == [photos["e.jpg"]]
    assert line_of(out, "e.jpg")["attempts"] == 2
    assert_right(out, photos)


async def test_a_failure_stays_a_failure_under_another_modification_time_or_folder(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        service.script(items({"file_0": {"status": 1, "error": "no"}}))
        await restore(service, source, out)
        shift_times(source)
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "failed"}
        moved = rename(source, source.with_name("moved"))
        assert outcomes(await restore(service, moved, out)) == {"a.jpg": "failed"}
        assert len(sent(service)) == 1
        assert [line["photo"] for line in lines(out)] == ["a.jpg"]
        (moved / "a.jpg").write_bytes(photo("another"))
        assert outcomes(await restore(service, moved, out)) == {"a.jpg": "restored"}


async def test_another_mode_is_asked_for_after_a_change_of_the_modification_time_alone(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    both: dict[str, Any] = {"modes": ["improve", "resolution"], "rfactor": 2}
    async with FakeService() as service:
        await restore(service, source, out)
        shift_times(source)
        assert outcomes(await restore(service, source, out, **both)) == {"a.jpg": "restored"}
        assert [request.meta["mode"] for request in service.requests] == [["improve"], ["resolution"]]
    assert_right(out, photos, kinds=(*IMPROVED, "resolved"))


@pytest.mark.slow
async def test_an_unreadable_photo_with_another_time_keeps_its_answers(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    path = source / "a.jpg"
    async with FakeService() as service:
        await restore(service, source, out)
        shift_times(source)
        gone = path.with_suffix(".gone")
        original = reader.open_for_parsing

        def vanish(name: Any) -> Any:
            path.rename(gone)
            return original(name)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(reader, "open_for_parsing", vanish)
            assert outcomes(await restore(service, source, out)) == {"a.jpg": "rejected"}
        rename(gone, path)
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "restored"}
        assert len(sent(service)) == 1
    assert line_of(out, "a.jpg")["outcome"] == "restored"
    assert_right(out, photos)


@pytest.mark.slow
@pytest.mark.parametrize("new", ["pictures", "elsewhere/photos"])
async def test_a_renamed_or_moved_source_sends_nothing_and_its_outputs_stay(
    source: Path, out: Path, new: str, hashed: Counter[str]
) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        await restore(service, source, out)
        moved = rename(source, source.parent / new)
        plan = await plan_archive(moved, out=out)
        assert (plan.photos, plan.duplicates, plan.skipped) == (0, 0, 4)
        hashed.clear()
        results = await restore(service, moved, out)
        assert Counter(result.outcome for result in results) == {"skipped": 4}
        assert {result.source for result in results} == {str(moved)}
        assert set(hashed.values()) == {1}
        for result in results:
            assert set(result.outputs) == set(IMPROVED)
            assert all((out / path).read_bytes() for path in result.outputs.values())
        assert len(sent(service)) == 4
    assert {line["source"] for line in lines(out)} == {str(moved)}
    assert {line["photo"]: line["outcome"] for line in lines(out)} == dict.fromkeys(NAMES, "restored")
    assert_right(out, photos)


@pytest.mark.slow
async def test_a_source_that_is_renamed_twice_and_back_sends_nothing(source: Path, out: Path) -> None:
    photos = fill(source, *NAMES)
    async with FakeService() as service:
        await restore(service, source, out)
        here = source
        for name in ("one", "two", source.name):
            here = rename(here, here.parent / name)
            assert Counter(outcomes(await restore(service, here, out)).values()) == {"skipped": 4}
        assert len(sent(service)) == 4
    assert len(lines(out)) == 4
    assert_right(out, photos)


@pytest.mark.slow
async def test_a_renamed_source_with_failures_and_new_photos(source: Path, out: Path) -> None:
    fill(source, "a.jpg", "b.jpg")
    refused = photo("b.jpg")
    async with FakeService() as service:
        service.default = lambda request: items(
            {name: {"status": 1, "error": "no"} for name, image in request.images.items() if image == refused}
        )
        await restore(service, source, out)
        moved = rename(source, source.parent / "moved")
        fill(moved, "c.jpg")
        results = outcomes(await restore(service, moved, out))
    assert results == {"a.jpg": "skipped", "b.jpg": "failed", "c.jpg": "restored"}
    assert line_of(out, "c.jpg")["outputs"]["improved"] == "improved/c.jpg"
    moved_lines = {line["photo"]: line["outcome"] for line in lines(out) if line["source"] == str(moved)}
    assert moved_lines == {"a.jpg": "restored", "b.jpg": "failed", "c.jpg": "restored"}


async def test_a_photo_moved_within_its_source_gets_outputs_at_its_new_place(source: Path, out: Path) -> None:
    fill(source, "2019/a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        rename(source / "2019/a.jpg", source / "2020/a.jpg")
        results = {result.photo: result for result in await restore(service, source, out)}
        assert len(sent(service)) == 2
    assert {name: result.outcome for name, result in results.items()} == {"2020/a.jpg": "duplicate", "b.jpg": "skipped"}
    assert results["2020/a.jpg"].outputs == {kind: f"{kind}/2020/a.jpg" for kind in IMPROVED}
    for kind in IMPROVED:
        assert (out / kind / "2020/a.jpg").read_bytes() == expected(kind, photo("2019/a.jpg"))


async def test_a_copied_source_gets_outputs_of_its_own(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        copy = source.with_name("copy")
        shutil.copytree(source, copy)
        [result] = await restore(service, copy, out)
        assert len(sent(service)) == 1
    assert (result.outcome, result.outputs) == ("duplicate", {kind: f"{kind}/copy/a.jpg" for kind in IMPROVED})
    assert tree(out) == {f"{kind}/{name}" for kind in IMPROVED for name in ("a.jpg", "copy/a.jpg")}


@pytest.mark.parametrize("strip", [False, True])
async def test_a_duplicate_s_outputs_have_the_time_of_their_own_photo(source: Path, out: Path, *, strip: bool) -> None:
    fill(source, "a.jpg")
    hour = 1_000_000_000
    async with FakeService() as service:
        await restore(service, source, out, strip_metadata=strip)
        shutil.copyfile(source / "a.jpg", source / "b.jpg")
        os.utime(source / "b.jpg", (hour, hour))
        results = await restore(service, source, out, strip_metadata=strip)
    assert outcomes(results) == {"a.jpg": "skipped", "b.jpg": "duplicate"}
    times = {(out / kind / "b.jpg").stat().st_mtime for kind in IMPROVED}
    assert (times == {hour}) is not strip


@pytest.mark.parametrize("strip", [False, True])
async def test_a_duplicate_s_outputs_have_the_metadata_that_their_own_run_is_asked_for(
    source: Path, out: Path, *, strip: bool
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription], exif[ExifTags.Base.Orientation] = "at the lake", 6
    fill(source, "a.jpg")
    (source / "a.jpg").write_bytes(encoded(scene(60, 40), exif=exif))

    async def upright(request: Request) -> web.StreamResponse:
        pictures = {
            kind: base64.b64encode(encoded(scene(60, 40).rotate(-90, expand=True))).decode() for kind in IMPROVED
        }
        return await items(dict.fromkeys(request.names, pictures))(request)

    async with FakeService() as service:
        service.script(upright)
        await restore(service, source, out, strip_metadata=not strip)
        shutil.copyfile(source / "a.jpg", source / "b.jpg")
        results = await restore(service, source, out, strip_metadata=strip)
        again = await restore(service, source, out, strip_metadata=strip)
    assert outcomes(results) == {"a.jpg": "skipped", "b.jpg": "duplicate"}
    assert outcomes(again) == {"a.jpg": "skipped", "b.jpg": "skipped"}
    for kind in IMPROVED:
        one, other = ((out / kind / name).read_bytes() for name in ("a.jpg", "b.jpg"))
        assert (b"at the lake" in one, b"at the lake" in other) == (strip, not strip)
        shown, same = (opened(output).getexif().get(ExifTags.Base.Orientation, 1) for output in (one, other))
        assert shown == same == 1
        assert opened(one).tobytes() == opened(other).tobytes()


async def test_a_file_that_takes_the_place_of_a_moved_source_is_compared_by_content(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        shutil.rmtree(source)
        other = source.with_name("other")
        fill(other)
        (other / "a.jpg").write_bytes(photo("another of the same size"))
        [result] = await restore(service, other, out)
        assert len(sent(service)) == 2
    assert (result.outcome, result.outputs["improved"]) == ("restored", "improved/other/a.jpg")
    assert (out / "improved/other/a.jpg").read_bytes() == expected("improved", photo("another of the same size"))


@pytest.mark.slow
async def test_photos_of_older_journals_without_digests_are_sent_again_when_their_time_has_changed(
    source: Path, out: Path, hashed: Counter[str]
) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        with closing(sqlite3.connect(out / STATE / "journal.sqlite")) as sql, sql:
            sql.execute("UPDATE photos SET digest = NULL")
        hashed.clear()
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"skipped": 2}
        assert not hashed
        shift_times(source)
        assert Counter(outcomes(await restore(service, source, out)).values()) == {"restored": 2}
        assert len(sent(service)) == 4
    assert_right(out, photos)


async def test_entries_whose_files_are_gone_are_opened_once_and_cost_nothing_more(
    source: Path, out: Path, hashed: Counter[str]
) -> None:
    fill(source, "a.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        with closing(sqlite3.connect(out / STATE / "journal.sqlite")) as sql, sql:
            sql.execute("UPDATE photos SET digest = NULL")
        hashed.clear()
        shutil.rmtree(source)
        for name in ("one", "two"):
            other = source.with_name(name)
            fill(other, f"{name}.jpg")
            assert outcomes(await restore(service, other, out)) == {f"{name}.jpg": "restored"}
    assert hashed == {str(source.with_name(name) / f"{name}.jpg"): 1 for name in ("one", "two")}


def in_view(out: Path) -> list[str]:
    """The photos that the page shows, which are those that it counts and those that the album has."""
    with Catalog(out) as catalog:
        names = [photo.name for photo in catalog.page()]
        assert sum(catalog.counts().values()) == len(names)
        assert {photo.name for photo in catalog.photos()} == set(names)
    return names


async def test_a_renamed_photo_is_shown_once_and_has_one_picture_in_the_album(
    source: Path, out: Path, tmp_path: Path
) -> None:
    fill(source, "2019/a.jpg", "2019/b.jpg", "c.jpg")
    album = tmp_path / "album"
    async with FakeService() as service:
        await restore(service, source, out)
        make_album(out, album)
        rename(source / "2019/a.jpg", source / "2020/new name.jpg")
        assert in_view(out) == ["c.jpg", "2019/a.jpg", "2019/b.jpg"], "no run has found the new name"
        await restore(service, source, out)
        assert in_view(out) == ["c.jpg", "2019/b.jpg", "2020/new name.jpg"]
        assert make_album(out, album).removed == 1
        assert {path.name for path in album.rglob("*.jpg")} == {"b.jpg", "c.jpg", "new name.jpg"}
        assert len(tree(out)) == 4 * len(IMPROVED), "outputs are removed by nobody"
        rename(source / "2020/new name.jpg", source / "2019/a.jpg")
        await restore(service, source, out)
        assert in_view(out) == ["c.jpg", "2019/a.jpg", "2019/b.jpg"]
        assert make_album(out, album).removed == 1
        assert {path.name for path in album.rglob("*.jpg")} == {"a.jpg", "b.jpg", "c.jpg"}
        assert len(sent(service)) == 3


async def test_a_picture_of_a_renamed_photo_that_the_user_has_brought_back_stays(
    source: Path, out: Path, tmp_path: Path
) -> None:
    fill(source, "a.jpg", "c.jpg")
    album = tmp_path / "album"
    async with FakeService() as service:
        await restore(service, source, out)
        make_album(out, album)
        rename(album / "a.jpg", tmp_path / "kept.jpg")
        rename(source / "a.jpg", source / "b.jpg")
        await restore(service, source, out)
    assert make_album(out, album).removed == 0
    shutil.copy2(tmp_path / "kept.jpg", album / "a.jpg")
    assert make_album(out, album).removed == 0
    assert {path.name for path in album.glob("*.jpg")} == {"a.jpg", "b.jpg", "c.jpg"}


async def test_copies_are_shown_each_also_while_a_disk_is_not_connected(
    source: Path, out: Path, tmp_path: Path
) -> None:
    fill(source, "a.jpg")
    backup = tmp_path / "backup"
    shutil.copytree(source, backup)
    os.link(source / "a.jpg", source / "linked.jpg")
    async with FakeService() as service:
        await restore(service, [source, backup], out)
    assert in_view(out) == ["a.jpg", "a.jpg", "linked.jpg"]
    backup.rename(tmp_path / "disk")
    assert in_view(out) == ["a.jpg", "a.jpg", "linked.jpg"]
    backup.mkdir()
    assert in_view(out) == ["a.jpg", "a.jpg", "linked.jpg"]


@pytest.mark.parametrize("lost", ["output", "kind"])
async def test_a_former_name_is_shown_where_the_new_one_has_not_all_its_results(
    source: Path, out: Path, lost: str, tmp_path: Path
) -> None:
    fill(source, "a.jpg", "b.jpg")
    album = tmp_path / "album"
    async with FakeService() as service:
        await restore(service, source, out)
        make_album(out, album)
        rename(source / "a.jpg", source / "c.jpg")
        await restore(service, source, out, outputs=("improved",) if lost == "kind" else ())
    if lost == "output":
        (out / "improved/c.jpg").unlink()
    assert in_view(out) == ["a.jpg", "b.jpg", "c.jpg"]
    assert make_album(out, album).removed == 0
    assert (album / "a.jpg").is_file()
