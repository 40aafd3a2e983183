from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarty_async.archive.paths import KINDS, LONGEST_NAME, PRODUCE, display_path, output_place

ODD = os.fsdecode(b"caf\xe9.jpg")

needs_bytes_names = pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX only")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("1943/мама.jpg", "1943/мама.jpg"),
        ("two words\nand a line.jpg", "two words\nand a line.jpg"),
        pytest.param(ODD, r"caf\xe9.jpg", marks=needs_bytes_names),
        ("lone \ud800.jpg", r"lone \ud800.jpg"),
        ("", ""),
    ],
)
def test_shown_is_readable_and_valid_utf_8(path: str, expected: str) -> None:
    assert display_path(path) == expected
    display_path(path).encode()


def test_parts_are_shown_with_slashes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sep", "\\")
    assert display_path("1943\\мама.jpg") == "1943/мама.jpg"


@given(st.binary().filter(lambda name: b"\0" not in name))
@needs_bytes_names
def test_any_name_can_be_shown(name: bytes) -> None:
    display_path(os.fsdecode(name)).encode()


@pytest.mark.parametrize(
    ("photo", "place"),
    [
        ("a.jpg", "a.jpg"),
        ("a.JPEG", "a.JPEG"),
        ("a.png", "a.png.jpg"),
        ("a", "a.jpg"),
        ("b.jpg/c.tiff", "b.jpg/c.tiff.jpg"),
        (".jpg", ".jpg"),
        (ODD, ODD),
    ],
)
def test_outputs_lie_where_the_photo_lay(photo: str, place: str) -> None:
    assert output_place(photo, windows=False) == place


@needs_bytes_names
@pytest.mark.parametrize("letter", ["x", "ж", "€", os.fsdecode(b"\xff")])
def test_long_names_are_cut_and_stay_apart(letter: str) -> None:
    width = len(os.fsencode(letter))
    long = letter * ((LONGEST_NAME - 5) // width)
    photos = [f"dir/{long}a.png", f"dir/{long}b.png"]
    places = [output_place(photo, windows=False) for photo in photos]
    assert len(set(places)) == 2
    assert places == [output_place(photo, windows=False) for photo in photos]
    for place in places:
        folder, name = place.split("/")
        assert folder == "dir"
        assert name.endswith(".jpg")
        assert LONGEST_NAME - 4 <= len(os.fsencode(name)) <= LONGEST_NAME


def test_a_name_of_just_255_bytes_stays() -> None:
    photo = "x" * 251 + ".jpg"
    assert output_place(photo, windows=False) == photo
    assert output_place("x" * 251 + ".png", windows=False) != "x" * 251 + ".png.jpg"


def test_windows_counts_characters() -> None:
    assert output_place("ж" * 200 + ".jpg", windows=True) == "ж" * 200 + ".jpg"
    assert len(output_place("ж" * 300 + ".jpg", windows=True)) == LONGEST_NAME


@pytest.mark.parametrize(
    ("photo", "place"),
    [
        ("a:b?.png", "a%3Ab%3F.png.jpg"),
        ("tab\there.jpg", "tab%09here.jpg"),
        ("CON.jpg", "%43ON.jpg"),
        ("nul", "%6Eul.jpg"),
        ("aux/com1.tar.jpg", "%61ux/%63om1.tar.jpg"),
        ("lpt¹ .jpg", "%6Cpt¹ .jpg"),
        ("console.jpg", "console.jpg"),
        ("dir. /a..jpg", "dir.%20/a..jpg"),
        ("ends./a", "ends%2E/a.jpg"),
        ("../a.jpg", ".%2E/a.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("a%3Ab.jpg", "a%253Ab.jpg"),
    ],
)
def test_windows_gets_names_it_can_hold(photo: str, place: str) -> None:
    assert output_place(photo, windows=True) == place


@given(st.lists(st.text('aA%3:?. "', min_size=1, max_size=6), min_size=2, max_size=2, unique=True))
def test_two_names_never_become_one_on_windows(names: list[str]) -> None:
    first, second = (output_place(f"{name}.jpg", windows=True) for name in names)
    assert first != second


def test_what_runs_make_is_known() -> None:
    assert set(KINDS) == {"improved", "colorized_improved", "colorized", "resolved"}
    assert {*KINDS, ".smarty-async", "results.jsonl"} == PRODUCE
