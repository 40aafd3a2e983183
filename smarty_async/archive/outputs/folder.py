"""Outputs in a folder: ``DIR/.smarty-async/tmp/`` until they are committed, then ``DIR/<kind>/<place>``.

A commit renames files and then syncs their folders. There are no Paths there: creating one costs as much as the rename.
"""
# ruff: noqa: PTH105, PTH108, PTH120

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from smarty_async.archive.entries import FinishedPhoto, StoredOutput
from smarty_async.archive.outputs.checker import FolderChecker
from smarty_async.archive.outputs.results_file import ResultsFile
from smarty_async.archive.outputs.state_folder import StateFolder
from smarty_async.archive.outputs.store import NameTaken, OutputMove, OutputRefused, RebuiltJournal
from smarty_async.archive.outputs.sync import MAX_FOLDERS, sync_file, sync_folder
from smarty_async.archive.outputs.temp_file import TempFile, copy_file, output_digest, temp_file_digest
from smarty_async.archive.paths import RESULTS, STATE, SYSTEM_RULES, FileNameRules, probe_name_rules
from smarty_async.archive.threads import threaded
from smarty_async.errors import ConfigurationError, DiskError
from smarty_async.results import KINDS, ErrorInfo, Kind, Result

__all__ = ["OutputDirectory", "move_all", "remove_known"]

_LONGEST_KIND = max(KINDS, key=len)


