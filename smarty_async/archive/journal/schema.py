"""The journal's database file: its tables, ways to open it, and the translation of SQLite's errors."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path, PurePath
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import ConfigurationError, DiskError

__all__ = [
    "VERSION",
    "DamagedJournal",
    "DamagedValue",
    "address_of",
    "column_decoder",
    "copied",
    "disk_error",
    "empty",
    "no_journal",
    "opened",
    "opened_to_read",
    "set_aside",
    "translated",
]

T = TypeVar("T")

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NOT_UTF8: Final = "Could not decode to UTF-8"
"""What Python's module says of a text in the database; the error has no code."""
_FIRST_BYTE: Final = 0xFF  # of an SQLite error code: the primary code; the other bytes refine it

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
ALTER TABLE photos RENAME COLUMN mtime_ns TO version;
ALTER TABLE photos ADD COLUMN pages INTEGER NOT NULL DEFAULT 1;
ALTER TABLE photos ADD COLUMN place_key BLOB;
ALTER TABLE photos ADD COLUMN warnings TEXT;
CREATE INDEX place_keys ON photos (place_key);
ALTER TABLE answers RENAME COLUMN task TO spec;
ALTER TABLE failures RENAME COLUMN task TO spec;
DROP INDEX kept;
UPDATE answers SET state = 'received' WHERE state = 'kept';
UPDATE answers SET state = 'committed' WHERE state = 'placed';
CREATE INDEX received ON answers (state) WHERE state = 'received';
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    images INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    state TEXT NOT NULL
);
INSERT INTO requests (started, images, bytes, state)
    SELECT 0, sum(attempts), 0, 'answered' FROM photos HAVING sum(attempts) > 0;
""",
    """
CREATE TABLE former_outputs (
    photo INTEGER NOT NULL REFERENCES photos (id),
    mode TEXT NOT NULL,
    place BLOB NOT NULL,
    outputs TEXT NOT NULL
);
CREATE INDEX former_outputs_of ON former_outputs (photo);
""",
    """
ALTER TABLE answers ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
UPDATE answers SET dropped = (
    SELECT coalesce(sum(DISTINCT
        CASE kind.value WHEN 'improved' THEN 1 WHEN 'colorized_improved' THEN 2 WHEN 'colorized' THEN 4 ELSE 8 END
    ), 0) FROM json_each(answers.outputs) AS output, json_each(output.value, '$.dropped') AS kind
) WHERE outputs LIKE '%"dropped":%' AND json_valid(outputs);
""",
)
"""The statements that make each version of the tables from the one before. Released ones never change.

Tables of the current version (paths are bytes as the system encodes them):

``photos``: one row a picture.
    ``id``; ``source``: absolute path of the source; ``photo``: path relative to it, followed by a zero byte and the
    page number for page 2 and later of a file; ``place``: path of its outputs relative to ``DIR/<kind>``, null when it
    has none; ``place_key``: `place` as the output disk compares names, null when no run of version 3 has written it;
    ``size``: bytes; ``version``: modification time in nanoseconds since 1970, or ETag, as text; ``pages``: pictures in
    the file; ``digest``: SHA-256 of the file, followed by the page number for page 2 and later, null when it is not
    known, empty when the file could not be read; ``outcome``: null when no run has finished the photo; ``bw``,
    ``attempts``, ``error_type``, ``error``, ``warnings`` (a JSON list, null for none): as in its line of
    ``results.jsonl``.
``answers``: one row for each mode of a photo that was answered.
    ``photo``: id; ``mode``; ``spec``: the mode with its settings; ``state``: ``received`` (outputs in temporary files),
    ``committed`` (outputs at their places), ``stale`` (outputs of an earlier content of the photo); ``outputs``: JSON,
    ``{kind: {"temporary": name, "size": bytes, "digest": first hexadecimal digits of its SHA-256}}``; ``bw``;
    ``dropped``: kinds of outputs that it had and that were not kept, a bit for each: 1 for ``improved``, 2 for
    ``colorized_improved``, 4 for ``colorized``, 8 for ``resolved``.
``failures``: one row for each mode of a photo that failed permanently.
    ``photo``: id; ``spec``; ``type``; ``message``.
``former_outputs``: outputs of earlier answers that no row of ``answers`` has any more, until they are removed.
    ``photo``: id; ``mode``; ``place``: where they are, the photo's place or one that it had; ``outputs``: as in
    ``answers``.
``requests``: one row a request.
    ``started``: seconds since 1970, written before its first byte is sent; ``images``: images it carries; ``bytes``:
    size of its body; ``state``: ``open`` (no whole answer), ``answered``, ``refused`` (before any work). Requests of
    versions 1 and 2 are one row, started at 0, with all their images.
"""

VERSION: Final = len(_STEPS)
"""Version of the tables, which SQLite stores as ``user_version``."""


def opened(path: Path) -> sqlite3.Connection:
    """Open the database at `path` for reading and writing; create it if needed, migrate an older version.

    Raises:
        DiskError: it cannot be used.
        ConfigurationError: a newer version of this program wrote it.
    """
    with translated(path):
        sql = _connection(path, "rwc")
        try:
            sql.execute("PRAGMA journal_mode = WAL")
            sql.execute("PRAGMA synchronous = FULL")
            _migrate(sql)
        except BaseException:
            sql.close()
            raise
        return sql


def opened_to_read(path: Path) -> sqlite3.Connection:
    """Open the database at `path` for reading only, or a private copy of it.

    That is a copy where an older version has to be migrated, and where the disk cannot be written.

    Raises:
        DiskError: it is not there, or cannot be used.
        ConfigurationError: a newer version of this program wrote it.
    """
    with translated(path):
        try:
            sql = _connection(path, "ro")
        except sqlite3.OperationalError:
            return _private_copy(path)
        if _version(sql) == VERSION:
            return sql
        with closing(sql):
            return _migrated_copy(sql)


def copied(path: Path) -> sqlite3.Connection:
    """Open a private copy of the database at `path`, empty when that does not exist. Closing discards it.

    Raises:
        DiskError: it cannot be used.
        ConfigurationError: a newer version of this program wrote it.
    """
    if not path.exists():
        return empty()
    with translated(path):
        return _private_copy(path)


def empty() -> sqlite3.Connection:
    """Open a private empty database. Closing discards it."""
    sql = _private()
    _migrate(sql)
    return sql


class DamagedJournal(DiskError):
    """The journal's file does not hold what was written to it."""


