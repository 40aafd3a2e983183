"""What outputs in a store say of themselves: one key of metadata, in JSON. Pure."""

from __future__ import annotations

import json
from typing import Any, Final, Self

import msgspec

from smarty_async.results import Kind

__all__ = ["METADATA_KEY", "OutputOrigin"]

METADATA_KEY: Final = "smarty"
"""The key of the user's metadata; Azure allows no hyphen in it."""

_MAX_BYTES: Final = 1800
"""S3 takes 2 KB of a user's metadata."""


class OutputOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """What the outputs of an answer are made of.

    Attributes:
        spec: the mode with its settings, as text.
        kinds: all outputs of the answer: it is whole when they are there.
        bw: whether the service took the photo for black-and-white; None when it did not say.
        source: of the photo, see `PhotoFile`.
        photo: its path relative to that.
        page: which picture of the file, from 1.
        size: bytes of the photo.
        version: its version.
    """

    spec: str
    kinds: tuple[Kind, ...]
    bw: bool | None = None
    source: str
    photo: str
    page: int = 1
    size: int
    version: str

    def metadata(self) -> dict[str, str]:
        """It as the metadata of an object; without any where its names are too long for that."""
        # json, and not msgspec: it writes ASCII, and the surrogates that stand for bytes in a name.
        text = json.dumps(msgspec.to_builtins(self), separators=(",", ":"))
        return {METADATA_KEY: text} if len(text) <= _MAX_BYTES else {}

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """The origin in the metadata of an object; None when there is none."""
        try:
            found: Any = json.loads(text or "")
            return msgspec.convert(found, cls)
        except (ValueError, msgspec.ValidationError):
            return None

    def is_of(self, other: OutputOrigin) -> bool:
        """Whether both are made of one photo, whatever its content was."""
        return (self.source, self.photo, self.page) == (other.source, other.photo, other.page)
