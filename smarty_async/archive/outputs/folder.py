"""Outputs in a folder: ``DIR/.smarty-async/tmp/`` until they are committed, then ``DIR/<kind>/<place>``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from smarty_async.archive.journal.records import PhotoEntry, StoredOutput
from smarty_async.archive.outputs.checker import OutputChecker
from smarty_async.archive.outputs.moves import commit_moves, file_size, remove_known
from smarty_async.archive.outputs.name_rules import probe_name_rules
from smarty_async.archive.outputs.results_file import ResultsFile
from smarty_async.archive.outputs.state_folder import StateFolder
from smarty_async.archive.outputs.store import FinishedPhoto, OutputMove, OutputRefused
from smarty_async.archive.outputs.temp_file import Appendable, TempFile, copy_file
from smarty_async.archive.paths import RESULTS, STATE, SYSTEM_RULES, FileNameRules
from smarty_async.archive.threads import threaded
from smarty_async.errors import DiskError
from smarty_async.options import ModeSpec
from smarty_async.results import KINDS, ErrorInfo, Kind, Result

if TYPE_CHECKING:
    from smarty_async.archive.journal.store import JournalStore

__all__ = ["OutputDirectory", "TempFile"]

_MAX_FOLDERS = 4096
"""Folders that are remembered, at most: photos come folder by folder."""


class OutputDirectory:
    """The `OutputStore` in a folder.

    Args:
        out: the output folder; `lock` creates it.

    Attributes:
        out: the output folder.
        state_dir: ``DIR/.smarty-async``: the journal, the lock and the temporary files.
        temp_dir: ``DIR/.smarty-async/tmp``.
        source_of_truth: what a lost journal is rebuilt from, for people.
        rules: which names the disk takes; the running system's rules until `lock` has asked the disk.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.state_dir = out / STATE
        self.temp_dir = self.state_dir / "tmp"
        self.source_of_truth = f"{RESULTS} and the outputs on the disk"
        self.rules: FileNameRules = SYSTEM_RULES
        self._checker = OutputChecker(out)
        self._state = StateFolder(self.state_dir)
        self._results = ResultsFile(out / RESULTS)
        self._kind_dirs: list[str] | None = None
        self._folders: set[str] = set()  # known to be free of files

    # the folder

    def lock(self) -> None:
        """Create the folder, lock it and find out which names its disk takes; see `OutputStore.lock`."""
        try:
            self._state.lock(shown=self.out)
            self._check_kind_dirs()
            self._remove_left_probes()
            self.rules = probe_name_rules(self.state_dir)
        except OSError as error:
            raise DiskError.of(error, self.out, "write to") from None

    is_remote = False

    def check_access(self) -> None:
        """Nothing: `lock` does not cost more."""

    def warnings(self) -> list[str]:
        """Nothing."""
        return []

    def release(self) -> None:
        """Unlock, and remove temporary files that the next run does not need; blocks."""
        self._state.release()

    def remove_stale_temp_files(self, keep: Iterable[str] = ()) -> None:
        """Remove temporary files of earlier runs but those in `keep`; see `OutputStore.remove_stale_temp_files`."""
        self._state.remove_stale_temp_files(keep)

    def _check_kind_dirs(self) -> None:
        """Make sure that no file and no link to nothing is where the folder of a kind is needed."""
        for kind in KINDS:
            path = self.out / kind
            if os.path.lexists(path) and not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{kind!r} in it is no folder")

    def _remove_left_probes(self) -> None:
        for folder in self.state_dir.glob("probe-*"):
            with suppress(OSError):
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()

    # places

    def is_taken(self, place: str) -> bool:
        """Whether a file or folder is at `place` in the folder of any kind; blocks.

        To be asked only of a place that the journal has given to no photo: what is there, no run has made.
        """
        if self._kind_dirs is None:  # those that this run creates hold its own outputs alone
            self._kind_dirs = [f"{self.out}/{kind}" for kind in KINDS if (self.out / kind).exists()]
        return any(os.path.lexists(f"{folder}/{place}") for folder in self._kind_dirs)

    def foreign_kinds(self, place: str, known: Mapping[Kind, StoredOutput]) -> list[Kind]:
        """The kinds of which something that no run made is at `place`; blocks.

        Args:
            place: the place of a photo.
            known: the outputs that the journal has of it.
        """
        if self._kind_dirs == []:
            return []
        found: list[Kind] = []
        for kind in KINDS:
            size = file_size(f"{self.out}/{kind}/{place}")
            if size is not None and not (kind in known and size == known[kind].size):
                found.append(kind)
        return found

    def problem_of(self, place: str) -> ErrorInfo | None:
        """Why no file can be at `place`: a file is where a folder must be, or the path is too long. None if it can."""
        folder = place.rpartition("/")[0]
        if folder and (blocked := next(filter(None, (self._file_above(kind, folder) for kind in KINDS)), None)):
            return ErrorInfo("output_refused", f"{blocked!r} is a file where its outputs need a folder: move it away")
        longest = max(len(os.fsencode(f"{self.out}/{kind}/{place}")) for kind in KINDS)
        if longest <= self.rules.max_path:
            return None
        told = f"the path of its output would have {longest:,} bytes, and {self.rules.max_path:,} are possible here"
        return ErrorInfo("path_too_long", f"{told}: give it an --out with a shorter path")

    def _file_above(self, kind: Kind, folder: str) -> str | None:
        """The file at `folder`, or above it, in the folder of `kind`; None when there is none."""
        path = f"{self.out}/{kind}/{folder}"
        if path in self._folders:
            return None
        if os.path.lexists(path):
            if not os.path.isdir(path):  # noqa: PTH112 - asked for every photo
                return path
        elif (above := folder.rpartition("/")[0]) and (blocked := self._file_above(kind, above)):
            return blocked
        if len(self._folders) < _MAX_FOLDERS:
            self._folders.add(path)
        return None

    # temporary files

    def open(self) -> TempFile:
        """A new temporary file; its first write creates it."""
        return self._state.open()

    def temp_path(self, name: str) -> Path:
        """The path of the temporary file called `name`."""
        return self._state.temp_path(name)

    async def write(self, lots: Sequence[tuple[Appendable, list[bytes]]]) -> None:
        """Append its pieces to each file, all in one call to a thread; see `OutputStore.write`."""
        await self._state.write(lots)

    async def fsync(self, answers: Iterable[Iterable[StoredOutput]]) -> list[DiskError | None]:
        """Wait until the temporary files of each answer are durable; see `OutputStore.fsync`."""
        return await self._state.fsync(answers)

    async def copy(self, kind: Kind, place: str, output: StoredOutput) -> TempFile | None:
        """A temporary file with the bytes of an output; see `OutputStore.copy`."""
        copied = self.open()
        try:
            if await copy_file(self.out / kind / place, copied) == output.size:
                return copied
        except BaseException:
            await copied.discard()
            raise
        await copied.discard()
        return None

    async def picture(self, kind: Kind, place: str, output: StoredOutput) -> tuple[Path | None, TempFile | None]:  # noqa: ARG002
        """The file of an output; see `OutputStore.picture`."""
        return self.out / kind / place, None

    # outputs

    async def commit(self, moves: Sequence[OutputMove]) -> list[DiskError | None]:
        """Rename outputs to their final places and sync the folders; see `OutputStore.commit`."""
        refused = await _commit(str(self.out), str(self.temp_dir), moves)
        for move, error in zip(moves, refused, strict=True):
            if error is None:
                self._state.forget(output.temporary for output in move.outputs.values())
        return refused

    def stop_committing(self) -> None:
        """Nothing: a rename is quick."""

    async def check(self, entries: Sequence[PhotoEntry], *, redo: bool) -> list[PhotoEntry]:
        """Look for the outputs of `entries`; see `OutputStore.check`."""
        return await _check(self._checker, entries, redo=redo)

    def checked(self, entries: Iterable[PhotoEntry], *, redo: bool) -> list[PhotoEntry]:
        """What `check` does; blocks."""
        return self._checker.checked(entries, redo=redo)

    def remove(self, place: str, outputs: Mapping[Kind, StoredOutput]) -> None:
        """Remove those of `outputs` that are at `place` with their size; see `OutputStore.remove`."""
        remove_known(str(self.out), place, outputs)

    def recover(self, move: OutputMove) -> bool:
        """Commit what an interrupted run had received; see `OutputStore.recover`."""
        waiting: dict[Kind, StoredOutput] = {}
        for kind, output in move.outputs.items():
            try:
                if self.temp_path(output.temporary).exists():
                    waiting[kind] = output
                elif file_size(f"{self.out}/{kind}/{move.place}") != output.size:
                    return False
            except OSError as error:
                raise DiskError.of(error, self.out / kind / move.place, "read") from None
        [refused] = commit_moves(str(self.out), str(self.temp_dir), [OutputMove(move.place, waiting)])
        if isinstance(refused, OutputRefused):
            self._state.retain(output.temporary for output in waiting.values())
        if refused is not None:
            raise refused
        return True

    def rebuild(self, journal: JournalStore, specs: Iterable[ModeSpec]) -> int:
        """Enter what ``results.jsonl`` and the outputs tell of earlier runs; see `OutputStore.rebuild`."""
        from smarty_async.archive.journal.recovery import rebuild  # noqa: PLC0415 - it stands on this package

        if not journal.is_empty:
            return 0
        if (self.out / RESULTS).exists() or any(self.state_dir.glob("*.damaged-*")):
            # There may be outputs of a run that no line tells of: whether a file is one of them, `commit` finds out by
            # comparing it with the new output.
            self._kind_dirs = []
        return rebuild(journal, self.out / RESULTS, out=self.out, specs=specs)

    # results

    def record(self, photos: Sequence[FinishedPhoto]) -> None:
        """Add a line for each photo to ``results.jsonl``; see `OutputStore.record`."""
        self._results.append(photo.result for photo in photos)

    def write_results(self, results: Iterable[Result]) -> None:
        """Rewrite ``results.jsonl``; see `OutputStore.write_results`."""
        self._results.rewrite(results)


_commit = threaded(commit_moves)
_check = threaded(OutputChecker.checked)
