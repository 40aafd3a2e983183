"""A journal made anew from ``results.jsonl`` and the outputs on the disk. Blocking."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from smarty_async.archive.journal.records import StoredOutput
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.paths import display_path
from smarty_async.archive.photos.identify import dimensions
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.errors import DiskError, PhotoRejected
from smarty_async.options import MODES, Mode, ModeSpec
from smarty_async.results import Kind, Result
from smarty_async.wire.messages import OUTPUT_FIELDS

__all__ = ["rebuild"]

_decoder = msgspec.json.Decoder(Result)
_LONGEST_LINE = 1 << 20
"""Bytes of a line: a few paths."""


def rebuild(store: JournalStore, results: Path, *, out: Path, specs: Iterable[ModeSpec]) -> int:
    """Note in `store`, which is empty, what the lines of `results` tell and the disk bears out.

    A photo counts as finished when it lies where the line says, its outputs are all there, and it has not been changed
    since they were made. With which settings it was enlarged no line tells: how many times larger it became is
    looked up in the pictures, and the rest is taken from `specs`.

    Returns:
        How many photos are known again.

    Raises:
        DiskError: `results` cannot be read, or the journal not be written.
    """
    asked: dict[Mode, ModeSpec] = {spec.mode: spec for spec in specs}
    known = 0
    for result in _lines(results):
        found, place = _photo_of(result), _place_of(result)
        answers = dict(_answers(result, found, place, out, asked)) if found else {}
        if found and answers:
            known += 1
            store.adopt(found, place, answers, result)
    return known


def _lines(results: Path) -> Iterator[Result]:
    try:
        with results.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                with suppress(msgspec.DecodeError):
                    yield _decoder.decode(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DiskError.of(error, results, "read") from None


def _photo_of(result: Result) -> PhotoFile | None:
    """The photo as it lies there now. A path whose bytes are no text is told as what it is not, and not found."""
    path = Path(result.source, result.photo)
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return PhotoFile(result.source, result.photo, str(path), status.st_size, str(status.st_mtime_ns))


def _place_of(result: Result) -> str:
    """Where its outputs lie in the folder of their kind; empty when it has none."""
    return next((path.removeprefix(f"{kind}/") for kind, path in result.outputs.items()), "")


def _answers(
    result: Result, found: PhotoFile, place: str, out: Path, asked: Mapping[Mode, ModeSpec]
) -> Iterator[tuple[ModeSpec, dict[Kind, StoredOutput]]]:
    """What the photo has got: a mode that left no outputs is only known to be answered when nothing was made at all."""
    if not result.outputs and result.outcome in ("already_good", "duplicate"):
        yield from ((spec, {}) for spec in asked.values())
    for mode in MODES:
        outputs: dict[Kind, StoredOutput | None] = {
            kind: _kept(out / kind / place, result.outputs[kind], out, found)
            for kind in OUTPUT_FIELDS[mode].values()
            if kind in result.outputs
        }
        whole: dict[Kind, StoredOutput] = {kind: kept for kind, kept in outputs.items() if kept}
        if whole and len(whole) == len(outputs):
            spec = _task(mode, found, out / next(iter(whole)) / place, asked)
            if spec:
                yield spec, whole


def _kept(output: Path, told: str, out: Path, found: PhotoFile) -> StoredOutput | None:
    """The output as the journal would know it, None when it is not there or older than the photo."""
    try:
        status = output.stat()
    except (OSError, ValueError):
        return None
    if display_path(os.path.relpath(output, out)) != told or status.st_mtime_ns < int(found.version):
        return None
    return StoredOutput("", status.st_size)


def _task(mode: Mode, found: PhotoFile, output: Path, asked: Mapping[Mode, ModeSpec]) -> ModeSpec | None:
    if mode == "improve":
        return ModeSpec("improve")
    try:
        with Path(found.path).open("rb") as before, output.open("rb") as after:
            times = max(dimensions(after)) / max(dimensions(before))  # whichever way it was turned
    except (OSError, PhotoRejected):
        return None
    wanted = asked.get(mode)
    return ModeSpec(mode, int(times), (wanted and wanted.rtype) or "photo") if times in (2, 4) else None
