"""This package with nothing waited for on the disk: what the others do, to compare like with like.

`os.fsync` does nothing, and the journal's SQLite syncs nothing. Everything else stays as it is: temporaries, renames,
the journal's transactions.
"""

from __future__ import annotations

import os
from typing import Any

from benchmarks.contestants.ours import run
from smarty_async.archive.journal.store import JournalStore

__all__ = ["run"]


def _no_fsync(_: object) -> None:
    pass


_open_store = JournalStore.__init__


def _open_unsynced(self: JournalStore, *options: Any, **more: Any) -> None:
    _open_store(self, *options, **more)
    self.sql.execute("PRAGMA synchronous = OFF")


os.fsync = _no_fsync  # type: ignore[assignment]
JournalStore.__init__ = _open_unsynced  # type: ignore[method-assign]
