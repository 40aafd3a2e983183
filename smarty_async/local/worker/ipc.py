"""What the service and the process of its engine say to each other: a line of JSON, and the bytes it speaks of."""

from __future__ import annotations

from typing import IO, Final, Literal, TypeVar

import msgspec

__all__ = ["READY", "REPLIES", "REQUESTS", "Ask", "Left", "Made", "Refused", "Reply", "Request", "read", "write"]


class _Frame(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What one line says.

    Attributes:
        job: the number of the image it is about.
        sizes: how many bytes of what follow, in this order.
    """

    job: int = 0
    sizes: dict[str, int] = {}


class Ask(_Frame, frozen=True, kw_only=True):
    """Make pictures of the `image` that follows: larger ones if there is a factor, else better ones."""

    factor: int | None = None
    rtype: str = "photo"


class Left(_Frame, frozen=True):
    """Nobody waits for it any more."""


class Made(_Frame, frozen=True, kw_only=True):
    """The pictures that follow were made."""

    bw: bool = False


class Refused(_Frame, frozen=True, kw_only=True):
    """None was made, and this is why."""

    text: str
    status: Literal[1, 2]


Request = Ask | Left
"""What the engine's process is told."""

Reply = Made | Refused
"""What it says."""

READY: Final = b"ready\n"
"""The first that it says: the engine is there."""

REQUESTS: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
REPLIES: Final[msgspec.json.Decoder[Reply]] = msgspec.json.Decoder(Reply)

F = TypeVar("F", bound=_Frame)


def write(pipe: IO[bytes], frame: _Frame, parts: dict[str, bytes] | None = None) -> None:
    """Say it, and its parts after it; two threads must not do so at once.

    Raises:
        OSError: the other end is closed.
    """
    parts = parts or {}
    sizes = {name: len(part) for name, part in parts.items()}
    pipe.write(msgspec.json.encode(msgspec.structs.replace(frame, sizes=sizes)) + b"\n")
    for part in parts.values():
        pipe.write(part)
    pipe.flush()


def read(pipe: IO[bytes], kind: msgspec.json.Decoder[F]) -> tuple[F, dict[str, bytes]]:
    """What the other end says next, and its parts by name.

    Raises:
        EOFError: it is closed.
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    frame = kind.decode(line)
    parts = {name: pipe.read(size) for name, size in frame.sizes.items()}
    if any(len(part) < frame.sizes[name] for name, part in parts.items()):
        raise EOFError
    return frame, parts
