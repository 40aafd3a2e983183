"""Enter photos into a journal that does not know them. Blocking.

They come from ``results.jsonl`` and the outputs in a folder, from the log of a store, from what outputs in a store say
of themselves, and from what workers have left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from smarty_async.archive.entries import FinishedPhoto, LoggedPhoto, PhotoEntry, StoredOutput
from smarty_async.archive.journal.records import ReceivedAnswer, file_of, key_of, outputs_of
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.outputs.store import OutputOrigin
from smarty_async.archive.paths import display_path, folded_key, photo_path
from smarty_async.archive.photos.identify import dimensions
from smarty_async.archive.photos.pages import pictures, raw_name, read_directories
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import ConfigurationError, PhotoRejected
from smarty_async.options import MODES, Mode, ModeSpec
from smarty_async.results import KINDS_BY_MODE, ErrorInfo, Kind, Result

__all__ = ["JournalRebuilder", "LeftAnswer", "adopt_left", "insert_finished"]

_READERS: Final = 16
"""Outputs whose metadata are read at a time."""


class LeftAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that a worker has made durable for a run which ended before it took the answer.

    Attributes:
        source: of the photo, as the journal has it.
        photo: likewise.
        place: of its outputs, likewise; None when they are in temporary files, and go to the place that it has now.
        size: bytes of the photo.
        version: of the photo.
        spec: what was asked.
        outputs: the outputs.
        bw: whether the service took the photo for black-and-white; None when it did not say.
    """

    source: bytes
    photo: bytes
    place: bytes | None
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
    """Add a photo with its committed answers and its last result, or replace what is known of it.

    `stale` are outputs at its place that a later answer replaces.

    Returns:
        The id of its entry.
    """
    key = (*key_of(file), os.fsencode(place) or None)
    outcome = None if result.error or not answers else result.outcome
    for table in ("answers", "failures", "former_outputs"):
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


class JournalRebuilder:
    """Enters photos of earlier runs into a journal, within a transaction; the `RebuiltJournal` of an `OutputStore`."""

    def __init__(self, store: JournalStore, specs: Iterable[ModeSpec]) -> None:
        self._store = store
        self._wanted: Mapping[Mode, ModeSpec] = {spec.mode: spec for spec in specs}
        [self._last_id] = store.sql.execute("SELECT coalesce(max(id), 0) FROM photos").fetchone()
        self._adopted = set[int]()
        """Ids of photos that the journal knew, and that got answers from outputs."""

    @property
    def is_empty(self) -> bool:
        """Whether the journal knows no photo."""
        return self._store.is_empty

    @property
    def entered(self) -> int:
        """How many photos were entered, or got answers; one that the log tells of several times counts once.

        A photo that is entered has an id above all earlier ones, also when it replaces an entry.
        """
        rows = self._store.sql.execute("SELECT count(*) FROM photos WHERE id > ?", (self._last_id,))
        return int(rows.fetchone()[0]) + len(self._adopted)

    def enter_results(self, results: Iterable[Result], *, out: Path) -> int:
        """Enter photos from the lines of ``results.jsonl`` and the files in the folder `out`.

        A photo counts as finished when its file exists, all its outputs exist, and it was not modified after they were
        written. The lines do not say with which settings a photo was enlarged: the factor is the ratio of the pictures'
        sizes, the rest is taken from what the run asks. Outputs of which that cannot be found out, or that are older
        than the photo, are noted as ``stale``, so that a later answer replaces them; but not those that a person may
        have changed. Images of earlier requests are counted as paid.

        Returns:
            The number of photos that were recovered.
        """
        recovered = images = 0
        for result in results:
            images += result.attempts
            file, where = _file_named_in(result), _place_of(result)
            if file is None:
                continue
            answers = dict(_answers(result, file, where, out, self._wanted))
            known = {spec.mode for spec in answers}
            stale: dict[Mode, Mapping[Kind, StoredOutput]] = {
                mode: outputs
                for mode, outputs in _existing(result, where, out)
                if mode not in known and not any(_is_changed(out / kind / where, file) for kind in outputs)
            }
            if answers or stale:
                recovered += bool(answers)
                number = insert_finished(self._store, file, where, answers, result, stale=stale)
                self._store.note_pages(number, _pages_of(file))
        _count_paid(self._store, images)
        return recovered

    def enter_log(self, lines: Iterable[dict[str, Any]]) -> None:
        """Enter lines of a log: each is a photo as a run left it, and replaces what is known of the photo.

        Images of its requests are counted as paid.

        Raises:
            ConfigurationError: a line has something that this version does not know.
        """
        for line in lines:
            try:
                logged = msgspec.convert(line, LoggedPhoto)
                answers: dict[ModeSpec, dict[Kind, StoredOutput]] = {
                    ModeSpec.parse(spec): {kind: StoredOutput("", size) for kind, size in outputs.items()}
                    for spec, outputs in logged.answers.items()
                }
                failures = {ModeSpec.parse(spec): why for spec, why in logged.failures.items()}
            except DAMAGED_JSON as error:
                raise ConfigurationError(
                    f"the log of the outputs has a line of a newer version of smarty_async ({error}): update it"
                ) from None
            self._enter_logged(logged, answers, failures)

    def _enter_logged(
        self,
        logged: LoggedPhoto,
        answers: Mapping[ModeSpec, Mapping[Kind, StoredOutput]],
        failures: Mapping[ModeSpec, ErrorInfo],
    ) -> None:
        file = _photo_at(logged.source, logged.photo, logged.page, logged.size, logged.version)
        row = self._store.sql.execute(
            "SELECT attempts FROM photos WHERE source = ? AND photo = ?", key_of(file)
        ).fetchone()
        number = insert_finished(self._store, file, logged.place, answers, logged.result)
        self._store.note_pages(number, logged.pages)
        self._store.record_results([FinishedPhoto(PhotoEntry(file, number, logged.place), logged.result, failures)])
        _count_paid(self._store, logged.attempts - (row[0] if row else 0))

    def enter_outputs(
        self, outputs: Iterable[tuple[Kind, str, int]], origin: Callable[[Kind, str], OutputOrigin | None]
    ) -> None:
        """Enter answers whose outputs are all there, as `RebuiltJournal.enter_outputs` says; they are paid for."""
        unknown = (output for output in outputs if not _knows(self._store, *output[:2]))
        found: dict[tuple[str, str], tuple[OutputOrigin, dict[Kind, StoredOutput]]] = {}
        with ThreadPoolExecutor(_READERS, thread_name_prefix="smarty_async adopt") as readers:
            while some := list(islice(unknown, 4 * _READERS)):
                kinds, places, _ = zip(*some, strict=True)
                for (kind, place, size), one in zip(some, readers.map(origin, kinds, places), strict=True):
                    if one is not None:
                        found.setdefault((place, one.spec), (one, {}))[1][kind] = StoredOutput("", size)
        adopted = (_adopt_one(self._store, place, one, stored) for (place, _), (one, stored) in found.items())
        self._adopted.update(photo for photo in adopted if photo is not None and photo <= self._last_id)


