"""The data of the journal, as the rest of the program sees it, and the rows of tables that hold it. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.paths import display_path
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import ErrorInfo, Kind, Outcome, Result

__all__ = [
    "ANSWER_COLUMNS",
    "RESULT_COLUMNS",
    "AnswerState",
    "Content",
    "Counts",
    "FailedPhoto",
    "FinishedPhoto",
    "LoggedPhoto",
    "PhotoEntry",
    "ReceivedAnswer",
    "RequestState",
    "StoredAnswer",
    "StoredOutput",
    "UnhashedPhoto",
    "answers_of",
    "content_digest",
    "file_of",
    "key_of",
    "output_paths",
    "outputs_of",
    "photo_of_key",
    "result_columns",
    "result_of",
    "size_of",
]

AnswerState = Literal["received", "committed", "stale", "missing", "unverified"]
"""State of an answer.

``received``: its outputs are durable in temporary files. ``committed``: its outputs are at their final places.
``stale``: its outputs are at their final places, and the photo's content has changed since. Only in memory:
``missing``: it is committed, and an output is no longer there. ``unverified``: it is committed, the photo's version has
changed since, and its content has not been compared yet.
"""

RequestState = Literal["open", "answered", "refused"]
"""State of a request.

``open``: sent, and no whole answer came; it may have been processed. ``answered``: the service processed it.
``refused``: the service refused it before any work.
"""


class StoredOutput(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An output on the disk.

    Attributes:
        temporary: name of the temporary file it was written to.
        size: bytes.
        replaces: size of the output of an earlier answer at the same place, None when there was none. Nothing else is
            replaced.
        digest: the first hexadecimal digits of its SHA-256; empty when they are not known.
        replaced_digest: `digest` of that output.
    """

    temporary: str
    size: int
    replaces: int | None = None
    digest: str = ""
    replaced_digest: str = ""


def output_paths(place: str, kinds: Iterable[Kind]) -> dict[Kind, str]:
    """Where outputs of `kinds` at `place` are, as `Result.outputs` has it."""
    shown = display_path(place)
    return {kind: f"{kind}/{shown}" for kind in kinds}


def size_of(outputs: Mapping[Kind, StoredOutput]) -> int:
    """Bytes of all `outputs`."""
    return sum([output.size for output in outputs.values()])


class StoredAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer that the journal holds for one mode of a photo.

    Attributes:
        spec: the mode with its settings, as text.
        state: see `AnswerState`.
        outputs: the outputs by kind.
        bw: whether the service took the photo for black-and-white; None when it did not say.
    """

    spec: str
    state: AnswerState
    outputs: dict[Kind, StoredOutput]
    bw: bool | None


class UnhashedPhoto(msgspec.Struct, frozen=True):
    """A photo whose content the journal does not know.

    Attributes:
        id: of its entry.
        path: where it is.
        size: bytes.
        version: its version in the journal, see `PhotoFile.version`.
        page: which picture of the file, from 1.
    """

    id: int
    path: str
    size: int
    version: str
    page: int = 1


class Content(msgspec.Struct, frozen=True, gc=False):
    """The content of a photo.

    Attributes:
        digest: SHA-256 of the file, followed by the page number when that is not 1; empty when it cannot be read.
        shared: whether another photo in the journal has the same digest.
    """

    digest: bytes
    shared: bool


class PhotoEntry(msgspec.Struct, frozen=True, gc=False):
    """A photo and what the journal knows about it.

    Attributes:
        file: the photo.
        id: of the entry.
        place: path of its outputs relative to ``DIR/<kind>``; empty when it has none.
        answers: the answers that were received, by mode.
        failures: reasons of permanent failures, by the mode with its settings as text.
        outcome: outcome of the last run that finished the photo, None when no run has.
        attempts: number of requests that carried it.
        problem: why it cannot be processed, None when it can.
        may_be_duplicate: whether the journal has another photo of the same size, so that contents must be compared.
        version_changed: whether the file's version is not the one in the journal, while its size is the same and the
            journal knows the content: whether that has changed is not known before it is compared.
        pages: number of pictures in the file, as far as it is known.
    """

    file: PhotoFile
    id: int
    place: str
    answers: dict[Mode, StoredAnswer] = {}
    failures: dict[str, ErrorInfo] = {}
    outcome: Outcome | None = None
    attempts: int = 0
    problem: ErrorInfo | None = None
    may_be_duplicate: bool = False
    version_changed: bool = False
    pages: int = 1

    def has(self, spec: ModeSpec) -> bool:
        """Whether an earlier run committed an answer to `spec`, even if its outputs were removed since."""
        answer = self.answers.get(spec.mode)
        return answer is not None and answer.spec == spec.text and answer.state in ("committed", "missing")

    def without_answer(self, specs: Iterable[ModeSpec]) -> list[ModeSpec]:
        """Those of `specs` to which no earlier run committed an answer."""
        return [spec for spec in specs if not self.has(spec)] if self.answers else list(specs)

    @property
    def misses_outputs(self) -> bool:
        """Whether committed outputs are no longer at their places."""
        return any(answer.state == "missing" for answer in self.answers.values())

    @property
    def needs_comparison(self) -> bool:
        """Whether the content must be compared with the journal before the photo is sent."""
        return self.version_changed or self.may_be_duplicate

    def end(self, specs: Iterable[ModeSpec], *, retry_failed: bool) -> Result | None:
        """The result of a photo that needs no work in this run, None when there is something to do."""
        if self.version_changed:
            return None
        missing = self.without_answer(specs)
        if not missing:
            # Without an outcome, the run that committed the outputs stopped before it recorded the result.
            return self.result("skipped", attempts=self.attempts) if self.outcome else None
        if self.problem and any(self._is_received(spec) for spec in missing):
            return self.result("failed", error=self.problem, attempts=self.attempts)  # paid for: never sent again
        if retry_failed or not self.failures:
            return None
        failures = [self.failures.get(spec.text) for spec in missing]
        if None in failures:
            return None
        return self.result("failed", error=failures[0], attempts=self.attempts)

    def _is_received(self, spec: ModeSpec) -> bool:
        answer = self.answers.get(spec.mode)
        return answer is not None and answer.spec == spec.text and answer.state == "received"

    def result(self, outcome: Outcome, *, error: ErrorInfo | None = None, attempts: int = 0) -> Result:
        """A result of this photo, with the outputs that are at their places."""
        committed = [answer for answer in self.answers.values() if answer.state == "committed"]
        return Result(
            photo=display_path(self.file.photo),
            source=display_path(self.file.source),
            outcome=outcome,
            outputs=output_paths(self.place, [kind for answer in committed for kind in answer.outputs]),
            bw=next((answer.bw for answer in committed if answer.bw is not None), None),
            attempts=attempts,
            error=error,
            page=self.file.page,
        )


class ReceivedAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer to one mode of a photo, complete, with its outputs in temporary files.

    Attributes:
        entry: the photo.
        spec: the mode with its settings.
        outputs: the outputs by kind.
        bw: whether the service took the photo for black-and-white; None when it did not say.
        digest: SHA-256 of the photo's file, 32 bytes, taken as it was read; None when it is not known.
        metadata: gives the outputs the photo's metadata; None when they have it.
        is_stored: whether a worker has stored the outputs at their places: there are no temporary files.
    """

    entry: PhotoEntry
    spec: ModeSpec
    outputs: dict[Kind, StoredOutput]
    bw: bool | None
    digest: bytes | None = None
    metadata: MetadataCopier | None = None
    is_stored: bool = False

    @property
    def content_digest(self) -> bytes | None:
        """The digest of the photo's content, see `Content.digest`."""
        return self.digest and content_digest(self.digest, page=self.entry.file.page)


