"""The album: one picture a photo, nothing of anybody else's touched."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

import msgspec
import pytest
from filelock import FileLock
from support.damaged_json import DAMAGED
from support.journals import Entry, add_entries, make_output_folder
from support.permissions import without_privileges
from support.scanning import scan

from smarty_async.archive.album import AlbumResult, Names, candidates, make_album
from smarty_async.archive.album import Entry as AlbumEntry
from smarty_async.archive.picture_copy import Origin, PictureProblem, copy_picture
from smarty_async.errors import ConfigurationError, DiskError, OptionsError

LONG_AGO = 536_500_800_000_000_000  # 1987
OWN = ".smarty-async-album"


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return tmp_path / "album"


def pictures_in(folder: Path) -> dict[str, bytes]:
    """{relative path: content} of everything but the notes of programs."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and OWN not in path.parts and "journal" not in path.name
    }


def counts(result: AlbumResult) -> tuple[int, int, int, int]:
    return result.outputs, result.originals, result.copied, result.unchanged


def restored(name: str, content: bytes = b"improved", **outputs: bytes) -> Entry:
    return Entry(name=name, outputs=outputs or {"improved": content}, original=b"original")


def test_the_best_output_else_the_original(out: Path, source: Path, album: Path) -> None:
    entries = [
        restored("gray.jpg", improved=b"1", colorized_improved=b"2", resolved=b"3"),
        restored("a/colour.jpg", improved=b"4", resolved=b"5"),
        restored("a/large.jpg", resolved=b"6"),
        restored("only-colour.jpg", colorized=b"7"),
        Entry(name="good.jpg", outcome="already_good", original=b"8"),
        Entry(name="bad.png", outcome="failed", original=b"9", error=("permanent", "no")),
        Entry(name="open.tif", outcome=None, original=b"10"),
        Entry(name="same.jpg", outcome="duplicate", outputs={"improved": b"11"}, original=b"x"),
    ]
    result = make_album(make_output_folder(out, source, entries), album)
    assert pictures_in(album) == {
        "gray.jpg": b"2",
        "a/colour.jpg": b"4",
        "a/large.jpg": b"6",
        "only-colour.jpg": b"original",
        "good.jpg": b"8",
        "bad.png": b"9",
        "open.tif": b"10",
        "same.jpg": b"11",
    }
    assert (counts(result), result.problems) == ((4, 4, 8, 0), [])


def test_it_says_how_far_it_has_come(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [restored("a.jpg"), restored("b.jpg"), restored("c.jpg")])
    shown: list[tuple[int, int, int]] = []
    make_album(out, album, show=lambda done, total: shown.append((done, total, len(pictures_in(album)))))
    assert shown == [(1, 3, 1), (2, 3, 2), (3, 3, 3)]


def test_another_order(out: Path, source: Path, album: Path) -> None:
    entries = [restored("a.jpg", improved=b"1", resolved=b"2"), restored("b.jpg", improved=b"3")]
    make_album(make_output_folder(out, source, entries), album, prefer=["resolved"])
    assert pictures_in(album) == {"a.jpg": b"2", "b.jpg": b"original"}
    with pytest.raises(OptionsError, match=r"'better'.*improved"):
        make_album(out, album, prefer=["better"])


@pytest.mark.parametrize("modified", [LONG_AGO, 0])
def test_pictures_have_the_time_of_their_photos(modified: int, out: Path, source: Path, album: Path) -> None:
    source.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (source / name).write_bytes(b"original")
        os.utime(source / name, ns=(modified, modified))
    entries = [Entry(name="a.jpg", outputs={"improved": b"1"}), Entry(name="b.jpg", outcome="already_good")]
    make_album(make_output_folder(out, source, entries), album)
    assert [(album / name).stat().st_mtime_ns for name in ("a.jpg", "b.jpg")] == [modified, modified]


def test_originals_are_copied_not_linked(out: Path, source: Path, album: Path) -> None:
    make_album(make_output_folder(out, source, [Entry(name="a.jpg", outcome="failed", original=b"1")]), album)
    assert not (album / "a.jpg").samefile(source / "a.jpg")
    assert (source / "a.jpg").stat().st_nlink == 1


