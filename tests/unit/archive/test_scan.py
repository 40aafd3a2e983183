"""Photos found in folders, files, globs and lists."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.permissions import without_privileges
from support.scanning import scan

from smarty_async.archive.sources import folder
from smarty_async.archive.sources.folder import FolderSource, check_sources
from smarty_async.archive.sources.scan_roots import EntryQueue, ListFile, common_folder, read_list
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.archive.sources.walk import SYSTEM_FILES, SYSTEM_SUFFIXES, Glob, Wanted, is_photo_name
from smarty_async.errors import OptionsError

posix_only = pytest.mark.skipif(os.name == "nt", reason="the file system has no such thing")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such paths or names")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(*sources: Path | str, out: Path | None = None, **options: Any) -> list[str]:
    """The photos found, sorted; those with a problem in brackets with its type."""
    everything = scan(sources, out=out or Path("nowhere"), **options)
    return sorted(f"{one.photo} [{one.problem.type}]" if one.problem else one.photo for one in everything)


class TestFolders:
    def test_a_photo_has_its_path_size_and_version(self, root: Path) -> None:
        put(root, "a.jpg", "1943/b.JPG")
        (root / "a.jpg").write_bytes(b"12345")
        os.utime(root / "a.jpg", ns=(1, 1_000_000_000))
        by_name = {one.photo: one for one in scan([root], out=root / "out")}
        assert set(by_name) == {"a.jpg", "1943/b.JPG"}
        assert by_name["a.jpg"] == PhotoFile(str(root), "a.jpg", str(root / "a.jpg"), 5, "1000000000", None)

    def test_folders_of_outputs_in_a_source_are_left_out_before_a_run_has_locked_them(self, root: Path) -> None:
        put(root, "a.jpg", "improved/a.jpg", "colorized/a.jpg")
        assert found(root, out=root) == ["a.jpg"]

    def test_a_relative_source_becomes_absolute(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(root, "a.jpg")
        monkeypatch.chdir(root.parent)
        (one,) = scan(["photos"], out=Path("out"))
        assert (one.source, one.path) == (str(root), str(root / "a.jpg"))

    def test_hidden_and_system_files_are_skipped(self, root: Path) -> None:
        put(
            root, "a.jpg", ".hidden.jpg", ".git/b.jpg", "Thumbs.db", "sub/desktop.ini", "__MACOSX/c.jpg", "@eaDir/d.jpg"
        )
        assert found(root) == ["a.jpg"]

    def test_photos_that_are_in_icloud_only_are_reported(self, root: Path) -> None:
        put(root, "a.jpg", ".b.HEIC.icloud", "sub/.c.jpg.icloud", ".notes.pdf.icloud", ".hidden.icloud", "d.jpg.icloud")
        reported = ["b.HEIC [not_downloaded]", "sub/c.jpg [not_downloaded]"]
        assert found(root, exclude=["d.*"]) == ["a.jpg", *reported]
        assert found(root, include=["*.heic"]) == reported[:1]
        assert found(f"{root}/*/*.jpg") == reported[1:]

    def test_an_empty_folder_has_no_photos(self, root: Path) -> None:
        check_sources([root])
        assert found(root) == []

    @linux_only
    def test_unusual_names_are_kept(self, root: Path) -> None:
        names = [b"\xd1\x84\xd0\xbe\xd1\x82\xd0\xbe.jpg", b"two words.jpg", b"line\nbreak.jpg", b"caf\xe9.jpg"]
        names += [b"x" * 251 + b".jpg", b"*.jpg", b"back\\slash.jpg"]
        for name in names:
            (root / os.fsdecode(name)).write_bytes(b"x")
        everything = list(scan([root], out=root / "out"))
        assert sorted(os.fsencode(one.photo) for one in everything) == sorted(names)
        assert all(Path(one.path).read_bytes() == b"x" for one in everything)

    @posix_only
    def test_pipes_are_skipped(self, root: Path) -> None:
        os.mkfifo(root / "pipe.jpg")
        assert found(root) == []

    def test_a_large_folder_is_read_as_a_stream(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(root, *(f"{number}.jpg" for number in range(300)))
        read = 0
        scandir = os.scandir

        class Counting:
            def __init__(self, path: str) -> None:
                self.close = (entries := scandir(path)).close
                self._entries = entries

            def __iter__(self) -> Iterator[os.DirEntry[str]]:
                return self

            def __next__(self) -> os.DirEntry[str]:
                nonlocal read
                read += 1
                return next(self._entries)

        monkeypatch.setattr(os, "scandir", Counting)
        photos = scan([root], out=root / "out")
        next(photos)
        assert read == 1
        assert len(list(photos)) == 299

    def test_memory_does_not_grow_with_the_folder(self, root: Path) -> None:
        put(root, *(f"{number}.jpg" for number in range(400)))

        def peak(folder: Path) -> int:
            tracemalloc.start()
            for _ in scan([folder], out=root / "out"):
                pass
            size = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return size

        put(root.parent / "few", "1.jpg")
        peak(root)
        assert peak(root) < peak(root.parent / "few") + 20_000

    def test_closing_the_scan_closes_the_folders(self, root: Path) -> None:
        put(root, "a/b/c/d.jpg", "a/b/c/e.jpg")
        photos = scan([root], out=root / "out")
        next(photos)
        photos.close()  # an unclosed folder would warn, and warnings are errors

    @pytest.mark.slow
    @linux_only
    def test_a_deep_tree_needs_no_deep_stack(self, root: Path) -> None:
        folders = [root]
        for _ in range(1200):
            folders.append(folders[-1] / "d")
            folders[-1].mkdir()
        put(folders[-1], "a.jpg")
        put(folders[100], "b.jpg", "e/c.jpg")
        try:
            assert found(root) == sorted(["d/" * 1200 + "a.jpg", "d/" * 100 + "b.jpg", "d/" * 100 + "e/c.jpg"])
        finally:
            (folders[-1] / "a.jpg").unlink()
            shutil.rmtree(folders[100] / "e")
            (folders[100] / "b.jpg").unlink()
            for folder in reversed(folders):
                folder.rmdir()


SKIPPED_FOLDERS = [
    *("#recycle", "@Recycle", "#snapshot", "lost+found", "@tmp", "@eaDir", "$RECYCLE.BIN", ".Trash-1000"),
    *(".AppleDouble", ".@__thumb", "@Recently-Snapshot", "System Volume Information", "Previews.lrdata", "CaptureOne"),
    *("Recycle Bin", "trashbox"),
]

LIBRARY = ["originals/0/b.jpg", "resources/derivatives/0/b.jpg", "resources/renders/0/b.jpg", "private/c/d.jpg"]


class TestSkipped:
    @pytest.mark.parametrize("folder", SKIPPED_FOLDERS)
    def test_folders_of_systems_and_photo_tools_are_skipped(self, root: Path, folder: str) -> None:
        put(root, "a.jpg", f"{folder}/b.jpg", f"sub/{folder}/x/c.jpg")
        assert found(root) == ["a.jpg"]
        assert found(root / folder) == ["b.jpg"]  # it was named

    def test_of_a_photo_library_only_its_photos_are_found(self, root: Path) -> None:
        put(root, "a.jpg", *(f"Photos Library.photoslibrary/{name}" for name in LIBRARY))
        put(root, "Old.aplibrary/Masters/2009/e.jpg", "Old.aplibrary/Previews/2009/e.jpg")
        photos = ["Old.aplibrary/Masters/2009/e.jpg", "Photos Library.photoslibrary/originals/0/b.jpg", "a.jpg"]
        assert found(root) == photos
        assert found(root / "Photos Library.photoslibrary") == ["originals/0/b.jpg"]
        assert found(root / "Photos Library.photoslibrary/resources") == ["derivatives/0/b.jpg", "renders/0/b.jpg"]

    def test_the_list_is_in_lower_case(self) -> None:
        assert all(name == name.lower() for name in (*SYSTEM_FILES, *SYSTEM_SUFFIXES))

    def test_the_results_of_another_run_are_skipped(self, root: Path) -> None:
        put(root, "a.jpg", "restored/.smarty-async/journal.sqlite", "restored/improved/a.jpg", "restored/album/a.jpg")
        assert found(root) == ["a.jpg"]
        assert found(f"{root}/*") == ["a.jpg"]

    def test_photos_beside_the_results_of_another_run_are_found_when_their_folder_is_named(self, root: Path) -> None:
        put(root, "a.jpg", ".smarty-async/journal.sqlite", "improved/a.jpg", "sub/b.jpg")
        assert found(root) == ["a.jpg", "sub/b.jpg"]


class TestLeftAlone:
    @pytest.mark.parametrize(
        ("name", "data", "left_alone"),
        [
            ("a.jpg", b"a letter", False),
            ("a.jpg.supplemental-metadata.json", b"{}", True),
            ("a.MOV", b"\0\0\0\x14ftypqt  ", True),
            ("a.AAE", b"<plist/>", True),
            ("a.pdf", b"%PDF-1.4", True),
            ("README", b"text", True),
            ("empty", b"", True),
            ("a.xyz", b"text", True),
            ("no extension", b"\xff\xd8\xff\xe0....", False),
            ("misnamed.txt", b"\x89PNG\r\n\x1a\n....", False),
            ("misnamed.mov", b"\0\0\0\x18ftypheic", False),
            ("misnamed.bin", b"RIFF....WEBPVP8 ", False),
            ("sound.bin", b"RIFF....WAVEfmt ", True),
        ],
    )
    def test_files_that_are_no_photos_by_name_and_content_are_left_alone(
        self, root: Path, name: str, data: bytes, *, left_alone: bool
    ) -> None:
        (root / name).write_bytes(data)
        (one,) = scan([root], out=root / "out")
        assert one.left_alone is left_alone
        (same,) = scan([root / name], out=root / "out")
        assert same.left_alone is left_alone

    @pytest.mark.parametrize(
        ("name", "expected"), [("a.JPG", True), ("b/a.dng", True), ("a.xmp", False), ("a", None), ("a.1", None)]
    )
    def test_names_tell_photos(self, name: str, expected: Any) -> None:
        assert is_photo_name(name) is expected

    def test_a_file_that_cannot_be_read_is_left_alone_by_its_name(self, root: Path) -> None:
        put(root, "a.json", "b")
        for name in ("a.json", "b"):
            (root / name).chmod(0)
        with without_privileges():
            left_alone = {one.photo: one.left_alone for one in scan([root], out=root / "out")}
        assert left_alone == {"a.json": True, "b": False}


class TestBatches:
    def test_photos_come_in_batches(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder, "_BATCH", 256)
        put(root, *(f"{number}.jpg" for number in range(300)))
        batches = list(FolderSource([root], out=root / "out").scan())
        assert [len(batch) for batch in batches] == [256, 44]

    def test_a_batch_ends_before_a_wait_for_the_list(self, root: Path) -> None:
        put(root, "a.jpg", "b.jpg", "c.jpg")
        more = threading.Event()

        def entries() -> Iterator[str]:
            yield str(root / "a.jpg")
            yield str(root / "b.jpg")
            more.wait()
            yield str(root / "c.jpg")

        batches = FolderSource([], out=root / "out", listed=entries()).scan()
        names: list[str] = []
        while len(names) < 2:  # the thread that reads the list may be slower
            names += [Path(one.path).name for one in next(batches)]
        assert names == ["a.jpg", "b.jpg"]
        assert next(batches) == []
        more.set()
        assert [Path(one.path).name for batch in batches for one in batch] == ["c.jpg"]

    def test_a_wait_for_a_silent_list_can_be_ended(self, root: Path) -> None:
        put(root, "a.jpg")
        silent = threading.Event()

        def entries() -> Iterator[str]:
            yield str(root / "a.jpg")
            silent.wait()

        source = FolderSource([], out=root / "out", listed=entries())
        batches = source.scan()
        assert next(batch for batch in batches if batch)
        assert next(batches) == []
        threading.Timer(0.01, source.stop).start()
        assert list(batches) == []
        silent.set()

    def test_a_stopped_scan_gives_nothing_more(self, root: Path) -> None:
        put(root, *(f"{number}.jpg" for number in range(300)))
        source = FolderSource([root], out=root / "out", listed=iter(["a.jpg"]))
        batches = source.scan()
        next(batches)
        source.stop()
        assert list(batches) == []

    @pytest.mark.parametrize("as_list", [list, iter])
    def test_an_address_in_a_list_is_named_and_left_out(self, root: Path, as_list: Any) -> None:
        listed = as_list(["s3://bucket/scans/a.jpg", str(root / "a.jpg")])
        batches = FolderSource([], out=root / "out", listed=listed).scan()
        refused, taken = [file for batch in batches for file in batch]
        assert (refused.source, refused.photo) == ("s3://bucket/scans", "a.jpg")
        assert refused.problem is not None
        assert refused.problem.type == "listed_object"
        assert taken.path == str(root / "a.jpg")

    @pytest.mark.parametrize("error", [OSError(5, "Input/output error"), SystemExit(3), KeyboardInterrupt()])
    def test_an_error_of_the_list_is_raised(self, root: Path, error: BaseException) -> None:
        def entries() -> Iterator[str]:
            yield "a.jpg"
            raise error

        with pytest.raises(type(error)) as raised:
            list(FolderSource([], out=root / "out", listed=entries()).scan())
        assert raised.value is error

    def test_a_queue_takes_no_more_than_it_can_hold(self) -> None:
        taken = 0

        def entries() -> Iterator[str]:
            nonlocal taken
            for _ in range(5000):
                taken += 1
                yield "a.jpg"

        queue = EntryQueue(entries())
        reader = iter(queue)
        while next(reader) is None:
            pass
        assert len([entry for entry in reader if entry is not None]) == 4999
        early = EntryQueue(entries())
        taken = 0
        early.close()
        assert taken <= 1026

    def test_a_source_that_is_the_output_folder_is_remarked(self, root: Path) -> None:
        put(root, "a.jpg")
        assert FolderSource([root], out=root.parent / "out").warnings() == []
        (warning,) = FolderSource([f"{root}/."], out=root).warnings()
        assert "is the source and the output folder" in warning
        assert FolderSource(["gone"], out=Path("gone")).warnings() != []


@posix_only
class TestLinks:
    def test_links_to_files_and_folders_are_followed(self, root: Path) -> None:
        put(root.parent, "elsewhere/b.jpg", "c.jpg")
        (root / "folder").symlink_to(root.parent / "elsewhere")
        (root / "file.jpg").symlink_to(root.parent / "c.jpg")
        assert found(root) == ["file.jpg", "folder/b.jpg"]

    def test_a_link_to_a_folder_above_is_skipped(self, root: Path) -> None:
        put(root, "a/b/c.jpg")
        (root / "a/b/up").symlink_to(root)
        (root / "a/self").symlink_to(".")
        assert found(root) == ["a/b/c.jpg"]

    def test_links_that_lead_to_each_other_end(self, root: Path) -> None:
        put(root, "a/1.jpg", "b/2.jpg")
        (root / "a/b").symlink_to(root / "b")
        (root / "b/a").symlink_to(root / "a")
        assert found(root) == ["a/1.jpg", "a/b/2.jpg", "b/2.jpg", "b/a/1.jpg"]

    def test_links_to_nothing_and_to_themselves_are_problems(self, root: Path) -> None:
        (root / "gone.jpg").symlink_to(root / "nothing")
        (root / "loop.jpg").symlink_to("loop.jpg")
        assert found(root) == ["gone.jpg [unreadable]", "loop.jpg [unreadable]"]
        assert found(root, include=["*.png"]) == []
        problems = [one.problem.message for one in scan([root], out=root / "o") if one.problem]
        assert "cannot be read: the link leads to nothing" in problems


@posix_only
class TestUnreadable:
    def test_a_folder_that_cannot_be_read_is_reported(self, root: Path) -> None:
        put(root, "a.jpg", "secret/b.jpg")
        (root / "secret").chmod(0)
        try:
            with without_privileges():
                assert found(root) == ["a.jpg", "secret [unreadable_folder]"]
                assert found(root, include=["*.jpg"]) == ["a.jpg", "secret [unreadable_folder]"]
                assert found(root, exclude=["secret/*"]) == ["a.jpg"]
        finally:
            (root / "secret").chmod(0o700)

    def test_a_folder_that_cannot_be_opened_is_reported_unless_it_is_excluded(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, "a.jpg", "secret/b.jpg")
        whole = os.scandir

        def refusing(path: str) -> Any:
            if path.endswith("secret"):
                raise PermissionError(13, "Permission denied", path)
            return whole(path)

        monkeypatch.setattr(os, "scandir", refusing)
        assert found(root) == ["a.jpg", "secret [unreadable_folder]"]
        assert found(root, exclude=["secret/*"]) == ["a.jpg"]
        assert found(root / "secret") == [". [unreadable_folder]"]

    @linux_only
    def test_a_path_that_is_too_long_is_reported(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(root, "a.jpg")
        monkeypatch.chdir(root)
        for _ in range(17):
            Path("x" * 250).mkdir()
            os.chdir("x" * 250)
        monkeypatch.chdir(root)
        everything = found(root)
        assert len(everything) == 2
        assert everything[0] == "a.jpg"
        assert everything[1].endswith("x [unreadable]")
        shutil.rmtree("x" * 250)

    def test_a_folder_with_a_read_error_is_reported(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(root, "a.jpg", "sub/b.jpg")

        class Breaking:
            def __init__(self, path: str) -> None:
                pass

            def __iter__(self) -> Iterator[os.DirEntry[str]]:
                return self

            def __next__(self) -> os.DirEntry[str]:
                raise OSError(5, "Input/output error")

            def close(self) -> None:
                pass

        whole = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: (Breaking if path.endswith("sub") else whole)(path))
        (one,) = scan([root / "sub"], out=root / "out")
        assert one.photo == "."
        assert one.problem is not None
        assert one.problem.message.endswith("the photos in it are not known: Input/output error")
        assert found(root) == ["a.jpg", "sub [unreadable_folder]"]
        assert found(root, exclude=["sub/*"]) == ["a.jpg"]


class TestOut:
    def test_it_is_not_walked_into(self, root: Path) -> None:
        put(root, "a.jpg", "done/improved/a.jpg", "done/other.jpg")
        assert found(root, out=root / "done") == ["a.jpg"]

    def test_it_is_recognised_under_another_name(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(root, "a.jpg", "done/improved/a.jpg")
        monkeypatch.chdir(root)
        assert found(root, out=Path("done")) == ["a.jpg"]
        if os.name != "nt":
            (root.parent / "link").symlink_to(root / "done")
            assert found(root, out=root.parent / "link") == ["a.jpg"]

    def test_it_may_be_created_during_the_scan(self, root: Path) -> None:
        put(root, "a.jpg")
        photos = scan([root, root], out=root / "done")
        assert next(photos).photo == "a.jpg"
        put(root, "done/improved/a.jpg")
        assert [one.photo for one in photos] == ["a.jpg"]

    def test_as_a_source_it_gives_all_but_what_runs_create(self, root: Path) -> None:
        put(root, "a.jpg", "sub/improved/b.jpg", "results.jsonl", ".smarty-async/journal.db")
        put(root, *(f"{kind}/a.jpg" for kind in ("improved", "colorized", "colorized_improved", "resolved")))
        assert found(root, out=root) == ["a.jpg", "sub/improved/b.jpg"]

    @posix_only
    def test_a_link_to_outputs_is_not_followed(self, root: Path, tmp_path: Path) -> None:
        put(tmp_path, "out/improved/a.jpg")
        (root / "link").symlink_to(tmp_path / "out/improved")
        assert found(root, out=tmp_path / "out") == []

    def test_what_a_list_names_of_results_and_albums_is_left_alone(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, "a.jpg", "done/a.jpg", "done/improved/a.jpg", "older/improved/sub/a.jpg", "older/improved.jpg")
        put(root, "older/.smarty-async/journal.sqlite", "album/.smarty-async-album/manifest.jsonl", "album/b/a.jpg")
        names = [path.relative_to(root).as_posix() for path in root.rglob("*.jpg")]
        monkeypatch.chdir(root)
        left_alone = {one.photo for one in scan([], out=root / "done", listed=names) if one.left_alone}
        assert left_alone == {"done/improved/a.jpg", "older/improved/sub/a.jpg", "album/b/a.jpg"}
        monkeypatch.chdir(root / "album")
        assert not any(one.left_alone for one in scan([], out=root / "done", listed=["b/a.jpg"]))

    def test_an_album_is_skipped_unless_it_is_named(self, root: Path) -> None:
        put(root, "a.jpg", "album/.smarty-async-album/manifest.jsonl", "album/b.jpg")
        assert found(root) == ["a.jpg"]
        assert found(root / "album") == ["b.jpg"]

    def test_outputs_named_as_sources_are_refused(self, root: Path) -> None:
        put(root, "improved/sub/a.jpg", "b.jpg")
        for source in ("improved", "improved/sub", "improved/sub/a.jpg"):
            with pytest.raises(OptionsError, match="choose another --out"):
                check_sources([root / source], out=root)
        assert [one.left_alone for one in scan([root / "improved"], out=root)] == [True]
        check_sources([root, root / "b.jpg"], out=root)
        check_sources([root / "improved"], out=root / "other")


class TestFiles:
    def test_a_file_is_a_source_of_one(self, root: Path) -> None:
        put(root, "sub/.hidden.jpg", "sub/b.jpg")
        (one,) = scan([root / "sub/.hidden.jpg"], out=root / "out")
        assert (one.source, one.photo) == (str(root / "sub"), ".hidden.jpg")

    def test_patterns_apply_to_it_too(self, root: Path) -> None:
        put(root, "a.jpg")
        assert found(root / "a.jpg", exclude=["a*"]) == []

    def test_one_that_does_not_exist_is_a_problem(self, root: Path) -> None:
        assert found(root / "gone.jpg") == ["gone.jpg [unreadable]"]

    @posix_only
    def test_a_pipe_named_is_a_problem(self, root: Path) -> None:
        os.mkfifo(root / "pipe")
        assert found(root / "pipe") == ["pipe [unreadable]"]
        with pytest.raises(OptionsError, match="neither a file nor a folder"):
            check_sources([root / "pipe"])


class TestGlobs:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.jpg", ["a.jpg"]),
            ("**/*.jpg", ["1943/c.jpg", "1943/x/d.jpg", "1944/e.jpg", "a.jpg"]),
            ("19*/?.jpg", ["1943/c.jpg", "1944/e.jpg"]),
            ("194[3]", ["1943/c.jpg", "1943/n.txt", "1943/x/d.jpg"]),
            ("*/x", ["1943/x/d.jpg"]),
            ("**/x/**", ["1943/x/d.jpg"]),
            ("1943/**", ["c.jpg", "n.txt", "x/d.jpg"]),
            ("1943/*/*", ["x/d.jpg"]),
        ],
    )
    def test_each_match_is_found_once(self, root: Path, pattern: str, expected: list[str]) -> None:
        put(root, "a.jpg", "b.png", "1943/c.jpg", "1943/n.txt", "1943/x/d.jpg", "1944/e.jpg")
        check_sources([f"{root}/{pattern}"])
        assert found(f"{root}/{pattern}") == expected

    def test_its_source_is_the_folder_before_the_pattern(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(root, "1943/x/d.jpg")
        monkeypatch.chdir(root.parent)
        assert {one.source for one in scan(["photos/1943/*/d.jpg"], out=Path("out"))} == {str(root / "1943")}
        assert {one.source for one in scan(["*/1943/*/d.jpg"], out=Path("out"))} == {str(root.parent)}

    @posix_only
    def test_it_does_not_follow_links_in_a_circle(self, root: Path) -> None:
        put(root, "a/1.jpg")
        (root / "a/up").symlink_to(root)
        assert found(f"{root}/**/*.jpg") == ["a/1.jpg"]

    @posix_only
    def test_a_path_that_exists_is_no_pattern(self, root: Path) -> None:
        put(root, "[1943]/a.jpg", "1/b.jpg")
        assert found(root / "[1943]") == ["a.jpg"]

    @given(st.lists(st.sampled_from(["**", "*", "a", "b*"]), max_size=4), st.lists(st.sampled_from("ab"), max_size=4))
    def test_states_follow_the_pattern(self, parts: list[str], names: list[str]) -> None:
        def matches(parts: list[str], names: list[str]) -> bool:
            if not parts:
                return True  # what lies in a matched folder matches
            if parts[0] == "**":
                return matches(parts[1:], names) or (bool(names) and matches(parts, names[1:]))
            return bool(names) and parts[0][0] in ("*", names[0]) and matches(parts[1:], names[1:])

        pattern = Glob(tuple(parts))
        state = pattern.start
        for name in names:
            state = pattern.step(state, name)
        assert pattern.matched(state) == matches(parts, names)


class TestCheckSources:
    def test_a_source_that_does_not_exist_is_named(self, root: Path) -> None:
        with pytest.raises(OptionsError, match=r"there is no '.*gone': check the path"):
            check_sources([root, root / "gone"])

    @pytest.mark.parametrize("pattern", ["*.jpg", "gone/*.jpg", "**/*.png"])
    def test_a_pattern_must_match(self, root: Path, pattern: str) -> None:
        put(root, "a/b.gif")
        with pytest.raises(OptionsError, match="nothing matches"):
            check_sources([f"{root}/{pattern}"])

    @pytest.mark.parametrize("named", ["secret", "secret/b.jpg", "secret/deep/*.jpg", "secret/*.jpg"])
    def test_what_may_not_be_read_is_reported(self, root: Path, named: str) -> None:
        put(root, "secret/b.jpg", "secret/deep/c.jpg")
        (root / "secret").chmod(0)
        try:
            with without_privileges(), pytest.raises(OptionsError, match=r"cannot read '.*': Permission denied"):
                check_sources([f"{root}/{named}"])
        finally:
            (root / "secret").chmod(0o700)

    @posix_only
    def test_a_link_to_nothing_is_reported(self, root: Path) -> None:
        (root / "link").symlink_to("gone")
        with pytest.raises(OptionsError, match="the link leads to nothing"):
            check_sources([root / "link"])

    def test_an_impossible_name_is_reported(self) -> None:
        with pytest.raises(OptionsError, match=r"cannot read|there is no"):
            check_sources(["a\0b"])


class TestWanted:
    @pytest.mark.parametrize(
        ("include", "exclude", "expected"),
        [
            (["*.jpg"], [], ["1943/B.JPG", "a.jpg"]),
            ("*.jpg", "b*", ["a.jpg"]),
            (["1943/*"], [], ["1943/B.JPG", "1943/x/c.png"]),
            (["**/*.png"], [], ["1943/x/c.png", "d.png"]),
            ([], ["*/x/*", "*.PNG"], ["1943/B.JPG", "a.jpg"]),
            (["*.jpg", "d*"], ["1943/*"], ["a.jpg", "d.png"]),
        ],
    )
    def test_patterns_select_photos(self, root: Path, include: Any, exclude: Any, expected: list[str]) -> None:
        put(root, "a.jpg", "1943/B.JPG", "1943/x/c.png", "d.png")
        assert found(root, include=include, exclude=exclude) == expected

    def test_patterns_may_be_written_as_the_system_writes_paths(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sep", "\\")
        wanted = Wanted(["1943\\*"], ["**\\*.png"])
        assert [wanted(photo) for photo in ("1943/a.jpg", "1944/a.jpg", "1943/x/b.png")] == [True, False, False]

    def test_without_patterns_everything_is_wanted(self) -> None:
        assert Wanted()("any/thing")


class TestLists:
    def test_relative_paths_are_kept_as_listed(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(root, "1943/a.jpg", "1944/b.jpg", "1944/x/c.jpg")
        monkeypatch.chdir(root)
        everything = list(scan([], out=root / "out", listed=["./1943/a.jpg", os.fsencode("1944")]))
        assert sorted(one.photo for one in everything) == ["1943/a.jpg", "1944/b.jpg", "1944/x/c.jpg"]
        assert {one.source for one in everything} == {str(root)}
        assert found(listed=["."]) == ["1943/a.jpg", "1944/b.jpg", "1944/x/c.jpg"]

    def test_absolute_paths_are_relative_to_their_common_folder(self, root: Path, tmp_path: Path) -> None:
        put(root, "1943/a.jpg", "1944/x/b.jpg")
        entries: list[str | bytes] = [str(root / "1943/a.jpg"), os.fsencode(root / "1944")]
        (tmp_path / "list").write_bytes(b"\n".join(os.fsencode(entry) for entry in entries))
        either: tuple[list[str | bytes] | ListFile, ...] = (entries, ListFile(tmp_path / "list"))
        for listed in either:
            everything = list(scan([], out=root / "out", listed=listed))
            assert [(one.source, one.photo) for one in everything] == [
                (str(root), "1943/a.jpg"),
                (str(root), "1944/x/b.jpg"),
            ]
            assert all(Path(one.path).is_file() for one in everything)

    def test_absolute_paths_of_a_stream_are_relative_to_the_current_folder_or_lose_their_anchor(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, "1943/a.jpg")
        monkeypatch.chdir(root)
        (one,) = scan([], out=root / "out", listed=iter([str(root / "1943/a.jpg")]))
        assert (one.source, one.photo) == (str(root), "1943/a.jpg")
        monkeypatch.chdir(root / "1943")
        (other,) = scan([], out=root / "out", listed=iter([str(root / "b.jpg")]))
        assert other.source == root.anchor

    def test_paths_without_a_common_folder_have_none(self) -> None:
        anchor = Path.cwd().anchor
        assert common_folder([f"{anchor}a/b.jpg", f"{anchor}c/d.jpg"]) is None
        assert common_folder(["a/b.jpg", f"{anchor}c/../d.jpg"]) is None
        assert common_folder([f"{anchor}a/b/c.jpg", "x.jpg", f"{anchor}a/b.jpg"]) == f"{anchor}a"

    def test_of_paths_upwards_the_part_after_the_dots_is_kept(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, "a.jpg", "sub/b.jpg")
        monkeypatch.chdir(root / "sub")
        (one,) = scan([], out=root / "out", listed=["../a.jpg"])
        assert (one.source, one.photo) == (os.path.realpath(root), "a.jpg")

    @pytest.mark.parametrize("as_list", [list, iter])
    def test_an_empty_entry_is_not_the_working_folder(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, as_list: Any
    ) -> None:
        put(root, "a.jpg", "b.jpg")
        monkeypatch.chdir(root)
        assert [one.photo for one in scan([], out=root / "out", listed=as_list(["", b"", "b.jpg"]))] == ["b.jpg"]

    def test_an_entry_that_does_not_exist_is_a_problem_of_its_own(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, "a.jpg")
        monkeypatch.chdir(root)
        assert found(listed=["gone/b.jpg", "a.jpg", "nul\0.jpg"]) == [
            "a.jpg",
            "gone/b.jpg [unreadable]",
            "nul\0.jpg [unreadable]",
        ]

    @pytest.mark.parametrize(
        ("data", "paths"),
        [
            (b"", []),
            (b"a.jpg", ["a.jpg"]),
            (b"a b.jpg\n\n  \nc.jpg\n", ["a b.jpg", "c.jpg"]),
            (b"a.jpg\r\n\r\nb.jpg\r\n", ["a.jpg", "b.jpg"]),
            (b"a\nb.jpg\0c.jpg\r\0", ["a\nb.jpg", "c.jpg\r"]),
            (b"\xef\xbb\xbfa.jpg\n", ["a.jpg"]),
            pytest.param(b"caf\xe9.jpg\n", [os.fsdecode(b"caf\xe9.jpg")], marks=posix_only),
        ],
    )
    def test_lists_have_lines_or_end_in_nuls(self, data: bytes, paths: list[str]) -> None:
        assert list(read_list(io.BytesIO(data))) == paths

    @pytest.mark.parametrize("separator", [b"\n", b"\0"])
    def test_long_lists_are_read_as_a_stream(self, separator: bytes) -> None:
        names = [f"folder/{number:06}.jpg" for number in range(5000)]

        class Trickling(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                return super().read(min(size or 0, 4096))

        stream = Trickling(b"".join(name.encode() + separator for name in names))
        paths = read_list(stream)
        assert next(paths) == names[0]
        assert stream.tell() < 20_000
        assert [names[0], *paths] == names


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\1", "the list is a picture: --from-file takes"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "the list is a picture"),
        (b"a.jpg\n" * 4000 + b"b\0c\n", "the list is no text"),
    ],
)
def test_what_is_no_list_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        list(read_list(io.BytesIO(data)))
