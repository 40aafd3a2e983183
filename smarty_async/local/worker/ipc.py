"""Messages between the service and its engine process: msgpack with a length before each, over two pipes.

`multiprocessing.connection` has the same framing, but not over the anonymous pipes of a child process on Windows.
"""

from __future__ import annotations

from typing import IO, Final, Literal, TypeVar

import msgspec

from smarty_async.local.engine.protocol import Improved

__all__ = ["REPLIES", "REQUESTS", "Cancel", "Done", "Job", "Ready", "Refused", "Reply", "Request", "read", "write"]

_LENGTH: Final = 8
"""Bytes of the length before each message, big-endian."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Any message.

    Attributes:
        job: the number of the job it belongs to.
    """

    job: int = 0


class Job(_Message, frozen=True, kw_only=True):
    """Work on `image`: enlarge it if there is a `factor`, else improve it."""

    image: bytes
    factor: int | None = None
    rtype: str = "photo"


class Cancel(_Message, frozen=True):
    """Stop working on a job: its client has disconnected."""


class Ready(_Message, frozen=True):
    """The engine process has started."""


class Done(_Message, frozen=True, kw_only=True):
    """What a job made: `improved` of an improvement, `resolved` of an enlargement."""

    improved: Improved | None = None
    resolved: bytes | None = None


class Refused(_Message, frozen=True, kw_only=True):
    """A job failed, and this is the item's error and status."""

    text: str
    status: Literal[1, 2]


Request = Job | Cancel
Reply = Ready | Done | Refused

REQUESTS: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
REPLIES: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)

M = TypeVar("M")


def write(pipe: IO[bytes], message: Request | Reply) -> None:
    """Send a message; two threads must not do so at once.

    Raises:
        OSError: the other end is closed.
    """
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(_LENGTH))
    pipe.write(data)
    pipe.flush()


def read(pipe: IO[bytes], decoder: msgspec.msgpack.Decoder[M]) -> M:
    """Wait for the next message.

    Raises:
        EOFError: the other end is closed, perhaps in the middle of a message.
    """
    head = pipe.read(_LENGTH)
    size = int.from_bytes(head)
    data = pipe.read(size) if len(head) == _LENGTH else b""
    if not data or len(data) < size:
        raise EOFError
    return decoder.decode(data)
