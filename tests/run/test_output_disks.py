"""Runs whose output folder has files of other people, or is on a disk with other rules for names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.archives import IMPROVED, STATE, assert_right, fill, line_of, outcomes, photo, restore, sent, tree
from support.fake_service import Answer, FakeService, Request, expected, items, response_of

from smarty_async.archive.outputs import folder as output_folder
from smarty_async.archive.paths import WINDOWS_CHARACTERS, FileNameRules
from smarty_async.errors import ConfigurationError, OptionsError
from smarty_async.options import Limits
from smarty_async.results import Result

pytestmark = pytest.mark.slow

posix = pytest.mark.skipif(os.name == "nt", reason="Windows takes no such names")

EXFAT = FileNameRules(
    case_sensitive=False,
    forbidden=WINDOWS_CHARACTERS,
    windows_names=True,
    raw_bytes=False,
    name_unit="utf-16",
)


def good(request: Request) -> Answer:
    """Every photo is good as it is: no outputs."""
    return items({name: {"improved": None, "colorized": None, "colorized_improved": None} for name in request.names})


def rename(folder: Path, new: Path) -> Path:
    """Rename a folder; its new path."""
    return folder.rename(new)


def assert_own_outputs(out: Path, results: list[Result], photos: dict[str, bytes]) -> None:
    """Each photo has outputs of its own, at the paths that its result names."""
    paths = [path for result in results for path in result.outputs.values()]
    assert len(set(paths)) == len(paths) == 3 * len(photos)
    for result in results:
        for kind, path in result.outputs.items():
            assert (out / path).read_bytes() == expected(kind, photos[result.photo])


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


# files that no run made


async def test_a_file_that_no_run_made_is_not_replaced(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg", "b.jpg")
    foreign = out / "improved" / "a.jpg"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"retouched by hand")
    async with FakeService() as service:
        results = await restore(service, source, out)
        assert_own_outputs(out, results, photos)
        assert {result.photo: result.outputs["improved"] for result in results}["b.jpg"] == "improved/b.jpg"
        again = await restore(service, source, out)
        assert outcomes(again) == dict.fromkeys(photos, "skipped")
        assert_own_outputs(out, again, photos)
        assert len(sent(service)) == 2
    assert foreign.read_bytes() == b"retouched by hand"


async def test_a_file_that_no_run_made_is_not_removed_where_a_photo_is_good(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    foreign = out / "improved" / "a.jpg"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"retouched by hand")
    async with FakeService() as service:
        service.default = good
        assert outcomes(await restore(service, source, out)) == {"a.jpg": "already_good"}
    assert foreign.read_bytes() == b"retouched by hand"


async def test_a_file_called_as_the_results_are_is_not_replaced(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    fill(out)
    notes = out / "results.jsonl"
    notes.write_text('{"experiment": 1}\nnotes\n')
    async with FakeService() as service:
        with pytest.raises(ConfigurationError, match=r"results\.jsonl' is a file that no run made"):
            await restore(service, source, out)
        assert not service.requests
    assert notes.read_text() == '{"experiment": 1}\nnotes\n'


async def test_an_output_that_a_person_has_changed_is_kept_when_its_photo_changes(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        retouched = out / "improved" / "a.jpg"
        retouched.write_bytes(b"retouched by hand")
        (source / "a.jpg").write_bytes(photo("another"))
        (result,) = await restore(service, source, out)
    assert result.outcome == "restored"
    assert retouched.read_bytes() == b"retouched by hand"
    assert (out / result.outputs["improved"]).read_bytes() == expected("improved", photo("another"))


@pytest.mark.parametrize("good_now", [False, True])
async def test_an_output_that_was_changed_in_place_is_kept_when_its_photo_changes(
    source: Path, out: Path, *, good_now: bool
) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        retouched = out / "improved" / "a.jpg"
        times = retouched.stat().st_atime_ns, retouched.stat().st_mtime_ns
        rated = retouched.read_bytes()[:-2] + b"\xff\xda"
        retouched.write_bytes(rated)  # as long as before
        os.utime(retouched, ns=times)
        (source / "a.jpg").write_bytes(photo("another"))
        service.default = good if good_now else service.answer_rightly
        (result,) = await restore(service, source, out)
    assert result.outcome == ("already_good" if good_now else "restored")
    assert retouched.read_bytes() == rated
    assert "improved/a.jpg" not in result.outputs.values()


async def test_a_changed_output_is_not_copied_for_a_duplicate(source: Path, out: Path) -> None:
    photos = fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "improved" / "a.jpg").write_bytes(bytes((out / "improved" / "a.jpg").stat().st_size))
        (source / "b.jpg").write_bytes(photos["a.jpg"])
        await restore(service, source, out)
        assert len(sent(service)) == 2
    assert (out / "improved" / "b.jpg").read_bytes() == expected("improved", photos["a.jpg"])


async def test_a_photo_is_not_sent_when_a_file_is_in_the_way_of_a_further_mode(source: Path, out: Path) -> None:
    fill(source, "a.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        foreign = out / "resolved" / "a.jpg"
        foreign.parent.mkdir()
        foreign.write_bytes(b"enlarged by hand")
        again = await restore(service, source, out, modes=["improve", "resolution"], rfactor=2)
        assert outcomes(again) == {"a.jpg": "rejected"}
        error = line_of(out, "a.jpg")["error"]
        assert error["type"] == "output_exists"
        assert "'resolved/a.jpg' in the output folder is a file that no run made" in error["message"]
        assert len(sent(service)) == 1
        foreign.unlink()
        again = await restore(service, source, out, modes=["improve", "resolution"], rfactor=2)
        assert outcomes(again) == {"a.jpg": "restored"}


@posix
async def test_a_place_that_cannot_be_looked_at_takes_no_other_photo_with_it(source: Path, out: Path) -> None:
    photos = fill(source, "a/p.jpg", "b.jpg")
    async with FakeService() as service:
        await restore(service, source, out)
        (out / "resolved").mkdir()
        (out / "resolved" / "a").symlink_to("a")
        again = await restore(service, source, out, modes=["improve", "resolution"], rfactor=2)
        assert outcomes(again) == {"a/p.jpg": "rejected", "b.jpg": "restored"}
        error = line_of(out, "a/p.jpg")["error"]
        assert error["type"] == "output_refused"
        assert str(out / "resolved" / "a" / "p.jpg") in error["message"]
        assert len(sent(service)) == 3
        (out / "resolved" / "a").unlink()
        again = await restore(service, source, out, modes=["improve", "resolution"], rfactor=2)
        assert outcomes(again) == {"a/p.jpg": "restored", "b.jpg": "skipped"}
    assert_right(out, photos, kinds=(*IMPROVED, "resolved"))


# other rules for names


@pytest.fixture
def like_exfat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output disk has the rules of exFAT, as far as the program is concerned."""
    monkeypatch.setattr(output_folder, "probe_name_rules", lambda _: EXFAT)


