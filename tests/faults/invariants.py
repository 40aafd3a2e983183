"""What must be true, whatever has happened. Each function gives a sentence for each thing that is not."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from faults.album import Photo, display_path
from faults.living import Ended
from faults.schedule import Life, Schedule
from faults.service import KINDS, Book, RequestOutcome, expected_outputs

_STATE = ".smarty-async"
_OWN = {"journal.sqlite", "lock"}


def results_in(out: bytes) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The photos' lines that a run printed, and its summary."""
    lines = [json.loads(line) for line in out.splitlines(keepends=True) if line.endswith(b"\n")]
    summary = lines.pop()["summary"] if lines and "summary" in lines[-1] else None
    return lines, summary


def of_an_end(life: Life | None, ended: Ended, schedule: Schedule, book: Book) -> Iterator[str]:
    """What a run's own words and its exit status say."""
    err = ended.err.decode("utf-8", "replace")
    if ended.hung:
        yield f"it hung:\n{err}"
        return
    if "Traceback" in err or "this is a bug" in err or "was never" in err:
        yield f"it broke down:\n{err}"
    if schedule.secret in err or schedule.secret.encode() in ended.out:
        yield "it revealed a secret"
    results, summary = results_in(ended.out)
    expected = _expected_statuses(life, results, reported_all=summary is not None)
    if ended.status not in expected:
        yield f"it ended with {ended.status}, not one of {sorted(expected)}:\n{err}"
    if summary is None and ended.status in (0, 1):
        yield "it ended without a summary"
    yield from _of_its_results(results, schedule, book)
    finished = ended.status in (0, 1) and (life is None or life.bound is None)
    if finished and (
        left := {display_path(photo.path) for photo in schedule.album} - {result["photo"] for result in results}
    ):
        yield f"photos without a word: {sorted(left)}"


def _of_its_results(results: list[dict[str, Any]], schedule: Schedule, book: Book) -> Iterator[str]:
    yield from _doubles(result["photo"] for result in results)
    known = {display_path(photo.path): photo for photo in schedule.album}
    for result in results:
        photo = known.get(result["photo"])
        if photo is None:
            yield f"it reported a photo that does not exist: {result['photo']!r}"
        elif result["outcome"] == "failed" and not _may_fail(photo, result["error"]["type"], book):
            yield f"{result['photo']!r} failed for good, though the service never said so: {result['error']}"


def _may_fail(photo: Photo, kind: str, book: Book) -> bool:
    return kind != "permanent" or photo.content in book.permanent


def _expected_statuses(life: Life | None, results: list[dict[str, Any]], *, reported_all: bool) -> set[int]:
    bad = any(result["outcome"] in ("failed", "rejected") for result in results)
    expected = {1 if bad else 0}
    if life is not None:
        expected |= {"kill": {-9}, "term": {130}, "int": {130}, "twice": {130}}.get(life.end or "", set())
        expected |= {3} if life.may_end_unauthorized else set()
        expected |= {4} if life.mood.faults else set()
        expected |= {6} if life.bound is not None else set()
        # All was done and reported, and it was on its way out.
        expected |= {-15 if life.end != "int" else -2} if reported_all and life.end not in (None, "kill") else set()
    return expected


def _doubles(photos: Iterable[str]) -> Iterator[str]:
    yield from (f"{photo!r} was reported {times} times" for photo, times in Counter(photos).items() if times > 1)


def received(schedule: Schedule, out: Path, modes: tuple[str, ...]) -> Counter[RequestOutcome]:
    """For how many photos of each content the journal under `out` knows each mode's answer."""
    known = _journalled(out)
    return Counter(
        (photo.content, mode)
        for photo in schedule.album
        for mode in modes
        if photo.content and (os.fsencode(photo.path), mode) in known
    )


def reported(schedule: Schedule, out: Path) -> Counter[RequestOutcome]:
    """For how many photos of each content each mode is known from ``results.jsonl`` and the outputs that exist.

    By how much an output was enlarged is not known in these schedules: it is no real picture.
    """
    known: Counter[RequestOutcome] = Counter()
    results = out / "results.jsonl"
    lines = {line["photo"]: line for line in map(_line, results.read_bytes().splitlines())} if results.exists() else {}
    for photo in (photo for photo in schedule.album if photo.content and display_path(photo.path) == photo.path):
        line = lines.get(display_path(photo.path), {"outcome": None, "outputs": {}})
        files = expected_outputs(photo.content, ("improve",)).keys()
        if files and files <= line["outputs"].keys():
            known[photo.content, "improve"] += 1
        elif not line["outputs"] and line["outcome"] in ("already_good", "duplicate"):
            known.update((photo.content, mode) for mode in schedule.modes)
    return known


