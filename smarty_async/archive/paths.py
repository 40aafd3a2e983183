"""File names: how a photo's path is displayed, where its outputs go, and which names a disk takes.

All rules about names are here. An output has the path of its photo, with ``.jpg`` appended unless it ends in ``.jpg``
or ``.jpeg``. What the output disk does not take (`FileNameRules`) is escaped as ``%XX``, the bytes of its UTF-8 in
hexadecimal, as in a URL; then a ``%`` that two hexadecimal digits follow becomes ``%25``, so that escapes are
reversible (`urllib.parse.unquote`). A name that is too long keeps its beginning and gets ``~`` and a hash of the whole;
so does a name that is not free.

`probe_name_rules` finds a disk's rules by creating files on it. What the running system takes says little: an exFAT,
NTFS or network disk has rules of its own, and mount options change them. On Windows the system's rules are narrower
than any disk's, so only the longest name is looked for there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import unicodedata
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec

from smarty_async.results import KINDS

__all__ = [
    "ALBUM",
    "GENERATED_NAMES",
    "JOURNAL",
    "POSIX_RULES",
    "RESULTS",
    "STATE",
    "SYSTEM_RULES",
    "WINDOWS_CHARACTERS",
    "WINDOWS_RULES",
    "FileNameRules",
    "display_path",
    "distinct_place",
    "folded_key",
    "is_gone",
    "output_place",
    "photo_path",
    "probe_name_rules",
]


STATE = ".smarty-async"
"""The folder under ``--out`` that holds the journal, the lock and the temporary files."""

ALBUM = ".smarty-async-album"
"""The folder in an album that says what is in it."""

JOURNAL = "journal.sqlite"
"""The journal's file name, in ``DIR/.smarty-async/``."""

RESULTS = "results.jsonl"
"""The file under ``--out`` with one line for each photo."""

GENERATED_NAMES = frozenset({*KINDS, STATE, RESULTS})
"""Every name that a run creates directly under ``--out``."""

WINDOWS_CHARACTERS = '<>:"\\|?*' + "".join(map(chr, range(1, 32)))
"""Characters that Windows and its file systems do not take in a name.
https://learn.microsoft.com/windows/win32/fileio/naming-a-file"""

_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\.|\Z)", re.IGNORECASE)
"""Names of devices, with any extension, which Windows does not take for files."""

_JPEG_SUFFIXES = (".jpg", ".jpeg")

_LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""A surrogate that represents no byte: Windows takes one in a name."""

_IGNORED_CODE_POINTS = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
                                  "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]")  # fmt: skip
"""Unicode's Default_Ignorable_Code_Point: HFS+ and ext4 with casefold ignore most of them when they compare names."""

_HASH_DIGITS = 12
_MAX_ESCAPED_CODE_POINT = 0x10FFFF


