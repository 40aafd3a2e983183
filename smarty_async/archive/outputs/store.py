"""Where outputs are stored: the interface that the rest of the program uses, whatever the storage, and temporary files.

Outputs are written to temporary files, which are local whatever the storage is, until they are committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from smarty_async.archive.entries import FinishedPhoto, PhotoEntry, StoredOutput
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.outputs.temp_file import Appendable, TempFile
from smarty_async.archive.paths import FileNameRules
from smarty_async.damaged_json import DAMAGED_JSON
from smarty_async.errors import DiskError
from smarty_async.results import ErrorInfo, Kind, Result

__all__ = [
    "METADATA_KEY",
    "NameTaken",
    "OutputMove",
    "OutputOrigin",
    "OutputPlaces",
    "OutputRefused",
    "OutputStore",
    "RebuiltJournal",
]


class OutputRefused(DiskError):
    """The storage refuses one output, and takes others: its name is not possible, or not free."""


class NameTaken(OutputRefused):
    """A file that no run made is at the output's place."""


METADATA_KEY: Final = "smarty"
"""The key of the user's metadata; Azure allows no hyphen in it."""

_MAX_BYTES: Final = 1800
"""S3 takes 2 KB of a user's metadata."""


class OutputOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """What the outputs of an answer are made of.

    Attributes:
        spec: the mode with its settings, as text.
        kinds: all outputs of the answer: it is whole when they are there.
        bw: whether the service took the photo for black-and-white; None when it did not say.
        source: of the photo, see `PhotoFile`.
        photo: its path relative to that.
        page: which picture of the file, from 1.
        size: bytes of the photo.
        version: its version.
    """

    spec: str
    kinds: tuple[Kind, ...]
    bw: bool | None = None
    source: str
    photo: str
    page: int = 1
    size: int
    version: str

    def metadata(self) -> dict[str, str]:
        """It as the metadata of an object; without any where its names are too long for that."""
        # json, and not msgspec: it writes ASCII, and the surrogates that stand for bytes in a name.
        text = json.dumps(msgspec.to_builtins(self), separators=(",", ":"))
        return {METADATA_KEY: text} if len(text) <= _MAX_BYTES else {}

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """The origin in the metadata of an object; None when there is none."""
        try:
            found: Any = json.loads(text or "")
            return msgspec.convert(found, cls)
        except DAMAGED_JSON:
            return None

    def is_of(self, other: OutputOrigin) -> bool:
        """Whether both are made of one photo, whatever its content was."""
        return (self.source, self.photo, self.page) == (other.source, other.photo, other.page)


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


class RebuiltJournal(Protocol):
    """A journal that a storage enters photos of earlier runs into: the part that `OutputStore.rebuild` uses. Blocking.

    Each method raises `DiskError` when the journal refuses.
    """

    @property
    def is_empty(self) -> bool:
        """Whether it knows no photo."""
        ...

    @property
    def entered(self) -> int:
        """How many photos were entered, or got answers."""
        ...

    def enter_results(self, results: Iterable[Result], *, out: Path) -> int:
        """Enter photos from their `results`, as far as their outputs are in the folder `out`; how many those are."""
        ...

    def enter_log(self, lines: Iterable[dict[str, Any]]) -> None:
        """Enter lines of a log, each a `LoggedPhoto`, in place of what is known of their photos."""
        ...

    def enter_outputs(
        self, outputs: Iterable[tuple[Kind, str, int]], origin: Callable[[Kind, str], OutputOrigin | None]
    ) -> None:
        """Enter answers whose outputs are all there, and which the journal does not know.

        Args:
            outputs: every output that is there: its kind, its place, and its size in bytes.
            origin: reads what an output says of itself; called in threads.
        """
        ...


