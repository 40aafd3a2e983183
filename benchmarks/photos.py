"""Archives to measure with: real JPEGs of any size, with the metadata of a camera's photo."""

from __future__ import annotations

import io
import math
import random
import shutil
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image

from benchmarks.server import ID_MARK

__all__ = ["archive", "photo"]

_FOLDER = 1_000
"""Photos a folder."""
_SEGMENT = 65_533
"""Bytes of a JPEG segment's content, at most."""
_OVERHEAD = 4
"""Bytes of a segment's marker and length."""


def photo(size: int, *, number: int = 0) -> bytes:
    """A JPEG of nearly `size` bytes, unlike those with other numbers."""
    file = io.BytesIO()
    _write(file, _size(size, number), number, size)
    return file.getvalue()


def archive(folder: Path, *, count: int, size: int, sparse: bool = False, differing: int = 4_099) -> Path:
    """`count` photos of at least `size` bytes under `folder`, a thousand a folder; made once and kept.

    Args:
        folder: where archives lie.
        count: photos.
        size: bytes of each, at least.
        sparse: a tiny picture behind segments that are holes, where a million files' bytes would not fit on the disk.
        differing: a prime: they are larger by fewer bytes, and of so many photos no two are of one size, as few of a
            camera's are.
    """
    whole = folder / f"{count}x{size}{'-sparse' if sparse else ''}-{differing}"
    if whole.exists():
        return whole
    making = whole.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for number in range(count):
        place = making / f"{number // _FOLDER:04}" / f"{number:07}.jpg"
        if number % _FOLDER == 0:
            place.parent.mkdir()
        with place.open("wb") as file:
            _write(file, size + number * 7_919 % differing, number, 0 if sparse else size)
    return making.rename(whole)


def _size(size: int, number: int) -> int:
    """Nearly `size`, and never more: few photos are as large as another to the byte."""
    return size - number * 7_919 % max(1, size // 64)


def _write(file: BinaryIO, size: int, number: int, picture: int) -> None:
    """Write `size` bytes: a picture for photos of `picture` bytes, with a number of its own, and holes for the rest."""
    head, rest = _picture(picture)
    file.write(head[:2] + ID_MARK + number.to_bytes(8, "big") + head[2:])
    left = size - len(head) - len(ID_MARK) - 8 - len(rest)
    while left >= _OVERHEAD:
        length = min(left - _OVERHEAD, _SEGMENT)
        file.write(b"\xff\xe4" + (length + 2).to_bytes(2, "big"))
        file.seek(length, io.SEEK_CUR)
        left -= length + _OVERHEAD
    file.write(rest)


@cache
def _picture(size: int) -> tuple[bytes, bytes]:
    """A JPEG of a little less than ``size * 63 / 64`` bytes, cut behind its EXIF block; gray noise makes the bytes."""
    side, buffer = 8, io.BytesIO()
    for bytes_per_pixel in (1.1, 1.0, 0.9):  # the first guess may be a little too large
        side = max(8, int(math.sqrt(max(0, size * 63 / 64 - 1_500) / bytes_per_pixel)))
        noise = Image.frombytes("L", (side, side), random.Random(5).randbytes(side * side))  # noqa: S311 - not secrets
        attempt = io.BytesIO()
        noise.save(attempt, "JPEG", quality=85, exif=_exif())
        if buffer.getvalue() and len(attempt.getvalue()) > size * 63 / 64 - 100:
            break
        buffer = attempt
    whole = buffer.getvalue()
    begin = whole.index(b"\xff\xdb")
    return whole[:begin], whole[begin:]


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Maker", "Model 1"
    exif[ExifTags.Base.Orientation] = 1
    exif[ExifTags.Base.DateTime] = "2001:02:03 04:05:06"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2001:02:03 04:05:06"
    return exif
