"""The folder that holds a run's lock, its journal and its temporary files, on this machine."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from smarty_async.archive.journal.records import StoredOutput
from smarty_async.archive.outputs.group_sync import GroupSync
from smarty_async.archive.outputs.store import Appendable, TempFile, append_all
from smarty_async.errors import DiskError, OutputInUse
from smarty_async.store_address import StoreAddress

__all__ = ["StateFolder", "default_state_folder"]


class StateFolder:
    """The part of an `OutputStore` that is local whatever the storage is: see there for what each method does.

    Args:
        path: the folder; `lock` creates it.

    Attributes:
        path: the folder.
        temp_dir: the folder of the temporary files in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temp_dir = path / "tmp"
        # Not thread-local: different threads acquire and release it.
        self._lock = FileLock(path / "lock", thread_local=False)
        # The prefix keeps the names apart from those of earlier runs, whose files may still be there.
        self._names = (f"{run}-{number}" for run in [secrets.token_hex(4)] for number in itertools.count())
        self._is_recovered = False
        self._retained: set[str] = set()  # temporary files that the journal may know of
        self._group_sync = GroupSync(str(self.temp_dir))

    def lock(self, *, shown: Path | str) -> None:
        """Create and lock it; blocks, but does not wait for another run.

        Args:
            shown: what messages name.

        Raises:
            OutputInUse: another run has locked it.
            OSError: the disk refuses.
        """
        self.path.mkdir(parents=True, exist_ok=True)
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

    def retain(self, names: Iterable[str]) -> None:
        """The next run needs the temporary files with these names."""
        self._retained.update(names)

    def forget(self, names: Iterable[str]) -> None:
        """The next run does not need the temporary files with these names any more."""
        self._retained.difference_update(names)

    def open(self) -> TempFile:
        """A new temporary file; its first write creates it."""
        return TempFile(str(self.temp_dir), next(self._names))

    def temp_path(self, name: str) -> Path:
        """The path of the temporary file called `name`."""
        return self.temp_dir / name

    async def write(self, lots: Sequence[tuple[Appendable, list[bytes]]]) -> None:
        """Append its pieces to each file, all in one call to a thread."""
        await append_all(lots)

    async def fsync(self, answers: Iterable[Iterable[StoredOutput]]) -> list[DiskError | None]:
        """Wait until the temporary files of each answer are durable."""
        names = [[output.temporary for output in outputs] for outputs in answers]
        refused = await self._group_sync.sync(names)
        self.retain(name for each, error in zip(names, refused, strict=True) if not error for name in each)
        return refused


def default_state_folder(address: StoreAddress, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for the state of runs with outputs at `address`, where the system keeps such things for the user.

    ``XDG_STATE_HOME``, else ``~/.local/state``: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    if os.name == "nt":
        base = Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = hashlib.sha256(str(address).encode()).hexdigest()[:12]
    return base / "smarty_async" / f"{address.bucket}-{name}"
