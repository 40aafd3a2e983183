"""Bodies read back by parsers that are not ours: aiohttp's for the bytes, the standard library's for the headers."""

from __future__ import annotations

import asyncio
import json
from email import message_from_bytes
from email.policy import HTTP
from typing import NamedTuple

import pytest
from aiohttp import BodyPartReader, MultipartReader, StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smarty_async.options import ModeSpec
from smarty_async.wire.messages import FRAME_BYTES, TAIL_BYTES, Image, Multipart

IMPROVE = ModeSpec("improve")
TASKS = [
    (IMPROVE,),
    *((ModeSpec("resolution", rfactor, rtype),) for rfactor in (2, 4) for rtype in ("art", "photo")),
    *((IMPROVE, ModeSpec("resolution", rfactor, rtype)) for rfactor in (2, 4) for rtype in ("art", "photo")),
]
TYPES = ["image/jpeg", "image/png", "image/tiff"]


class Part(NamedTuple):
    name: str | None
    filename: str | None
    content_type: str | None
    data: bytes


def body_of(multipart: Multipart, images: list[bytes]) -> bytes:
    return b"".join(frame if isinstance(frame, bytes) else images[frame] for frame in multipart.frames())


async def parts_of(multipart: Multipart, body: bytes) -> list[Part]:
    loop = asyncio.get_running_loop()
    stream = StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
    stream.feed_data(body)
    stream.feed_eof()
    parts = []
    async for part in MultipartReader({"Content-Type": multipart.content_type}, stream):
        assert isinstance(part, BodyPartReader)
        data = bytes(await part.read())
        parts.append(Part(part.name, part.filename, part.headers.get("Content-Type"), data))
    return parts


# Bytes that look like what stands around them.
tricky = st.lists(st.sampled_from([b"\r\n", b"--", b"\r", b"\n", b"smarty-", b"\0\xff", b"--\r\n"])).map(b"".join)
pictures = st.lists(st.tuples(st.sampled_from(TYPES), st.one_of(st.binary(max_size=50), tricky)), max_size=5)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(pictures, st.sampled_from(TASKS))
def test_the_body_reads_back(images: list[tuple[str, bytes]], tasks: tuple[ModeSpec, ...]) -> None:
    multipart = Multipart([Image(kind, len(data)) for kind, data in images], tasks)
    body = body_of(multipart, [data for _, data in images])
    assert len(body) == multipart.length
    *parts, meta = asyncio.run(parts_of(multipart, body))
    suffixes = {"image/jpeg": "jpg", "image/png": "png", "image/tiff": "tif"}
    assert parts == [
        Part(f"file_{number}", f"file_{number}.{suffixes[kind]}", kind, data)
        for number, (kind, data) in enumerate(images)
    ]
    # Without a filename and a type, as in every example: no reader takes it for a file.
    assert meta[:3] == ("meta", None, None)
    said = json.loads(meta.data)
    assert said["images"] == [{"name": part.name} for part in parts]
    assert said["mode"] == [task.mode for task in tasks]


@pytest.mark.parametrize("tasks", TASKS, ids=lambda tasks: "+".join(map(str, tasks)))
def test_the_type_has_both_its_names_for_resolution_and_none_otherwise(tasks: tuple[ModeSpec, ...]) -> None:
    multipart = Multipart([Image("image/jpeg", 3)], tasks)
    message = message_from_bytes(
        f"Content-Type: {multipart.content_type}\r\n\r\n".encode() + body_of(multipart, [b"abc"]), policy=HTTP
    )
    assert not message.defects
    image, meta = message.iter_parts()
    assert image.get_content_type() == "image/jpeg"
    assert image.get_filename() == "file_0.jpg"
    assert image["Content-Disposition"].params["name"] == "file_0"
    assert meta["Content-Disposition"].params == {"name": "meta"}
    said = json.loads(meta.get_content())
    last = tasks[-1]
    asked = {"rfactor": last.rfactor, "rtype": last.rtype, "ftype": last.rtype} if last.mode == "resolution" else {}
    assert said == {"mode": [task.mode for task in tasks], "images": [{"name": "file_0"}], **asked}


def test_frames_come_in_the_order_of_the_body() -> None:
    multipart = Multipart([Image("image/jpeg", 1), Image("image/png", 2)], [IMPROVE], boundary="edge")
    frames = list(multipart.frames())
    assert [frame for frame in frames if isinstance(frame, int)] == [0, 1]
    assert [isinstance(frame, int) for frame in frames] == [False, True, False, True, False]
    assert list(multipart.frames()) == frames
    assert body_of(multipart, [b"a", b"bc"]) == (
        b'--edge\r\nContent-Disposition: form-data; name="file_0"; filename="file_0.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\na\r\n"
        b'--edge\r\nContent-Disposition: form-data; name="file_1"; filename="file_1.png"\r\n'
        b"Content-Type: image/png\r\n\r\nbc\r\n"
        b'--edge\r\nContent-Disposition: form-data; name="meta"\r\n\r\n'
        b'{"mode":["improve"],"images":[{"name":"file_0"},{"name":"file_1"}]}\r\n'
        b"--edge--\r\n"
    )


def test_an_unknown_type_has_a_filename_too() -> None:
    multipart = Multipart([Image("image/x-odd", 0)], [IMPROVE])
    (image, _) = asyncio.run(parts_of(multipart, body_of(multipart, [b""])))
    assert image == Part("file_0", "file_0.bin", "image/x-odd", b"")


def test_every_body_has_its_own_boundary() -> None:
    types = {Multipart([], [IMPROVE]).content_type for _ in range(20)}
    assert len(types) == 20


@pytest.mark.parametrize("tasks", TASKS, ids=lambda tasks: "+".join(map(str, tasks)))
@pytest.mark.parametrize("content_type", [*TYPES, "application/octet-stream"])
def test_part_headers_stay_under_the_stated_bounds(tasks: tuple[ModeSpec, ...], content_type: str) -> None:
    empty = Multipart([], tasks).length
    assert empty <= TAIL_BYTES
    before = empty
    for count in range(1, 101):
        length = Multipart([Image(content_type, 1000)] * count, tasks).length
        assert length - before <= 1000 + FRAME_BYTES
        assert length <= TAIL_BYTES + count * (1000 + FRAME_BYTES)
        before = length
