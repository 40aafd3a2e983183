"""A request's body: what is read when, and in which pieces it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarty_async.errors import PhotoError, PhotoRejected
from smarty_async.options import ModeSpec
from smarty_async.transport.body import Body, BodyFailed, MemoryBody, stream
from smarty_async.wire.messages import Image, Multipart

T = TypeVar("T")
SPECS = (ModeSpec("improve"),)


class Watched:
    """Knows how many are being read at a time."""

    now = most = 0

    def __init__(self, size: int, *, torn: bool = False) -> None:
        self.size = size
        self.content_type = "image/jpeg"
        self.torn = torn

    async def read(self) -> AsyncIterator[bytes]:
        Watched.now += 1
        Watched.most = max(Watched.most, Watched.now)
        await asyncio.sleep(0)
        Watched.now -= 1
        if self.torn:
            raise PhotoRejected("it changed", type="changed")
        yield b"x" * self.size

    read_whole = None


def multipart_of(bodies: list[Body]) -> Multipart:
    return Multipart([Image(body.content_type, body.size) for body in bodies], SPECS, boundary="b")


async def pieces(bodies: list[Body]) -> list[bytes]:
    return [piece async for piece in stream(multipart_of(bodies), bodies, asyncio.to_thread)]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 100) | st.integers(0, 600_000), max_size=12))
def test_the_body_equals_its_frames_in_pieces_of_limited_length(sizes: list[int]) -> None:
    bodies: list[Body] = [MemoryBody(bytes([number]) * size, "image/jpeg") for number, size in enumerate(sizes)]
    sent = asyncio.run(pieces(bodies))
    frames = (
        frame if isinstance(frame, bytes) else bytes([frame]) * sizes[frame] for frame in multipart_of(bodies).frames()
    )
    assert b"".join(sent) == b"".join(frames)
    assert all(len(piece) < 270_000 for piece in sent)


class Local:
    """Is read at once, in the thread that is asked to."""

    def __init__(self, size: int, *, torn: bool = False) -> None:
        self.size = size
        self.content_type = "image/jpeg"
        self.torn = torn

    async def read(self) -> AsyncIterator[bytes]:
        yield self.read_whole()

    def read_whole(self) -> bytes:
        if self.torn:
            raise PhotoRejected("it changed", type="changed")
        return b"x" * self.size


async def test_small_local_images_are_read_in_one_call_to_a_thread() -> None:
    bodies: list[Body] = [Local(100_000) for _ in range(6)]
    calls = 0

    async def in_thread(call: Callable[[], T], /) -> T:
        nonlocal calls
        calls += 1
        return await asyncio.to_thread(call)

    sent = [piece async for piece in stream(multipart_of(bodies), bodies, in_thread)]
    assert len(sent) == calls == 3
    assert b"".join(sent).count(b"x" * 100_000) == 6


async def test_small_images_are_read_together_and_sent_as_one_piece() -> None:
    Watched.most = 0
    assert len(await pieces([Watched(1_000) for _ in range(48)])) == 1
    assert Watched.most == 48


async def test_no_more_is_read_ahead_than_a_piece() -> None:
    Watched.most = 0
    assert len(await pieces([Watched(100_000) for _ in range(6)])) == 3
    assert Watched.most == 2


@pytest.mark.parametrize("kind", [Watched, Local])
@pytest.mark.parametrize("size", [1_000, 200_000, 2_000_000])
async def test_an_image_that_cannot_be_read_is_reported_by_number(size: int, kind: type[Watched | Local]) -> None:
    bodies: list[Body] = [kind(size, torn=number == 3) for number in range(5)]
    with pytest.raises(BodyFailed) as caught:
        await pieces(bodies)
    assert caught.value.number == 3
    assert isinstance(caught.value.error, PhotoError)
    assert caught.value.error.type == "changed"
    assert Watched.now == 0
