"""A disk that refuses: the n-th call that could fail does fail. For a process of its own: it changes `os` itself."""

from __future__ import annotations

import builtins
import errno
import io
import os
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from smarty_async.archive.outputs import sync as output_sync

FREEING = ("unlink", "rmdir", "close")
"""What a full disk still does."""

_CALLS = ("write", "writev", "fsync", "replace", "rename", "link", "unlink", "mkdir", "rmdir", "truncate", "ftruncate")


@dataclass
class Disk:
    """Counts the calls that concern `folder`.

    Attributes:
        at: which one fails, from 1; 0 for none.
        lasting: whether all those after it fail, too, as on a full disk; else only this one does.
        count: of the calls so far.
        failed: what failed first, for people.
    """

    folder: Path
    at: int = 0
    lasting: bool = False
    count: int = 0
    failed: str = ""
    descriptors: dict[int, str] = field(default_factory=dict[int, str])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def number(self) -> int:
        return errno.ENOSPC if self.lasting else errno.EIO

    def fails(self, what: str, path: Any) -> bool:
        """Whether this call is to fail; it is counted when it is one of ours."""
        name = self.descriptors.get(path, "") if isinstance(path, int) else os.fsdecode(path)
        if not name.startswith(str(self.folder)):
            return False
        with self._lock:
            self.count += 1
            now = self.count == self.at or (self.lasting and 0 < self.at <= self.count and what not in FREEING)
            if now and not self.failed:
                self.failed = f"{what} {name.removeprefix(str(self.folder))}"
        return now

    def call(self, what: str, path: Any) -> None:
        if self.fails(what, path):
            raise OSError(self.number, os.strerror(self.number), path if isinstance(path, str | Path) else None)


class _File(io.FileIO):
    """A file whose writes are counted when they reach the system."""

    disk: Disk

    def write(self, data: Any) -> int:
        self.disk.call("write", self.name)
        return super().write(data)


def _open(disk: Disk, original: Callable[..., Any]) -> Callable[..., Any]:
    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, int) or not os.fsdecode(file).startswith(str(disk.folder)):
            return original(file, mode, *args, **kwargs)
        disk.call("open", file)
        if "b" not in mode or "+" in mode or "r" in mode:
            return original(file, mode, *args, **kwargs)
        raw = type("_OurFile", (_File,), {"disk": disk})(os.fspath(file), mode.replace("b", ""))
        disk.descriptors[raw.fileno()] = os.fsdecode(file)
        return io.BufferedWriter(raw)

    return opened


def _os_open(disk: Disk, original: Callable[..., int]) -> Callable[..., int]:
    def opened(path: Any, *args: Any, **kwargs: Any) -> int:
        disk.call("open", path)
        descriptor = original(path, *args, **kwargs)
        disk.descriptors[descriptor] = os.fsdecode(path)
        return descriptor

    return opened


def _counted(disk: Disk, what: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, *args: Any, **kwargs: Any) -> Any:
        disk.call(what, path)
        return original(path, *args, **kwargs)

    return call


class _Connection(sqlite3.Connection):
    """SQLite's side: each statement that writes may find the disk full or broken."""

    disk: Disk

    def _may_fail(self, statement: str) -> None:
        word = statement.split(None, 1)[0].rstrip(";").upper()
        if word in ("SELECT", "ROLLBACK", "PRAGMA") or not self.disk.fails(f"sqlite {word}", self.disk.folder):
            return
        if self.disk.lasting and self.in_transaction:
            super().execute("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise sqlite3.OperationalError("database or disk is full" if self.disk.lasting else "disk I/O error")

    def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
        self._may_fail(statement)
        return super().execute(statement, *args)

    def executemany(self, statement: str, *args: Any) -> sqlite3.Cursor:
        self._may_fail(statement)
        return super().executemany(statement, *args)

    def executescript(self, script: str) -> sqlite3.Cursor:
        self._may_fail(script)
        return super().executescript(script)


@contextmanager
def refusing(disk: Disk) -> Generator[None]:
    """All of this process's calls go by `disk` meanwhile."""
    connection = type("_OurConnection", (_Connection,), {"disk": disk})
    patches: list[Any] = [
        patch.object(io, "open", _open(disk, io.open)),
        patch.object(builtins, "open", _open(disk, builtins.open)),
        patch.object(os, "open", _os_open(disk, os.open)),
        patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=connection)),
        patch.object(output_sync, "sync_file_system", _counted(disk, "syncfs", output_sync.sync_file_system)),
        *(patch.object(os, what, _counted(disk, what, getattr(os, what))) for what in _CALLS if hasattr(os, what)),
    ]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()
