"""Enter photos into a journal that it does not know: from a list, from the log of a store, from outputs. Blocking."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final

import msgspec

from smarty_async.archive.journal.lookup import key_of, outputs_of
from smarty_async.archive.journal.records import PhotoEntry, ReceivedAnswer, StoredOutput
from smarty_async.archive.journal.rows import file_of
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.origin import OutputOrigin
from smarty_async.archive.outputs.store import FinishedPhoto, LoggedPhoto
from smarty_async.archive.paths import folded_key, photo_path
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import Kind, Result

__all__ = ["LeftAnswer", "adopt", "adopt_left", "insert_finished", "replay"]

_READERS: Final = 16
"""Outputs whose metadata are read at a time."""


class LeftAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that a worker has made durable for a run which ended before it took the answer.

    Attributes:
        source: of the photo, as the journal has it.
        photo: likewise.
        place: of its outputs, likewise.
        size: bytes of the photo.
        version: of the photo.
        spec: what was asked.
        outputs: the outputs, in temporary files or at their places.
        bw: whether the service took the photo for black-and-white; None when it did not say.
    """

    source: bytes
    photo: bytes
    place: bytes
    size: int
    version: str
    spec: ModeSpec
    outputs: Mapping[Kind, StoredOutput]
    bw: bool | None


def insert_finished(
    journal: JournalStore,
    file: PhotoFile,
    place: str,
    answers: Mapping[ModeSpec, Mapping[Kind, StoredOutput]],
    result: Result,
    *,
    stale: Mapping[Mode, Mapping[Kind, StoredOutput]] | None = None,
) -> int:
    """Add a photo with its committed answers and its result, or replace what is known of it.

    Args:
        journal: the journal.
        file: the photo.
        place: where its outputs are.
        answers: the committed answers.
        result: its last result.
        stale: outputs at its place that a later answer replaces.

    Returns:
        The id of its entry.
    """
    key = (*key_of(file), os.fsencode(place) or None)
    outcome = None if result.error or not answers else result.outcome
    for table in ("answers", "failures"):
        journal.sql.execute(
            f"DELETE FROM {table} WHERE photo IN"  # noqa: S608 - no values from outside
            " (SELECT id FROM photos WHERE (source = ? AND photo = ?) OR place = ?)",
            key,
        )
    journal.sql.execute(
        "INSERT OR REPLACE INTO photos (source, photo, place, place_key, size, version) VALUES (?, ?, ?, ?, ?, ?)",
        (*key, folded_key(place) or None, file.size, file.version),
    )
    [number] = journal.sql.execute("SELECT last_insert_rowid()").fetchone()
    entry = PhotoEntry(file, number, place)
    journal.record_received(
        [ReceivedAnswer(entry, spec, dict(outputs), result.bw) for spec, outputs in answers.items()]
    )
    journal.record_committed([(number, spec) for spec in answers])
    journal.sql.executemany(
        "INSERT INTO answers (photo, mode, spec, state, outputs) VALUES (?, ?, '', 'stale', ?)",
        [(number, mode, msgspec.json.encode(outputs).decode()) for mode, outputs in (stale or {}).items()],
    )
    journal.sql.execute(
        "UPDATE photos SET outcome = ?, bw = ?, attempts = ? WHERE id = ?",
        (outcome, result.bw, result.attempts, number),
    )
    return int(number)


def replay(journal: JournalStore, lines: Iterable[dict[str, Any]]) -> int:
    """Enter lines of a log: each is a photo as a run left it, and replaces what is known of the photo.

    Images of its requests are counted as paid.

    Returns:
        The number of lines.
    """
    count = 0
    for line in lines:
        logged = msgspec.convert(line, LoggedPhoto)
        file = _file_of(logged.source, logged.photo, logged.page, logged.size, logged.version)
        row = journal.sql.execute("SELECT attempts FROM photos WHERE source = ? AND photo = ?", key_of(file)).fetchone()
        answers: dict[ModeSpec, dict[Kind, StoredOutput]] = {
            ModeSpec.parse(spec): {kind: StoredOutput("", size) for kind, size in outputs.items()}
            for spec, outputs in logged.answers.items()
        }
        number = insert_finished(journal, file, logged.place, answers, logged.result)
        journal.note_pages(number, logged.pages)
        failures = {ModeSpec.parse(spec): why for spec, why in logged.failures.items()}
        journal.record_results([FinishedPhoto(PhotoEntry(file, number, logged.place), logged.result, failures)])
        _count_paid(journal, logged.attempts - (row[0] if row else 0))
        count += 1
    return count


