"""What is known of a photo: its entry, its answers, their outputs, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from smarty_async.archive.paths import display_path
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.options import Mode, ModeSpec, rounds
from smarty_async.results import KINDS, ErrorInfo, Kind, Outcome, Result

__all__ = [
    "AnswerState",
    "FinishedPhoto",
    "LoggedPhoto",
    "PhotoEntry",
    "StoredAnswer",
    "StoredOutput",
    "is_kept",
    "output_paths",
    "size_of",
]

AnswerState = Literal["received", "committed", "stale", "missing", "incomplete", "unverified"]
"""State of an answer.

``received``: its outputs are durable in temporary files. ``committed``: its outputs are at their final places.
``stale``: its outputs are at their final places, and the photo's content has changed since. Only in memory:
``missing``: it is committed, and an output is no longer there. ``incomplete``: it is committed, an output that is asked
for is no longer there or was not kept, and it is asked for again. ``unverified``: it is committed, the photo's version
has changed since, and its content has not been compared yet.
"""

_COMMITTED: Final = ("committed", "missing", "incomplete")
"""States of the answers that are committed, and whose photo's content is still the same."""


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
        dropped: kinds of outputs that it had and that were not kept, see `is_kept`.
        gone: kinds of its outputs that are no longer at their places, once they were looked for.
    """

    spec: str
    state: AnswerState
    outputs: dict[Kind, StoredOutput]
    bw: bool | None
    dropped: tuple[Kind, ...] = ()
    gone: tuple[Kind, ...] = ()

    @property
    def present(self) -> list[Kind]:
        """The outputs that are at their places, as far as is known."""
        return [kind for kind in self.outputs if kind not in self.gone]

    def misses(self, kinds: Collection[Kind]) -> bool:
        """Whether an output is gone, of those that are asked for with `kinds`."""
        return any(is_kept(kind, kinds) for kind in self.gone)

    def lacks(self, kinds: Collection[Kind]) -> list[Kind]:
        """The outputs that were not kept, of those that are asked for with `kinds`."""
        return [kind for kind in self.dropped if is_kept(kind, kinds)]


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

    def misses_outputs(self, kinds: Collection[Kind]) -> bool:
        """Whether an output is no longer at its place, of those that are asked for with `kinds`."""
        return any(answer.misses(kinds) for answer in self.answers.values() if answer.state == "missing")

    def lacks(self, specs: Iterable[ModeSpec], kinds: Collection[Kind]) -> list[Kind]:
        """The outputs that earlier runs did not keep, of those that are asked for with `specs` and `kinds`."""
        return [kind for spec in specs if self.has(spec) for kind in self.answers[spec.mode].lacks(kinds)]

    def kept(self, kinds: frozenset[Kind]) -> frozenset[Kind]:
        """The kinds of outputs to keep where `kinds` are asked for; all when it is empty.

        What the photo has of an answer that is asked for again does not get lost with it.
        """
        again = [answer.present for answer in self.answers.values() if answer.state == "incomplete"]
        return kinds.union(*again) if kinds else kinds

    def needs(self, spec: ModeSpec, kinds: Collection[Kind]) -> frozenset[Kind]:
        """The outputs that another photo's answer to `spec` must have to be copied, where `kinds` are asked for.

        Those that are there of an answer that is asked for again are none of them.
        """
        return frozenset(kinds or KINDS).difference(self.remaining(spec))

    def remaining(self, spec: ModeSpec) -> dict[Kind, StoredOutput]:
        """The outputs that are there of an answer to `spec` that is asked for again."""
        own = self.answers.get(spec.mode)
        if own is None or (own.state, own.spec) != ("incomplete", spec.text):
            return {}
        return {kind: own.outputs[kind] for kind in own.present}

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
        # A chained enlargement fails by itself only when the photo was restored.
        failures = [self.failures.get(spec.text) for spec in rounds(missing)[0]]
        if None in failures:
            return None
        return self.result("failed", error=failures[0], attempts=self.attempts)

    def _is_received(self, spec: ModeSpec) -> bool:
        answer = self.answers.get(spec.mode)
        return answer is not None and answer.spec == spec.text and answer.state == "received"

    def result(self, outcome: Outcome, *, error: ErrorInfo | None = None, attempts: int = 0) -> Result:
        """A result of this photo, with the outputs that are at their places."""
        committed = [answer for answer in self.answers.values() if answer.state in _COMMITTED]
        return Result(
            photo=display_path(self.file.photo),
            source=display_path(self.file.source),
            outcome=outcome,
            outputs=output_paths(self.place, [kind for answer in committed for kind in answer.present]),
            bw=next((answer.bw for answer in committed if answer.bw is not None), None),
            attempts=attempts,
            error=error,
            page=self.file.page,
        )


class FinishedPhoto(msgspec.Struct, frozen=True, gc=False):
    """What became of a photo.

    Attributes:
        entry: the photo with its answers.
        result: its result.
        failures: why modes of it failed permanently.
        digest: SHA-256 of the photo's file, 32 bytes, taken as it was sent; None when it was not.
    """

    entry: PhotoEntry
    result: Result
    failures: Mapping[ModeSpec, ErrorInfo]
    digest: bytes | None = None

    def logged(self) -> dict[str, Any]:
        """It as a line of a log, a `LoggedPhoto` in what JSON is made of; it replaces earlier lines of the photo."""
        file, result = self.entry.file, self.result
        answers: dict[str, dict[Kind, int]] = {
            answer.spec: {kind: output.size for kind, output in answer.outputs.items()}
            for answer in self.entry.answers.values()
            if answer.state in _COMMITTED
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
            failures={
                **{spec: why for spec, why in self.entry.failures.items() if spec not in answers},
                **{spec.text: why for spec, why in self.failures.items()},
            },
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


def is_kept(kind: Kind, kinds: Collection[Kind]) -> bool:
    """Whether outputs of `kind` are kept where those of `kinds` are asked for; all are when it is empty."""
    return not kinds or kind in kinds
