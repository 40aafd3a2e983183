"""Rebuild a lost journal from ``results.jsonl`` and the outputs in a folder. Blocking."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from smarty_async.archive.journal.records import StoredOutput
from smarty_async.archive.journal.replay import insert_finished
from smarty_async.archive.journal.store import JournalStore
from smarty_async.archive.paths import display_path
from smarty_async.archive.photos.identify import dimensions
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.errors import DiskError, PhotoRejected
from smarty_async.options import MODES, Mode, ModeSpec
from smarty_async.results import Kind, Result
from smarty_async.wire.messages import OUTPUT_FIELDS

__all__ = ["holds_results", "rebuild"]

_decoder = msgspec.json.Decoder(Result)
_MAX_LINE: Final = 1 << 20
"""Bytes of a line of ``results.jsonl``: a few paths."""


_COARSE_TIME_NS = 2_000_000_000
"""FAT keeps modification times to two seconds."""


def rebuild(store: JournalStore, results: Path, *, out: Path, specs: Iterable[ModeSpec]) -> int:
    """Fill `store`, which is empty, from the lines of ``results.jsonl`` and the files on the disk.

    A photo counts as finished when its file exists, all its outputs exist, and it was not modified after they were
    written. The lines do not say with which settings a photo was enlarged: the factor is the ratio of the pictures'
    sizes, the rest is taken from `specs`. Outputs of which that cannot be found out, or that are older than the photo,
    are noted as ``stale``, so that a later answer replaces them. Images of earlier requests are counted as paid.

    Returns:
        The number of photos that were recovered.

    Raises:
        DiskError: `results` cannot be read, or the journal cannot be written.
    """
    wanted: dict[Mode, ModeSpec] = {spec.mode: spec for spec in specs}
    recovered = images = 0
    for result in _lines(results):
        images += result.attempts
        file, where = _file_of(result), _place_of(result)
        if file is None:
            continue
        answers = dict(_answers(result, file, where, out, wanted))
        known = {spec.mode for spec in answers}
        stale: dict[Mode, Mapping[Kind, StoredOutput]] = {
            mode: outputs for mode, outputs in _existing(result, where, out) if mode not in known
        }
        if answers or stale:
            recovered += bool(answers)
            insert_finished(store, file, where, answers, result, stale=stale)
    if images:
        store.finish_request(store.start_request(images=images, size=0), "answered")
    return recovered


def holds_results(results: Path) -> bool:
    """Whether the file at `results` has a line of a run, is empty, or does not exist; else somebody else made it.

    Raises:
        DiskError: it cannot be read.
    """
    try:
        is_empty = not results.stat().st_size
    except FileNotFoundError:
        return True
    except OSError as error:
        raise DiskError.of(error, results, "read") from None
    return is_empty or next(_lines(results), None) is not None


def _lines(results: Path) -> Iterator[Result]:
    try:
        with results.open("rb") as file:
            while line := file.readline(_MAX_LINE):
                with suppress(msgspec.DecodeError):
                    yield _decoder.decode(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DiskError.of(error, results, "read") from None


def _file_of(result: Result) -> PhotoFile | None:
    """The photo's file as it is now. A path that is no valid text is not written as it is, and so is not found."""
    path = Path(result.source, result.photo)
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    version = str(status.st_mtime_ns)
    return PhotoFile(result.source, result.photo, str(path), status.st_size, version, page=result.page)


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
    return [kind for kind in dict.fromkeys(OUTPUT_FIELDS[mode].values()) if kind in result.outputs]


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


def _spec(mode: Mode, file: PhotoFile, output: Path, wanted: Mapping[Mode, ModeSpec]) -> ModeSpec | None:
    if mode == "improve":
        return ModeSpec("improve")
    try:
        with Path(file.path).open("rb") as before, output.open("rb") as after:
            factor = max(dimensions(after)) / max(dimensions(before))  # whichever way it was turned
    except (OSError, PhotoRejected):
        return None
    spec = wanted.get(mode)
    return ModeSpec(mode, int(factor), (spec and spec.rtype) or "photo") if factor in (2, 4) else None
