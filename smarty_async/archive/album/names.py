"""The names of an album's pictures, each distinct on every disk. Pure."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from smarty_async.archive.paths import output_place

__all__ = ["Names", "candidates"]

_JPEG: Final = (".jpg", ".jpeg")
_PICTURES: Final = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "cr2", "dng", "gif", "heic", "heif", "hif", "j2k", "jfif", "jp2", "jpe", "nef", "pbm", "pcx"),
        *("pgm", "png", "ppm", "psd", "sgi", "tif", "tiff", "webp"),
    )
)
"""Extensions that ``.jpg`` replaces; to another (``portrait.1987``) it is appended."""


def candidates(photo: str, *, is_output: bool, folder: str | None = None) -> list[str]:
    """The paths that the picture of `photo` may have in the album, best first, with ``/``.

    Args:
        photo: its path relative to its source.
        is_output: whether the picture is an output, which is always a JPEG.
        folder: a folder for it when a photo of another source has its path; None when there is one source.
    """
    own = [_as_jpeg(photo), output_place(photo)] if is_output else [photo]
    below = [] if folder is None else [f"{folder}/{path}" for path in own]
    return list(dict.fromkeys([*own, *below]))


def _as_jpeg(photo: str) -> str:
    path = PurePosixPath(photo)
    suffix = path.suffix.lower()
    return output_place(str(path.with_suffix(".jpg")) if suffix in _PICTURES else photo)


class Names:
    """Paths that are taken. Two that differ only in case or in Unicode form are the same on some disks."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def __contains__(self, path: str) -> bool:
        return _plain(path) in self._files

    def take(self, path: str) -> bool:
        """Take `path`; False, and nothing taken, when it is not free."""
        plain = _plain(path)
        parents = [str(parent) for parent in PurePosixPath(plain).parents]
        if plain in self._files or plain in self._folders or not self._files.isdisjoint(parents):
            return False
        self._files.add(plain)
        self._folders.update(parents)
        return True

    def first_free(self, wanted: Sequence[str], *, usable: Callable[[str], bool]) -> str:
        """Take the first of `wanted` that is free and usable, else the first with a number behind it."""
        paths = itertools.chain(wanted, _numbered(wanted[0]))
        return next(path for path in paths if usable(path) and self.take(path))


def _numbered(path: str) -> Iterator[str]:
    one = PurePosixPath(path)
    for number in itertools.count(2):
        yield str(one.with_name(f"{one.stem} ({number}){one.suffix}"))


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
