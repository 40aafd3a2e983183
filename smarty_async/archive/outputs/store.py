"""Where outputs are stored: the interface that the rest of the program uses, whatever the storage, and temporary files.

Outputs are written to temporary files, which are local whatever the storage is, until they are committed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from smarty_async.archive.journal.records import PhotoEntry, StoredOutput
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.outputs.origin import OutputOrigin
from smarty_async.archive.paths import FileNameRules
from smarty_async.archive.threads import threaded
from smarty_async.errors import DiskError
from smarty_async.options import ModeSpec
from smarty_async.results import ErrorInfo, Kind, Outcome, Result

if TYPE_CHECKING:
    from smarty_async.archive.journal.store import JournalStore

__all__ = [
    "Appendable",
    "FinishedPhoto",
    "LoggedPhoto",
    "NameTaken",
    "OutputMove",
    "OutputRefused",
    "OutputStore",
    "TempFile",
    "append_all",
    "copy_file",
    "output_digest",
]


class OutputRefused(DiskError):
    """The storage refuses one output, and takes others: its name is not possible, or not free."""


class NameTaken(OutputRefused):
    """A file that no run made is at the output's place."""


class FinishedPhoto(msgspec.Struct, frozen=True):
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
            failures={str(spec): why for spec, why in self.failures.items()},
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


class OutputMove(msgspec.Struct, frozen=True, gc=False):
    """How the outputs of one answer get from temporary files to their final places.

    Attributes:
        place: path relative to the folder of each kind.
        outputs: the outputs by kind. A file that is there is replaced only when it is unchanged what the output
            `replaces`.
        removes: outputs of an earlier answer that has no successor; each is removed only when it is unchanged.
        origin: what the outputs are made of, for a store that notes it beside them.
        is_stored: whether the outputs are at their places already.
    """

    place: str
    outputs: Mapping[Kind, StoredOutput]
    removes: Mapping[Kind, StoredOutput] = {}
    origin: OutputOrigin | None = None
    is_stored: bool = False