class OutputDirectory(StateFolder):
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
        # The journal's thread has a checker of its own.
        super().__init__(out / STATE, FolderChecker(out), for_journal=FolderChecker(out))
        self.out = out
        self._out = str(out)
        self.source_of_truth = f"{RESULTS} and the outputs on the disk"
        self.rules: FileNameRules = SYSTEM_RULES
        self._results = ResultsFile(out / RESULTS)
        self._kind_dirs: list[str] | None = None
        self._folders: set[str] = set()  # of places, known to be free of files

    # the folder

    def lock(self) -> None:
        """Create the folder, lock it and find out which names its disk takes; see `OutputStore.lock`."""
        try:
            self.lock_state(shown=self.out)
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
        for folder in self._kind_dirs:  # noqa: SIM110 - asked of every photo
            if os.path.lexists(f"{folder}/{place}"):
                return True
        return False

    def foreign_kinds(self, place: str, kinds: Iterable[Kind], known: Mapping[Kind, StoredOutput]) -> list[Kind]:
        """Those of `kinds` of which something that no run made is at `place`; see `OutputStore.foreign_kinds`."""
        if self._kind_dirs == []:
            return []
        return [kind for kind in kinds if self._is_foreign(self.out / kind / place, known.get(kind))]

    def _is_foreign(self, path: Path, known: StoredOutput | None) -> bool:
        try:
            return _file_size(str(path)) is not None and not (known and _is_output(str(path), known))
        except OSError as error:
            raise _translated(error, path, "look at") from None

    def problem_of(self, place: str) -> ErrorInfo | None:
        """Why no file can be at `place`: a file is where a folder must be, or the path is too long. None if it can."""
        folder = place.rpartition("/")[0]
        if folder and folder not in self._folders:
            if blocked := next(filter(None, (self._file_above(kind, folder) for kind in KINDS)), None):
                message = f"{blocked!r} is a file where its outputs need a folder: move it away"
                return ErrorInfo("output_refused", message)
            if len(self._folders) < MAX_FOLDERS:
                self._folders.add(folder)
        longest = len(os.fsencode(f"{self._out}/{_LONGEST_KIND}/{place}"))
        if longest <= self.rules.max_path:
            return None
        message = f"the path of its output would have {longest:,} bytes, and {self.rules.max_path:,} are possible here"
        return ErrorInfo("path_too_long", f"{message}: give it an --out with a shorter path")

    def _file_above(self, kind: Kind, folder: str) -> str | None:
        """The file at `folder`, or above it, in the folder of `kind`; None when there is none."""
        path = f"{self.out}/{kind}/{folder}"
        if os.path.lexists(path):
            return None if os.path.isdir(path) else path  # noqa: PTH112 - like the line above
        above = folder.rpartition("/")[0]
        return self._file_above(kind, above) if above else None

    # temporary files

    async def _copy_to(self, target: TempFile, kind: Kind, place: str, output: StoredOutput) -> bool:
        size = await copy_file(self.out / kind / place, target)
        return size == output.size and (not output.digest or await _digest(str(target.path)) == output.digest)

    async def picture(self, kind: Kind, place: str, output: StoredOutput) -> tuple[Path | None, TempFile | None]:  # noqa: ARG002
        """The file of an output; see `OutputStore.picture`."""
        return self.out / kind / place, None

    # outputs

    async def move(self, moves: Sequence[OutputMove]) -> list[DiskError | None]:
        """Rename outputs to their final places; see `OutputStore.move`."""
        refused = await _move_all(self._out, self._temp_dir, moves)
        self.forget(moves, refused)
        return refused

    def _folders_of(self, move: OutputMove) -> Sequence[str]:
        folder = os.path.dirname(move.place)
        return [f"{self._out}/{kind}/{folder}" if folder else f"{self._out}/{kind}" for kind in move.outputs]

    def stop_committing(self) -> None:
        """Nothing: a rename is quick."""

    def remove(self, place: str, outputs: Mapping[Kind, StoredOutput]) -> None:
        """Remove those of `outputs` that are at `place` unchanged; see `OutputStore.remove`."""
        try:
            remove_known(str(self.out), place, outputs)
        except OutputRefused as error:  # who asks would take it for a refusal of another photo's outputs
            raise DiskError(str(error)) from None

    def recover(self, move: OutputMove) -> bool:
        """Commit what an interrupted run had received; see `OutputStore.recover`.

        Where a name is taken, outputs that were moved before go back to their temporary files: all of an answer have
        one place.
        """
        waiting: dict[Kind, StoredOutput] = {}
        for kind, output in move.outputs.items():
            try:
                if self.temp_path(output.temporary).exists():
                    waiting[kind] = output
                elif not _is_output(f"{self.out}/{kind}/{move.place}", output):
                    return False
            except OSError as error:
                raise _translated(error, self.out / kind / move.place, "read") from None
        left = OutputMove(move.place, waiting, move.removes)
        [refused] = move_all(self._out, self._temp_dir, [left])
        if refused is None:
            refused = next(filter(None, self._group_sync.sync([], self._folders_of(left))[1]), None)
        if isinstance(refused, NameTaken):
            self._move_back(move, moved=move.outputs.keys() - waiting.keys())
        if isinstance(refused, OutputRefused):
            self.retain(move.outputs.values())
        if refused is not None:
            raise refused
        return True

    def _move_back(self, move: OutputMove, moved: Iterable[Kind]) -> None:
        for kind in moved:
            output, path = move.outputs[kind], self.out / kind / move.place
            try:
                _rename(str(path), str(self.temp_path(output.temporary)), name=output.temporary)
            except OSError as error:
                raise _translated(error, path, "move") from None

    def rebuild(self, journal: RebuiltJournal) -> int:
        """Enter earlier runs from ``results.jsonl`` and the outputs; see `OutputStore.rebuild`."""
        damaged = any(self.state_dir.glob("*.damaged-*"))
        if not journal.is_empty or not (damaged or self._results.path.exists()):
            return 0
        if not (damaged or self._results.is_of_runs()):
            raise ConfigurationError(
                f"{str(self._results.path)!r} is a file that no run made: move it away, or choose another --out"
            )
        # There may be outputs of a run that no line names: whether a file is one of them, `commit` finds out by
        # comparing it with the new output.
        self._kind_dirs = []
        return journal.enter_results(self._results.read(), out=self.out)

    # results

    def record(self, photos: Sequence[FinishedPhoto], *, all_results: Callable[[], Iterable[Result]]) -> None:
        """Add a line for each photo to ``results.jsonl``, or rewrite it; see `OutputStore.record`."""
        try:
            self._results.append([photo.result for photo in photos])
        except DiskError:  # the file may be protected, or end in a part of a line
            self._results.rewrite(all_results())

    def write_results(self, results: Iterable[Result]) -> None:
        """Rewrite ``results.jsonl``; see `OutputStore.write_results`."""
        self._results.rewrite(results)


_NAME_ERRORS = frozenset({
    errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR,
    errno.ENOTEMPTY,
})  # fmt: skip
"""Errors that concern one name: the disk takes others."""


_IN_USE = (5, 32)
"""Windows' ERROR_ACCESS_DENIED and ERROR_SHARING_VIOLATION: so MoveFileEx and DeleteFile fail at a file that another
program has open, a viewer of pictures for example, or that is read-only."""


