"""The journal's file: its tables, how it is opened, and SQLite's errors as ours."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from smarty_async.errors import ConfigurationError, DiskError

__all__ = ["VERSION", "DamagedJournal", "copied", "empty", "opened", "opened_to_read", "set_aside", "translated"]

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FIRST_BYTE: Final = 0xFF  # of SQLite's error codes; the others tell more exactly what it was

_STEPS: Final = (
    """
CREATE TABLE photos (
    id INTEGER PRIMARY KEY,
    source BLOB NOT NULL,              -- absolute path of the source, as the system spells it
    photo BLOB NOT NULL,               -- path relative to it
    place BLOB UNIQUE,                 -- path of its outputs relative to DIR/<kind>; null: it has none
    size INTEGER NOT NULL,             -- bytes
    mtime_ns TEXT NOT NULL,            -- some disks know times that no SQLite integer holds
    outcome TEXT,                      -- null: still to be done
    bw INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    error_type TEXT,
    error TEXT,
    UNIQUE (source, photo)
);
CREATE TABLE answers (
    photo INTEGER NOT NULL REFERENCES photos (id),
    mode TEXT NOT NULL,
    task TEXT NOT NULL,                -- the mode with its settings
    state TEXT NOT NULL,               -- kept: in temporaries · placed: at their places · stale: of a former photo
    outputs TEXT NOT NULL,             -- {kind: {temporary, size}}
    bw INTEGER,
    PRIMARY KEY (photo, mode)
) WITHOUT ROWID;
CREATE INDEX kept ON answers (state) WHERE state = 'kept';
CREATE TABLE failures (
    photo INTEGER NOT NULL REFERENCES photos (id),
    task TEXT NOT NULL,
    type TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (photo, task)
) WITHOUT ROWID;
""",
    """
ALTER TABLE photos ADD COLUMN digest BLOB;  -- SHA-256 of its bytes; null: nobody asked; empty: it cannot be read
CREATE INDEX sizes ON photos (size);
CREATE INDEX digests ON photos (digest) WHERE digest > x'';
""",
    """
ALTER TABLE photos ADD COLUMN pages INTEGER NOT NULL DEFAULT 1;  -- pictures in the file, once it has been looked into
ALTER TABLE photos ADD COLUMN place_key BLOB;  -- place as the output disk compares names; null: not written by v3 yet
CREATE INDEX place_keys ON photos (place_key);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    started REAL NOT NULL,             -- seconds since 1970, before its first byte was sent
    images INTEGER NOT NULL,           -- images it carried
    bytes INTEGER NOT NULL,
    state TEXT NOT NULL                -- open: no answer yet, or lost · answered · refused: before any work was done
);
""",
)
"""What made each version of the tables from the one before. Those that have been released never change."""

VERSION: Final = len(_STEPS)
"""Of the tables; SQLite keeps it as `user_version`."""


def opened(path: Path) -> sqlite3.Connection:
    """The database at `path`, to be written; made when it is not there, brought up to date when it is older.

    Raises:
        DiskError: it cannot be used.
        ConfigurationError: a newer version of this program wrote it.
    """
    with translated(path):
        sql = _connection(path, "rwc")
        try:
            sql.execute("PRAGMA journal_mode = WAL")
            sql.execute("PRAGMA synchronous = FULL")
            _bring_up_to_date(sql)
        except BaseException:
            sql.close()
            raise
        return sql


def opened_to_read(path: Path) -> sqlite3.Connection:
    """The database at `path`, to be left as it is.

    Raises:
        DiskError: it is not there, or cannot be used.
        ConfigurationError: a newer version of this program wrote it.
    """
    with translated(path):
        sql = _connection(path, "ro")
        if _version(sql):
            return sql
        sql.close()  # a run was interrupted while it made it
    return empty()


def copied(path: Path) -> sqlite3.Connection:
    """A private copy of the database at `path`, empty when that is not there: what is noted in it is gone with it.

    Raises:
        DiskError: it cannot be used.
        ConfigurationError: a newer version of this program wrote it.
    """
    copy = empty()
    if path.exists():
        try:
            with closing(opened_to_read(path)) as sql, translated(path):
                sql.backup(copy)
            _bring_up_to_date(copy)
        except BaseException:
            copy.close()
            raise
    return copy


class DamagedJournal(DiskError):
    """What is in the journal's file is no longer what was written there."""


def set_aside(path: Path) -> Path:
    """Give the database at `path` another name, and its helper files with it; the new one. Nobody has it open.

    Raises:
        DiskError: the disk refuses.
    """
    free = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
    aside = next(name for name in free if not name.exists())
    for ending in ("-shm", "-wal", ""):  # the database last: without it, the others mean nothing
        part = path.with_name(path.name + ending)
        try:
            if part.exists():
                part.replace(aside.with_name(aside.name + ending))
        except OSError as error:
            raise DiskError.of(error, part, "rename") from None
    return aside


@contextmanager
def translated(path: Path) -> Generator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & _FIRST_BYTE in _DAMAGED:
            told = f"the journal {str(path)!r} is damaged ({error}): the next run makes it anew from results.jsonl"
            raise DamagedJournal(told, path=path) from None
        raise DiskError(f"the journal {str(path)!r} cannot be used: {error}", path=path) from None


def _connection(path: Path, mode: str) -> sqlite3.Connection:
    sql = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        if _version(sql) > VERSION:
            raise ConfigurationError(f"{str(path)!r} was written by a newer version of smarty_async: update it")
    except BaseException:
        sql.close()
        raise
    return sql


def empty() -> sqlite3.Connection:
    """A private database that nobody keeps."""
    # Without a name: in memory while it is small, then in a file that no one else sees.
    sql = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    _bring_up_to_date(sql)
    return sql


def _version(sql: sqlite3.Connection) -> int:
    return int(sql.execute("PRAGMA user_version").fetchone()[0])


def _bring_up_to_date(sql: sqlite3.Connection) -> None:
    for version, step in enumerate(_STEPS[_version(sql) :], start=_version(sql) + 1):
        sql.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {version}; COMMIT;")