def content_digest(digest: bytes, *, page: int) -> bytes:
    """The digest of a picture, from that of its file: the pages of a file are different contents."""
    return digest + b"%d" % page if digest and page > 1 else digest


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Totals over all runs.

    Attributes:
        outcomes: photos by outcome; None for those that no run has finished.
        images: images sent, one for each time an image was in a request.
        images_paid: those of them that were probably paid for: all but the images of requests that the service refused
            before any work. A request without a whole answer counts as paid.
    """

    outcomes: dict[Outcome | None, int]
    images: int
    images_paid: int


class FailedPhoto(msgspec.Struct, frozen=True):
    """A photo that failed or was rejected.

    Attributes:
        id: of its entry; `JournalStore.failures` continues after it.
        photo: path relative to its source, as in its result.
        source: the source.
        page: which picture of the file, from 1.
        outcome: ``failed`` or ``rejected``.
        error: the reason.
    """

    id: int
    photo: str
    source: str
    page: int
    outcome: Outcome
    error: ErrorInfo


class FinishedPhoto(msgspec.Struct, frozen=True, gc=False):
    """What became of a photo.

    Attributes:
        entry: the photo with its answers.
        result: its result.
        failures: why modes of it failed permanently.
    """

    entry: PhotoEntry
    result: Result
    failures: Mapping[ModeSpec, ErrorInfo]

    def logged(self) -> dict[str, Any]:
        """It as a line of a log: a `LoggedPhoto`, in what JSON is made of."""
        file, result = self.entry.file, self.result
        answers: dict[str, dict[Kind, int]] = {
            answer.spec: {kind: output.size for kind, output in answer.outputs.items()}
            for answer in self.entry.answers.values()
            if answer.state in ("committed", "missing")
        }
        logged = LoggedPhoto(
            source=file.source,
            photo=file.photo,
            page=file.page,
            size=file.size,
            version=file.version,
            place=self.entry.place,
            pages=self.entry.pages,
            answers=answers,
            failures={spec.text: why for spec, why in self.failures.items()},
            outcome=result.outcome,
            bw=result.bw,
            attempts=result.attempts,
            error=result.error,
            warnings=result.warnings,
        )
        line: dict[str, Any] = msgspec.to_builtins(logged)
        return line


class LoggedPhoto(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a log keeps of a photo, so that a journal can be rebuilt from it; the fields are those of the journal.

    Attributes:
        source: of the photo.
        photo: its path relative to that.
        page: which picture of the file, from 1.
        size: bytes.
        version: of the photo.
        place: of its outputs.
        pages: pictures in the file.
        answers: bytes of each output, by spec and kind.
        failures: why modes failed permanently, by spec.
        outcome: of the photo.
        bw: whether the service took it for black-and-white.
        attempts: requests that carried it.
        error: why it failed or was rejected.
        warnings: what its result warns of.
    """

    source: str
    photo: str
    page: int = 1
    size: int
    version: str
    place: str = ""
    pages: int = 1
    answers: dict[str, dict[Kind, int]] = {}
    failures: dict[str, ErrorInfo] = {}
    outcome: Outcome
    bw: bool | None = None
    attempts: int = 0
    error: ErrorInfo | None = None
    warnings: tuple[str, ...] = ()

    @property
    def result(self) -> Result:
        """The result of the photo, without its outputs."""
        return Result(
            photo=self.photo,
            source=self.source,
            outcome=self.outcome,
            bw=self.bw,
            attempts=self.attempts,
            error=self.error,
            page=self.page,
            warnings=self.warnings,
        )