def adopt_left(journal: JournalStore, answers: Iterable[LeftAnswer]) -> int:
    """Enter answers as received, `JournalStore.recover` commits them; they are paid for.

    Those that the journal has are left out, and those that would replace an earlier one: their photos are sent again.

    Returns:
        The number of answers.
    """
    count, photos = 0, set[tuple[int]]()
    for answer in answers:
        row = journal.sql.execute(
            "SELECT id, place FROM photos WHERE source = ? AND photo = ? AND place = coalesce(?, place) AND size = ?"
            " AND version = ? AND NOT EXISTS (SELECT 1 FROM answers WHERE answers.photo = id AND mode = ?)",
            (answer.source, answer.photo, answer.place, answer.size, answer.version, answer.spec.mode),
        ).fetchone()
        if row is None:
            continue
        entry = PhotoEntry(file_of(answer.source, answer.photo), row[0], os.fsdecode(row[1]))
        journal.record_received([ReceivedAnswer(entry, answer.spec, dict(answer.outputs), answer.bw)])
        photos.add(row[:1])
        count += 1
    journal.sql.executemany("UPDATE photos SET attempts = attempts + 1 WHERE id = ?", photos)
    return count


def _knows(journal: JournalStore, kind: Kind, place: str) -> bool:
    rows = journal.sql.execute(
        "SELECT outputs FROM photos JOIN answers ON answers.photo = id WHERE place = ?", (os.fsencode(place),)
    )
    return any(kind in outputs_of(outputs) for (outputs,) in rows)


def _adopt_one(
    journal: JournalStore, place: str, origin: OutputOrigin, outputs: Mapping[Kind, StoredOutput]
) -> int | None:
    """Enter an answer, unless an output of it is missing, or the journal has the photo with another content.

    Returns:
        The id of the photo's entry, None when the answer was not entered.
    """
    if set(origin.kinds) != set(outputs):
        return None
    file = _photo_at(origin.source, origin.photo, origin.page, origin.size, origin.version)
    journal.sql.execute(
        "INSERT OR IGNORE INTO photos (source, photo, place, place_key, size, version) VALUES (?, ?, ?, ?, ?, ?)",
        (*key_of(file), os.fsencode(place), folded_key(place), file.size, file.version),
    )
    row = journal.sql.execute(
        "SELECT id FROM photos WHERE source = ? AND photo = ? AND place = ? AND size = ? AND version = ?",
        (*key_of(file), os.fsencode(place), file.size, file.version),
    ).fetchone()
    if row is None:
        return None
    spec = ModeSpec.parse(origin.spec)
    journal.record_received([ReceivedAnswer(PhotoEntry(file, row[0], place), spec, dict(outputs), origin.bw)])
    journal.record_committed([(row[0], spec)])
    _count_paid(journal, 1)
    return int(row[0])