@posix
@pytest.mark.usefixtures("like_exfat")
async def test_names_that_differ_in_case_only_get_outputs_of_their_own(source: Path, out: Path) -> None:
    photos = fill(source, "IMG_0001.jpg", "IMG_0001.JPG", "img_0001.jpg", "Dir/a.jpg", "dir/A.jpg", "dir/b.jpg")
    async with FakeService() as service:
        results = await restore(service, source, out, limits=Limits(max_images=2))
        assert_own_outputs(out, results, photos)
        assert len({path.lower() for path in tree(out)}) == len(tree(out))
        again = await restore(service, source, out)
        assert outcomes(again) == dict.fromkeys(photos, "skipped")
        assert {one.photo: one.outputs for one in again} == {one.photo: one.outputs for one in results}


@posix
@pytest.mark.usefixtures("like_exfat")
async def test_names_that_the_output_disk_does_not_take_are_escaped(source: Path, out: Path) -> None:
    photos = fill(source, "Scan 12:30.jpg", "why?.jpg", "a.jpg", "end.", "CON.jpg", "%3A.jpg")
    async with FakeService() as service:
        results = await restore(service, source, out)
    assert_own_outputs(out, results, photos)
    assert {result.photo: result.outputs["improved"].removeprefix("improved/") for result in results} == {
        "Scan 12:30.jpg": "Scan 12%3A30.jpg",
        "why?.jpg": "why%3F.jpg",
        "a.jpg": "a.jpg",
        "end.": "end..jpg",
        "CON.jpg": "%43ON.jpg",
        "%3A.jpg": "%253A.jpg",
    }