def test_a_second_call_copies_what_has_changed(out: Path, source: Path, album: Path) -> None:
    entries = [restored("a.jpg"), restored("b.jpg"), Entry(name="c.png", outcome="failed", original=b"c")]
    make_album(make_output_folder(out, source, entries), album)
    inodes = {path: path.stat().st_ino for path in album.rglob("*.jpg")}
    assert counts(make_album(out, album)) == (2, 1, 0, 3)
    assert {path: path.stat().st_ino for path in album.rglob("*.jpg")} == inodes

    add_entries(out, source, [restored("b.jpg", b"better"), restored("c.png", b"restored now")])
    result = make_album(out, album)
    assert (counts(result), result.removed) == ((3, 0, 2, 1), 1)
    assert pictures_in(album) == {"a.jpg": b"improved", "b.jpg": b"better", "c.jpg": b"restored now"}


def page(number: int, content: bytes | None = None, name: str = "scan.tif") -> Entry:
    """A page of a file, without an output when there is no content."""
    outputs = {"improved": content} if content else {}
    return Entry(name=name, page=number, outcome="restored" if content else "already_good", outputs=outputs)


def test_pages_of_a_file_are_kept_apart(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [page(1, b"1"), page(2, b"2"), page(10, b"10"), page(2, b"odd", name="a.b")])
    make_album(out, album)
    pictures = {"scan.jpg": b"1", "scan.page-2.jpg": b"2", "scan.page-10.jpg": b"10", "a.b.page-2.jpg": b"odd"}
    assert pictures_in(album) == pictures
    assert counts(make_album(out, album)) == (4, 0, 0, 4)
    add_entries(out, source, [page(2, b"better")])
    assert counts(make_album(out, album)) == (4, 0, 1, 3)
    assert pictures_in(album) == pictures | {"scan.page-2.jpg": b"better"}


def test_pages_without_outputs_have_one_copy_of_their_file_in_common(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [Entry(name="scan.tif", outcome="already_good", original=b"all pages")])
    add_entries(out, source, [page(2), page(3)])
    for copied in (1, 0):
        assert counts(make_album(out, album)) == (0, 1, copied, 1 - copied)
        assert pictures_in(album) == {"scan.tif": b"all pages"}
    add_entries(out, source, [page(1, b"1")])
    for copied in (1, 0):
        result = make_album(out, album)
        assert (counts(result), result.removed) == ((1, 1, copied, 2 - copied), 0)
        assert pictures_in(album) == {"scan.tif": b"all pages", "scan.jpg": b"1"}
    result = make_album(out, album, prefer=["resolved"])
    assert (counts(result), result.removed) == ((0, 1, 0, 1), 1)
    assert pictures_in(album) == {"scan.tif": b"all pages"}
    add_entries(out, source, [page(2, b"2"), page(3, b"3")])
    result = make_album(out, album)
    assert (counts(result), result.removed) == ((3, 0, 3, 0), 1)
    assert pictures_in(album) == {"scan.jpg": b"1", "scan.page-2.jpg": b"2", "scan.page-3.jpg": b"3"}


def test_a_manifest_without_pages_is_read(out: Path, source: Path, album: Path) -> None:
    make_album(make_output_folder(out, source, [restored("a.jpg")]), album)
    manifest = album / OWN / "manifest.jsonl"
    former = manifest.read_bytes().replace(b',"page":1', b"")
    assert former != manifest.read_bytes()
    manifest.write_bytes(former)
    (album / "a.jpg").write_bytes(b"cropped by hand")
    assert counts(make_album(out, album)) == (1, 0, 0, 1)