def _translated(error: OSError, path: Path, doing: str) -> DiskError:
    """The error for an `OSError` that occurred while `doing` something with `path`, an output."""
    concerns_it_alone = error.errno in _NAME_ERRORS or (getattr(error, "winerror", 0) in _IN_USE and path.is_file())
    return (OutputRefused if concerns_it_alone else DiskError).of(error, path, doing)


_creating_folders = threading.Lock()


def move_all(out: str, temp_dir: str, moves: Sequence[OutputMove]) -> list[DiskError | None]:
    """Make each move; a sync of the folders makes them durable.

    Returns:
        For each move what the disk refused, None when nothing.
    """
    created: set[str] = set()
    return [_move(out, temp_dir, move, created) for move in moves]


def _move(out: str, temp_dir: str, move: OutputMove, created: set[str]) -> DiskError | None:
    final = out
    try:
        if move.removes:
            remove_known(out, move.place, move.removes)
        renames = [
            (f"{temp_dir}/{output.temporary}", f"{out}/{kind}/{move.place}", output)
            for kind, output in move.outputs.items()
        ]
        for temp, final, output in renames:
            try:
                os.lstat(final)
            except (FileNotFoundError, NotADirectoryError):
                continue  # as for nearly every output
            _check_replaceable(final, output, temp)
        for temp, final, output in renames:
            folder = final[: final.rindex("/")]
            if folder not in created:
                _create_folder(folder)
                created.add(folder)
            _rename(temp, final, name=output.temporary)
    except OSError as error:
        return _translated(error, Path(final), "write")
    except DiskError as error:
        return error
    return None


def _check_replaceable(final: str, output: StoredOutput, temp: str) -> None:
    """Make sure that nothing is at `final` but what `output` replaces, or the output itself.

    Raises:
        NameTaken: something else is.
    """
    size = _file_size(final)
    if size is None or (size == output.replaces and _matches(final, output.replaced_digest)):
        return
    # An earlier run may have copied it there, and not come to remove the temporary file.
    if size == output.size and filecmp.cmp(temp, final, shallow=False):
        return
    message = f"{final!r} is a file that no run made, or that was changed since: move it away, and run again"
    raise NameTaken(message, path=Path(final), errno=errno.EEXIST)


def _file_size(path: str) -> int | None:
    """The size of the file at `path`; -1 for what is no file, None when nothing is there.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _matches(path: str, digest: str) -> bool:
    """Whether the file at `path` has this digest; True when that is empty: an older journal has none."""
    return not digest or output_digest(path) == digest


def _is_output(path: str, output: StoredOutput) -> bool:
    """Whether the file at `path` is `output` as it was committed.

    Raises:
        OSError: it cannot be looked at.
    """
    return _file_size(path) == output.size and _matches(path, output.digest)


def remove_known(out: str, place: str, outputs: Mapping[Kind, StoredOutput]) -> None:
    """Remove those of `outputs` that are at `place` in `out` as they were when they were committed.

    Raises:
        DiskError: the disk refuses.
    """
    for kind, output in outputs.items():
        path = f"{out}/{kind}/{place}"
        try:
            if _is_output(path, output):
                os.unlink(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _translated(error, Path(path), "remove") from None


def _rename(path: str, new: str, *, name: str) -> None:
    """Rename a file; where a link puts `new` on another disk, copy it there beside `new`, and rename that."""
    try:
        os.replace(path, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_to_other_disk(path, new, f"{os.path.dirname(new)}/.smarty-async-{name}")


def _copy_to_other_disk(path: str, new: str, beside: str) -> None:
    try:
        shutil.copy2(path, beside)
        sync_file(beside)
        os.replace(beside, new)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    os.unlink(path)


def _create_folder(folder: str) -> None:
    """Create `folder`; its name is durable before another photo finds the folder there."""
    with _creating_folders:
        for parent in _create_missing(Path(folder)):
            sync_folder(parent)


def _create_missing(folder: Path) -> list[Path]:
    """Create `folder` and those above it that are missing; the folders that got a new name in them."""
    if folder.is_dir():
        return []
    created = _create_missing(folder.parent)
    folder.mkdir(exist_ok=True)
    return [*created, folder.parent]


_move_all = threaded(move_all)
_digest = threaded(temp_file_digest)
