"""One photo's entry in the journal, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from smarty_async.archive.paths import display_path
from smarty_async.archive.sources.walk import PhotoFile
from smarty_async.options import Mode, ModeSpec
from smarty_async.results import ErrorInfo, Kind, Outcome, Result

__all__ = ["Answer", "Content", "PhotoEntry", "ReceivedAnswer", "StoredAnswer", "StoredOutput", "UnhashedPhoto"]

State = Literal["kept", "placed", "stale", "missing"]
"""Of an answer: in temporaries · at its places · at its places, but of a photo that has changed since · no longer where
it was placed."""


class StoredOutput(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """An output on the disk.

    Attributes:
        temporary: the name of its temporary.
        size: bytes.
        replaces: size of the output of an earlier answer at the same place, None when there was none. Nothing else is
            replaced.
    """

    temporary: str
    size: int
    replaces: int | None = None


class StoredAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer there is to one mode of a photo.

    Attributes:
        spec: the mode with its settings, as text.
        state: how far it came.
        outputs: what was made.
        bw: whether the service took the photo for black-and-white.
    """

    spec: str
    state: State
    outputs: dict[Kind, StoredOutput]
    bw: bool | None


class UnhashedPhoto(msgspec.Struct, frozen=True):
    """A photo whose content nobody has asked for.

    Attributes:
        id: of the entry.
        path: where it lies.
        size: bytes.
        version: its modification time in nanoseconds since 1970, as text.
    """

    id: int
    path: str
    size: int
    version: str


class Content(msgspec.Struct, frozen=True, gc=False):
    """What is in a photo.

    Attributes:
        digest: the SHA-256 of its bytes, empty when it cannot be read.
        shared: whether another photo has it too.
    """

    digest: bytes
    shared: bool


class Answer(msgspec.Struct, frozen=True):
    """What another photo has got.

    Attributes:
        place: path of its outputs relative to ``DIR/<kind>``.
        outputs: what was made.
        bw: whether the service took the photo for black-and-white.
    """

    place: str
    outputs: dict[Kind, StoredOutput]
    bw: bool | None


class PhotoEntry(msgspec.Struct, frozen=True, gc=False):
    """A photo with its entry.

    Attributes:
        found: the photo.
        id: of the entry.
        place: path of its outputs relative to ``DIR/<kind>``; empty when it has none.
        known: the answers there are, by mode.
        failures: why tasks failed, by the mode with its settings, as text.
        outcome: what became of it in an earlier run; None when that is open.
        attempts: how many requests it has ridden in.
        problem: why it cannot be done, None when it can.
        may_be_duplicate: whether another photo may have the same content.
    """

    found: PhotoFile
    id: int
    place: str
    known: dict[Mode, StoredAnswer] = {}
    failures: dict[str, ErrorInfo] = {}
    outcome: Outcome | None = None
    attempts: int = 0
    problem: ErrorInfo | None = None
    may_be_duplicate: bool = False

    def has(self, spec: ModeSpec) -> bool:
        """Whether the outputs of `spec` were placed. Those that are missing may have been unwanted."""
        known = self.known.get(spec.mode)
        return known is not None and known.spec == str(spec) and known.state in ("placed", "missing")

    @property
    def misses_outputs(self) -> bool:
        """Whether outputs are no longer where they were placed."""
        return any(known.state == "missing" for known in self.known.values())

    def end(self, specs: Iterable[ModeSpec], *, retry_failed: bool) -> Result | None:
        """What is told of a photo that an earlier run has finished, None when there is something to do."""
        missing = [spec for spec in specs if not self.has(spec)]
        if not missing:
            # Without an outcome the run that kept its outputs did not live to tell of it.
            return self.result("skipped", attempts=self.attempts) if self.outcome else None
        failures = [self.failures.get(str(spec)) for spec in missing]
        if retry_failed or None in failures:
            return None
        return self.result("failed", error=failures[0], attempts=self.attempts)

    def result(self, outcome: Outcome, *, error: ErrorInfo | None = None, attempts: int = 0) -> Result:
        """What is told of this photo, with the outputs that stand."""
        place = display_path(self.place)
        outputs: dict[Kind, str] = {}
        bw: bool | None = None
        for answer in self.known.values():
            if answer.state == "placed":
                outputs |= {kind: f"{kind}/{place}" for kind in answer.outputs}
                bw = answer.bw if bw is None else bw
        return Result(
            photo=display_path(self.found.photo),
            source=display_path(self.found.source),
            outcome=outcome,
            outputs=outputs,
            bw=bw,
            attempts=attempts,
            error=error,
        )


class ReceivedAnswer(msgspec.Struct, frozen=True):
    """An answer to one mode of a photo, whole, its outputs in temporaries.

    Attributes:
        entry: the photo.
        spec: the mode with its settings.
        outputs: what was made.
        bw: whether the service took the photo for black-and-white.
    """

    entry: PhotoEntry
    spec: ModeSpec
    outputs: dict[Kind, StoredOutput]
    bw: bool | None