@pytest.mark.parametrize(
    "target", ["../elsewhere/a.jpg", "b/../../elsewhere/a.jpg", "{root}/elsewhere/a.jpg", ".", "{root}"]
)
def test_a_manifest_names_no_file_outside(target: str, out: Path, source: Path, tmp_path: Path, album: Path) -> None:
    make_album(make_output_folder(out, source, [restored("a.jpg")]), album)
    manifest = album / OWN / "manifest.jsonl"
    [entry] = msgspec.json.Decoder(AlbumEntry).decode_lines(manifest.read_bytes())
    outside = msgspec.structs.replace(entry, target=os.fsencode(target.format(root=tmp_path)))
    manifest.write_bytes(msgspec.json.encode(outside))
    (album / "a.jpg").unlink()
    assert counts(make_album(out, album)) == (1, 0, 1, 0)
    assert pictures_in(album) == {"a.jpg": b"improved"}
    assert {path.name for path in tmp_path.iterdir()} == {"album", "out", "photos"}


@pytest.mark.skipif(os.name != "nt", reason="backslashes and drives are Windows' own")
@pytest.mark.parametrize("target", ["..\\a.jpg", "C:a.jpg", "C:\\a.jpg", "\\a.jpg", "\\\\server\\share\\a.jpg"])
def test_nor_does_it_on_windows(target: str, tmp_path: Path, out: Path, source: Path, album: Path) -> None:
    test_a_manifest_names_no_file_outside(target, out, source, tmp_path, album)


def test_a_picture_that_is_missing_comes_back(out: Path, source: Path, album: Path) -> None:
    make_album(make_output_folder(out, source, [restored("a.jpg")]), album)
    (album / "a.jpg").unlink()
    assert counts(make_album(out, album)) == (1, 0, 1, 0)
    assert pictures_in(album) == {"a.jpg": b"improved"}


def test_files_of_the_user_stay(out: Path, source: Path, album: Path) -> None:
    album.mkdir()
    (album / "a.jpg").write_bytes(b"mine")
    (album / "notes.txt").write_bytes(b"mine, too")
    make_output_folder(out, source, [restored("a.jpg")])
    make_album(out, album)
    assert pictures_in(album) == {"a.jpg": b"mine", "notes.txt": b"mine, too", "a (2).jpg": b"improved"}
    assert counts(make_album(out, album)) == (1, 0, 0, 1)


def test_a_picture_that_the_user_has_edited_stays(out: Path, source: Path, album: Path) -> None:
    make_album(make_output_folder(out, source, [restored("a.jpg")]), album)
    (album / "a.jpg").write_bytes(b"cropped by hand")
    assert counts(make_album(out, album)) == (1, 0, 0, 1)
    add_entries(out, source, [restored("a.jpg", b"a newer one")])
    make_album(out, album)
    assert pictures_in(album) == {"a.jpg": b"cropped by hand", "a (2).jpg": b"a newer one"}


@pytest.mark.parametrize("manifest", DAMAGED, ids=len)
def test_an_interrupted_call_is_taken_up(out: Path, source: Path, album: Path, manifest: bytes) -> None:
    """Without a manifest, pictures that look like the copies are taken for them."""
    make_album(make_output_folder(out, source, [restored("a.jpg"), restored("b.png")]), album)
    (album / OWN / "manifest.jsonl").write_bytes(manifest)
    (album / OWN / "picture.part").write_bytes(b"half")
    make_album(out, album)
    assert pictures_in(album) == {"a.jpg": b"improved", "b.jpg": b"improved"}
    assert not list(album.rglob("*.part"))


def test_two_photos_never_share_a_picture(out: Path, source: Path, tmp_path: Path, album: Path) -> None:
    other = tmp_path / "other"
    entries = [restored("a.png", b"1"), restored("a.jpg", b"2"), restored("a.tif", b"3"), restored("A.JPG", b"4")]
    make_output_folder(out, source, entries)
    add_entries(out, other, [Entry(name="a.jpg", place="other/a.jpg", outcome="failed", original=b"5")])
    result = make_album(out, album)
    found = pictures_in(album)
    assert sorted(found.values()) == [b"1", b"2", b"3", b"4", b"5"]
    assert len({name.casefold() for name in found}) == 5
    # Names that photos have themselves come before names of converted ones.
    assert found == {
        "a.jpg": b"2",
        "photos/A.JPG": b"4",
        "other/a.jpg": b"5",
        "a.png.jpg": b"1",
        "a.tif.jpg": b"3",
    }
    assert counts(result) == (4, 1, 5, 0)
    assert counts(make_album(out, album)) == (4, 1, 0, 5)


