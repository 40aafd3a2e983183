"""The pace of earlier runs on this machine, kept in a small file in the user's cache folder."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Final

import msgspec

from smarty_async.report.estimate import Unit

__all__ = ["PaceFile", "cache_folder", "pace_key"]

_MAX_KEYS: Final = 100
"""Paces kept; the oldest are dropped."""


class _Pace(msgspec.Struct, frozen=True):
    """A measured pace.

    Attributes:
        seconds: for one megapixel, or one MB.
        unit: which of them.
    """

    seconds: float
    unit: Unit


class PaceFile:
    """Paces by what was done where. A file that cannot be read or written is no error: then nothing is known.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_folder(os.environ) / "pace.json"

    def known(self, key: str, *, unit: Unit) -> float | None:
        """Seconds for one `unit` of a million in earlier runs; None when that is not known."""
        pace = self._read().get(key)
        return pace.seconds if pace and pace.unit == unit and pace.seconds > 0 else None

    def keep(self, key: str, seconds: float, *, unit: Unit) -> None:
        """Keep a measured pace: seconds for one megapixel, or one MB."""
        paces = self._read()
        paces.pop(key, None)
        paces[key] = _Pace(round(seconds, 6), unit)
        kept = dict(list(paces.items())[-_MAX_KEYS:])
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(kept))
            temporary.replace(self._path)

    def _read(self) -> dict[str, _Pace]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Pace])
        except (OSError, msgspec.MsgspecError):
            return {}


def pace_key(service: str, specs: tuple[object, ...]) -> str:
    """The key of a pace: this machine, the engine or the service's address, and what is asked for each photo."""
    return " ".join((platform.node(), service, *map(str, specs)))


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The program's folder for what can be made again: where each platform keeps such files."""
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in a container
        home = Path(gettempdir())
    if sys.platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "smarty-async"
