"""The folder that holds a run's lock, its journal and its temporary files, on this machine.

Outputs are written to temporary files until they are committed. They are local, whatever the storage is.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import secrets
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from smarty_async.archive.entries import PhotoEntry, StoredOutput, size_of
from smarty_async.archive.outputs.checker import OutputChecker
from smarty_async.archive.outputs.metadata.copier import MetadataCopier
from smarty_async.archive.outputs.store import OutputMove
from smarty_async.archive.outputs.sync import GroupSync
from smarty_async.archive.outputs.temp_file import (
    Appendable,
    TempFile,
    append_all,
    digest_of,
    joined,
    temp_file_digest,
    write_pieces,
)
from smarty_async.archive.threads import threaded
from smarty_async.errors import ConfigurationError, DiskError, OutputInUse
from smarty_async.results import Kind
from smarty_async.store_address import StoreAddress

__all__ = [
    "StateFolder",
    "default_state_folder",
]

_Unfinished = tuple[dict[Kind, StoredOutput], MetadataCopier | None]
"""The outputs of an answer, and what gives them the photo's metadata."""
_CALL_BYTES = 8 << 20
"""Bytes of outputs that are finished in one call to a thread: larger ones share the machine's cores."""
_LARGEST_HELD = 1 << 20
"""Bytes of an output that is held in memory until it has its metadata: it is written once then, and not read again."""
_MAX_HELD = 4 << 20
"""Bytes of all of them."""


