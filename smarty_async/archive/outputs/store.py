"""Where outputs are stored: the interface that the rest of the program uses, whatever the storage, and temporary files.

Outputs are written to temporary files, which are local whatever the storage is, until they are committed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from smarty_async.archive.fsync import sync_file
from smarty_async.archive.journal.records import PhotoEntry, StoredOutput
from smarty_async.archive.paths import FileNameRules
from smarty_async.archive.threads import threaded
from smarty_async.errors import DiskError
from smarty_async.options import ModeSpec
from smarty_async.results import ErrorInfo, Kind

if TYPE_CHECKING:
    from smarty_async.archive.journal.store import JournalStore

__all__ = [
    "Appendable",
    "NameTaken",
    "OutputMove",
    "OutputRefused",
    "OutputStore",
    "TempFile",
    "append_all",
    "copy_file",
    "output_digest",
    "sync_all",
]


class OutputRefused(DiskError):
    """The storage refuses one output, and takes others: its name is not possible, or not free."""


class NameTaken(OutputRefused):
    """A file that no run made is at the output's place."""


class OutputMove(msgspec.Struct, frozen=True, gc=False):
    """How the outputs of one answer get from temporary files to their final places.

    Attributes:
        place: path relative to the folder of each kind.
        outputs: the outputs by kind. A file that is there is replaced only when it is unchanged what the output
            `replaces`.
        removes: outputs of an earlier answer that has no successor; each is removed only when it is unchanged.
    """

    place: str
    outputs: Mapping[Kind, StoredOutput]
    removes: Mapping[Kind, StoredOutput] = {}


class OutputStore(Protocol):
    """Storage for outputs. One run at a time uses it.

    An output is written to a temporary file, made durable (`fsync`), journalled as received, moved to its final place
    (`commit`), and journalled as committed. What no run made is neither replaced nor removed.
    """

    @property
    def rules(self) -> FileNameRules:
        """Which names the storage takes; known once `lock` has returned."""
        ...

    def lock(self) -> None:
        """Create and lock the storage; blocks, but does not wait for another run.

        Raises:
            OutputInUse: another run has locked it.
            DiskError: it cannot be created or written.
        """
        ...

    def release(self) -> None:
        """Unlock, and remove temporary files that the next run does not need; blocks."""
        ...

    def remove_stale_temp_files(self, keep: Iterable[str] = ()) -> None:
        """Remove temporary files of earlier runs, once the journal has recovered what it knows of; blocks.

        Args:
            keep: names of those that the journal still needs.
        """
        ...

    def is_taken(self, place: str) -> bool:
        """Whether something that no run made is at `place`, in the folder of any kind; blocks."""
        ...

    def foreign_kinds(self, place: str, known: Mapping[Kind, StoredOutput]) -> list[Kind]:
        """The kinds of which something is at `place` that is none of the `known` outputs; blocks."""
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
        """Append its pieces to each file.

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

    async def check(self, entries: Sequence[PhotoEntry], *, redo: bool) -> list[PhotoEntry]:
        """`entries`, with committed answers marked ``missing`` (``stale`` with `redo`) when an output is not there."""
        ...

    async def copy(self, kind: Kind, place: str, output: StoredOutput) -> TempFile | None:
        """A temporary file with the bytes of an output; None when it is not there, or has another size.

        Raises:
            DiskError: the storage refuses, so that it is not known whether it is there.
        """
        ...

    def remove(self, place: str, outputs: Mapping[Kind, StoredOutput]) -> None:
        """Remove those of `outputs` that are at `place` unchanged; blocks.

        Raises:
            DiskError: the storage refuses.
        """
        ...

    def recover(self, place: str, outputs: Mapping[Kind, StoredOutput]) -> bool:
        """Commit what an interrupted run had received; blocks. Returns whether all `outputs` are at `place` now.

        Raises:
            OutputRefused: the storage does not take this one; its temporary files stay.
            DiskError: the storage refuses.
        """
        ...

    def rebuild(self, journal: JournalStore, specs: Iterable[ModeSpec]) -> int:
        """Enter into the empty `journal` what the storage itself tells of earlier runs; blocks.

        Returns:
            The number of photos entered.

        Raises:
            ConfigurationError: somebody else's file is where runs write their results.
            DiskError: the storage or the journal refuses.
        """
        ...


_DIGITS = 24
"""Hexadecimal digits of a digest that are kept: enough to notice any change that is no attack."""
_COPY_BYTES = 1 << 20
"""Bytes of an output that are copied at a time."""


class Appendable(Protocol):
    """A file that pieces can be appended to."""

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; may block."""
        ...


class TempFile:
    """One output in a temporary file. It is open only while it is written to: thousands may exist at a time.

    Args:
        folder: the folder it is in.
        name: its name.
    """

    def __init__(self, folder: str, name: str) -> None:
        # No Path: creating one costs more than anything else done here for a small output.
        self.name = name
        self._path = f"{folder}/{name}"

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self._path)

    def append(self, pieces: list[bytes]) -> None:
        """Append `pieces`; blocks. The first call creates the file.

        Raises:
            DiskError: the disk is full, or refuses for another reason.
        """
        try:
            with open(self._path, "ab", buffering=0) as file:  # noqa: PTH123 - see above
                data = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                while data:
                    data = data[file.write(data) :]
        except OSError as error:
            raise DiskError.of(error, self.path, "write") from None

    async def write(self, pieces: list[bytes]) -> None:
        """Append `pieces`; raises as `append` does."""
        await append_all([(self, pieces)])

    async def discard(self) -> None:
        """Remove the file if it exists. One that the disk does not remove is removed by the next run."""
        await _remove(self._path)


def _append_all(writes: Sequence[tuple[Appendable, list[bytes]]]) -> None:
    for file, pieces in writes:
        file.append(pieces)


append_all = threaded(_append_all, pool="appending")
"""Append its pieces to each file, all in one call to a thread. Raises DiskError."""


def output_digest(path: str) -> str:
    """`StoredOutput.digest` of the file at `path`.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path for each output costs more than its opening
        while data := file.read(_COPY_BYTES):
            digest.update(data)
    return digest.hexdigest()[:_DIGITS]


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
def sync_all(folder: str, names: Sequence[str]) -> DiskError | None:
    """Wait until the files called `names` in `folder` are durable; returns what the disk refuses."""
    for name in names:
        try:
            sync_file(f"{folder}/{name}")
        except OSError as error:
            return DiskError.of(error, Path(folder, name), "write")
    return None


@threaded
def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - see above