# rows

ANSWER_COLUMNS: Final = "mode, spec, state, outputs, answers.bw"
"""Columns of an answer, the last ones of a row that `answers_of` reads."""
_ANSWER_COUNT: Final = len(ANSWER_COLUMNS.split(", "))

outputs_of: Callable[[str], dict[Kind, StoredOutput]] = msgspec.json.Decoder(dict[Kind, StoredOutput]).decode
"""The outputs of an answer, from its column ``outputs``."""


def key_of(file: PhotoFile) -> tuple[bytes, bytes]:
    """The columns ``source`` and ``photo`` of a photo. No path holds the zero byte before a page number."""
    photo = os.fsencode(file.photo)
    return os.fsencode(file.source), photo if file.page == 1 else b"%b\0%d" % (photo, file.page)


def photo_of_key(photo: bytes) -> tuple[str, int]:
    """The relative path and the page of a column ``photo``."""
    if b"\0" not in photo:
        return os.fsdecode(photo), 1
    path, _, page = photo.partition(b"\0")
    return os.fsdecode(path), int(page)


def answers_of(rows: Iterable[Sequence[Any]]) -> dict[Mode, StoredAnswer]:
    """The answers of a photo by mode, from rows that end in `ANSWER_COLUMNS`; a row without a mode is no answer."""
    answers: dict[Mode, StoredAnswer] = {}
    for row in rows:
        mode, spec, state, outputs, bw = row[-_ANSWER_COUNT:]
        if mode:
            answers[mode] = StoredAnswer(spec, state, outputs_of(outputs), None if bw is None else bool(bw))
    return answers


_warnings_of: Callable[[str], tuple[str, ...]] = msgspec.json.Decoder(tuple[str, ...]).decode
_kinds_of: Callable[[str], dict[Kind, msgspec.Raw]] = msgspec.json.Decoder(dict[Kind, msgspec.Raw]).decode
RESULT_COLUMNS: Final = (
    "source, photos.photo, place, outcome, attempts, error_type, error, warnings, state, outputs, answers.bw"
)
"""What `result_of` reads: columns of a photo, and at the end those of one of its answers."""
_RESULT_COUNT: Final = len(RESULT_COLUMNS.split(", "))


def result_of(rows: Sequence[Sequence[Any]]) -> Result:
    """The result of a finished photo, as `PhotoEntry.result` gives it.

    Args:
        rows: end in `RESULT_COLUMNS`: one row for each answer, or one for a photo without answers.
    """
    source, key, place, outcome, attempts, kind, message, warnings, *_ = rows[0][-_RESULT_COUNT:]
    kinds: list[Kind] = []
    bw: bool | None = None
    for *_, state, outputs, colour in rows:
        if state == "committed":
            kinds += _kinds_of(outputs)
            bw = bool(colour) if bw is None and colour is not None else bw
    path, page = photo_of_key(key)
    return Result(
        photo=display_path(path),
        source=display_path(os.fsdecode(source)),
        outcome=outcome,
        outputs=output_paths(os.fsdecode(place), kinds) if kinds else {},
        bw=bw,
        attempts=attempts,
        error=ErrorInfo(kind, message) if kind else None,
        page=page,
        warnings=_warnings_of(warnings) if warnings else (),
    )


def result_columns(photo: FinishedPhoto) -> tuple[Any, ...]:
    """The id of a photo, and what its row has of its result: outcome, bw, attempts, the error, warnings."""
    result, error = photo.result, photo.result.error
    return (
        photo.entry.id,
        *(result.outcome, result.bw, result.attempts, error and error.type, error and error.message),
        msgspec.json.encode(result.warnings).decode() if result.warnings else None,
    )


def file_of(source: bytes, key: bytes) -> PhotoFile:
    """The photo of the columns ``source`` and ``photo``; where it is, and its size, nobody asks."""
    path, page = photo_of_key(key)
    return PhotoFile(os.fsdecode(source), path, "", 0, "0", page=page)
