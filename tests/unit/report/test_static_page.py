"""The page written to the disk."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import pictures
from support.journals import Entry, add_entries, make_output_folder, picture_entry

from smarty_async.errors import ConfigurationError, DiskError, OptionsError
from smarty_async.report.page import write_static

MARKUP = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def results(out: Path, source: Path) -> Path:
    large = Entry(name="large.tif", outputs={"resolved": pictures.jpeg(3000, 1500)}, original=pictures.tiff(1500, 750))
    failed = Entry(name="bad.jpg", outcome="failed", original=b"no picture", error=("permanent", MARKUP))
    return make_output_folder(out, source, [picture_entry("a.jpg", "improved"), large, failed])


def data_of(html: str) -> Any:
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return json.loads(data)


@pytest.mark.parametrize("target", ["page.html", "page"])
def test_it_says_how_far_it_has_come(out: Path, source: Path, tmp_path: Path, target: str) -> None:
    make_output_folder(out, source, [picture_entry("a.jpg", "improved"), picture_entry("b.jpg", "improved")])
    shown: list[tuple[int, int]] = []
    write_static(out, tmp_path / target, show=lambda *counts: shown.append(counts))
    assert shown == [(1, 2), (2, 2)]


@pytest.mark.slow
def test_one_file_holds_everything(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    assert write_static(results, page) == 3
    assert list(page.parent.iterdir()) == [page]
    html = page.read_text("utf-8")
    data = data_of(html)
    cards = {card["name"]: card for card in data["photos"]}
    assert data["summary"]["counts"] == {"restored": 2, "failed": 1}
    assert cards["bad.jpg"]["error"]["message"] == MARKUP
    assert cards["bad.jpg"]["pictures"] == {}
    assert cards["bad.jpg"]["missing"] == ["before"]
    assert cards["large.tif"]["missing"] == []
    resolved = cards["large.tif"]["pictures"]["resolved"]
    kind, _, encoded = resolved.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert pictures.opened(base64.b64decode(encoded)).size == (1080, 540)
    assert not re.findall(r'(?:src|href)="(?!data:)', html)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_pipe_in_place_of_a_photo_is_missing(out: Path, source: Path, tmp_path: Path) -> None:
    make_output_folder(out, source, [picture_entry("a.jpg", "improved")])
    (source / "a.jpg").unlink()
    os.mkfifo(source / "a.jpg")  # to open it takes until somebody writes to it
    write_static(out, tmp_path / "page.html")
    [card] = data_of((tmp_path / "page.html").read_text("utf-8"))["photos"]
    assert (list(card["pictures"]), card["missing"]) == (["improved"], ["before"])


@pytest.mark.slow
def test_only_its_own_scripts_may_run(results: Path, tmp_path: Path) -> None:
    write_static(results, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text("utf-8")
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none';")
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 3
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert MARKUP not in html


@pytest.mark.slow
def test_a_folder_and_again(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    for _ in range(2):
        write_static(results, page)
        data = data_of((page / "index.html").read_text("utf-8"))
        linked = {path for card in data["photos"] for path in card["pictures"].values()}
        assert linked == {path.relative_to(page).as_posix() for path in (page / "pictures").iterdir()}
        assert len(linked) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"page", "photos", "out"}  # no temporaries


def test_a_page_of_a_file_is_shown_as_that_page(out: Path, source: Path, tmp_path: Path) -> None:
    make_output_folder(out, source, [Entry(name="two.tif", page=number, outcome="already_good") for number in (1, 2)])
    first, second = pictures.scene(40, 30), pictures.scene(30, 40)
    first.save(source / "two.tif", save_all=True, append_images=[second])
    write_static(out, tmp_path / "page")
    shown = {path.name: pictures.opened(path.read_bytes()).size for path in (tmp_path / "page" / "pictures").iterdir()}
    assert shown == {"1-before.jpg": (40, 30), "2-before.jpg": (30, 40)}


def test_too_many_photos_are_said(results: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"3 photos.* at most 2.*smarty-async view"):
        write_static(results, tmp_path / "page.html", limit=2)
    assert not (tmp_path / "page.html").exists()


def test_nothing_else_is_replaced(results: Path, tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.html").mkdir()
    for target in (source, tmp_path / "file", tmp_path / "folder.html", results / "improved" / "x.html", results):
        with pytest.raises(OptionsError, match="--static"):
            write_static(results, target)


@pytest.mark.parametrize("name", ["report.html", "site/index.html", "album/pictures/1.jpg", "page.html/x.jpg"])
def test_files_of_the_user_stay(results: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_bytes(b"<!DOCTYPE html><title>Mine</title>")
    with pytest.raises(OptionsError, match=r"choose .* for --static"):
        write_static(results, tmp_path / name.partition("/")[0])
    assert file.read_bytes() == b"<!DOCTYPE html><title>Mine</title>"


@pytest.mark.parametrize("junk", [".DS_Store", "Thumbs.db", "desktop.ini"])
def test_files_of_the_system_are_no_obstacle(out: Path, source: Path, tmp_path: Path, junk: str) -> None:
    make_output_folder(out, source, [picture_entry("a.jpg", "improved")])
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / junk).write_bytes(b"")
    for _ in range(2):
        assert write_static(out, tmp_path / "page") == 1
    assert {path.name for path in (tmp_path / "page").iterdir()} == {"index.html", "pictures", junk}


def test_an_earlier_file_is_replaced(out: Path, source: Path, tmp_path: Path) -> None:
    make_output_folder(out, source, [picture_entry("a.jpg", "improved")])
    pages: list[bytes] = []
    for seed in (1, 2):
        add_entries(out, source, [picture_entry("a.jpg", "improved", seed=seed)])
        write_static(out, tmp_path / "page.html")
        pages.append((tmp_path / "page.html").read_bytes())
    assert pages[0] != pages[1]


def test_trouble_with_folders_is_said(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError):
        write_static(results, tmp_path / "file" / "page.html")
    page = tmp_path / "page"
    write_static(results, page)
    shutil.rmtree(page / "pictures")
    (page / "pictures").write_bytes(b"")
    with pytest.raises(DiskError, match=f"cannot write {re.escape(repr(str(page)))}: "):
        write_static(results, page)
    with pytest.raises(ConfigurationError, match="no journal"):
        write_static(tmp_path, tmp_path / "page.html")
