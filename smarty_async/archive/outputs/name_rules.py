"""Find out which file names a disk takes, by creating files on it. Blocking.

What the running system takes says little: an exFAT, NTFS or network disk has rules of its own, and mount options change
them. On Windows the system's rules are narrower than any disk's, so only the longest name is looked for there.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from smarty_async.archive.paths import POSIX_RULES, WINDOWS_CHARACTERS, WINDOWS_RULES, FileNameRules

__all__ = ["probe_name_rules"]

_IS_WINDOWS: bool = os.name == "nt"
_BYTE = "\udcff"  # a byte that is no UTF-8, as Python puts it
_ASTRAL = "\U0001f600"
_LETTER = "ж"
_ACCENTED = "\u00e9"  # of one code point
_LONGEST = 255

_DISK_ERRORS = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV,
})  # fmt: skip
"""Errors that say nothing about a name."""


def probe_name_rules(folder: Path) -> FileNameRules:
    """The rules of the disk that `folder` is on; creates a folder in it and removes it.

    On a disk that takes every name this creates three files.

    Raises:
        OSError: the disk refuses for a reason that has nothing to do with names.
    """
    probe = _NameProbe(folder / f"probe-{secrets.token_hex(4)}")
    probe.folder.mkdir()
    try:
        return probe.rules()
    finally:
        shutil.rmtree(probe.folder, ignore_errors=True)


class _NameProbe:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rules(self) -> FileNameRules:
        rules = WINDOWS_RULES if _IS_WINDOWS else self._characters()
        case_sensitive, normalization_sensitive = self._comparison()
        max_name, unit = self._longest()
        return msgspec.structs.replace(
            rules,
            case_sensitive=case_sensitive,
            normalization_sensitive=normalization_sensitive,
            max_name=max_name,
            name_unit=unit,
            max_path=self._longest_path(rules.max_path),
        )

    def _characters(self) -> FileNameRules:
        """Which characters names may hold."""
        if self._takes(f"{_LETTER}{_ASTRAL}{_BYTE}{WINDOWS_CHARACTERS}. "):
            return POSIX_RULES
        forbidden = "".join(character for character in WINDOWS_CHARACTERS if not self._takes(f"x{character}x"))
        if self._takes(f"x{_ASTRAL}"):
            max_code_point = POSIX_RULES.max_code_point
        else:
            max_code_point = 0xFFFF if self._takes(f"x{_LETTER}") else 0x7F
        return FileNameRules(
            forbidden=forbidden,
            # Windows may read the disk some day, even if this system takes the names of devices.
            windows_names=not set('<>:"|?*').isdisjoint(forbidden) or not self._takes("x.") or not self._takes("x "),
            raw_bytes=self._takes(f"x{_BYTE}"),
            max_code_point=max_code_point,
        )

    def _comparison(self) -> tuple[bool, bool]:
        """Whether names that differ in case, and those that differ in composition, are two names."""
        try:
            (self.folder / f"Sample-{_ACCENTED}").touch()
            decomposed = unicodedata.normalize("NFD", f"Sample-{_ACCENTED}")
            normalization_sensitive = not self._exists(decomposed)
        except (OSError, ValueError) as error:
            _raise_disk_error(error)
            normalization_sensitive = True
        (self.folder / "Sample").touch()
        # Windows can be told to tell case apart in one folder and not in the next.
        return os.name != "nt" and not self._exists("sample"), normalization_sensitive

    def _longest(self) -> tuple[int, Literal["bytes", "utf-16"]]:
        """The longest name, and the unit it is measured in."""
        if self._takes(_LETTER * _LONGEST):
            return _LONGEST, "utf-16"
        if self._takes("x" * _LONGEST):
            # 85 letters of three bytes fit where bytes are counted, too; 200 of two do not.
            return _LONGEST, "bytes" if not self._takes(_LETTER * 200) else "utf-16"
        shortest, longest = 8, _LONGEST  # encrypted folders take as little as 143 bytes
        while longest - shortest > 1:
            middle = (shortest + longest) // 2
            if self._takes("x" * middle):
                shortest = middle
            else:
                longest = middle
        return shortest, "bytes"

    def _longest_path(self, default: int) -> int:
        try:
            return os.pathconf(self.folder, "PC_PATH_MAX") - 1
        except (AttributeError, OSError, ValueError):
            return default

    def _exists(self, name: str) -> bool:
        try:
            return (self.folder / name).exists()
        except (OSError, ValueError):
            return False

    def _takes(self, name: str) -> bool:
        """Whether a file called `name` can be created, and is listed under exactly that name."""
        path = f"{self.folder}/{name}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False  # another name is this one to the disk
        except (OSError, ValueError) as error:
            _raise_disk_error(error)
            return False
        try:
            return _composed(name) in map(_composed, os.listdir(self.folder))  # noqa: PTH208 - names alone
        finally:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - a Path would read a backslash


def _raise_disk_error(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        raise error


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
