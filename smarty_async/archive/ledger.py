"""The journal's tables, and every question and note there is. Blocking; `journal` runs it in a thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from smarty_async.archive.names import output_place, shown
from smarty_async.archive.walk import Found
from smarty_async.archive.writer import place
from smarty_async.errors import ConfigurationError, DiskError
from smarty_async.options import Mode, Task
from smarty_async.results import ErrorInfo, Kind, Outcome, Result

__all__ = ["Claim", "Kept", "Known", "Ledger"]

VERSION: Final = 1
"""Of the tables; SQLite keeps it as `user_version`."""

_TABLES = """
CREATE TABLE photos (
    id INTEGER PRIMARY KEY,
    source BLOB NOT NULL,              -- absolute path of the source, as the system spells it
    photo BLOB NOT NULL,               -- path relative to it
    place BLOB NOT NULL UNIQUE,        -- path of its outputs relative to DIR/<kind>
    size INTEGER NOT NULL,             -- bytes
    mtime_ns INTEGER NOT NULL,
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
    state TEXT NOT NULL,               -- kept: in temporaries · placed: at their places · failed
    outputs TEXT NOT NULL,             -- {kind: {temporary, size}}
    bw INTEGER,
    error_type TEXT,
    error TEXT,
    PRIMARY KEY (photo, mode)
) WITHOUT ROWID;
CREATE INDEX kept ON answers (state) WHERE state = 'kept';
"""

State = Literal["kept", "placed", "failed"]


class Kept(msgspec.Struct, frozen=True):
    """An output on the disk.

    Attributes:
        temporary: the name of its temporary.
        size: bytes.
    """

    temporary: str
    size: int


class Known(msgspec.Struct, frozen=True):
    """What is known of one mode of a photo.

    Attributes:
        task: the mode with its settings, as text.
        state: how far it came.
        outputs: what was made.
        bw: whether the service took the photo for black-and-white.
        error: why it failed.
    """

    task: str
    state: State
    outputs: dict[Kind, Kept]
    bw: bool | None
    error: ErrorInfo | None


class Claim(msgspec.Struct, frozen=True):
    """A photo with its entry.

    Attributes:
        found: the photo.
        id: of the entry; 0 when there can be none.
        place: path of its outputs relative to ``DIR/<kind>``.
        known: what is known of it, by mode, as long as it has not changed.
        outcome: what became of it in an earlier run.
        attempts: how many requests it has ridden in.
        problem: why it cannot be done, None when it can.
    """

    found: Found
    id: int
    place: str
    known: dict[Mode, Known] = {}
    outcome: Outcome | None = None
    attempts: int = 0
    problem: ErrorInfo | None = None

    def has(self, task: Task) -> bool:
        """Whether the outputs of `task` stand."""
        known = self.known.get(task.mode)
        return known is not None and known.task == str(task) and known.state == "placed"

    def end(self, tasks: Iterable[Task], *, retry_failed: bool) -> Result | None:
        """What is told of a photo that an earlier run has finished, None when there is something to do."""
        missing = [task for task in tasks if not self.has(task)]
        if not missing:
            # Without an outcome the run that kept its outputs did not live to tell of it.
            return self.result("skipped", attempts=self.attempts) if self.outcome else None
        failures = [self._failure(task) for task in missing]
        if retry_failed or None in failures:
            return None
        return self.result("failed", error=failures[0], attempts=self.attempts)

    def _failure(self, task: Task) -> ErrorInfo | None:
        known = self.known.get(task.mode)
        return known.error if known is not None and known.task == str(task) else None

    def result(self, outcome: Outcome, *, error: ErrorInfo | None = None, attempts: int = 0) -> Result:
        """What is told of this photo, with the outputs that stand."""
        return _result(self.found.source, self.found.photo, self.place, outcome, self.known.values(), error, attempts)


class Ledger:
    """An open journal.

    Args:
        path: of the database.
        read_only: whether to leave it as it is, without making one.

    Raises:
        DiskError: it cannot be opened.
        ConfigurationError: a newer version of this program wrote it.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        with self.translated():
            uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self._sql = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            version = self._sql.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise ConfigurationError(f"{str(path)!r} was written by a newer version of smarty_async: update it")
            if not read_only:
                self._sql.execute("PRAGMA journal_mode = WAL")
                self._sql.execute("PRAGMA synchronous = FULL")
                if version == 0:
                    self._sql.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")

    def close(self) -> None:
        """Close it."""
        self._sql.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise DiskError(f"the journal {str(self._path)!r} cannot be used: {error}", path=self._path) from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable at its end."""
        with self.translated():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._sql.execute("ROLLBACK")
                raise
            self._sql.execute("COMMIT")

    # one photo's entry

    def claim(self, batch: Iterable[Found]) -> list[Claim]:
        """Find or make the entry of every photo in `batch`; an entry of a photo that has changed begins anew."""
        return [self._claim(found) for found in batch]

    def look_up(self, found: Found) -> Claim | None:
        """The entry of `found` as it stands, None when there is none for this size and time."""
        row = self._sql.execute(
            "SELECT id, place, outcome, attempts FROM photos"
            " WHERE source = ? AND photo = ? AND size = ? AND mtime_ns = ?",
            (os.fsencode(found.source), os.fsencode(found.photo), found.size, found.mtime_ns),
        ).fetchone()
        if row is None:
            return None
        number, where, outcome, attempts = row
        return Claim(found, number, os.fsdecode(where), self._known(number), outcome, attempts)

    def _claim(self, found: Found) -> Claim:
        claim = self.look_up(found) or self._renew(found)
        if claim is not None:
            return claim
        first = output_place(found.photo)
        for where in (first, f"{Path(found.source).name}/{first}"):
            cursor = self._sql.execute(
                "INSERT OR IGNORE INTO photos (source, photo, place, size, mtime_ns) VALUES (?, ?, ?, ?, ?)",
                (os.fsencode(found.source), os.fsencode(found.photo), os.fsencode(where), found.size, found.mtime_ns),
            )
            if cursor.rowcount:
                return Claim(found, cursor.lastrowid or 0, where)
        problem = ErrorInfo("collision", f"its output {shown(first)!r} is another photo's: give it another --out")
        return Claim(found, 0, first, problem=problem)

    def _renew(self, found: Found) -> Claim | None:
        """Begin the entry of a photo that has changed anew, None when there is no entry."""
        row = self._sql.execute(
            "UPDATE photos SET size = ?, mtime_ns = ?, outcome = NULL, bw = NULL, error_type = NULL, error = NULL"
            " WHERE source = ? AND photo = ? RETURNING id, place, attempts",
            (found.size, found.mtime_ns, os.fsencode(found.source), os.fsencode(found.photo)),
        ).fetchone()
        if row is None:
            return None
        self._sql.execute("DELETE FROM answers WHERE photo = ?", (row[0],))
        return Claim(found, row[0], os.fsdecode(row[1]), attempts=row[2])

    def _known(self, photo: int) -> dict[Mode, Known]:
        rows = self._sql.execute(
            "SELECT mode, task, state, outputs, bw, error_type, error FROM answers WHERE photo = ?", (photo,)
        )
        return {
            mode: Known(
                task, state, _outputs(outputs), None if bw is None else bool(bw), kind and ErrorInfo(kind, message)
            )
            for mode, task, state, outputs, bw, kind, message in rows
        }

    # notes

    def keep(self, photo: int, task: Task, outputs: Mapping[Kind, Kept], bw: bool | None) -> None:  # noqa: FBT001
        """The answer to `task` is durable, in temporaries."""
        self._sql.execute(
            "INSERT OR REPLACE INTO answers (photo, mode, task, state, outputs, bw) VALUES (?, ?, ?, 'kept', ?, ?)",
            (photo, task.mode, str(task), msgspec.json.encode(outputs).decode(), bw),
        )

    def placed(self, photo: int, task: Task) -> None:
        """The outputs of `task` stand at their places."""
        self._sql.execute("UPDATE answers SET state = 'placed' WHERE photo = ? AND mode = ?", (photo, task.mode))

    def record(self, photo: int, result: Result, failures: Mapping[Task, ErrorInfo]) -> None:
        """What became of a photo, in the end."""
        self._sql.executemany(
            "INSERT OR REPLACE INTO answers (photo, mode, task, state, outputs, error_type, error)"
            " VALUES (?, ?, ?, 'failed', '{}', ?, ?)",
            [(photo, task.mode, str(task), why.type, why.message) for task, why in failures.items()],
        )
        error = result.error
        self._sql.execute(
            "UPDATE photos SET outcome = ?, bw = ?, attempts = ?, error_type = ?, error = ? WHERE id = ?",
            (result.outcome, result.bw, result.attempts, error and error.type, error and error.message, photo),
        )

    # the whole

    def finish_kept(self, temporary: Callable[[str], Path], out: Path) -> None:
        """Bring to their places the outputs that an interrupted run had received; forget what is not there."""
        rows = self._sql.execute(
            "SELECT answers.photo, mode, place, outputs FROM answers JOIN photos ON photos.id = answers.photo"
            " WHERE state = 'kept'"
        ).fetchall()
        for photo, mode, where, text in rows:
            key = (photo, mode)
            if _finish(_outputs(text), temporary, out, os.fsdecode(where)):
                self._sql.execute("UPDATE answers SET state = 'placed' WHERE photo = ? AND mode = ?", key)
            else:
                self._sql.execute("DELETE FROM answers WHERE photo = ? AND mode = ?", key)

    def results(self) -> Iterator[Result]:
        """What became of every photo that is done."""
        rows = self._sql.execute(
            "SELECT id, source, photo, place, outcome, attempts, error_type, error FROM photos"
            " WHERE outcome IS NOT NULL ORDER BY id"
        )
        for number, source, photo, where, outcome, attempts, kind, message in rows:
            yield _result(
                os.fsdecode(source),
                os.fsdecode(photo),
                os.fsdecode(where),
                outcome,
                self._known(number).values(),
                kind and ErrorInfo(kind, message),
                attempts,
            )

    def counts(self) -> tuple[dict[Outcome | None, int], int]:
        """Photos by outcome (None: still to be done), and images sent in all."""
        rows = self._sql.execute("SELECT outcome, count(*), sum(attempts) FROM photos GROUP BY outcome").fetchall()
        return {outcome: count for outcome, count, _ in rows}, sum(sent for _, _, sent in rows)

    def failures(self) -> Iterator[tuple[Outcome, str, str, int, str]]:
        """Outcome, error type, one message, count and one photo for every reason there is."""
        rows = self._sql.execute(
            "SELECT outcome, error_type, min(error), count(*), min(photo) FROM photos"
            " WHERE error_type IS NOT NULL GROUP BY outcome, error_type ORDER BY count(*) DESC"
        )
        for outcome, kind, message, count, photo in rows:
            yield outcome, kind, message, count, shown(os.fsdecode(photo))


def _outputs(text: str) -> dict[Kind, Kept]:
    return msgspec.json.decode(text, type=dict[Kind, Kept])


def _finish(outputs: Mapping[Kind, Kept], temporary: Callable[[str], Path], out: Path, where: str) -> bool:
    """Whether all of `outputs` stand at their places, after what was still to be moved is moved."""
    moves: dict[Path, Path] = {}
    for kind, kept in outputs.items():
        final = out / kind / where
        if (waiting := temporary(kept.temporary)).exists():
            moves[waiting] = final
        elif not final.exists() or final.stat().st_size != kept.size:
            return False
    place(moves)
    return True


def _result(  # noqa: PLR0917 - a row
    source: str,
    photo: str,
    where: str,
    outcome: Outcome,
    known: Iterable[Known],
    error: ErrorInfo | None,
    attempts: int,
) -> Result:
    standing = [answer for answer in known if answer.state == "placed"]
    return Result(
        photo=shown(photo),
        source=shown(source),
        outcome=outcome,
        outputs={kind: shown(f"{kind}/{where}") for answer in standing for kind in answer.outputs},
        bw=next((answer.bw for answer in standing if answer.bw is not None), None),
        attempts=attempts,
        error=error,
    )