class FileNameRules(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Which names a disk takes, and which of them are one name to it.

    Attributes:
        case_sensitive: whether ``a.jpg`` and ``A.jpg`` are two files.
        normalization_sensitive: whether an ``é`` of one code point and one of two are two files.
        forbidden: characters that no name may hold (besides ``/`` and NUL).
        windows_names: whether device names (``CON.jpg``) and a dot or space at the end are not taken.
        raw_bytes: whether names may hold bytes that are not UTF-8.
        max_code_point: the highest code point that a name may hold.
        max_name: the longest name of one file or folder, in `name_unit`.
        name_unit: ``bytes`` (of UTF-8), or ``utf-16`` for UTF-16 code units.
        max_path: the longest path, in bytes.
    """

    case_sensitive: bool = True
    normalization_sensitive: bool = True
    forbidden: str = ""
    windows_names: bool = False
    raw_bytes: bool = True
    max_code_point: int = _MAX_ESCAPED_CODE_POINT
    max_name: int = 255
    name_unit: Literal["bytes", "utf-16"] = "bytes"
    max_path: int = 4095

    @cached_property
    def is_exact(self) -> bool:
        """Whether two names that differ in any byte are two files."""
        return self.case_sensitive and self.normalization_sensitive

    def key(self, path: str) -> bytes:
        """A key that is equal for any two paths that are one file to the disk."""
        if self.is_exact:
            return _encoded(path)
        if self.case_sensitive:
            return _encoded(_IGNORED_CODE_POINTS.sub("", unicodedata.normalize("NFD", path)))
        return folded_key(path)

    def escaped(self, name: str) -> str:
        """`name` with everything that the disk does not take as ``%XX``; the name itself when it takes it."""
        if self._pattern is None:
            return name
        name = self._pattern.sub(_percent_encoded, name)
        if self.windows_names and _DEVICE.match(name):
            name = f"%{ord(name[0]):02X}{name[1:]}"
        return name

    def length(self, name: str) -> int:
        """The length of `name` in `name_unit`."""
        return len(name.encode("utf-16-le", "surrogatepass")) // 2 if self.name_unit == "utf-16" else len(_bytes(name))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        """What is escaped; None for a disk that takes every name."""
        parts = [f"[{re.escape(self.forbidden)}]"] if self.forbidden else []
        if self.windows_names:
            parts.append(r"[. ]\Z")
        if not self.raw_bytes:
            parts.append("[\udc80-\udcff]")
        if self.max_code_point < _MAX_ESCAPED_CODE_POINT:
            allowed = chr(self.max_code_point)
            parts.append(f"[^\0-{allowed}\ud800-\udfff]" if self.max_code_point < ord("\ud800") else f"[^\0-{allowed}]")
        if not parts:
            return None
        # A percent sign is escaped only where it would read as an escape: two names never become one.
        return re.compile("|".join([*parts, "%(?=[0-9A-Fa-f]{2})"]))


POSIX_RULES = FileNameRules()
"""A disk that takes every name of 255 bytes: ext4, XFS, Btrfs."""

WINDOWS_RULES = FileNameRules(
    case_sensitive=False,
    forbidden=WINDOWS_CHARACTERS,
    windows_names=True,
    name_unit="utf-16",
    max_path=32_000,
)
"""What Windows takes, whatever the disk: it reads ``a:b`` as a stream of ``a``, and removes a dot at the end."""

SYSTEM_RULES = WINDOWS_RULES if os.name == "nt" else POSIX_RULES
"""What the running system takes, as far as that is known without looking at a disk."""


def display_path(path: str) -> str:
    r"""`path` for people and for JSON: ``/`` between its parts, always valid UTF-8.

    Bytes that are not UTF-8 (surrogate-escaped in `path`) are displayed as ``\xNN``. Everything else is kept, line
    breaks too: what prints on a terminal escapes those itself.
    """
    if os.sep != "/":
        path = path.replace(os.sep, "/")
    if path.isascii():
        return path
    whole = _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", path)
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def photo_path(source: str, photo: str) -> str:
    """What to open for a photo: a path, or the address of an object.

    Args:
        source: a folder, by its absolute path, or an address of storage.
        photo: the photo, relative to it.
    """
    return os.path.join(source, photo) if os.path.isabs(source) else f"{source}/{photo}"  # noqa: PTH117, PTH118 - as the scan spells it


def is_gone(path: str) -> bool:
    """Whether nothing is at `path`; False where that cannot be found out."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def output_place(photo: str, *, page: int = 1, rules: FileNameRules = SYSTEM_RULES) -> str:
    """Where the outputs of `photo` go, relative to the folder of their kind.

    Args:
        photo: path relative to its source, with ``/``; may hold surrogate-escaped bytes.
        page: which picture of the file, from 1; the outputs of the others go to ``<name>.page-<n>.jpg``.
        rules: what the output disk takes.
    """
    *folders, name = photo.split("/")
    if page > 1:
        name += f".page-{page}.jpg"
    elif not name.lower().endswith(_JPEG_SUFFIXES):
        name += ".jpg"
    return "/".join(_shortened(rules.escaped(part), rules) for part in (*folders, name))


def distinct_place(place: str, *, identity: str, rules: FileNameRules = SYSTEM_RULES) -> str:
    """`place` with a hash of `identity` in its name, for a photo whose place is not free: ``a~0f1e2d3c4b5a.jpg``.

    The same photo gets the same name in every run, whatever the order in which photos are found.

    Args:
        place: a place from `output_place`.
        identity: what identifies the photo: its source and its path.
        rules: what the output disk takes.
    """
    above, slash, name = place.rpartition("/")
    return above + slash + _with_hash(name, identity, rules)


def folded_key(path: str) -> bytes:
    """A key that is equal for any two paths that are one file to any disk: case, composition and ignorables removed."""
    if path.isascii():
        return path.lower().encode()
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())
    return _encoded(_IGNORED_CODE_POINTS.sub("", decomposed))


def _shortened(name: str, rules: FileNameRules) -> str:
    # A code point takes four bytes or two UTF-16 units at most: of a million names nearly none is measured.
    if 4 * len(name) <= rules.max_name or rules.length(name) <= rules.max_name:
        return name
    return _with_hash(name, name, rules)


def _with_hash(name: str, identity: str, rules: FileNameRules) -> str:
    """`name` with a hash of `identity` before its suffix, its beginning cut to what the disk takes."""
    suffix = next((name[-len(end) :] for end in _JPEG_SUFFIXES if name.lower().endswith(end)), "")
    stem = name.removesuffix(suffix)
    end = f"~{hashlib.sha256(_encoded(identity)).hexdigest()[:_HASH_DIGITS]}{suffix}"
    while rules.length(stem + end) > rules.max_name:
        stem = stem[:-1]
    return stem + end


def _percent_encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in _bytes(found[0]))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _bytes(name: str) -> bytes:
    """The bytes of `name` on a disk; a surrogate that represents no byte counts as three."""
    return name.encode("utf-8", "surrogatepass" if _LONE_SURROGATE.search(name) else "surrogateescape")


_IS_WINDOWS: bool = os.name == "nt"
_BYTE = "\udcff"  # a byte that is not UTF-8, as Python puts it
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
        # Windows can be set to distinguish case in one folder and not in the next.
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
