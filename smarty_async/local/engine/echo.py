"""The engine ``echo``: returns the photo with a comment. For tests and benchmarks, where the pixels do not matter."""

from __future__ import annotations

from typing import Final

from smarty_async.local.engine.decoding import decode, encode
from smarty_async.local.engine.protocol import Improved

__all__ = ["EchoEngine", "stamp", "unstamp"]

_START: Final = b"\xff\xd8"
_COMMENT: Final = b"\xff\xfe"
_SCAN: Final = b"\xda"
_TEXT: Final = b"smarty-async echo "


class EchoEngine:
    """Every output is the photo that was sent; a comment in it names the output's kind."""

    name = "echo"

    def improve(self, image: bytes, /) -> Improved:
        """All three outputs, so that an answer is as long as it can be.

        Raises:
            ItemRefused: it is no JPEG, and cannot be decoded to make one of it.
        """
        photo = _as_jpeg(image)
        return Improved(
            improved=stamp(photo, "improved"),
            colorized_improved=stamp(photo, "colorized_improved"),
            colorized=stamp(photo, "colorized"),
        )

    def enlarge(self, image: bytes, /, *, factor: int, rtype: str) -> bytes:  # noqa: ARG002 - the Protocol's
        """The photo in its own size.

        Raises:
            ItemRefused: it is no JPEG, and cannot be decoded to make one of it.
        """
        return stamp(_as_jpeg(image), "resolved")


def _as_jpeg(image: bytes) -> bytes:
    return image if image.startswith(_START + b"\xff") else encode(decode(image))


def stamp(jpeg: bytes, kind: str) -> bytes:
    """The JPEG with a comment segment after its first marker, which says ``smarty-async echo <kind>``."""
    text = _TEXT + kind.encode("ascii")
    return b"".join((_START, _COMMENT, (len(text) + 2).to_bytes(2, "big"), text, memoryview(jpeg)[2:]))


def unstamp(jpeg: bytes) -> tuple[str, bytes]:
    """The kind a stamped JPEG's comment names, and the JPEG without that comment.

    All segments before the pixels are searched, because metadata may have been inserted before the comment.

    Raises:
        ValueError: it has no such comment.
    """
    at = len(_START)
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] != _SCAN:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        text = jpeg[at + 4 : end]
        if jpeg[at : at + 2] == _COMMENT and text.startswith(_TEXT):
            return text.removeprefix(_TEXT).decode("ascii"), jpeg[:at] + jpeg[end:]
        at = end
    raise ValueError("not a stamped JPEG")