def _line(text: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError:
        return {"photo": None}  # it died while it wrote


def _journalled(out: Path) -> set[tuple[bytes, str]]:
    journal = out / _STATE / "journal.sqlite"
    if not journal.exists():
        return set()
    query = (
        "SELECT photos.photo, mode FROM answers JOIN photos ON photos.id = photo"
        " WHERE state IN ('received', 'committed')"
    )
    with closing(sqlite3.connect(journal)) as sql:
        try:
            return {(bytes(photo), mode) for photo, mode in sql.execute(query.replace("= photo ", "= answers.photo "))}
        except sqlite3.OperationalError:  # it died before there were tables
            return set()


def place_of(path: str) -> str:
    """Where the outputs of a photo go, in each kind's folder; not for names near the longest that a disk holds."""
    return path if path.lower().endswith((".jpg", ".jpeg")) else f"{path}.jpg"


def of_the_end(schedule: Schedule, out: Path, book: Book, *, spelled: Callable[[str], str] = str) -> Iterator[str]:
    """What lies under `out` after the last, clean run, and what was paid for it; outputs have paths as `spelled`."""
    results = [json.loads(line) for line in (out / "results.jsonl").read_bytes().splitlines()]
    yield from _doubles(result["photo"] for result in results)
    by_photo = {result["photo"]: result for result in results}
    expected: dict[str, bytes] = {}
    for photo in schedule.album:
        result = by_photo.pop(display_path(photo.path), None)
        if result is None:
            yield f"no line in results.jsonl for {photo.path!r}"
            continue
        yield from _of_a_photo(photo, result, schedule, expected, spelled)
    yield from (f"a line in results.jsonl for {photo!r}, which is none" for photo in by_photo)
    forgotten: set[bytes] = set()
    if any(life.harm for life in schedule.lives):
        made = [expected_outputs(photo.content, schedule.modes) for photo in schedule.album if photo.content]
        forgotten = {data for files in made for data in files.values()}
    yield from _of_the_disk(out, expected, forgotten)
    for (content, mode), times in book.paid.items():
        if times > 1:
            yield f"{mode} of {content} was paid {times} times"


def _of_a_photo(
    photo: Photo,
    result: dict[str, Any],
    schedule: Schedule,
    expected: dict[str, bytes],
    spelled: Callable[[str], str],
) -> Iterator[str]:
    if not photo.content:
        if result["outcome"] != "rejected" or result["outputs"]:
            yield f"{photo.path!r} is not a photo and was not rejected: {result}"
        return
    files = expected_outputs(photo.content, schedule.modes)
    forgettable = any(life.harm for life in schedule.lives)
    if forgettable and result["error"] and result["error"]["type"] == "output_exists":
        # A damaged journal has forgotten an output, which is a file that no known run made, and in the way.
        expected |= {place: files[kind] for kind, place in result["outputs"].items()}
        return
    if result["outcome"] not in ("restored" if files else "already_good", "duplicate"):
        yield f"{photo.path!r} came to a wrong end: {result}"
    if set(result["outputs"]) != set(files):
        yield f"{photo.path!r} has the outputs {sorted(result['outputs'])}, not {sorted(files)}"
    for kind, place in result["outputs"].items():
        right = f"{kind}/{display_path(place_of(spelled(photo.path)))}"
        # A new output goes beside one that was forgotten.
        named = _DISTINCT.sub("", place) if forgettable else place
        if len(os.fsencode(photo.path).rsplit(b"/")[-1]) < _LONG_NAME and named != right:
            yield f"{photo.path!r} has its {kind} at {place!r}"
        if place in expected:
            yield f"{place!r} is the output of two photos"
        expected[place] = files.get(kind, b"")


_DISTINCT = re.compile("~[0-9a-f]{12}")
"""What makes the name of an output distinct from that of a file that no run made."""
_LONG_NAME = 250
"""Bytes; longer names are shortened."""


def _of_the_disk(out: Path, expected: dict[str, bytes], forgotten: set[bytes]) -> Iterator[str]:
    found: set[str] = set()
    for path in (path for path in out.rglob("*") if path.is_file()):
        place = display_path(str(path.relative_to(out)))
        if place.startswith(_STATE):
            if path.name not in _OWN and ".damaged-" not in path.name:
                yield f"a temporary was left: {place!r}"
        elif place != "results.jsonl":
            found.add(place)
            if place not in expected and path.read_bytes() in forgotten:
                continue
            if place not in expected:
                yield f"a file that belongs to no photo: {place!r}"
            elif path.read_bytes() != expected[place]:
                yield f"{place!r} does not hold its own photo's output"
    yield from (f"{place!r} is not there" for place in expected.keys() - found)


def of_secrets(schedule: Schedule, out: Path) -> Iterator[str]:
    """No file under `out` may hold a secret."""
    for path in (path for path in out.rglob("*") if path.is_file()):
        if schedule.secret.encode() in path.read_bytes():
            yield f"{path.name} holds a secret"


__all__ = ["KINDS", "of_an_end", "of_secrets", "of_the_end", "place_of", "received", "reported", "results_in"]
