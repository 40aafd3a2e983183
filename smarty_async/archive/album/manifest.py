"""What an album's pictures were copied from: one line of JSON a picture. Blocking."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

__all__ = ["Entry", "Manifest"]


class Entry(msgspec.Struct, frozen=True):
    """One picture of the album. Paths are bytes, as the file system spells them; JSON holds them as base64.

    Attributes:
        source: the photo's source.
        photo: the photo's path relative to it.
        target: the picture's path relative to the album.
        origin: what it was copied from: a kind or ``original``, with its size and modification time.
        size: bytes of the picture, when it was made.
        mtime_ns: its modification time then.
    """

    source: bytes
    photo: bytes
    target: bytes
    origin: tuple[str, int, int]
    size: int
    mtime_ns: int

    @property
    def key(self) -> tuple[bytes, bytes]:
        """The photo."""
        return self.source, self.photo


class Manifest:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Entry]:
        """Its entries; none when it is not there, or damaged: pictures are then recognized by size and time."""
        try:
            return msgspec.json.Decoder(Entry).decode_lines(self._path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return []

    def write(self, entries: Iterable[Entry]) -> None:
        """Make it hold `entries` and nothing else, at once."""
        new = self._path.with_suffix(".part")
        new.write_bytes(msgspec.json.Encoder().encode_lines(list(entries)))
        new.replace(self._path)
