from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.archives import STATE, lines
from support.damaged_json import DAMAGED

from smarty_async.archive.outputs import results_file
from smarty_async.archive.outputs.results_file import ResultsFile
from smarty_async.errors import DiskError
from smarty_async.results import ErrorInfo, Result

GOOD = Result(photo="a.jpg", source="/photos", outcome="already_good")
WHOLE = Result(
    photo="Фото\n1.png",
    source="/photos",
    outcome="failed",
    outputs={"improved": "improved/Фото\n1.png.jpg"},
    bw=False,
    attempts=3,
    error=ErrorInfo("permanent", "no «way»"),
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / STATE).mkdir()
    return tmp_path


def test_a_line_has_exactly_its_fields(out: Path) -> None:
    ResultsFile(out / "results.jsonl").append([GOOD, WHOLE])
    assert lines(out) == [
        {
            "photo": "a.jpg",
            "source": "/photos",
            "outcome": "already_good",
            "outputs": {},
            "bw": None,
            "attempts": 0,
            "error": None,
            "page": 1,
            "warnings": [],
        },
        {
            "photo": "Фото\n1.png",
            "source": "/photos",
            "outcome": "failed",
            "outputs": {"improved": "improved/Фото\n1.png.jpg"},
            "bw": False,
            "attempts": 3,
            "error": {"type": "permanent", "message": "no «way»"},
            "page": 1,
            "warnings": [],
        },
    ]


def test_lines_are_appended_and_rewritten(out: Path) -> None:
    file = ResultsFile(out / "results.jsonl")
    file.append([GOOD])
    file.append([WHOLE])
    assert [line["photo"] for line in lines(out)] == ["a.jpg", "Фото\n1.png"]
    file.rewrite(iter([WHOLE]))
    assert [line["photo"] for line in lines(out)] == ["Фото\n1.png"]
    file.rewrite([])
    assert lines(out) == []
    assert {path.name for path in out.rglob("*")} == {STATE, "results.jsonl"}


def test_lines_that_hold_no_result_are_left_out(out: Path) -> None:
    file = ResultsFile(out / "results.jsonl")
    file.path.write_bytes(b"\n".join((*DAMAGED, b"")))
    assert not file.is_of_runs()
    file.append([GOOD])
    assert list(file.read()) == [GOOD]
    assert file.is_of_runs()


def test_an_error_in_rewriting_leaves_the_former_file(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    file = ResultsFile(out / "results.jsonl")
    file.append([GOOD])
    monkeypatch.setattr(results_file, "sync_file", full)
    with pytest.raises(DiskError, match="No space left"):
        file.rewrite([WHOLE])
    assert [line["photo"] for line in lines(out)] == ["a.jpg"]
    assert {path.name for path in out.glob("*")} == {STATE, "results.jsonl"}


def test_it_is_whole_and_on_the_disk_before_it_has_its_name(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Any] = []
    replace = os.replace

    def replaced(old: Path, new: Path) -> None:
        steps.append(("rename", new.name, [json.loads(line)["photo"] for line in old.read_bytes().splitlines()]))
        replace(old, new)

    monkeypatch.setattr(results_file, "sync_file", lambda path: steps.append(("sync", path.name)))
    monkeypatch.setattr(results_file, "sync_folder", lambda path: steps.append(("sync folder", path)))
    monkeypatch.setattr(os, "replace", replaced)
    ResultsFile(out / "results.jsonl").rewrite([GOOD])
    assert steps == [("sync", "results.jsonl.new"), ("rename", "results.jsonl", ["a.jpg"]), ("sync folder", out)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_our_error(out: Path) -> None:
    (out / "results.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskError, match=r"results\.jsonl.*No space left") as caught:
        ResultsFile(out / "results.jsonl").append([GOOD])
    assert caught.value.path == out / "results.jsonl"
    assert caught.value.errno == 28