def adopt(
    journal: JournalStore,
    outputs: Iterable[tuple[Kind, str, int]],
    origin: Callable[[Kind, str], OutputOrigin | None],
) -> int:
    """Enter answers whose outputs are all there, and which the journal does not know; they are paid for.

    Args:
        journal: the journal.
        outputs: every output that is there: its kind, its place, and its size in bytes.
        origin: reads what an output says of itself; called in threads.

    Returns:
        The number of answers.
    """
    unknown = (output for output in outputs if not _knows(journal, *output[:2]))
    found: dict[tuple[str, str], tuple[OutputOrigin, dict[Kind, StoredOutput]]] = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="smarty_async adopt") as readers:
        while some := list(islice(unknown, 4 * _READERS)):
            kinds, places, _ = zip(*some, strict=True)
            for (kind, place, size), one in zip(some, readers.map(origin, kinds, places), strict=True):
                if one is not None:
                    found.setdefault((place, one.spec), (one, {}))[1][kind] = StoredOutput("", size)
    return sum(_adopt_one(journal, place, one, stored) for (place, _), (one, stored) in found.items())


def adopt_left(journal: JournalStore, answers: Iterable[LeftAnswer]) -> int:
    """Enter answers as received, `JournalStore.recover` commits them; they are paid for.

    Those that the journal has are left out, and those that would replace an earlier one: their photos are sent again.

    Returns:
        The number of answers.
    """
    count, photos = 0, set[tuple[int]]()
    for answer in answers:
        row = journal.sql.execute(
            "SELECT id FROM photos WHERE source = ? AND photo = ? AND place = ? AND size = ? AND version = ?"
            " AND NOT EXISTS (SELECT 1 FROM answers WHERE answers.photo = id AND mode = ?)",
            (answer.source, answer.photo, answer.place, answer.size, answer.version, answer.spec.mode),
        ).fetchone()
        if row is None:
            continue
        entry = PhotoEntry(file_of(answer.source, answer.photo), row[0], os.fsdecode(answer.place))
        journal.record_received([ReceivedAnswer(entry, answer.spec, dict(answer.outputs), answer.bw)])
        photos.add(row)
        count += 1
    journal.sql.executemany("UPDATE photos SET attempts = attempts + 1 WHERE id = ?", photos)
    return count


def _knows(journal: JournalStore, kind: Kind, place: str) -> bool:
    rows = journal.sql.execute(
        "SELECT outputs FROM photos JOIN answers ON answers.photo = id WHERE place = ?", (os.fsencode(place),)
    )
    return any(kind in outputs_of(outputs) for (outputs,) in rows)


def _adopt_one(journal: JournalStore, place: str, origin: OutputOrigin, outputs: Mapping[Kind, StoredOutput]) -> bool:
    """Enter an answer, unless an output of it is missing, or the journal has the photo with another content."""
    if set(origin.kinds) != set(outputs):
        return False
    file = _file_of(origin.source, origin.photo, origin.page, origin.size, origin.version)
    journal.sql.execute(
        "INSERT OR IGNORE INTO photos (source, photo, place, place_key, size, version) VALUES (?, ?, ?, ?, ?, ?)",
        (*key_of(file), os.fsencode(place), folded_key(place), file.size, file.version),
    )
    row = journal.sql.execute(
        "SELECT id FROM photos WHERE source = ? AND photo = ? AND place = ? AND size = ? AND version = ?",
        (*key_of(file), os.fsencode(place), file.size, file.version),
    ).fetchone()
    if row is None:
        return False
    spec = ModeSpec.parse(origin.spec)
    journal.record_received([ReceivedAnswer(PhotoEntry(file, row[0], place), spec, dict(outputs), origin.bw)])
    journal.record_committed([(row[0], spec)])
    _count_paid(journal, 1)
    return True


def _count_paid(journal: JournalStore, images: int) -> None:
    if images > 0:
        journal.finish_request(journal.start_request(images=images, size=0), "answered")


def _file_of(source: str, photo: str, page: int, size: int, version: str) -> PhotoFile:
    return PhotoFile(source, photo, photo_path(source, photo), size, version, page=page)