def test_photos_that_are_gone_are_reported(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [Entry(name="a.jpg", outcome="failed"), restored("b.jpg")])
    (out / "improved" / "b.jpg").unlink()
    result = make_album(out, album)
    assert [(one.photo, one.error.type) for one in result.problems] == [("a.jpg", "unreadable")]
    assert pictures_in(album) == {"b.jpg": b"original"}


@pytest.mark.parametrize("locked", ["original", "output"])
def test_photos_that_may_not_be_read_are_not_said_to_be_gone(out: Path, source: Path, album: Path, locked: str) -> None:
    make_output_folder(out, source, [Entry(name="a.jpg", outcome="failed", original=b"original"), restored("b.jpg")])
    folder, photo = (source, "a.jpg") if locked == "original" else (out / "improved", "b.jpg")
    folder.chmod(0)
    try:
        with without_privileges():
            [problem] = make_album(out, album).problems
    finally:
        folder.chmod(0o700)
    assert (problem.photo, problem.error.message) == (photo, f"cannot read {str(folder / photo)!r}: Permission denied")


def test_a_name_that_the_disk_cannot_hold_fails_alone(out: Path, source: Path, album: Path) -> None:
    name = "x" * 251 + ".jpg"  # with a number behind it, it is too long
    album.mkdir()
    (album / name).write_bytes(b"mine")
    make_output_folder(out, source, [Entry(name=name, outcome="failed", original=b"1"), restored("b.jpg")])
    result = make_album(out, album)
    assert ["the disk cannot hold" in one.error.message for one in result.problems] == [True]
    assert pictures_in(album) == {name: b"mine", "b.jpg": b"improved"}


def test_what_is_no_file_is_not_copied(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [Entry(name="a.jpg", outcome="failed")])
    (source / "a.jpg").mkdir()
    assert [one.photo for one in make_album(out, album).problems] == ["a.jpg"]
    with pytest.raises(PictureProblem, match="cannot read"):
        copy_picture(Origin(str(source / "gone"), 1, 1, 1), album / "gone", temporary=album / "part")


def test_the_root_as_a_source_is_no_obstacle(out: Path, source: Path, album: Path) -> None:
    """Photos named by absolute paths may have it, and every folder is inside it."""
    make_output_folder(out, source, [])
    root = Path(source.anchor)
    photo = str(source.relative_to(root) / "a.jpg")
    (source / "a.jpg").write_bytes(b"original")
    add_entries(out, root, [Entry(name=photo, outcome="failed")])
    assert counts(make_album(out, album)) == (0, 1, 1, 0)


def test_a_name_that_another_photo_has_got_is_not_removed(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [restored("a.png", b"1")])
    make_album(out, album)
    assert pictures_in(album) == {"a.jpg": b"1"}
    # The photo's output is gone, so that its picture is a PNG again; a new photo takes the name.
    (out / "improved" / "a.png.jpg").unlink()
    add_entries(out, source, [restored("a.jpg", b"2")])
    result = make_album(out, album)
    assert pictures_in(album) == {"a.png": b"original", "a.jpg": b"2"}
    assert result.removed == 0


def test_a_folder_that_is_a_file_is_said(out: Path, source: Path, tmp_path: Path) -> None:
    make_output_folder(out, source, [restored("a.jpg")])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="cannot write"):
        make_album(out, tmp_path / "file")


def test_a_disk_that_refuses_a_temporary_file_is_said_of_the_album(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [restored("a.jpg")])
    (album / OWN / "picture.part").mkdir(parents=True)
    with pytest.raises(DiskError, match=f"cannot write {re.escape(repr(str(album)))}: "):
        make_album(out, album)


