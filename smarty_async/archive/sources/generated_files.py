"""Recognise what runs create in an output folder, among photos on the disk."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from smarty_async.archive.paths import PRODUCE, STATE

__all__ = ["GeneratedFiles", "Identity", "holds_results", "identity_of"]

Identity = tuple[int, int] | str
"""What tells one folder from another, whatever its name and the links to it."""


def identity_of(path: str | Path, status: os.stat_result) -> Identity:
    """Device and inode, or the real path on network disks that have no inodes."""
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def holds_results(folder: str) -> bool:
    """Whether `folder` is the output folder of some run."""
    return os.path.lexists(f"{folder}/{STATE}")


class GeneratedFiles:
    """What runs create in the folder `out`: none of it is a photo to be restored again.

    A run may create it while a scan goes on, so the disk is asked each time.

    Args:
        out: the output folder, which need not exist; None when there is none.
    """

    def __init__(self, out: Path | None) -> None:
        self._out = None if out is None else out.absolute()
        self._within = lru_cache(maxsize=64)(self._is_within)

    def is_out(self, identity: Identity) -> bool:
        """Whether `identity` is the output folder itself."""
        return identity in self._identities("")

    def is_one(self, identity: Identity) -> bool:
        """Whether `identity` is one of the folders that runs create directly in the output folder."""
        return identity in self._identities(*PRODUCE)

    def holds(self, path: str) -> bool:
        """Whether the file or folder at `path` is one of those folders, or is in one."""
        return self._out is not None and self._within(path if Path(path).is_dir() else str(Path(path).parent))

    def _is_within(self, folder: str) -> bool:
        generated = self._identities(*PRODUCE)
        if not generated:
            return False
        real = Path(os.path.realpath(folder))
        above = (place for place in (real, *real.parents) if place.exists())
        return any(identity_of(place, place.stat()) in generated for place in above)

    def _identities(self, *names: str) -> set[Identity]:
        """The identities of those of `names` that exist in the output folder."""
        found: set[Identity] = set()
        for path in (self._out / name for name in names) if self._out is not None else ():
            try:
                found.add(identity_of(path, path.stat()))
            except OSError:
                continue  # it does not exist yet
        return found
