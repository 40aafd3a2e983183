"""A random archive: photos whose content is known, under names that are hard to bear, and files that are not photos."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from PIL import Image
from support.pictures import jpeg, png, tiff, webp

_FORMATS: dict[str, Callable[..., bytes]] = {
    "jpg": jpeg,
    "jpeg": jpeg,
    "JPG": jpeg,
    "png": png,
    "tif": tiff,
    "webp": webp,
}
_NAMES = [
    "p{n}",
    "фото {n}",
    "with space {n}",
    "quote\"{n}'",
    "percent%2F{n}",
    "dot.dot.{n}",
    "file_{n}",
    "x" * 180 + "{n}",
    "é{n}",  # in two code points, as macOS writes it
    "e\u0301{n}",
]
_POSIX_NAMES = [
    "line\nbreak {n}",
    "back\\slash {n}",
    "no utf-8 \udcff{n}",
    "colon:{n}",
    "trailing {n} ",
    "x" * 248 + "{n}",
]
_FOLDERS = ["", "", "album", "album/1937", "Альбом", "improved", "a b"]


@dataclass(frozen=True)
class Photo:
    """One file of the archive.

    Attributes:
        path: relative to the archive, as the system spells it.
        content: what it is known by to the server; empty for a file that is not a photo.
        data: bytes.
    """

    path: str
    content: str
    data: bytes


def content_of(data: bytes) -> str:
    """What a photo is known by: its pixels, which outlast a conversion, and the notes in its file."""
    if data[:4] in (b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"\x89PNG") and (tail := _tail(data)):
        return tail
    with Image.open(io.BytesIO(data)) as image:
        return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()[:16]


_MARK = b"#photo:"
_PNG_HEADER = 33
"""Bytes of a PNG's signature and first chunk."""


def _tail(data: bytes) -> str:
    place = data.rfind(_MARK)
    return data[place + len(_MARK) :][:16].decode("ascii", "replace") if place >= 0 else ""


@cache
def _picture(kind: str, seed: int) -> bytes:
    return _FORMATS[kind](24, 16, seed=seed)


def _photo(dice: Random, number: int) -> tuple[str, bytes]:
    """A suffix and a file's bytes; JPEG and PNG hold notes in their header, which make each one its own."""
    kind = dice.choice([*_FORMATS, "jpg", "jpg", "jpg"])
    if kind in ("tif", "webp"):
        return kind, _FORMATS[kind](24, 16, seed=dice.randrange(1 << 30))
    mark = _MARK + f"{dice.getrandbits(64):016x}".encode()
    size = dice.choice([0, 10, 1000, 5000, 30_000])
    notes = dice.randbytes(dice.randint(0, size)).replace(_MARK, b"") + mark
    return kind, _with_notes(_picture(kind, number % 4), notes)


def _with_notes(picture: bytes, notes: bytes) -> bytes:
    """A JPEG with a comment after its first segment, or a PNG with a private chunk after its header."""
    if picture.startswith(b"\x89PNG"):
        chunk = b"prVt" + notes
        whole = len(notes).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        return picture[:_PNG_HEADER] + whole + picture[_PNG_HEADER:]
    end = 4 + int.from_bytes(picture[4:6], "big")
    return picture[:end] + b"\xff\xfe" + (len(notes) + 2).to_bytes(2, "big") + notes + picture[end:]


def _bad(dice: Random) -> tuple[str, bytes]:
    whole = _picture("jpg", 1)
    return dice.choice(
        [("jpg", b""), ("jpg", whole[: len(whole) // 2]), ("jpg", b"no photo"), ("jpg", b"\xff\xd8\xff")]
    )


def make_album(folder: Path, dice: Random, *, photos: int) -> list[Photo]:
    """Write an archive of so many files into `folder`; some are copies of others, some are not photos."""
    names = _NAMES + (_POSIX_NAMES if sys.platform == "linux" else [])
    made: list[Photo] = []
    for number in range(photos):
        good = [photo for photo in made if photo.content]
        if good and dice.random() < 0.12:
            original = dice.choice(good)
            suffix, data = original.path.rsplit(".", 1)[-1], original.data
        elif dice.random() < 0.1:
            suffix, data = _bad(dice)
        else:
            suffix, data = _photo(dice, number)
        where = dice.choice(_FOLDERS)
        name = f"{dice.choice(names).format(n=number)}.{suffix}"
        path = f"{where}/{name}" if where else name
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        content = "" if is_bad(data) else content_of(data)
        made.append(Photo(path, content, data))
    return made


def plain_album(folder: Path) -> list[Photo]:
    """Four good photos, one of them in a format that has to be converted, and one the same as the first."""
    made: list[Photo] = []
    for number, path in zip((0, 1, 2, 0), ("a.jpg", "album/b.png", "album/c.webp", "copy.jpg"), strict=True):
        data = _FORMATS[path.rsplit(".", 1)[-1]](24, 16, seed=number)
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        made.append(Photo(path, content_of(data), data))
    return made


def is_bad(data: bytes) -> bool:
    """Whether this is none of the photos made here."""
    return data in (b"", b"no photo", b"\xff\xd8\xff") or data == _picture("jpg", 1)[: len(_picture("jpg", 1)) // 2]


def display_path(path: str) -> str:
    """A path as ``results.jsonl`` shows it: bytes that are not UTF-8 as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