@pytest.mark.parametrize(
    "place", ["out", "out/improved/x", "out/.smarty-async/x", "out/album", "photos", "photos/1943", "."]
)
def test_places_where_it_would_disturb(out: Path, source: Path, tmp_path: Path, place: str) -> None:
    make_output_folder(out, source, [restored("a.jpg")])
    (source / "1943").mkdir()
    (source / "1943" / "not scanned yet.jpg").write_bytes(b"")
    before = pictures_in(tmp_path)
    with pytest.raises(OptionsError, match=r"would mix with the .*: choose another --to"):
        make_album(out, tmp_path / place)
    assert pictures_in(tmp_path) == before


@pytest.mark.parametrize("junk", [None, ".DS_Store", "Thumbs.db"])
def test_a_new_folder_below_the_photos_is_fine_and_no_scan_takes_it(out: Path, source: Path, junk: str | None) -> None:
    make_output_folder(out, source, [restored("a.jpg")])
    if junk:
        (source / "album").mkdir()
        (source / "album" / junk).write_bytes(b"")
    before = {one.photo for one in scan([source], out=out)}
    for _ in range(2):
        make_album(out, source / "album")
        assert pictures_in(source / "album") == {"a.jpg": b"improved"} | ({junk: b""} if junk else {})
        assert {one.photo for one in scan([source], out=out)} == before


def test_one_call_at_a_time(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [restored("a.jpg")])
    (album / OWN).mkdir(parents=True)
    with FileLock(album / OWN / "lock"), pytest.raises(ConfigurationError, match="another process"):
        make_album(out, album)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_a_full_disk_is_said_and_nothing_is_half(out: Path, source: Path, album: Path) -> None:
    import resource  # noqa: PLC0415 - Windows has none

    make_output_folder(out, source, [restored("a.jpg"), restored("b.jpg", b"b" * 3_000_000)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(DiskError, match=f"cannot write {re.escape(repr(str(album)))}: "):
            make_album(out, album)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(pictures_in(album)) == 1
    assert not list(album.rglob("*.part"))
    assert counts(make_album(out, album)) == (2, 0, 1, 1)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that opens and cannot be read")
def test_a_picture_that_cannot_be_read_fails_alone(out: Path, source: Path, album: Path) -> None:
    make_output_folder(out, source, [Entry(name="a.jpg", outcome="failed"), restored("b.jpg")])
    (source / "a.jpg").symlink_to("/proc/self/mem")  # its first page is mapped in no process
    result = make_album(out, album)
    message = f"cannot read {str(source / 'a.jpg')!r}: {os.strerror(errno.EIO)}"
    assert [(one.photo, one.error.message) for one in result.problems] == [("a.jpg", message)]
    assert pictures_in(album) == {"b.jpg": b"improved"}
    assert not list(album.rglob("*.part"))


def test_a_time_that_the_disk_refuses_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    origin = Origin(str(tmp_path / "a.jpg"), 7, 1, 10**30)
    size, mtime_ns = copy_picture(origin, tmp_path / "copy.jpg", temporary=tmp_path / "part")
    assert (size, mtime_ns) == (7, (tmp_path / "copy.jpg").stat().st_mtime_ns)
    assert (tmp_path / "copy.jpg").read_bytes() == b"picture"


# names


@pytest.mark.parametrize(
    ("photo", "first"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("b.JPEG", "b.JPEG"),
        ("b.png", "b.jpg"),
        ("b.TIFF", "b.jpg"),
        ("portrait.1987", "portrait.1987.jpg"),
        ("noext", "noext.jpg"),
        (".png", ".png.jpg"),
    ],
)
def test_names_of_outputs(photo: str, first: str) -> None:
    assert candidates(photo, is_output=True)[0] == first
    assert candidates(photo, is_output=False, folder="scans") == [photo, f"scans/{photo}"]


def test_a_name_is_taken_once() -> None:
    names = Names()
    assert names.take("a/é.jpg")
    assert not names.take("A/É.JPG")  # decomposed, and in capitals
    assert not names.take("a")  # a folder
    assert not names.take("a/é.jpg/b.jpg")  # a file
    assert names.first_free(["a/é.jpg"], usable=lambda path: "(2)" not in path) == "a/é (3).jpg"