class OutputPlaces(Protocol):
    """Which places outputs can have: the part of an `OutputStore` that the journal asks."""

    @property
    def rules(self) -> FileNameRules:
        """Which names the storage takes; known once `lock` has returned."""
        ...

    def is_taken(self, place: str) -> bool:
        """Whether something that no run made is at `place`, in the folder of any kind, if that is known; blocks."""
        ...

    def foreign_kinds(self, place: str, kinds: Iterable[Kind], known: Mapping[Kind, StoredOutput]) -> list[Kind]:
        """Those of `kinds` of which something is known to be at `place` that is none of the `known` outputs; blocks.

        Raises:
            DiskError: one cannot be looked at, so that this is not known.
        """
        ...

    def problem_of(self, place: str) -> ErrorInfo | None:
        """Why nothing can be stored at `place`, None when it can."""
        ...


class OutputStore(OutputPlaces, Protocol):
    """Storage for outputs. One run at a time uses it.

    An output is written to a temporary file (`write`, `finish`), made durable (`fsync`), journalled as received, moved
    to its final place (`move`, and `fsync` again), and journalled as committed. What no run made is neither replaced
    nor removed.
    """

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

    def open(self) -> TempFile:
        """A new temporary file; its first write creates it."""
        ...

    def temp_path(self, name: str) -> Path:
        """The path of the temporary file called `name`; temporary files are local, whatever the storage is."""
        ...

    async def write(self, batches: Sequence[tuple[Appendable, list[bytes]]]) -> None:
        """Append its pieces to each file, or hold them in memory while they are few: `finish` writes them.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    async def finish(
        self, answers: Sequence[tuple[dict[Kind, StoredOutput], MetadataCopier | None]]
    ) -> list[dict[Kind, StoredOutput] | Exception]:
        """Give the outputs of answers their metadata, and write those that `write` still holds in memory.

        Args:
            answers: the outputs of each, and what gives them the photo's metadata; None when they have it.

        Returns:
            For each answer its outputs, with the size and the digest they have now, or why the storage refused them.
        """
        ...

    async def fsync(
        self, written: Sequence[Collection[StoredOutput]], moved: Sequence[OutputMove] = ()
    ) -> list[DiskError | None]:
        """Wait until temporary files, and outputs that were moved, are durable. All share what the disk does.

        Args:
            written: the outputs of answers; their temporary files outlive this run from now on, until they are moved.
            moved: what `move` has moved.

        Returns:
            For each of `written`, and then for each of `moved`, what the storage refused, None when nothing.
        """
        ...

    async def move(self, moves: Sequence[OutputMove]) -> list[DiskError | None]:
        """Move outputs to their final places; that is durable once `fsync` was given the moves.

        Returns:
            For each move what the storage refused, None when nothing; `OutputRefused` when it concerns that move alone.
        """
        ...

    def stop_committing(self) -> None:
        """Commit only what has begun: the run is left at once, and the next one commits the rest."""
        ...

    async def check(self, entries: Sequence[PhotoEntry]) -> list[PhotoEntry]:
        """`entries`, with committed answers marked ``missing`` when an output is not there."""
        ...

    def checked(self, entries: Iterable[PhotoEntry]) -> list[PhotoEntry]:
        """What `check` does; blocks."""
        ...

    def missing(self, outputs: Iterable[tuple[str, Collection[Kind]]]) -> Collection[str]:
        """Those of the places where one of their kinds of outputs is not; blocks.

        The journal's thread asks folder after folder.
        """
        ...

    async def find_missing(self, outputs: Sequence[tuple[str, Collection[Kind]]]) -> Collection[str]:
        """What `missing` does, for a few places; does not block."""
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

    def rebuild(self, journal: RebuiltJournal) -> int:
        """Enter into `journal` what the storage tells of earlier runs, and the journal does not know; blocks.

        Returns:
            The number of photos entered.

        Raises:
            ConfigurationError: somebody else's file is where runs write their results.
            DiskError: the storage or the journal refuses.
        """
        ...

    def record(self, photos: Sequence[FinishedPhoto], *, all_results: Callable[[], Iterable[Result]]) -> None:
        """Note what became of photos, once the journal has; blocks.

        Args:
            photos: the photos.
            all_results: returns the results of all photos, to rewrite a list that `photos` cannot be added to.

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