async def test_a_journal_written_without_keys_of_places_gets_them(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3  # noqa: PLC0415

    photos = fill(source, "a.jpg")
    async with FakeService() as service:
        first = await restore(service, source, out)
        sql = sqlite3.connect(out / STATE / "journal.sqlite")
        with sql:
            sql.execute("UPDATE photos SET place_key = NULL")
        sql.close()
        monkeypatch.setattr(output_folder, "probe_name_rules", lambda _: EXFAT)
        photos |= fill(source, "A.JPG")
        results = await restore(service, source, out)
    assert {result.photo: result.outcome for result in results} == {"a.jpg": "skipped", "A.JPG": "restored"}
    assert results[0].outputs != results[1].outputs
    assert first[0].outputs in [result.outputs for result in results]
    assert_own_outputs(out, results, photos)


@posix
async def test_one_photo_that_the_disk_refuses_fails_alone(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = fill(source, "a.jpg", "refused.jpg", "z.jpg")
    rename = os.replace

    def refusing(old: str, new: str) -> None:
        if str(new).endswith("refused.jpg"):
            raise OSError(22, "Invalid argument")
        rename(old, new)

    async with FakeService() as service:
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", refusing)
            assert outcomes(await restore(service, source, out)) == {
                "a.jpg": "restored",
                "refused.jpg": "failed",
                "z.jpg": "restored",
            }
            assert line_of(out, "refused.jpg")["error"]["type"] == "output_refused"
            assert outcomes(await restore(service, source, out))["refused.jpg"] == "failed"  # recovery did not stop it
            assert len(sent(service)) == 3
        assert outcomes(await restore(service, source, out))["refused.jpg"] == "restored"
        assert len(sent(service)) == 3
    assert_right(out, photos)


@posix
async def test_a_photo_whose_outputs_the_disk_refuses_is_not_sent_again_when_its_source_is_renamed(
    source: Path, out: Path
) -> None:
    fill(source, "sub/a.jpg")

    async with FakeService() as service:

        async def blocking(request: Request) -> Any:
            (out / "improved").mkdir()
            (out / "improved/sub").write_bytes(b"a file")
            return await response_of(service.answer_rightly(request), request)

        service.script(blocking)
        assert outcomes(await restore(service, source, out)) == {"sub/a.jpg": "failed"}
        moved = rename(source, source.with_name("moved"))
        for _ in range(2):
            (result,) = await restore(service, moved, out, retry_failed=True)
            assert (result.outcome, result.error and result.error.type) == ("failed", "output_refused")
        assert len(sent(service)) == 1
        (out / "improved/sub").unlink()
        (result,) = await restore(service, moved, out)
        assert (result.outcome, len(result.outputs)) == ("restored", 3)
        assert len(sent(service)) == 1


# a real disk


def _call(*command: str) -> str | None:
    """What `command` prints; None when it fails."""
    ended = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603 - our own words
    return ended.stdout.strip() if ended.returncode == 0 else None


@pytest.fixture(params=["exfat", "ntfs-3g"])
def real_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small disk that Windows reads, in a file, mounted."""
    system = request.param
    tools = {"exfat": ("mkfs.exfat", "losetup", "mount"), "ntfs-3g": ("mkfs.ntfs", "lowntfs-3g", "umount")}[system]
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, tools)):
        pytest.skip(f"mounting takes root on Linux, and {', '.join(tools)}")
    image, folder = tmp_path / "disk", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(40 << 20)
    loop = None
    if system == "exfat":
        assert _call("mkfs.exfat", str(image)) is not None
        loop = _call("losetup", "-f", "--show", str(image)) or "none"
        mounts = [("mount", "-t", "exfat", loop, str(folder)), ("mount.exfat-fuse", loop, str(folder))]
    else:
        assert _call("mkfs.ntfs", "-F", "-q", str(image)) is not None
        mounts = [("lowntfs-3g", "-o", "windows_names,ignore_case", str(image), str(folder))]
    mounted = any(_call(*mount) is not None for mount in mounts if shutil.which(mount[0]))
    try:
        if not mounted:
            pytest.skip(f"this system mounts no {system}")
        yield folder
    finally:
        if mounted:
            _call("umount", str(folder))
        if loop:
            _call("losetup", "-d", loop)


async def test_a_disk_that_windows_reads_takes_every_photo(source: Path, real_disk: Path) -> None:
    out = real_disk / "out"
    photos = fill(source, "IMG_0001.jpg", "IMG_0001.JPG", "img_0001.jpg", "Ä.jpg", "ä.jpg", "Фото 😀.jpg")
    photos |= fill(source, "Scan 12:30.jpg", "why?.jpg", "a.jpg", "end.", "CON.jpg", "sub./b.jpg", "ж" * 125 + ".jpg")
    async with FakeService() as service:
        results = await restore(service, source, out)
        assert_own_outputs(out, results, photos)
        assert {result.outcome for result in results} == {"restored"}
        again = await restore(service, source, out)
        assert outcomes(again) == dict.fromkeys(photos, "skipped")
        assert_own_outputs(out, again, photos)
        assert len(sent(service)) == len(photos)


# URLs


@pytest.mark.parametrize("url", ["https://example.org/x", "sftp://host/x", "strange+1://x"])
async def test_a_url_is_refused_before_anything_is_written(
    source: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, "a.jpg")
    monkeypatch.chdir(tmp_path)
    before = everything_in(tmp_path)
    async with FakeService() as service:
        for arguments in ((source, url), (url, tmp_path / "out")):
            with pytest.raises(OptionsError, match=":// is not supported"):
                await restore(service, *arguments)
        assert not service.requests
    assert everything_in(tmp_path) == before
