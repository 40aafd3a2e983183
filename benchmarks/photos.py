"""Archives to measure with: small real JPEGs made heavy by bytes after their end, as cameras leave them."""

from __future__ import annotations

import io
import random
import shutil
from functools import cache
from pathlib import Path

from PIL import Image

from benchmarks.server import ID_BYTES

__all__ = ["archive", "photo"]

_END = b"\xff\xd9"
_FOLDER = 1_000
"""Photos a folder."""


def photo(size: int, *, number: int = 0) -> bytes:
    """A JPEG of nearly `size` bytes, unlike those with other numbers; it ends as a JPEG does."""
    head = _head()
    dice = random.Random(5)  # noqa: S311 - not secrets
    return head + dice.randbytes(max(0, _size(size, number) - len(head) - ID_BYTES)) + _id(number)


@cache
def _head() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).save(buffer, "JPEG")
    return buffer.getvalue()


def _size(size: int, number: int) -> int:
    """Nearly `size`, and never more: few photos are as large as another to the byte."""
    return size - number * 7_919 % max(1, size // 64)


def _id(number: int) -> bytes:
    """What tells photos apart: their last bytes."""
    return number.to_bytes(ID_BYTES - len(_END), "big") + _END


def archive(folder: Path, *, count: int, size: int, sparse: bool = False, differing: int = 1) -> Path:
    """`count` photos of nearly `size` bytes under `folder`, a thousand a folder; made once and kept.

    Args:
        folder: where archives lie.
        count: photos.
        size: bytes of each, at most.
        sparse: leave a hole in each, where a million files' bytes would not fit on the disk.
        differing: bytes by which their sizes differ besides, a prime: of so many photos few are of one size.
    """
    whole = folder / f"{count}x{size}{'-sparse' if sparse else ''}{f'-{differing}' if differing > 1 else ''}"
    if whole.exists():
        return whole
    making = whole.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    noise = photo(2 * size)[:-ID_BYTES]
    for number in range(count):
        place = making / f"{number // _FOLDER:04}" / f"{number:07}.jpg"
        if number % _FOLDER == 0:
            place.parent.mkdir()
        inside = _size(size, number) + number * 7_919 % differing - ID_BYTES
        with place.open("wb") as file:
            file.write(_head() if sparse else noise[:inside])
            file.seek(inside)
            file.write(_id(number))
    return making.rename(whole)
