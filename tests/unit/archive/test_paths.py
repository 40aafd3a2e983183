from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.permissions import without_privileges

from smarty_async.archive.paths import (
    GENERATED_NAMES,
    POSIX_RULES,
    WINDOWS_RULES,
    FileNameRules,
    display_path,
    distinct_place,
    folded_key,
    is_gone,
    output_place,
)
from smarty_async.errors import OptionsError
from smarty_async.results import KINDS
from smarty_async.store_address import local_path

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
def test_a_displayed_path_is_readable_and_valid_utf_8(path: str, expected: str) -> None:
    assert display_path(path) == expected
    display_path(path).encode()


def test_parts_are_displayed_with_slashes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sep", "\\")
    assert display_path("1943\\мама.jpg") == "1943/мама.jpg"


@given(st.binary().filter(lambda name: b"\0" not in name))
@needs_bytes_names
def test_any_name_can_be_displayed(name: bytes) -> None:
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
def test_outputs_have_the_path_of_their_photo(photo: str, place: str) -> None:
    assert output_place(photo, rules=POSIX_RULES) == place


@needs_bytes_names
@pytest.mark.parametrize("letter", ["x", "ж", "€", os.fsdecode(b"\xff")])
def test_long_names_are_cut_and_stay_different(letter: str) -> None:
    width = len(os.fsencode(letter))
    long = letter * ((POSIX_RULES.max_name - 5) // width)
    photos = [f"dir/{long}a.png", f"dir/{long}b.png"]
    places = [output_place(photo, rules=POSIX_RULES) for photo in photos]
    assert len(set(places)) == 2
    assert places == [output_place(photo, rules=POSIX_RULES) for photo in photos]
    for place in places:
        folder, name = place.split("/")
        assert folder == "dir"
        assert name.endswith(".jpg")
        assert POSIX_RULES.max_name - 4 <= len(os.fsencode(name)) <= POSIX_RULES.max_name


def test_a_name_of_just_255_bytes_stays() -> None:
    photo = "x" * 251 + ".jpg"
    assert output_place(photo, rules=POSIX_RULES) == photo
    assert output_place("x" * 251 + ".png", rules=POSIX_RULES) != "x" * 251 + ".png.jpg"


def test_windows_counts_utf_16_units() -> None:
    assert output_place("ж" * 200 + ".jpg", rules=WINDOWS_RULES) == "ж" * 200 + ".jpg"
    assert len(output_place("ж" * 300 + ".jpg", rules=WINDOWS_RULES)) == POSIX_RULES.max_name


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
def test_what_windows_does_not_take_is_escaped(photo: str, place: str) -> None:
    assert output_place(photo, rules=WINDOWS_RULES) == place


@given(st.lists(st.text('aA%3:?. "', min_size=1, max_size=6), min_size=2, max_size=2, unique=True))
def test_two_names_never_become_one_on_windows(names: list[str]) -> None:
    first, second = (output_place(f"{name}.jpg", rules=WINDOWS_RULES) for name in names)
    assert first != second


def test_every_name_that_a_run_creates_is_known() -> None:
    assert set(KINDS) == {"improved", "colorized_improved", "colorized", "resolved"}
    assert {*KINDS, ".smarty-async", "results.jsonl"} == GENERATED_NAMES


# other disks

LETTERS_ONLY = FileNameRules(raw_bytes=False, max_code_point=0x7F)


@pytest.mark.parametrize(
    ("rules", "photo", "place"),
    [
        (FileNameRules(raw_bytes=False), "caf\udce9.jpg", "caf%E9.jpg"),
        (FileNameRules(raw_bytes=False), "café.jpg", "café.jpg"),
        (FileNameRules(max_code_point=0xFFFF), "я\U0001f600.jpg", "я%F0%9F%98%80.jpg"),
        (LETTERS_ONLY, "яé.jpg", "%D1%8F%C3%A9.jpg"),
        (LETTERS_ONLY, "%41.jpg", "%2541.jpg"),
        (FileNameRules(forbidden=":"), "Scan 12:30.jpg", "Scan 12%3A30.jpg"),
        (FileNameRules(forbidden=":"), "why?.jpg", "why?.jpg"),
        (POSIX_RULES, "%41:.jpg", "%41:.jpg"),
    ],
)
def test_only_what_a_disk_does_not_take_is_escaped(rules: FileNameRules, photo: str, place: str) -> None:
    assert output_place(photo, rules=rules) == place


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_escapes_can_be_reversed(name: str) -> None:
    rules = FileNameRules(forbidden=WINDOWS_RULES.forbidden, windows_names=True, max_code_point=0x7F, max_name=10_000)
    assert unquote(output_place(f"{name}.jpg", rules=rules)) == f"{name}.jpg"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("IMG.jpg", "img.JPG"),
        ("Ä.jpg", "a\u0308.jpg"),
        ("ﬀ.jpg", "FF.jpg"),
        ("heart\ufe0f.jpg", "heart.jpg"),
        ("a\u00adb.jpg", "ab.jpg"),
    ],
)
def test_names_that_may_be_one_file_have_one_folded_key(one: str, other: str) -> None:
    assert folded_key(one) == folded_key(other)
    assert FileNameRules(case_sensitive=False).key(one) == FileNameRules(case_sensitive=False).key(other)
    assert POSIX_RULES.key(one) != POSIX_RULES.key(other)


