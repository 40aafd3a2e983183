"""The data of the journal, as the rest of the program sees it, and the rows of tables that hold it. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from smarty_async.archive.entries import (
    FinishedPhoto,
    PhotoEntry,
    StoredAnswer,
    StoredOutput,
    output_paths,
)
from smarty_async.archive.journal.schema import column_decoder
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.outputs.store import OutputOrigin
from smarty_async.archive.paths import display_path
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import KINDS, ErrorInfo, Kind, Outcome, Result

__all__ = [
    "ANSWER_COLUMNS",
    "RESULT_COLUMNS",
    "Content",
    "Counts",
    "DuplicateAnswer",
    "FailedPhoto",
    "ReceivedAnswer",
    "RequestState",
    "UnhashedPhoto",
    "WantedAnswer",
    "answers_of",
    "bits_of",
    "content_digest",
    "file_of",
    "key_of",
    "kinds_of",
    "origin_of",
    "outputs_of",
    "photo_key",
    "photo_of_key",
    "result_columns",
    "result_of",
]


RequestState = Literal["open", "answered", "refused"]
"""State of a request.

``open``: sent, and no whole answer came; it may have been processed. ``answered``: the service processed it.
``refused``: the service refused it before any work.
"""


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
        removes: outputs of an earlier answer at the photo's place that none of `outputs` replaces.
        dropped: kinds of outputs that were not kept.
    """

    entry: PhotoEntry
    spec: ModeSpec
    outputs: dict[Kind, StoredOutput]
    bw: bool | None
    digest: bytes | None = None
    metadata: MetadataCopier | None = None
    is_stored: bool = False
    removes: Mapping[Kind, StoredOutput] = {}
    dropped: tuple[Kind, ...] = ()

    @property
    def content_digest(self) -> bytes | None:
        """The digest of the photo's content, see `Content.digest`."""
        return self.digest and content_digest(self.digest, page=self.entry.file.page)


def content_digest(digest: bytes, *, page: int) -> bytes:
    """The digest of a picture, from that of its file: the pages of a file are different contents."""
    return digest + b"%d" % page if digest and page > 1 else digest


class WantedAnswer(NamedTuple):
    """An answer that is searched for, to copy its outputs.

    Attributes:
        digest: of the photo's content, see `Content.digest`.
        spec: the mode spec.
        kinds: the kinds of output that are needed, if there are any of them.
    """

    digest: bytes
    spec: ModeSpec
    kinds: frozenset[Kind]


class DuplicateAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer to another photo with the same content.

    Attributes:
        photo: the id of that photo's entry.
        place: of its outputs.
        answer: the answer.
    """

    photo: int
    place: str
    answer: StoredAnswer

    def copied(self, kinds: Collection[Kind]) -> tuple[str, list[Kind]]:
        """The place and the kinds of the outputs that are to be there where those of `kinds` are needed."""
        return self.place, [kind for kind in self.answer.outputs if kind in kinds]


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


# rows

ANSWER_COLUMNS: Final = "mode, spec, state, outputs, answers.bw, dropped"
"""Columns of an answer, the last ones of a row that `answers_of` reads."""
_ANSWER_COUNT: Final = len(ANSWER_COLUMNS.split(", "))

outputs_of = column_decoder(dict[Kind, StoredOutput])
"""The outputs of an answer, from its column ``outputs``."""

kinds_of = column_decoder(dict[Kind, msgspec.Raw])
"""Their kinds alone."""


def key_of(file: PhotoFile) -> tuple[bytes, bytes]:
    """The columns ``source`` and ``photo`` of a photo."""
    return os.fsencode(file.source), photo_key(file.photo, file.page)


def photo_key(photo: str, page: int) -> bytes:
    """The column ``photo`` for a relative path and a page. No path holds the zero byte before a page number."""
    path = os.fsencode(photo)
    return path if page == 1 else b"%b\0%d" % (path, page)


def photo_of_key(photo: bytes) -> tuple[str, int]:
    """The relative path and the page of a column ``photo``."""
    if b"\0" not in photo:
        return os.fsdecode(photo), 1
    path, _, page = photo.partition(b"\0")
    return os.fsdecode(path), int(page)


def origin_of(spec: str, kinds: Iterable[Kind], row: Sequence[Any]) -> OutputOrigin:
    """What the outputs of an answer are made of, from its ``bw`` and its photo's source, photo, size and version."""
    bw, source, key, size, version = row
    photo, page = photo_of_key(key)
    return OutputOrigin(
        spec=spec,
        kinds=tuple(kinds),
        bw=None if bw is None else bool(bw),
        source=os.fsdecode(source),
        photo=photo,
        page=page,
        size=size,
        version=version,
    )


def answers_of(rows: Iterable[Sequence[Any]]) -> dict[Mode, StoredAnswer]:
    """The answers of a photo by mode, from rows that end in `ANSWER_COLUMNS`; a row without a mode is no answer."""
    answers: dict[Mode, StoredAnswer] = {}
    for row in rows:
        mode, spec, state, outputs, bw, dropped = row[-_ANSWER_COUNT:]
        if mode:
            colour = None if bw is None else bool(bw)
            answers[mode] = StoredAnswer(spec, state, outputs_of(outputs), colour, _kinds_in(dropped))
    return answers


def bits_of(kinds: Iterable[Kind]) -> int:
    """The column ``dropped`` for some kinds."""
    return sum(1 << KINDS.index(kind) for kind in set(kinds))


def _kinds_in(bits: int) -> tuple[Kind, ...]:
    return tuple([kind for number, kind in enumerate(KINDS) if bits >> number & 1]) if bits else ()


_warnings_of = column_decoder(tuple[str, ...])
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
            kinds += kinds_of(outputs)
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
    """The photo of the columns ``source`` and ``photo``. Its path and size are left empty; no caller needs them."""
    path, page = photo_of_key(key)
    return PhotoFile(os.fsdecode(source), path, "", 0, "0", page=page)
