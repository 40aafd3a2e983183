"""The commands ``view`` and ``album`` as a user calls them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.journals import Entry, make_output_folder, picture_entry
from support.permissions import without_privileges
from support.program import invoke


def smarty(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smarty_async", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120)  # noqa: S603


@pytest.fixture
def results(out: Path, source: Path) -> Path:
    entries = [picture_entry("a.png", "improved"), Entry(name="b.jpg", outcome="failed", original=b"original")]
    return make_output_folder(out, source, entries)


@pytest.mark.slow
def test_album(results: Path, tmp_path: Path) -> None:
    done = smarty("album", results, "--to", tmp_path / "album")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"2 pictures in {tmp_path / 'album'}: 1 restored, 1 original (2 copied, 0 unchanged)\n"
    assert {path.name for path in (tmp_path / "album").glob("*.*g")} == {"a.jpg", "b.jpg"}
    again = smarty("album", results, "--to", tmp_path / "album", "--json")
    assert json.loads(again.stdout) == {
        "outputs": 1,
        "originals": 1,
        "copied": 0,
        "unchanged": 2,
        "removed": 0,
        "problems": [],
    }


def test_album_says_which_photos_are_gone(results: Path, tmp_path: Path, source: Path) -> None:
    (source / "b.jpg").unlink()
    done = invoke("album", results, "--to", tmp_path / "album")
    assert done.status == 1
    problem, *advice = done.err.splitlines()
    assert problem == "b.jpg: neither an output nor the original is there"
    assert " ".join(map(str.strip, advice)).startswith("What to do: check that these photos are there")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["album", "{out}", "--to", "{source}"], 2, "choose another --to"),
        (["album", "{out}", "--to", "{tmp}/album", "--prefer", "best"], 2, "--prefer names no output 'best'"),
        (
            ["album", "{out}", "--to", "{tmp}/album", "--prefer", ""],
            2,
            "--prefer names no output: choose from improved",
        ),
        (["album", "{out}", "--to", "{tmp}/album", "--prefer", " , "], 2, "--prefer names no output: choose from"),
        (["album", "{out}"], 2, "--to"),
        (["album", "{tmp}", "--to", "{tmp}/album"], 3, "there is no journal in"),
        (["view", "{tmp}", "--no-browser"], 3, "there is no journal in"),
        (["view", "{tmp}/gone", "--no-browser"], 3, "there is no folder"),
        (["view", "{tmp}", "--static", "{tmp}/page.html"], 3, "there is no journal in"),
        (["view", "{out}", "--static", "{source}"], 2, "--static"),
        (["view"], 2, "DIR"),
    ],
)
@pytest.mark.usefixtures("results")
def test_slips(tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    places = {"tmp": tmp_path, "out": tmp_path / "out", "source": tmp_path / "photos"}
    done = invoke(*(text.format(**places) for text in arguments))
    assert (done.status, done.out) == (status, "")
    assert words in " ".join(done.err.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "{out}"],
        ["album", "{out}", "--to", "{tmp}/album"],
        ["view", "{out}", "--no-browser"],
        ["improve", "{source}", "--out", "{out}", "--dry-run"],
    ],
)
def test_a_journal_that_may_not_be_read(results: Path, source: Path, tmp_path: Path, arguments: list[str]) -> None:
    journal = results / ".smarty-async" / "journal.sqlite"
    journal.chmod(0)
    with without_privileges():
        ended = invoke(*(part.format(tmp=tmp_path, source=source, out=results) for part in arguments))
    assert ended.status == 5
    assert f"cannot read {str(journal)!r}: Permission denied" in ended.err
    assert "Change the permissions, run the same command as a user who has them, or choose another place" in ended.err


@pytest.mark.slow
def test_view_writes_a_page(results: Path, tmp_path: Path) -> None:
    done = smarty("view", results, "--static", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, f"Wrote 2 photos to {tmp_path / 'page.html'}\n")
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send to one process on Windows")
def test_view_serves_until_it_is_interrupted(results: Path) -> None:
    command = [sys.executable, "-m", "smarty_async", "view", str(results), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        with urllib.request.urlopen(found[0], timeout=30) as response:  # noqa: S310 - our own address
            assert b"<title>" in response.read()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
        assert process.stderr.read() == ""


def test_paths_may_be_file_urls(results: Path, tmp_path: Path) -> None:
    out = results.as_uri()
    page, album = tmp_path / "page", tmp_path / "album"
    assert invoke("view", out, "--static", page.as_uri()).err.startswith("Wrote 2 photos")
    assert (page / "index.html").is_file()
    assert invoke("album", out, "--to", album.as_uri()).status == 0
    assert (album / "a.jpg").is_file()
    refused = invoke("view", results, "--static", "ftp://host/page")
    assert (refused.status, "ftp:// is not supported" in refused.err) == (2, True)


def test_a_home_folder_that_no_shell_has_filled_in_is_refused(results: Path) -> None:
    for command in (["view", "~/x"], ["album", str(results), "--to", "~/x"], ["improve", str(results), "--out", "~/x"]):
        ended = invoke(*command)
        assert (ended.status, "which the shell has not replaced" in ended.err) == (2, True)


@pytest.mark.parametrize("command", ["view", "album"])
def test_help_names_the_options(command: str) -> None:
    done = invoke(command, "--help")
    assert done.status == 0
    for option in {"view": ("--static", "--port", "--no-browser"), "album": ("--to", "--prefer")}[command]:
        assert option in done.out
