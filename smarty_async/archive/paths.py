"""File names: how a photo's path is shown, and where its outputs go. The one place for such rules."""

from __future__ import annotations

import hashlib
import os
import re
from typing import get_args

from smarty_async.results import Kind

__all__ = ["KINDS", "LONGEST_NAME", "PRODUCE", "RESULTS", "STATE", "display_path", "output_place"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The folders of outputs under ``--out``."""

STATE = ".smarty-async"
"""The folder under ``--out`` that holds the journal, the lock and the temporaries."""

RESULTS = "results.jsonl"
"""The file under ``--out`` with one line a photo."""

PRODUCE = frozenset({*KINDS, STATE, RESULTS})
"""Every name that a run makes directly under ``--out``."""

LONGEST_NAME = 255
"""The longest name of one file or folder: in bytes on Linux and macOS, in UTF-16 units on Windows."""

_SUFFIXES = (".jpg", ".jpeg")

# A surrogate that stands for no byte: Windows lets one into a name.
_LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: characters with a meaning, a dot or space at the
# end, which is dropped, and device names, whatever their extension. A percent sign is escaped where it would read
# as one of our own escapes, so that two names never become one.
_UNSAFE = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]\Z|%(?=[0-9A-Fa-f]{2})')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\.|\Z)", re.IGNORECASE)


def display_path(path: str) -> str:
    r"""`path` for people and for JSON: ``/`` between its parts, always valid UTF-8.

    Bytes that are no UTF-8 (surrogate-escaped in `path`) are shown as ``\xNN``. Everything else stands as it is,
    line breaks too: what prints on a terminal escapes those itself.
    """
    if os.sep != "/":
        path = path.replace(os.sep, "/")
    if path.isascii():
        return path
    whole = _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", path)
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def output_place(photo: str, *, windows: bool = os.name == "nt") -> str:
    """Where the outputs of `photo` go, relative to the folder of their kind.

    The same path, with ``.jpg`` appended unless it ends in ``.jpg`` or ``.jpeg``: an output is always a JPEG, and
    ``a.png`` and ``a.jpg`` keep apart. A name too long for the disk keeps its beginning and gets a hash of the whole.

    Args:
        photo: path relative to its source, with ``/``; may hold surrogate-escaped bytes.
        windows: whether the disk has Windows' rules; what they forbid is percent-encoded (``a:b`` → ``a%3Ab``).
    """
    *folders, name = photo.split("/")
    if not name.lower().endswith(_SUFFIXES):
        name += ".jpg"
    return "/".join(_fit(part, windows=windows) for part in (*folders, name))


def _fit(name: str, *, windows: bool) -> str:
    """`name` as the disk can hold it."""
    if windows:
        name = _UNSAFE.sub(_escaped, name)
        if _DEVICE.match(name):
            name = f"%{ord(name[0]):02X}{name[1:]}"
    if _length(name, windows=windows) <= LONGEST_NAME:
        return name
    suffix = next((name[-len(end) :] for end in _SUFFIXES if name.lower().endswith(end)), "")
    stem = name.removesuffix(suffix)
    end = f"~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}{suffix}"
    while _length(stem + end, windows=windows) > LONGEST_NAME:
        stem = stem[:-1]
    return stem + end


def _escaped(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def _length(name: str, *, windows: bool) -> int:
    """The length of `name` in the unit its disk counts in."""
    return len(name.encode("utf-16-le", "surrogatepass")) // 2 if windows else len(os.fsencode(name))