class OutputStore(Protocol):
    """Storage for outputs. One run at a time uses it.

    An output is written to a temporary file, made durable (`fsync`), journalled as received, moved to its final place
    (`commit`), and journalled as committed. What no run made is neither replaced nor removed.
    """

    @property
    def rules(self) -> FileNameRules:
        """Which names the storage takes; known once `lock` has returned."""
        ...

    @property
    def state_dir(self) -> Path:
        """The local folder of the journal."""
        ...

    @property
    def source_of_truth(self) -> str:
        """What `rebuild` reads, for people."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether outputs travel over a network to their places: what is received does not wait for that."""
        ...

    def check_access(self) -> None:
        """Make sure, before anything starts, that the storage can be used, as far as that costs little; blocks.

        Raises:
            ConfigurationError: it cannot be used.
        """
        ...

    def lock(self) -> None:
        """Create and lock the storage; blocks, but does not wait for another run.

        Raises:
            OutputInUse: another run has locked it.
            ConfigurationError: it cannot be used.
            DiskError: it cannot be created or written.
        """
        ...

    def release(self) -> None:
        """Unlock, and remove temporary files that the next run does not need; blocks.

        Raises:
            DiskError: something that `record` was given cannot be stored now; the next run stores it.
        """
        ...

    def warnings(self) -> list[str]:
        """What a person should know of the storage, a sentence each; known once `lock` has returned."""
        ...

    def remove_stale_temp_files(self, keep: Iterable[str] = ()) -> None:
        """Remove temporary files of earlier runs, once the journal has recovered what it knows of; blocks.

        Args:
            keep: names of those that the journal still needs.
        """
        ...

    def is_taken(self, place: str) -> bool:
        """Whether something that no run made is at `place`, in the folder of any kind, if that is known; blocks."""
        ...

    def foreign_kinds(self, place: str, known: Mapping[Kind, StoredOutput]) -> list[Kind]:
        """The kinds of which something is known to be at `place` that is none of the `known` outputs; blocks."""
        ...

    def problem_of(self, place: str) -> ErrorInfo | None:
        """Why nothing can be stored at `place`, None when it can."""
        ...

    def open(self) -> TempFile:
        """A new temporary file; its first write creates it."""
        ...

    def temp_path(self, name: str) -> Path:
        """The path of the temporary file called `name`; temporary files are local, whatever the storage is."""
        ...

    async def write(self, lots: Sequence[tuple[Appendable, list[bytes]]]) -> None:
        """Append its pieces to each file, or hold them in memory while they are few: `finish` writes them.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def finish(
        self, outputs: dict[Kind, StoredOutput], metadata: MetadataCopier | None
    ) -> asyncio.Future[dict[Kind, StoredOutput]]:
        """Give the outputs of one answer their metadata, and write those that `write` still holds in memory.

        Args:
            outputs: the outputs.
            metadata: gives them the photo's metadata; None when they have it.

        Returns:
            The outputs, with the size and the digest they have now.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    async def fsync(self, answers: Iterable[Iterable[StoredOutput]]) -> list[DiskError | None]:
        """Wait until the temporary files of each answer are durable; they outlive this run then, until committed.

        Returns:
            For each answer what the storage refused, None when nothing.
        """
        ...

    async def commit(self, moves: Sequence[OutputMove]) -> list[DiskError | None]:
        """Move outputs to their final places, and wait until that is durable.

        Returns:
            For each move what the storage refused, None when nothing; `OutputRefused` when it concerns that move alone.
        """
        ...

    def stop_committing(self) -> None:
        """Commit only what has begun: the run is left at once, and the next one commits the rest."""
        ...

    async def check(self, entries: Sequence[PhotoEntry], *, redo: bool) -> list[PhotoEntry]:
        """`entries`, with committed answers marked ``missing`` (``stale`` with `redo`) when an output is not there."""
        ...

    def checked(self, entries: Iterable[PhotoEntry], *, redo: bool) -> list[PhotoEntry]:
        """What `check` does; blocks."""
        ...

    def exist(self, place: str, kinds: Iterable[Kind]) -> bool:
        """Whether the outputs of `kinds` are at `place`; blocks. The journal's thread asks of place after place."""
        ...

    async def copy(self, kind: Kind, place: str, output: StoredOutput) -> TempFile | None:
        """A temporary file with the bytes of an output; None when it is not there, or has another size.

        Raises:
            DiskError: the storage refuses, so that it is not known whether it is there.
        """
        ...

    async def picture(self, kind: Kind, place: str, output: StoredOutput) -> tuple[Path | None, TempFile | None]:
        """A local file with an output, and the temporary file that it is, to be discarded; None for what there is not.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def remove(self, place: str, outputs: Mapping[Kind, StoredOutput]) -> None:
        """Remove those of `outputs` that are at `place` unchanged; blocks.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def recover(self, move: OutputMove) -> bool:
        """Commit what an interrupted run had received; blocks. Returns whether all its outputs are at their place now.

        Raises:
            OutputRefused: the storage does not take this one; its temporary files stay.
            DiskError: the storage refuses.
        """
        ...

    def rebuild(self, journal: JournalStore, specs: Iterable[ModeSpec]) -> int:
        """Enter into `journal` what the storage tells of earlier runs, and the journal does not know; blocks.

        Returns:
            The number of photos entered.

        Raises:
            ConfigurationError: somebody else's file is where runs write their results.
            DiskError: the storage or the journal refuses.
        """
        ...

    def record(self, photos: Sequence[FinishedPhoto]) -> None:
        """Note what became of photos, once the journal has; blocks.

        Raises:
            DiskError: the storage refuses, or another run has taken it over.
        """
        ...

    def write_results(self, results: Iterable[Result]) -> None:
        """Replace the list of results with `results`, those of all photos; blocks.

        Raises:
            DiskError: the storage refuses.
        """
        ...


