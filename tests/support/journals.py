"""Output folders as a run leaves them, made without a run."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from smarty_async.archive.journal import schema
from smarty_async.archive.journal.lookup import EntryLookup
from smarty_async.archive.journal.records import photo_key
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.paths import POSIX_RULES, output_place
from support import pictures

__all__ = ["Entry", "add_entries", "begin_another_run", "make_output_folder", "picture_entry"]

MODES = {"improved": "improve", "colorized_improved": "improve", "colorized": "improve", "resolved": "resolution"}


class Entry(msgspec.Struct, kw_only=True):
    """One photo of a journal.

    Attributes:
        name: path relative to the source.
        page: which picture of the file, from 1.
        outcome: None when no run has finished it.
        outputs: {kind: bytes of the file}; made at their places.
        place: path of its outputs below the folder of each kind; by default what its name gives.
        original: bytes of the photo; None when it is no longer there.
        error: type and message.
        bw: whether it was taken for black-and-white.
    """

    name: str
    page: int = 1
    outcome: str | None = "restored"
    outputs: Mapping[str, bytes] = {}
    place: str | None = None
    original: bytes | None = None
    error: tuple[str, str] | None = None
    bw: bool | None = None


def make_output_folder(out: Path, source: Path, entries: Iterable[Entry]) -> Path:
    """Write the originals, the outputs and the journal of a run from `source` into `out`."""
    state = out / ".smarty-async"
    state.mkdir(parents=True, exist_ok=True)
    source.mkdir(parents=True, exist_ok=True)
    add_entries(out, source, entries)
    return out


def add_entries(out: Path, source: Path, entries: Iterable[Entry]) -> None:
    """Add photos to the journal of `out`, or replace what it says of them."""
    with closing(schema.opened(out / ".smarty-async" / "journal.sqlite")) as sql:
        for entry in entries:
            _write_files(out, source, entry)
            _write_row(sql, source, entry)


def begin_another_run(store: JournalStore) -> None:
    """What the run that `store` was opened for has seen is forgotten, as another run begins with nothing seen."""
    store._lookup = EntryLookup(store.sql, store._unplaced, store._places)


def picture_entry(name: str, *kinds: str, seed: int = 0, outcome: str = "restored") -> Entry:
    """A restored photo with real pictures."""
    outputs = {kind: pictures.jpeg(160, 120, seed=seed + 100 * number) for number, kind in enumerate(kinds, start=1)}
    return Entry(name=name, outcome=outcome, outputs=outputs, original=pictures.noisy(160, 120, seed=seed))


def _place(entry: Entry) -> str:
    return entry.place or output_place(entry.name, page=entry.page, rules=POSIX_RULES)


def _write_files(out: Path, source: Path, entry: Entry) -> None:
    files = {out / kind / _place(entry): data for kind, data in entry.outputs.items()}
    if entry.original is not None:
        files[source / entry.name] = entry.original
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _write_row(sql: sqlite3.Connection, source: Path, entry: Entry) -> None:
    path = source / entry.name
    size, mtime_ns = (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (0, 0)
    key = (os.fsencode(source), photo_key(entry.name, entry.page))
    sql.execute("INSERT OR IGNORE INTO photos (source, photo, size, version) VALUES (?, ?, 0, '0')", key)
    [number] = sql.execute("SELECT id FROM photos WHERE source = ? AND photo = ?", key).fetchone()
    sql.execute(
        "UPDATE photos SET place = ?, size = ?, version = ?, outcome = ?, bw = ?, attempts = 1, error_type = ?,"
        " error = ? WHERE id = ?",
        (
            os.fsencode(_place(entry)),
            size,
            str(mtime_ns),
            entry.outcome,
            entry.bw,
            *(entry.error or (None, None)),
            number,
        ),
    )
    sql.execute("DELETE FROM answers WHERE photo = ?", (number,))
    for mode in ("improve", "resolution"):
        made = {
            kind: {"temporary": "", "size": len(data)} for kind, data in entry.outputs.items() if MODES[kind] == mode
        }
        if made:
            sql.execute(
                "INSERT INTO answers (photo, mode, spec, state, outputs) VALUES (?, ?, ?, 'committed', ?)",
                (number, mode, mode, msgspec.json.encode(made).decode()),
            )
