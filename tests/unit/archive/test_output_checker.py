from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import cast

import pytest

from smarty_async.archive.entries import PhotoEntry, StoredAnswer, StoredOutput
from smarty_async.archive.object_store import Bucket, StoredObject
from smarty_async.archive.outputs import checker
from smarty_async.archive.outputs.checker import FolderChecker, KeyPages
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.results import Kind

MANY = 40


def entry(place: str, *kinds: Kind) -> PhotoEntry:
    known = StoredAnswer("improve", "committed", {kind: StoredOutput("7", 5) for kind in kinds}, None)
    return PhotoEntry(PhotoFile("/photos", place, f"/photos/{place}", 9, "7"), 1, place, {"improve": known})


def create(out: Path, *places: str) -> None:
    for place in places:
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).touch()


def missing(entries: list[PhotoEntry]) -> list[str]:
    return [one.place for one in entries if one.misses_outputs(())]


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Listing:
    """A bucket with some outputs of one kind, in pages of a few."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys

    def pages(self, *, under: str, after: str) -> Iterator[list[StoredObject]]:
        """Its objects, as `Bucket.pages` gives them."""
        keys = [key for key in self.keys if key.startswith(under) and key > after]
        for start in range(0, len(keys), 5):
            yield [StoredObject(key, 5, "etag") for key in keys[start : start + 5]]


@pytest.mark.usefixtures("eager_threads")
def test_many_threads_check_outputs_in_a_bucket() -> None:
    places = [f"{number:04}.jpg" for number in range(1000)]
    key_pages = KeyPages(cast("Bucket", Listing([f"improved/{place}" for place in places])))
    shuffled = Random(1).sample(places, len(places))  # noqa: S311 - a choice of tests

    def check(place: str) -> list[str]:
        key_pages.add("improved", place)
        return missing(key_pages.checked([entry(place, "improved")]))

    with ThreadPoolExecutor(24) as threads:
        assert not any(threads.map(check, shuffled))


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were looked up."""
    seen: list[str] = []
    access = os.access

    def looking_up(path: str, mode: int) -> bool:
        seen.append(path)
        return access(path, mode)

    monkeypatch.setattr(os, "access", looking_up)
    return seen


def test_the_names_of_a_folder_are_read_once_after_many_lookups(tmp_path: Path, lookups: list[str]) -> None:
    places = [f"sub/{number}.jpg" for number in range(MANY)]
    create(tmp_path, *(f"{kind}/{place}" for kind in ("improved", "colorized") for place in places))
    output_checker = FolderChecker(tmp_path)
    for place in places:
        assert not missing(output_checker.checked([entry(place, "improved", "colorized")]))
    assert len(lookups) == 2 * checker._LOOKUPS


def test_absent_outputs_in_a_folder_whose_names_were_read_are_marked(tmp_path: Path) -> None:
    places = [f"sub/{number}.jpg" for number in range(MANY)]
    create(tmp_path, *(f"{kind}/{place}" for kind in ("improved", "colorized") for place in places))
    (tmp_path / "improved/sub/3.jpg").unlink()
    (tmp_path / "colorized/sub/30.jpg").unlink()
    entries = [entry(place, "improved", "colorized") for place in places]
    checked = FolderChecker(tmp_path).checked(entries)
    assert missing(checked) == ["sub/3.jpg", "sub/30.jpg"]
    assert [one.file for one in checked] == [one.file for one in entries]


def test_the_names_of_one_folder_do_not_count_for_another(tmp_path: Path) -> None:
    places = [f"{number}.jpg" for number in range(MANY)]
    create(tmp_path, *(f"improved/a/{place}" for place in places), "improved/b/1.jpg")
    entries = [entry(f"{folder}/{place}", "improved") for folder in "ab" for place in places]
    assert missing(FolderChecker(tmp_path).checked(entries)) == [f"b/{place}" for place in places if place != "1.jpg"]


def test_outputs_beyond_the_held_names_of_a_large_folder_are_looked_up(
    tmp_path: Path, lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "_MAX_NAMES", 5)
    places = [f"{number}.jpg" for number in range(MANY)]
    create(tmp_path, *(f"improved/{place}" for place in places))
    (tmp_path / "improved/39.jpg").unlink()
    assert missing(FolderChecker(tmp_path).checked([entry(place, "improved") for place in places])) == ["39.jpg"]
    assert len(lookups) >= MANY - 5


def test_outputs_in_a_folder_that_does_not_exist_are_missing(tmp_path: Path) -> None:
    entries = [entry(f"{number}.jpg", "improved") for number in range(MANY)]
    assert len(missing(FolderChecker(tmp_path).checked(entries))) == MANY


def test_answers_that_are_not_committed_are_not_looked_up(tmp_path: Path, lookups: list[str]) -> None:
    stale = StoredAnswer("improve", "stale", {"improved": StoredOutput("7", 5)}, None)
    one = PhotoEntry(PhotoFile("/photos", "a", "/photos/a", 9, "7"), 1, "a.jpg", {"improve": stale})
    assert FolderChecker(tmp_path).checked([one]) == [one]
    assert not lookups


def test_each_output_is_looked_for_once_where_one_is_gone(tmp_path: Path, lookups: list[str]) -> None:
    create(tmp_path, "improved/a.jpg", "colorized/b.jpg")
    entries = [entry(place, "improved", "colorized") for place in ("a.jpg", "b.jpg")]
    checked = FolderChecker(tmp_path).checked(entries)
    assert [one.answers["improve"].gone for one in checked] == [("colorized",), ("improved",)]
    assert len(lookups) == 4


def test_missing_outputs_are_found_folder_by_folder(tmp_path: Path) -> None:
    places = ["root.jpg", *(f"a/{number}.jpg" for number in range(40)), "a/b/deeper.jpg", "b/other.jpg"]
    gone = {"a/7.jpg", "b/other.jpg"}
    for place in places:
        output = tmp_path / "improved" / place
        output.parent.mkdir(parents=True, exist_ok=True)
        if place not in gone:
            output.touch()
    checker = FolderChecker(tmp_path)

    def gone_of(some: list[str], *kinds: Kind) -> set[str]:
        return checker.missing((place, kinds) for place in some)

    assert gone_of(places, "improved") == gone
    assert gone_of(places[1:41], "improved") == {"a/7.jpg"}
    assert gone_of(["a/8.jpg", "a/b/deeper.jpg"], "improved") == set()
    assert gone_of(places[:3], "colorized") == set(places[:3])
    assert gone_of(places[:3]) == gone_of([], "improved") == set()


def test_each_place_is_asked_for_its_own_kinds(tmp_path: Path) -> None:
    both: list[Kind] = ["improved", "colorized"]
    kinds = {f"a/{number}.jpg": both[: number % 2 + 1] for number in range(MANY)}
    create(tmp_path, *(f"{kind}/{place}" for place, some in kinds.items() for kind in some))
    checker = FolderChecker(tmp_path)
    assert checker.missing(kinds.items()) == set()
    (tmp_path / "colorized/a/3.jpg").unlink()
    (tmp_path / "improved/a/8.jpg").unlink()
    assert FolderChecker(tmp_path).missing(kinds.items()) == {"a/3.jpg", "a/8.jpg"}
    assert checker.missing((place, both) for place in kinds) == {place for place in kinds if len(kinds[place]) == 1}