class StateFolder:
    """The part of an `OutputStore` that is the same whatever the storage is: see there for what each method does.

    Args:
        state_dir: the folder; `lock_state` creates it.
        checker: finds outputs that are not at their places.
        for_journal: does so for the journal's thread; None for `checker`.
        pool: the threads in which `checker` is used, see `threaded`.

    Attributes:
        state_dir: the folder: the journal, the lock and the temporary files.
        temp_dir: the folder of the temporary files in it.
    """

    def __init__(
        self,
        state_dir: Path,
        checker: OutputChecker,
        *,
        for_journal: OutputChecker | None = None,
        pool: str = "disk",
    ) -> None:
        self.state_dir = state_dir
        self.temp_dir = state_dir / "tmp"
        self._temp_dir = str(self.temp_dir)
        # Not thread-local: different threads acquire and release it.
        self._lock = FileLock(state_dir / "lock", thread_local=False)
        # The prefix keeps the names apart from those of earlier runs, whose files may still be there.
        self._names = map(f"{secrets.token_hex(4)}-%d".__mod__, itertools.count())
        self._is_recovered = False
        self._retained: set[str] = set()  # temporary files that the journal may know of
        self._group_sync = GroupSync(self._temp_dir)
        self._held: dict[str, TempFile] = {}
        self._held_bytes = 0
        self._checker = checker
        self._journal_checker = for_journal or checker
        self._check = threaded(checker.checked, pool=pool)
        self._find_missing = threaded(checker.missing, pool=pool)

    def lock_state(self, *, shown: Path | str) -> None:
        """Create and lock it; blocks, but does not wait for another run. Messages name `shown`.

        Raises:
            OutputInUse: another run has locked it.
            OSError: the disk refuses.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputInUse(shown) from None
        self.temp_dir.mkdir(exist_ok=True)
        self._group_sync.open()

    def release(self) -> None:
        """Unlock, and remove temporary files that the next run does not need; blocks."""
        self._group_sync.close()
        if self._is_recovered:
            self._remove_temp_files()
            with suppress(OSError):
                self.temp_dir.rmdir()
        self._lock.release()

    def remove_stale_temp_files(self, keep: Iterable[str] = ()) -> None:
        """Remove temporary files of earlier runs but those in `keep`; blocks."""
        self._is_recovered = True
        self._retained.update(keep)
        self._remove_temp_files()

    def _remove_temp_files(self) -> None:
        for path in self.temp_dir.glob("*"):
            if path.name not in self._retained:
                with suppress(OSError):
                    path.unlink()

    def retain(self, outputs: Iterable[StoredOutput]) -> None:
        """The next run needs the temporary files of `outputs`."""
        self._retained.update([output.temporary for output in outputs])

    def forget(self, moves: Sequence[OutputMove], refused: Sequence[Exception | None]) -> None:
        """The next run does not need the temporary files of `moves` any more, but of those that were refused."""
        self._retained.difference_update(
            [
                output.temporary
                for move, error in zip(moves, refused, strict=True)
                if error is None
                for output in move.outputs.values()
            ]
        )

    def open(self) -> TempFile:
        """A new temporary file; its first write creates it."""
        return TempFile(self._temp_dir, next(self._names), on_discard=self._release)

    def temp_path(self, name: str) -> Path:
        """The path of the temporary file called `name`."""
        return self.temp_dir / name

    async def write(self, batches: Sequence[tuple[Appendable, list[bytes]]]) -> None:
        """Hold few pieces in memory, and append the others, all in one call to a thread."""
        large: list[tuple[Appendable, list[bytes]]] = []
        for file, pieces in batches:
            most = min(_LARGEST_HELD, _MAX_HELD - self._held_bytes)
            if not isinstance(file, TempFile):
                large.append((file, pieces))
            elif (added := file.hold(pieces, most=most)) is None:
                self._release(file)  # appending writes what it holds, too
                large.append((file, pieces))
            else:
                self._held[file.name] = file
                self._held_bytes += added
        if large:
            await append_all(large)

    def _release(self, file: TempFile) -> None:
        if self._held.pop(file.name, None) is not None:
            self._held_bytes -= file.held_bytes

    async def finish(self, answers: Sequence[_Unfinished]) -> list[dict[Kind, StoredOutput] | Exception]:
        """Give the outputs of each answer their metadata, and write those that are held in memory."""
        held: dict[str, TempFile] = {}
        for outputs, _ in answers:
            for output in outputs.values():
                if (file := self._held.pop(output.temporary, None)) is not None:
                    held[output.temporary] = file
                    self._held_bytes -= file.held_bytes
        calls = [_finish_all(self._temp_dir, call, held) for call in _calls(answers)]
        return [outputs for finished in await asyncio.gather(*calls) for outputs in finished]

    async def fsync(
        self, written: Sequence[Collection[StoredOutput]], moved: Sequence[OutputMove] = ()
    ) -> list[DiskError | None]:
        """Wait until the temporary files of each answer, and each move, are durable."""
        names = [output.temporary for outputs in written for output in outputs]
        folders_of = list(map(self._folders_of, moved))
        folders = list(dict.fromkeys(chain.from_iterable(folders_of)))
        if not names and not folders:
            return [None] * (len(written) + len(moved))
        refused_files, refused_folders = await _sync(self._group_sync, names, folders)
        if not any(refused_files) and not any(refused_folders):
            self._retained.update(names)
            return [None] * (len(written) + len(moved))
        files, by_folder = iter(refused_files), dict(zip(folders, refused_folders, strict=True))
        refused = [_first(list(islice(files, len(outputs)))) for outputs in written]
        for outputs, error in zip(written, refused, strict=True):
            if error is None:
                self.retain(outputs)
        return refused + [_first(map(by_folder.get, these)) for these in folders_of]

    def _folders_of(self, move: OutputMove) -> Sequence[str]:  # noqa: ARG002
        """The folders that have new names after `move`; none where that is durable by itself."""
        return ()

    async def copy(self, kind: Kind, place: str, output: StoredOutput) -> TempFile | None:
        """A temporary file with the bytes of an output."""
        copied = self.open()
        try:
            if await self._copy_to(copied, kind, place, output):
                return copied
        except BaseException:
            await copied.discard()
            raise
        await copied.discard()
        return None

    async def _copy_to(self, target: TempFile, kind: Kind, place: str, output: StoredOutput) -> bool:
        """Copy an output to `target`; whether it is there and unchanged."""
        raise NotImplementedError

    async def check(self, entries: Sequence[PhotoEntry]) -> list[PhotoEntry]:
        """Look for the outputs of `entries`."""
        return await self._check(entries)

    def checked(self, entries: Iterable[PhotoEntry]) -> list[PhotoEntry]:
        """What `check` does; blocks."""
        return self._checker.checked(entries)

    def missing(self, outputs: Iterable[tuple[str, Collection[Kind]]]) -> Collection[str]:
        """Those of the places where one of their kinds of outputs is not."""
        return self._journal_checker.missing(outputs)

    async def find_missing(self, outputs: Sequence[tuple[str, Collection[Kind]]]) -> Collection[str]:
        """Those of the places where one of their kinds of outputs is not."""
        return await self._find_missing(outputs)


def _first(errors: Iterable[DiskError | None]) -> DiskError | None:
    return next(filter(None, errors), None)


def _calls(answers: Sequence[_Unfinished]) -> Iterator[Sequence[_Unfinished]]:
    """`answers`, in parts of not much more than `_CALL_BYTES`."""
    start = size = 0
    for number, (outputs, _) in enumerate(answers, start=1):
        size += size_of(outputs)
        if size >= _CALL_BYTES or number == len(answers):
            yield answers[start:number]
            start, size = number, 0


def _finish(
    folder: str, outputs: dict[Kind, StoredOutput], metadata: MetadataCopier | None, held: Mapping[str, TempFile]
) -> dict[Kind, StoredOutput]:
    finished: dict[Kind, StoredOutput] = {}
    for kind, output in outputs.items():
        path = f"{folder}/{output.temporary}"
        if (file := held.get(output.temporary)) is not None:
            pieces = joined(file.take() if metadata is None else metadata.edited(file.take()))
            try:
                write_pieces(path, pieces, set_time=None if metadata is None else metadata.set_time)
            except OSError as error:
                raise DiskError.of(error, Path(path), "write") from None
            finished[kind] = msgspec.structs.replace(output, size=sum(map(len, pieces)), digest=digest_of(pieces))
        elif metadata is None:
            finished[kind] = output
        elif output.digest:  # it was edited as it was written
            metadata.set_time(path)
            finished[kind] = output
        else:
            size = metadata.copy_to(path)
            finished[kind] = msgspec.structs.replace(output, size=size, digest=temp_file_digest(path))
    return finished


@threaded
def _finish_all(
    folder: str, answers: Sequence[_Unfinished], held: Mapping[str, TempFile]
) -> list[dict[Kind, StoredOutput] | Exception]:
    finished: list[dict[Kind, StoredOutput] | Exception] = []
    for outputs, metadata in answers:
        try:
            finished.append(_finish(folder, outputs, metadata, held))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other answers are finished
            finished.append(error)
    return finished


@partial(threaded, pool="syncing")
def _sync(
    group: GroupSync, files: Sequence[str], folders: Sequence[str]
) -> tuple[list[DiskError | None], list[DiskError | None]]:
    return group.sync(files, folders)


def default_state_folder(address: StoreAddress, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for the state of runs with outputs at `address`, where the system keeps such things for the user.

    ``XDG_STATE_HOME``, else ``~/.local/state``: https://specifications.freedesktop.org/basedir-spec/latest/

    Raises:
        ConfigurationError: the user has no home folder.
    """
    if os.name == "nt":
        base = Path(environ.get("LOCALAPPDATA") or _home(address) / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = _home(address) / "Library" / "Application Support"
    else:
        base = Path(environ.get("XDG_STATE_HOME") or _home(address) / ".local" / "state")
    name = hashlib.sha256(str(address).encode()).hexdigest()[:12]
    return base / "smarty_async" / f"{address.bucket}-{name}"


def _home(address: StoreAddress) -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without one, as in a container
        raise ConfigurationError(
            f"the state of a run with outputs in {address} is kept in your home folder, and you have none: name a"
            " folder with --state (state=… in Python)"
        ) from None