def test_a_disk_that_only_composes_letters_keeps_case_apart() -> None:
    rules = FileNameRules(normalization_sensitive=False)
    assert rules.key("é.jpg") == rules.key("e\u0301.jpg")
    assert rules.key("É.jpg") != rules.key("é.jpg")


def test_further_pages_have_their_number_in_the_name() -> None:
    assert output_place("b/scan.tif") == "b/scan.tif.jpg"
    assert output_place("b/scan.tif", page=12) == "b/scan.tif.page-12.jpg"
    assert len(output_place("x" * 250 + ".tif", page=3)) <= POSIX_RULES.max_name


def test_a_distinct_place_is_the_same_in_every_run_and_fits_the_disk() -> None:
    place = distinct_place("b/" + "ж" * 125 + ".jpg", identity="/photos\0a.jpg", rules=POSIX_RULES)
    assert place == distinct_place("b/" + "ж" * 125 + ".jpg", identity="/photos\0a.jpg", rules=POSIX_RULES)
    assert place != distinct_place("b/" + "ж" * 125 + ".jpg", identity="/photos\0A.jpg", rules=POSIX_RULES)
    assert place.startswith("b/ж")
    assert place.endswith(".jpg")
    assert POSIX_RULES.length(place.removeprefix("b/")) <= POSIX_RULES.max_name


# URLs


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gopher://host/x", r"gopher:// is not supported, but 'gopher://host/x' was given"),
        (Path("gopher://host/x"), r"'gopher://host/x' was given"),
        ("abfs://host/x", r"--out takes a path, file:// or s3://, gs://, az://"),
        (Path("ftp://host/x"), r"'ftp://host/x' was given"),
        ("file://host/share", r"names another machine"),
        (Path("s3://bucket/scans"), r"give the URL as text"),
        (Path("S3://bucket/scans"), r"give the URL as text"),
    ],
)
def test_a_url_is_no_path(path: str | Path, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        local_path(path, option="--out")


@pytest.mark.parametrize(
    "path", ["restored", "/a/b", "C:\\photos", "c:/photos", "a://b"[1:], "weird:name/x", Path("x:/y")]
)
def test_a_path_is_a_path(path: str | Path) -> None:
    assert local_path(path, option="--out") == os.fspath(path)


def test_a_folder_that_is_spelled_like_a_url_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weird:").mkdir()
    assert local_path(Path("weird:/x"), option="--out") == "weird:/x"


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(OptionsError, match="'sftp://…@host/x' was given"):
        local_path("sftp://me:sec/ret@host/x", option="--out")


def test_a_file_url_is_a_path() -> None:
    assert Path(local_path("file:///home/me/a%20b", option="--out")) == Path("/home/me/a b")
    assert Path(local_path("file://localhost/home", option="--out")) == Path("/home")


def test_what_cannot_be_looked_at_is_not_said_to_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "photos/a.jpg"
    assert is_gone(str(path))
    path.parent.mkdir()
    path.touch()
    assert is_gone(str(path / "below.jpg"))
    path.parent.chmod(0)
    try:
        with without_privileges():
            assert not is_gone(str(path))
    finally:
        path.parent.chmod(0o700)
    assert not is_gone(str(path))
    path.unlink()
    assert is_gone(str(path))
