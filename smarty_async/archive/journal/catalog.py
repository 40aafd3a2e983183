"""Read-only access to the photos in an output folder's journal, by folder and page by page. Blocking.

The one module of the before/after page and of the album that knows the journal's tables. A run that writes to the
journal at the same time is not disturbed.

A photo that was renamed or moved has two entries: that of its former name stays, with its outputs. It is left out while
the photo has all its results under the name that it has now.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, cast, get_args

import msgspec

from smarty_async.archive.journal import schema
from smarty_async.archive.journal.records import kinds_of, photo_key, photo_of_key
from smarty_async.archive.paths import JOURNAL, STATE, display_path, is_gone, photo_path
from smarty_async.errors import ConfigurationError
from smarty_async.failures import name_with_page
from smarty_async.results import KINDS, ErrorInfo, Kind, Outcome
from smarty_async.store_address import is_made_of_store_address

__all__ = ["STATES", "Catalog", "Folder", "Photo", "State"]

State = Literal["restored", "already_good", "failed", "rejected", "skipped", "duplicate", "unfinished"]
"""A photo's outcome, or ``unfinished`` when no run has finished it yet."""

STATES: Final[tuple[State, ...]] = get_args(State)

_COLUMNS: Final = "id, source, photo, place, size, version, outcome, bw, attempts, error_type, error"
_KEY: Final = 2
"""Where a row of these has the column ``photo``."""
_AFTER_PAGES: Final = b"\1"
"""What follows a path in the first key behind those of its pages, which begin with the path and a zero byte."""
_BATCH: Final = 500
"""Photos read at a time by `Catalog.photos`, and bound parameters of one statement."""


