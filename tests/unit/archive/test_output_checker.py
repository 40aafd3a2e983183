from __future__ import annotations

import os
from pathlib import Path

import pytest

from smarty_async.archive.journal.records import PhotoEntry, StoredAnswer, StoredOutput
from smarty_async.archive.outputs import checker
from smarty_async.archive.outputs.checker import OutputChecker
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.results import Kind

MANY = 40


def entry(place: str, *kinds: Kind) -> PhotoEntry:
    known = StoredAnswer("improve", "committed", {kind: StoredOutput("7", 5) for kind in kinds}, None)
    return PhotoEntry(PhotoFile("/photos", place, f"/photos/{place}", 9, "7"), 1, place, {"improve": known})


def put(out: Path, *places: str) -> None:
    for place in places:
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).touch()


def lost(entries: list[PhotoEntry]) -> list[str]:
    return [one.place for one in entries if one.misses_outputs]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was looked for by name."""
    seen: list[str] = []
    access = os.access
    monkeypatch.setattr(checker.os, "access", lambda path, mode: (seen.append(path), access(path, mode))[1])
    return seen


def test_a_folder_that_is_asked_about_again_and_again_is_read_once(tmp_path: Path, looks: list[str]) -> None:
    places = [f"sub/{number}.jpg" for number in range(MANY)]
    put(tmp_path, *(f"{kind}/{place}" for kind in ("improved", "colorized") for place in places))
    standing = OutputChecker(tmp_path)
    for place in places:
        assert not lost(standing.checked([entry(place, "improved", "colorized")], redo=False))
    assert len(looks) == 2 * checker._LOOKS


def test_what_is_missing_in_a_folder_that_was_read_is_told(tmp_path: Path) -> None:
    places = [f"sub/{number}.jpg" for number in range(MANY)]
    put(tmp_path, *(f"{kind}/{place}" for kind in ("improved", "colorized") for place in places))
    (tmp_path / "improved/sub/3.jpg").unlink()
    (tmp_path / "colorized/sub/30.jpg").unlink()
    entries = [entry(place, "improved", "colorized") for place in places]
    checked = OutputChecker(tmp_path).checked(entries, redo=False)
    assert lost(checked) == ["sub/3.jpg", "sub/30.jpg"]
    assert [one.file for one in checked] == [one.file for one in entries]
    again = OutputChecker(tmp_path).checked(entries, redo=True)
    assert [one.place for one in again if not one.answers] == ["sub/3.jpg", "sub/30.jpg"]


def test_each_folder_has_names_of_its_own(tmp_path: Path) -> None:
    places = [f"{number}.jpg" for number in range(MANY)]
    put(tmp_path, *(f"improved/a/{place}" for place in places), "improved/b/1.jpg")
    entries = [entry(f"{folder}/{place}", "improved") for folder in "ab" for place in places]
    assert lost(OutputChecker(tmp_path).checked(entries, redo=False)) == [
        f"b/{place}" for place in places if place != "1.jpg"
    ]


def test_of_a_large_folder_few_names_are_kept_and_the_others_looked_for(
    tmp_path: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "_NAMES", 5)
    places = [f"{number}.jpg" for number in range(MANY)]
    put(tmp_path, *(f"improved/{place}" for place in places))
    (tmp_path / "improved/39.jpg").unlink()
    assert lost(OutputChecker(tmp_path).checked([entry(place, "improved") for place in places], redo=False)) == [
        "39.jpg"
    ]
    assert len(looks) >= MANY - 5


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    entries = [entry(f"{number}.jpg", "improved") for number in range(MANY)]
    assert len(lost(OutputChecker(tmp_path).checked(entries, redo=False))) == MANY


def test_what_was_never_placed_is_not_looked_for(tmp_path: Path, looks: list[str]) -> None:
    stale = StoredAnswer("improve", "stale", {"improved": StoredOutput("7", 5)}, None)
    one = PhotoEntry(PhotoFile("/photos", "a", "/photos/a", 9, "7"), 1, "a.jpg", {"improve": stale})
    assert OutputChecker(tmp_path).checked([one], redo=True) == [one]
    assert not looks
