"""The journal read by folder and page by page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.journals import Entry, add_entries, make_output_folder

from smarty_async.archive.journal.catalog import Catalog, Photo, State
from smarty_async.errors import ConfigurationError

ENTRIES = [
    Entry(name="b.jpg", outputs={"improved": b"1", "resolved": b"22"}, bw=False),
    Entry(name="a.png", outputs={"colorized_improved": b"1", "improved": b"2"}, bw=True),
    Entry(name="m/x.jpg", outcome="already_good"),
    Entry(name="m/deep/y.jpg", outcome="failed", error=("permanent", "the service said no")),
    Entry(name="m-other/z.jpg", outcome=None),
    Entry(name="m/z.jpg", outcome="rejected", error=("not_an_image", "it is no image")),
]


def all_photos(
    catalog: Catalog, *, limit: int = 2, folder: int | None = None, state: State | None = None
) -> list[Photo]:
    """Every photo, read in pages of `limit`."""
    found: list[Photo] = []
    while page := catalog.page(after=found[-1].id if found else None, folder=folder, state=state, limit=limit):
        assert len(page) <= limit
        found += page
        assert len({photo.id for photo in found}) == len(found)
    return found


def names(photos: list[Photo]) -> list[str]:
    return [photo.name for photo in photos]


@pytest.fixture
def catalog(out: Path, source: Path) -> Catalog:
    return Catalog(make_output_folder(out, source, ENTRIES))


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_go_folder_by_folder_and_by_name(catalog: Catalog, limit: int) -> None:
    with catalog:
        found = names(all_photos(catalog, limit=limit))
    assert found == ["a.png", "b.jpg", "m-other/z.jpg", "m/x.jpg", "m/z.jpg", "m/deep/y.jpg"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("last", [[], ["scan.tifx"]])
def test_pages_of_a_file_go_by_number_and_each_is_there_once(
    out: Path, source: Path, limit: int, last: list[str]
) -> None:
    pages = [
        Entry(name="m/scan.tif", page=page, outcome="failed" if page == 1 else "restored") for page in range(1, 13)
    ]
    others = [Entry(name=f"m/{name}") for name in ("a.jpg", "scan.tif\1", *last)]
    with Catalog(make_output_folder(out, source, [*others, *pages[::-1], Entry(name="z/last.tif", page=2)])) as catalog:
        found = [(photo.photo, photo.page) for photo in all_photos(catalog, limit=limit)]
        finished = [photo.page for photo in all_photos(catalog, limit=limit, state="restored") if "tif" in photo.photo]
    of_scan = [("m/scan.tif", page) for page in range(1, 13)]
    rest = [(f"m/{name}", 1) for name in ("scan.tif\1", *last)]
    assert found == [("m/a.jpg", 1), *of_scan, *rest, ("z/last.tif", 2)]
    assert finished == [*range(2, 13), *[1] * len(rest), 2]


def test_a_photo_says_what_the_journal_knows(catalog: Catalog, out: Path, source: Path) -> None:
    with catalog:
        a, b, _, _, z, _ = all_photos(catalog)
    assert (b.path, b.state, b.bw, b.error) == (source / "b.jpg", "restored", False, None)
    assert b.outputs == {"improved": "improved/b.jpg", "resolved": "resolved/b.jpg"}
    assert list(a.outputs) == ["improved", "colorized_improved"]
    assert all((out / path).is_file() for path in a.outputs.values())
    assert z.error
    assert (z.error.type, z.error.message) == ("not_an_image", "it is no image")


def test_counts_by_folder_and_state(catalog: Catalog) -> None:
    with catalog:
        folders = {folder.path: folder.counts for folder in catalog.folders()}
        assert folders == {
            "": {"restored": 2},
            "m-other": {"unfinished": 1},
            "m": {"already_good": 1, "rejected": 1},
            "m/deep": {"failed": 1},
        }
        assert catalog.counts() == {"restored": 2, "already_good": 1, "failed": 1, "rejected": 1, "unfinished": 1}


def test_one_folder_without_those_below_it(catalog: Catalog) -> None:
    with catalog:
        by_path = {folder.path: folder for folder in catalog.folders()}
        assert names(all_photos(catalog, limit=1, folder=by_path["m"].id)) == ["m/x.jpg", "m/z.jpg"]
        assert names(all_photos(catalog, limit=1, folder=by_path[""].id)) == ["a.png", "b.jpg"]


@pytest.mark.parametrize(
    ("state", "found"), [("failed", ["m/deep/y.jpg"]), ("unfinished", ["m-other/z.jpg"]), ("duplicate", [])]
)
def test_one_state(catalog: Catalog, state: State, found: list[str]) -> None:
    with catalog:
        assert names(all_photos(catalog, limit=1, state=state)) == found


def test_what_is_not_known_gives_nothing(catalog: Catalog) -> None:
    with catalog:
        assert catalog.page(after=999) == []
        assert catalog.page(folder=999) == []
        assert catalog.photo(999) is None


def test_what_a_run_adds_is_seen_and_folders_keep_their_ids(catalog: Catalog, out: Path, source: Path) -> None:
    with catalog:
        before = {folder.path: folder.id for folder in catalog.folders()}
        assert catalog.folders() is catalog.folders()  # read once
        add_entries(out, source, [Entry(name="a-first/new.jpg"), Entry(name="m/new.jpg")])
        after = {folder.path: folder.id for folder in catalog.folders()}
        assert after.items() > before.items()
        assert catalog.counts()["restored"] == 4


@pytest.mark.slow
def test_every_photo_once(out: Path, source: Path) -> None:
    many = [Entry(name=f"f{number % 7}/{number}.jpg", outputs={"improved": b""}) for number in range(1203)]
    with Catalog(make_output_folder(out, source, many)) as catalog:
        photos = list(catalog.photos())
        assert len({photo.photo for photo in photos}) == 1203
        assert all(photo.outputs for photo in photos)
        assert len(all_photos(catalog, limit=100)) == 1203
        assert catalog.sources() == [str(source)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_names_that_are_no_text(out: Path, source: Path) -> None:
    with Catalog(make_output_folder(out, source, [Entry(name=os.fsdecode(b"d\xff/\xfe.jpg"))])) as catalog:
        [photo] = all_photos(catalog)
        assert photo.name == r"d\xff/\xfe.jpg"
        assert os.fsencode(photo.path).endswith(b"d\xff/\xfe.jpg")
        assert catalog.folders()[0].name == r"d\xff"
        assert catalog.folder_of(photo) == catalog.folders()[0].id


def test_a_folder_without_a_journal_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no journal in .*--out"):
        Catalog(tmp_path)