def _count_paid(journal: JournalStore, images: int) -> None:
    if images > 0:
        journal.finish_request(journal.start_request(images=images, size=0), "answered")


def _photo_at(source: str, photo: str, page: int, size: int, version: str) -> PhotoFile:
    return PhotoFile(source, photo, photo_path(source, photo), size, version, page=page)


# results.jsonl

_COARSE_TIME_NS: Final = 2_000_000_000
"""FAT keeps modification times to two seconds."""


def _file_named_in(result: Result) -> PhotoFile | None:
    """The photo's file as it is now. A path that is no valid text is not written as it is, and so is not found."""
    path = Path(result.source, result.photo)
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    version = str(status.st_mtime_ns)
    return PhotoFile(result.source, result.photo, str(path), status.st_size, version, page=result.page)


def _pages_of(file: PhotoFile) -> int:
    """Pictures in the photo's file, as the name of a TIFF file suggests several: no line says how many there are."""
    if file.page == 1 and file.path.lower().endswith((".tif", ".tiff")):
        with suppress(OSError, PhotoRejected), Path(file.path).open("rb") as stream:
            directories = read_directories(stream)
            return 1 if raw_name(directories) else len(pictures(directories))
    return 1


def _place_of(result: Result) -> str:
    """The place of its outputs; empty when it has none."""
    return next((path.removeprefix(f"{kind}/") for kind, path in result.outputs.items()), "")


def _answers(
    result: Result, file: PhotoFile, where: str, out: Path, wanted: Mapping[Mode, ModeSpec]
) -> Iterator[tuple[ModeSpec, dict[Kind, StoredOutput]]]:
    """The answers of the photo. A mode without outputs is known to be answered only when no mode has outputs."""
    if not result.outputs and result.outcome in ("already_good", "duplicate"):
        yield from ((spec, {}) for spec in wanted.values())
    for mode, outputs in _existing(result, where, out):
        kinds = _kinds(mode, result)
        if len(outputs) == len(kinds) and all(_is_current(out / kind / where, file) for kind in kinds):
            spec = _spec(mode, file, out / kinds[0] / where, wanted)
            if spec:
                yield spec, outputs


def _existing(result: Result, where: str, out: Path) -> Iterator[tuple[Mode, dict[Kind, StoredOutput]]]:
    """The outputs that `result` names and that exist, by mode; modes without any are left out."""
    for mode in MODES:
        outputs: dict[Kind, StoredOutput | None] = {
            kind: _stored(out / kind / where, result.outputs[kind], out) for kind in _kinds(mode, result)
        }
        existing: dict[Kind, StoredOutput] = {kind: output for kind, output in outputs.items() if output}
        if existing:
            yield mode, existing


def _kinds(mode: Mode, result: Result) -> list[Kind]:
    """The kinds of output of `mode` that `result` names."""
    return [kind for kind in KINDS_BY_MODE[mode] if kind in result.outputs]


def _stored(output: Path, named: str, out: Path) -> StoredOutput | None:
    """The output as the journal would know it, None when it does not exist."""
    try:
        status = output.stat()
    except (OSError, ValueError):
        return None
    return StoredOutput("", status.st_size) if display_path(os.path.relpath(output, out)) == named else None


def _is_current(output: Path, file: PhotoFile) -> bool:
    """Whether the photo was not modified after `output` was made; outputs have the photo's own modification time."""
    try:
        return output.stat().st_mtime_ns + _COARSE_TIME_NS >= int(file.version)
    except OSError:
        return False


def _is_changed(output: Path, file: PhotoFile) -> bool:
    """Whether a person may have changed `output`: it is newer than a run has made it."""
    try:
        return output.stat().st_mtime_ns > int(file.version) + _COARSE_TIME_NS
    except OSError:
        return False


def _spec(mode: Mode, file: PhotoFile, output: Path, wanted: Mapping[Mode, ModeSpec]) -> ModeSpec | None:
    if mode == "improve":
        return ModeSpec("improve")
    try:
        with Path(file.path).open("rb") as before, output.open("rb") as after:
            factor = max(dimensions(after)) / max(dimensions(before))  # whichever way it was turned
    except (OSError, PhotoRejected):
        return None
    assumed = wanted.get(mode, ModeSpec(mode, rtype="photo"))
    return msgspec.structs.replace(assumed, rfactor=int(factor)) if factor in (2, 4) else None