class DamagedValue(sqlite3.DatabaseError):
    """A value of the database is not what was written to it; SQLite itself finds nothing wrong."""


def column_decoder(kind: type[T]) -> Callable[[str], T]:
    """What decodes a column with the JSON of a `kind`; it raises DamagedValue."""
    decode = msgspec.json.Decoder(kind).decode

    def decoded(text: str) -> T:
        try:
            return decode(text)
        except DAMAGED_JSON as error:
            raise DamagedValue(str(error)) from None

    return decoded


def set_aside(path: Path) -> Path:
    """Rename the database at `path` and its ``-wal`` and ``-shm`` files, and return the new path.

    No connection to it may be open.

    Raises:
        DiskError: the disk refuses.
    """
    free = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
    aside = next(name for name in free if not name.exists())
    for part, new in zip(_files_of(path), _files_of(aside), strict=True):
        try:
            if part.exists():
                part.replace(new)
        except OSError as error:
            raise DiskError.of(error, part, "rename") from None
    return aside


def _files_of(path: Path) -> list[Path]:
    """The files of the database at `path`, itself last: the others are of no use without it."""
    return [path.with_name(path.name + ending) for ending in ("-shm", "-wal", "")]


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Translate SQLite's errors in the block, as `disk_error` does."""
    try:
        yield
    except sqlite3.Error as error:
        raise disk_error(error, path) from None


def no_journal(out: str | os.PathLike[str]) -> ConfigurationError:
    """The error for an output folder that has no journal, or is not there."""
    there = f"there is no journal in {str(out)!r}" if Path(out).exists() else f"there is no folder {str(out)!r}"
    return ConfigurationError(f"{there}: give the folder that was given to improve as --out")


def disk_error(error: sqlite3.Error, path: Path) -> DiskError:
    """The `DiskError` for an error of SQLite at the journal `path`; a `DamagedJournal` where it is damaged.

    SQLite says of a file that may not be read only that it is "unable to open database file".
    """
    code = getattr(error, "sqlite_errorcode", 0) & _FIRST_BYTE
    if code in _DAMAGED or isinstance(error, DamagedValue) or _NOT_UTF8 in str(error):
        message = f"the journal {str(path)!r} is damaged ({error}): the next run rebuilds it from results.jsonl"
        return DamagedJournal(message, path=path)
    for part in reversed(_files_of(path)):
        try:
            if part.is_file():
                part.open("rb").close()
        except PermissionError as refused:
            return DiskError.of(refused, part, "read")
        except OSError:
            continue  # SQLite's own words stand
    return DiskError(f"the journal {str(path)!r} cannot be used: {error}", path=path)


def _connection(path: Path, mode: str) -> sqlite3.Connection:
    sql = sqlite3.connect(
        f"{address_of(path.absolute())}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        if _version(sql) > VERSION:
            raise ConfigurationError(f"{str(path)!r} was written by a newer version of smarty_async: update it")
    except BaseException:
        sql.close()
        raise
    return sql


def address_of(path: PurePath) -> str:
    """The address by which SQLite opens the file at `path`, an absolute one.

    It has no host, as `as_uri` gives one to a share of Windows: SQLite takes none but this machine, and finds
    ``//server/share`` in the path.
    """
    written = path.as_posix()
    return f"file://{'' if written.startswith('/') else '/'}{quote(os.fsencode(written), safe='/:')}"


def _private_copy(path: Path) -> sqlite3.Connection:
    """Open a private copy of the database at `path`, also where the disk cannot be written.

    SQLite creates a ``-shm`` file even to read, unless the address says that the file does not change (``immutable``).
    The database alone holds everything only when the ``-wal`` file is empty: a run that is under way, or was killed,
    leaves something in it.
    """
    try:
        sql = _connection(path, "ro")
    except sqlite3.OperationalError:
        _, log, _ = _files_of(path)
        if log.exists() and log.stat().st_size:
            message = "its folder cannot be written, which is needed after a run that was killed"
            raise sqlite3.OperationalError(message) from None
        sql = _connection(path, "ro&immutable=1")
    with closing(sql):
        return _migrated_copy(sql)


def _private() -> sqlite3.Connection:
    # A database without a name: in memory while it is small, then in a file that only this process sees.
    return sqlite3.connect("", isolation_level=None, check_same_thread=False)


def _migrated_copy(sql: sqlite3.Connection) -> sqlite3.Connection:
    copy = _private()
    try:
        sql.backup(copy)
        _migrate(copy)
    except BaseException:
        copy.close()
        raise
    return copy


def _version(sql: sqlite3.Connection) -> int:
    return int(sql.execute("PRAGMA user_version").fetchone()[0])


def _migrate(sql: sqlite3.Connection) -> None:
    for version, step in enumerate(_STEPS[_version(sql) :], start=_version(sql) + 1):
        sql.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {version}; COMMIT;")
