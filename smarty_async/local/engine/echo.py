"""The photo back, stamped: for tests and benchmarks, where the way of a photo matters and its looks do not."""

from __future__ import annotations

from typing import Final

from smarty_async.local.engine.decoding import decode, encode
from smarty_async.local.engine.protocol import Improved

__all__ = ["EchoEngine", "stamp", "unstamp"]

_START: Final = b"\xff\xd8"
_COMMENT: Final = b"\xff\xfe"
_TEXT: Final = b"smarty-async echo "


class EchoEngine:
    """Every output is the photo that was sent; a comment in it names the output's kind."""

    @property
    def name(self) -> str:
        """What the engine is called on the command line."""
        return "echo"

    def improve(self, image: bytes, /) -> Improved:
        """All three outputs, so that a client sees as many bytes as there can be.

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
    """The kind a stamped JPEG's comment names, and the JPEG as it was before.

    Raises:
        ValueError: it bears no stamp.
    """
    length = int.from_bytes(jpeg[4:6], "big")
    text = jpeg[6 : 4 + length]
    if not jpeg.startswith(_START + _COMMENT) or not text.startswith(_TEXT):
        raise ValueError("not a stamped JPEG")
    return text.removeprefix(_TEXT).decode("ascii"), _START + jpeg[4 + length :]
