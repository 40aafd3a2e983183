"""Archives to measure with: small real JPEGs made heavy by bytes after their end, as cameras leave them."""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path

from PIL import Image

from benchmarks.server import ID_BYTES

__all__ = ["archive", "photo"]

_END = b"\xff\xd9"

_LINKS = 30_000
"""Names one file may have: ext4 ends at 65,000."""
_FOLDER = 1_000
"""Photos a folder."""


def photo(size: int, *, number: int = 0) -> bytes:
    """A JPEG of `size` bytes, unlike those with other numbers; it ends as a JPEG does."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).save(buffer, "JPEG")
    dice = random.Random(5)  # noqa: S311 - not secrets
    return buffer.getvalue() + dice.randbytes(max(0, size - buffer.tell() - ID_BYTES)) + _id(number)


def _id(number: int) -> bytes:
    """What tells photos apart: their last bytes."""
    return number.to_bytes(ID_BYTES - len(_END), "big") + _END


def archive(folder: Path, *, count: int, size: int, linked: bool = False) -> Path:
    """`count` photos of `size` bytes under `folder`, a thousand a folder; made once and kept.

    Args:
        folder: where archives lie.
        count: photos.
        size: bytes of each.
        linked: give a few files many names, where a million files' bytes would not fit on the disk.
    """
    whole = folder / f"{count}x{size}{'-linked' if linked else ''}"
    if whole.exists():
        return whole
    making = whole.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    data, first = photo(size), making
    for number in range(count):
        place = making / f"{number // _FOLDER:04}" / f"{number:07}.jpg"
        if number % _FOLDER == 0:
            place.parent.mkdir()
        if linked and number % _LINKS:
            place.hardlink_to(first)
        else:
            place.write_bytes(data[:-ID_BYTES] + _id(number))
            first = place
    return making.rename(whole)