_DIGITS = 24
"""Hexadecimal digits of a digest that are kept: enough to notice any change that is no attack."""
_COPY_BYTES = 1 << 20
"""Bytes of an output that are copied at a time."""


_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""How a temporary file is opened."""


class Appendable(Protocol):
    """A file that pieces can be appended to."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...


class TempFile:
    """One output in a temporary file. It is open only while it is written to: thousands may exist at a time.

    A small one may be held in memory instead, until all of it is known.

    Args:
        folder: the folder it is in.
        name: its name.
        on_discard: is called when it is discarded.
    """

    def __init__(self, folder: str, name: str, *, on_discard: Callable[[TempFile], None] | None = None) -> None:
        # No Path: creating one costs more than anything else done here for a small output.
        self.name = name
        self._path = f"{folder}/{name}"
        self._on_discard = on_discard
        self._held: list[bytes] | None = []  # None once the file exists

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self._path)

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; blocks. The first call creates the file.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        if held := self.take():
            pieces = [held, *pieces]
        self.write_whole(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def write_whole(self, data: bytes, *, set_time: Callable[[str | int], object] | None = None) -> None:
        """Append `data`; blocks. The fewest calls of the system that do it: each may have to wait for another thread.

        Args:
            data: what is written.
            set_time: is called with the file, as `set_modified` takes it, when it is written.

        Raises:
            DiskError: as `append`.
        """
        self._held = None
        try:
            descriptor = os.open(self._path, _APPENDING, 0o666)
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
                if set_time is not None and os.utime in os.supports_fd:
                    set_time(descriptor)
            finally:
                os.close(descriptor)
            if set_time is not None and os.utime not in os.supports_fd:
                set_time(self._path)
        except OSError as error:
            raise DiskError.of(error, self.path, "write") from None

    async def write(self, pieces: list[bytes]) -> None:
        """Append `pieces`; raises as `append` does."""
        await append_all([(self, pieces)])

    async def discard(self) -> None:
        """Remove the file if it exists. One that the disk does not remove is removed by the next run."""
        if self._on_discard is not None:
            self._on_discard(self)
        if not self.take():
            await _remove(self._path)

    def hold(self, pieces: list[bytes], *, most: int) -> int | None:
        """Keep `pieces` in memory, behind what is held already.

        Args:
            pieces: what would be appended.
            most: bytes that may be held in all.

        Returns:
            How many bytes were added; None when they are too many, or the file exists already: then nothing is.
        """
        added = sum(map(len, pieces))
        if self._held is None or self.held_bytes + added > most:
            return None
        self._held += pieces
        return added

    @property
    def held_bytes(self) -> int:
        """Bytes that are held in memory."""
        return sum(map(len, self._held or ()))

    def take(self) -> bytes:
        """What is held in memory, which is no longer held then."""
        held = b"".join(self._held or ())
        if self._held:
            self._held = []
        return held


def _append_all(writes: Sequence[tuple[Appendable, list[bytes]]]) -> None:
    for file, pieces in writes:
        file.append(pieces)


append_all = threaded(_append_all, pool="appending")
"""Append its pieces to each file, all in one call to a thread. Raises DiskError."""


def output_digest(output: str | bytes) -> str:
    """`StoredOutput.digest` of the file at a path, or of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(output, bytes):
        return hashlib.sha256(output).hexdigest()[:_DIGITS]
    with open(output, "rb", buffering=0) as file:  # noqa: PTH123 - a Path for each output costs more than its opening
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


@threaded
def copy_file(source: Path, target: TempFile) -> int | None:
    """Append the bytes of `source` to `target`; returns their number, None when there is no such file.

    Raises:
        DiskError: `source` cannot be read or `target` cannot be written.
    """
    try:
        with source.open("rb") as file:
            while piece := file.read(_COPY_BYTES):
                target.append([piece])
            return file.tell()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DiskError.of(error, source, "read") from None


@threaded
def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - see above
