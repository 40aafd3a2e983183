"""Every page of a multi-page TIFF is a photo of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.archives import client, fill, restore, sent, tree
from support.fake_service import FakeService
from support.pictures import jpeg, opened, scene

from smarty_async import plan_archive
from smarty_async.results import Result


def write_pages(path: Path, *, pages: int, first: int = 0) -> None:
    """A TIFF with so many pages, no two alike, of the scenes from `first` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture, *others = [scene(40, 30, seed=page) for page in range(first, first + pages)]
    picture.save(path, "TIFF", save_all=True, append_images=others)


def by_page(results: list[Result]) -> dict[int, Result]:
    return {result.page: result for result in results}


async def test_every_page_is_restored_under_its_own_name(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    write_pages(source / "album" / "scan.tif", pages=3)
    async with FakeService() as service:
        results = by_page(await restore(service, source, out))
        pixels = {opened(image).convert("RGB").tobytes() for image in sent(service)}
    assert {page: result.outcome for page, result in results.items()} == dict.fromkeys((1, 2, 3), "restored")
    assert {result.photo for result in results.values()} == {"album/scan.tif"}
    assert results[1].outputs["improved"] == "improved/album/scan.tif.jpg"
    assert results[3].outputs["improved"] == "improved/album/scan.tif.page-3.jpg"
    assert pixels == {scene(40, 30, seed=page).convert("RGB").tobytes() for page in range(3)}


async def test_a_second_run_skips_every_page(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    write_pages(source / "scan.tif", pages=3)
    async with FakeService() as service:
        await restore(service, source, out)
        again = by_page(await restore(service, source, out))
        assert len(sent(service)) == 3
    assert {page: result.outcome for page, result in again.items()} == dict.fromkeys((1, 2, 3), "skipped")


async def test_pages_that_a_limit_left_are_done_by_the_next_run(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    write_pages(source / "scan.tif", pages=4)
    async with FakeService() as service:
        assert len(await restore(service, source, out, max_photos=2)) == 2
        results = by_page(await restore(service, source, out))
        assert len(sent(service)) == 4
    assert set(results) == {1, 2, 3, 4}


async def test_pages_are_found_when_the_journal_is_lost(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    write_pages(source / "scan.tif", pages=4)
    async with FakeService() as service:
        await restore(service, source, out, max_photos=2)
        shutil.rmtree(out / ".smarty-async")
        results = by_page(await restore(service, source, out))
        assert len(sent(service)) == 4
    outcomes = {page: result.outcome for page, result in results.items()}
    assert outcomes == {1: "skipped", 2: "skipped", 3: "restored", 4: "restored"}


async def test_the_pages_of_a_moved_file_are_done_at_once(tmp_path: Path) -> None:
    source, moved, out = tmp_path / "photos", tmp_path / "moved", tmp_path / "out"
    write_pages(source / "scan.tif", pages=4)
    async with FakeService() as service:
        await restore(service, source, out, max_photos=2)
        source.rename(moved)
        results = by_page(await restore(service, moved, out))
        assert len(sent(service)) == 4
    outcomes = {page: result.outcome for page, result in results.items()}
    assert outcomes == {1: "skipped", 2: "skipped", 3: "restored", 4: "restored"}


@pytest.mark.parametrize("how", ["copied before", "copied after", "copied after an interrupted run", "renamed"])
async def test_all_pages_of_a_copy_or_a_renamed_file_are_adopted(tmp_path: Path, how: str) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    write_pages(source / "a.tif", pages=3)
    if how == "copied before":
        shutil.copyfile(source / "a.tif", source / "b.tif")
    async with FakeService() as service:
        await restore(service, source, out, max_photos=2 if "interrupted" in how else None)
        if how == "renamed":
            (source / "a.tif").rename(source / "b.tif")
        elif how != "copied before":
            shutil.copyfile(source / "a.tif", source / "b.tif")
        plan = await plan_archive(source, out=out)
        results = await restore(service, source, out)
        again = await restore(service, source, out)
        assert len(sent(service)) == 3
    names = ["b.tif"] if how == "renamed" else ["a.tif", "b.tif"]
    assert sorted((result.photo, result.page) for result in results) == [
        (name, page) for name in names for page in (1, 2, 3)
    ]
    assert {result.outcome for result in again} == {"skipped"}
    assert len(again) == len(results)
    outputs = {f"improved/{name}.{end}jpg" for name in ("a.tif", "b.tif") for end in ("", "page-2.", "page-3.")}
    assert {path for path in tree(out) if path.startswith("improved/")} == outputs
    assert plan.photos + plan.duplicates == len([result for result in results if result.outcome != "skipped"])


async def test_a_plan_counts_pages(tmp_path: Path) -> None:
    write_pages(tmp_path / "photos" / "scan.tif", pages=3)
    fill(tmp_path / "photos", "a.jpg")
    assert (await plan_archive(tmp_path / "photos", out=tmp_path / "out")).photos == 4


async def test_pages_of_files_that_have_exchanged_their_names_are_planned_as_they_are_sent(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    for number in range(3):
        write_pages(source / f"{number}.tif", pages=2, first=2 * number)
    assert len({path.stat().st_size for path in source.iterdir()}) == 1
    async with FakeService() as service:
        await restore(service, source, out)
        (source / "0.tif").rename(tmp_path / "last.tif")
        (source / "1.tif").rename(source / "0.tif")
        (source / "2.tif").rename(source / "1.tif")
        (tmp_path / "last.tif").rename(source / "2.tif")
        plan = await plan_archive(source, out=out)
        service.requests.clear()
        await restore(service, source, out)
        assert (plan.photos, plan.duplicates) == (len(sent(service)), 0) == (6, 0)


async def test_in_memory_the_first_page_is_restored(tmp_path: Path) -> None:
    write_pages(tmp_path / "scan.tif", pages=2)
    async with FakeService() as service, client(service) as open_client:
        await open_client.improve(tmp_path / "scan.tif")
        [image] = sent(service)
    assert opened(image).convert("RGB").tobytes() == scene(40, 30, seed=0).convert("RGB").tobytes()


async def test_a_name_that_a_page_would_take_is_another_photos(tmp_path: Path) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    write_pages(source / "scan.tif", pages=2)
    (source / "scan.tif.page-2.jpg").write_bytes(jpeg(seed=9))
    async with FakeService() as service:
        results = await restore(service, source, out)
    outputs = [result.outputs["improved"] for result in results if result.outputs]
    assert len(set(outputs)) == len(outputs)
    assert {path for path in tree(out) if path.startswith("improved/")} == set(outputs)