class Photo(msgspec.Struct, frozen=True, kw_only=True):
    """One photo of the journal.

    Attributes:
        id: its row in the journal.
        source: absolute path of its source, as the file system spells it.
        photo: path relative to its source, as the file system spells it, with ``/``.
        page: which picture of the file, from 1.
        size: bytes of the photo when it was scanned.
        mtime_ns: its modification time then, in nanoseconds since 1970; None when its source has none.
        state: its outcome, or ``unfinished``.
        outputs: {kind: path relative to the output folder}, in the order of `results.Kind`.
        bw: whether the service took it for black-and-white; None when it did not say.
        attempts: requests it was part of.
        error: why it failed or was rejected, else None.
    """

    id: int
    source: str
    photo: str
    page: int
    size: int
    mtime_ns: int | None
    state: State
    outputs: dict[Kind, str]
    bw: bool | None
    attempts: int
    error: ErrorInfo | None

    @property
    def path(self) -> Path:
        """Where the original is."""
        return Path(self.source, self.photo)

    @property
    def name(self) -> str:
        """The relative path for people and JSON: always valid UTF-8."""
        return name_with_page(display_path(self.photo), self.page)


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that holds photos directly.

    Attributes:
        id: the smallest id of its photos; it stays the same while a run adds photos.
        source: absolute path of the source, as the file system spells it.
        path: path relative to the source, with ``/``; empty for the source itself.
        counts: photos in it by state.
    """

    id: int
    source: str
    path: str
    counts: dict[State, int]

    @property
    def name(self) -> str:
        """The path for people and JSON."""
        return display_path(self.path)


class Catalog:
    """The journal of the output folder `out`, opened for reading.

    One thread uses it at a time.

    Raises:
        ConfigurationError: there is no journal, or a newer version of this program wrote it.
        DiskError: the journal cannot be read.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out).absolute()
        self._path = self.out / STATE / JOURNAL
        if not self._path.is_file():
            if is_made_of_store_address(out):
                address = os.fspath(out).replace(os.sep, "/").replace(":/", "://", 1)
                raise ConfigurationError(
                    f"view and album read results in a folder, and {address!r} is in a bucket: 'smarty-async status "
                    f"{address}' tells what became of the photos, and the store's own tools copy the pictures"
                )
            raise schema.no_journal(out)
        self._sql = schema.opened_to_read(self._path)
        self._version = -1
        self._folders: list[Folder] = []
        self._positions: dict[int, int] = {}  # in `_folders`, by id
        self._ids: dict[tuple[bytes, bytes], int] = {}  # of folders, by source and path
        self._renamed: dict[int, int] = {}  # ids of entries of former names, and of those of the present ones

    def close(self) -> None:
        """Close the journal."""
        self._sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def folders(self) -> list[Folder]:
        """Every folder that holds photos, sorted by source and path.

        It is computed again only when the journal has changed.
        """
        with schema.translated(self._path):
            [version] = self._sql.execute("PRAGMA data_version").fetchone()
            if version != self._version:
                self._read_folders()
                self._version = version
        return self._folders

    def renamed(self) -> list[tuple[Photo, Photo]]:
        """The photos that are left out because they were renamed or moved: under the former and the present name."""
        self.folders()
        pairs = [(self.photo(former), self.photo(present)) for former, present in self._renamed.items()]
        return [(former, present) for former, present in pairs if former and present]

    def _find_renamed(self) -> dict[int, int]:
        rows = self._sql.execute(
            "SELECT digest, id, source, photo FROM photos WHERE digest > x'' AND digest IN"
            " (SELECT digest FROM photos WHERE digest > x'' GROUP BY digest HAVING count(*) > 1) ORDER BY digest, id"
        )
        found: dict[int, int] = {}
        for _, group in groupby(rows.fetchall(), key=itemgetter(0)):
            there: list[int] = []
            gone: list[int] = []
            for _, number, source, key in group:
                path, _ = photo_of_key(key)
                (gone if _was_removed(os.fsdecode(source), path) else there).append(number)
            if gone and there:
                found.update(self._pairs(gone, there))
        return found

    def _pairs(self, gone: Sequence[int], there: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Those of `gone` of which one of `there`, with the same content, has all results."""
        present = [photo for number in there if (photo := self._photo_of(number)) and photo.state != "unfinished"]
        for number in gone:
            if former := self._photo_of(number):
                covering = (photo for photo in present if self._has_outputs(photo, former.outputs))
                yield from ((former.id, photo.id) for photo in islice(covering, 1))

    def _has_outputs(self, photo: Photo, kinds: Collection[Kind]) -> bool:
        return all(kind in photo.outputs and (self.out / photo.outputs[kind]).is_file() for kind in kinds)

    def _read_folders(self) -> None:
        self._renamed = self._find_renamed()
        counts: dict[tuple[bytes, bytes], Counter[State]] = {}
        first: dict[tuple[bytes, bytes], int] = {}
        for number, source, photo, outcome in self._sql.execute("SELECT id, source, photo, outcome FROM photos"):
            if number in self._renamed:
                continue
            key = (source, photo[: photo.rfind(b"/") + 1])
            if key not in counts:
                counts[key] = Counter()
                first[key] = number
            counts[key][outcome or "unfinished"] += 1
        ordered = sorted(counts)
        self._folders = [
            Folder(
                id=first[key],
                source=os.fsdecode(key[0]),
                path=os.fsdecode(key[1].rstrip(b"/")),
                counts=dict(counts[key]),
            )
            for key in ordered
        ]
        self._positions = {folder.id: position for position, folder in enumerate(self._folders)}
        self._ids = first

    def counts(self) -> dict[State, int]:
        """Photos by state; states without photos are left out."""
        total: Counter[State] = Counter()
        for folder in self.folders():
            total.update(folder.counts)
        return {state: total[state] for state in STATES if total[state]}

    def folder_of(self, photo: Photo) -> int:
        """The id of the folder that holds `photo`."""
        path = os.fsencode(photo.photo)
        key = (os.fsencode(photo.source), path[: path.rfind(b"/") + 1])
        return self._ids.get(key, photo.id)  # a folder that was added since is named by its first photo

    def page(
        self, *, after: int | None = None, folder: int | None = None, state: State | None = None, limit: int = 60
    ) -> list[Photo]:
        """The photos that follow another, folder by folder, and by name within a folder.

        Args:
            after: the id of the photo before the page; None for the first page.
            folder: the id of the only folder to read; None for all.
            state: only photos in this state; None for all.
            limit: photos at most.

        Returns:
            The photos; none when `after` or `folder` is not known.
        """
        folders, last = self.folders(), None
        if after is not None:
            last = self.photo(after)
            if last is None:
                return []
            start = self._positions.get(self.folder_of(last))
        else:
            start = 0 if folder is None else self._positions.get(folder)
        if start is None:
            return []
        found: list[Photo] = []
        with schema.translated(self._path):
            for one in folders[start:] if folder is None else folders[start : start + 1]:
                if state is None or state in one.counts:
                    rows = self._direct(one, after=last, state=state, limit=limit - len(found))
                    found += self._photos(rows)
                if len(found) >= limit:
                    break
                last = None
        return found

    def _direct(self, folder: Folder, *, after: Photo | None, state: State | None, limit: int) -> list[Any]:
        """Rows of the photos directly in `folder` that follow `after`: by path, the pages of a file by number."""
        source, prefix = os.fsencode(folder.source), os.fsencode(folder.path) + b"/" if folder.path else b""
        start, rows = prefix, []
        if after is not None:
            path = os.fsencode(after.photo)
            start = path + _AFTER_PAGES
            rows = self._pages(source, path, after=photo_key(after.photo, after.page), state=state, limit=limit)
        room = limit - len(rows)
        following = self._files(source, prefix, start=start, state=state, limit=room) if room else []
        if following and len(following) == room:
            # The index has page 10 before page 2: of the last file, others than the first pages may be there.
            path, _ = _path_and_page(following[-1])
            following = [row for row in following if _path_and_page(row)[0] != path]
            following += self._pages(source, path, after=b"", state=state, limit=room - len(following))
        return rows + sorted(following, key=_path_and_page)

    def _files(self, source: bytes, prefix: bytes, *, start: bytes, state: State | None, limit: int) -> list[Any]:
        """Rows of the photos from the key `start` on whose path is `prefix` and a name, in the order of their keys."""
        wanted, values = self._condition(state)
        # The range ends before the first path that does not begin with the prefix: "0" follows "/".
        below = ("AND photo < ?", (prefix[:-1] + b"0",)) if prefix else ("", ())
        return self._sql.execute(
            f"SELECT {_COLUMNS} FROM photos WHERE source = ? AND photo >= ? {below[0]}"  # noqa: S608 - our own words
            f" AND instr(substr(photo, ?), x'2f') = 0 {wanted} ORDER BY photo LIMIT ?",
            (source, start, *below[1], len(prefix) + 1, *values, limit),
        ).fetchall()

    def _pages(self, source: bytes, path: bytes, *, after: bytes, state: State | None, limit: int) -> list[Any]:
        """Rows of the pages of the file `path` that follow the key `after`, by number: a longer one is larger."""
        wanted, values = self._condition(state)
        return self._sql.execute(
            f"SELECT {_COLUMNS} FROM photos WHERE source = ? AND photo >= ? AND photo < ?"  # noqa: S608 - our own words
            f" AND (length(photo), photo) > (?, ?) {wanted} ORDER BY length(photo), photo LIMIT ?",
            (source, path, path + _AFTER_PAGES, len(after), after, *values, limit),
        ).fetchall()

    def _condition(self, state: State | None) -> tuple[str, tuple[str, ...]]:
        wanted, values = "", list[str]()
        if state is not None:
            wanted = "AND outcome IS NULL" if state == "unfinished" else "AND outcome = ?"
            values += [state] if state != "unfinished" else []
        if self._renamed:
            wanted += " AND id NOT IN (SELECT value FROM json_each(?))"
            values.append(msgspec.json.encode(list(self._renamed)).decode())
        return wanted, tuple(values)

    def photo(self, number: int) -> Photo | None:
        """The photo with this id, None when there is none."""
        with schema.translated(self._path):
            return self._photo_of(number)

    def _photo_of(self, number: int) -> Photo | None:
        rows = self._sql.execute(f"SELECT {_COLUMNS} FROM photos WHERE id = ?", (number,)).fetchall()  # noqa: S608 - our own words
        return next(iter(self._photos(rows)), None)

    def photos(self) -> Iterator[Photo]:
        """Every photo, by id."""
        self.folders()
        last = 0
        while True:
            with schema.translated(self._path):
                rows = self._sql.execute(
                    f"SELECT {_COLUMNS} FROM photos WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - our own words
                    (last, _BATCH),
                ).fetchall()
                batch = self._photos(rows)
            if not batch:
                return
            yield from (photo for photo in batch if photo.id not in self._renamed)
            last = batch[-1].id

    def sources(self) -> list[str]:
        """The absolute paths of all sources, as the file system spells them."""
        with schema.translated(self._path):
            return [os.fsdecode(source) for (source,) in self._sql.execute("SELECT DISTINCT source FROM photos")]

    def _photos(self, rows: Sequence[Sequence[Any]]) -> list[Photo]:
        outputs = self._outputs_of([row[0] for row in rows])
        return [_photo(row, outputs.get(row[0], ())) for row in rows]

    def _outputs_of(self, photos: Sequence[int]) -> dict[int, list[Kind]]:
        """The kinds of output of each of `photos` that are at their final places."""
        kinds: dict[int, list[Kind]] = {}
        for start in range(0, len(photos), _BATCH):
            some = photos[start : start + _BATCH]
            rows = self._sql.execute(
                "SELECT photo, outputs FROM answers"  # noqa: S608 - our own words
                f" WHERE state = 'committed' AND photo IN ({','.join('?' * len(some))})",
                some,
            )
            for photo, outputs in rows:
                kinds.setdefault(photo, []).extend(kinds_of(outputs))
        return kinds


def _was_removed(source: str, photo: str) -> bool:
    """Whether a file of `source` is no longer there. The folder of a disk that is not connected is empty."""
    if not is_gone(photo_path(source, photo)):
        return False
    try:
        with os.scandir(source) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _path_and_page(row: Sequence[Any]) -> tuple[bytes, int]:
    path, _, page = row[_KEY].partition(b"\0")
    return path, int(page or 1)


def _photo(row: Sequence[Any], kinds: Sequence[Kind]) -> Photo:
    number, source, photo, place, size, version, outcome, bw, attempts, error_type, error = row
    where = os.fsdecode(place or b"")
    path, page = photo_of_key(photo)
    return Photo(
        id=number,
        source=os.fsdecode(source),
        photo=path,
        page=page,
        size=size,
        mtime_ns=int(version) if version.lstrip("-").isdigit() else None,
        state=cast("Outcome | None", outcome) or "unfinished",
        outputs={kind: f"{kind}/{where}" for kind in KINDS if kind in kinds},
        bw=None if bw is None else bool(bw),
        attempts=attempts,
        error=None if error_type is None else ErrorInfo(error_type, error or ""),
    )
