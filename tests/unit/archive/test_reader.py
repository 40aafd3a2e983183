from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest

from smarty_async.archive.photos.reader import _PIECE_BYTES, _READ_AT_ONCE, FileBody, open_unchanged
from smarty_async.errors import DiskError, PhotoRejected

SMALL, LARGE = 1000, 2 * _READ_AT_ONCE + 7
sizes = pytest.mark.parametrize("size", [SMALL, _PIECE_BYTES + 1, _READ_AT_ONCE, _READ_AT_ONCE + 1, LARGE])


def put(path: Path, size: int) -> FileBody:
    path.write_bytes((bytes(range(251)) * (size // 251 + 1))[:size])
    return FileBody(path, size=size, version=str(path.stat().st_mtime_ns), content_type="image/jpeg")


async def pieces(body: FileBody) -> list[bytes]:
    return [piece async for piece in body.read()]


def touch(path: Path) -> None:
    """Change the time and nothing else."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 5_000_000_000))


@sizes
async def test_the_bytes_come_in_pieces(tmp_path: Path, size: int) -> None:
    body = put(tmp_path / "a.jpg", size)
    for _ in range(2):
        read = await pieces(body)
        assert b"".join(read) == (tmp_path / "a.jpg").read_bytes()
        assert max(map(len, read)) <= _PIECE_BYTES


@sizes
@pytest.mark.parametrize("more", [b"x", b"x" * LARGE])
async def test_a_file_that_grew_is_caught(tmp_path: Path, size: int, more: bytes) -> None:
    body = put(tmp_path / "a.jpg", size)
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(more)
    with pytest.raises(PhotoRejected, match="changed while the run") as caught:
        await pieces(body)
    assert caught.value.type == "changed"


@sizes
async def test_a_file_that_shrank_or_was_written_to_is_caught(tmp_path: Path, size: int) -> None:
    body = put(tmp_path / "a.jpg", size)
    touch(tmp_path / "a.jpg")
    with pytest.raises(PhotoRejected, match="changed"):
        await pieces(body)
    os.truncate(tmp_path / "a.jpg", size - 1)
    with pytest.raises(PhotoRejected, match="changed"):
        await pieces(body)


@sizes
async def test_a_file_that_is_gone_is_an_error(tmp_path: Path, size: int) -> None:
    body = put(tmp_path / "a.jpg", size)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(PhotoRejected, match="cannot be read: No such file") as caught:
        await pieces(body)
    assert caught.value.type == "unreadable"


@pytest.mark.parametrize(
    "change", [touch, lambda path: os.truncate(path, _READ_AT_ONCE), lambda path: os.truncate(path, LARGE + 1)]
)
async def test_a_file_that_changes_while_it_is_read_is_caught_before_its_last_piece(
    tmp_path: Path, change: object
) -> None:
    body = put(tmp_path / "a.jpg", LARGE)
    read: list[bytes] = []
    with pytest.raises(PhotoRejected, match="changed"):  # noqa: PT012 - it comes in the middle
        async for piece in body.read():
            if not read:
                assert callable(change)
                change(tmp_path / "a.jpg")
            read.append(piece)
    assert sum(map(len, read)) < LARGE


async def test_a_file_that_shrinks_while_it_is_read_whole_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = put(tmp_path / "a.jpg", SMALL)
    monkeypatch.setattr(body, "check", lambda _: os.truncate(tmp_path / "a.jpg", 10))
    with pytest.raises(PhotoRejected, match="changed"):
        await pieces(body)


async def test_the_time_of_a_file_of_our_own_does_not_matter(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", SMALL)
    body = FileBody(tmp_path / "a.jpg", size=SMALL, version=None, content_type="image/png")
    touch(tmp_path / "a.jpg")
    assert sum(map(len, await pieces(body))) == SMALL


@sizes
@pytest.mark.parametrize("share", [0.7, 0.995])
async def test_a_part_of_a_file_and_the_digest_of_all(tmp_path: Path, size: int, share: float) -> None:
    put(tmp_path / "a.jpg", size)
    data = (tmp_path / "a.jpg").read_bytes()
    end = int(share * size)
    body = FileBody(tmp_path / "a.jpg", size=end, version=None, content_type="image/jpeg", file_size=size)
    assert body.digest is None
    for _ in range(2):
        read: list[bytes] = []
        async for piece in body.read():
            read.append(piece)
            if sum(map(len, read)) == body.size:
                assert body.digest == hashlib.sha256(data).digest()  # there before the last piece is taken
        assert b"".join(read) == data[:end]


@sizes
async def test_a_trailer_that_changes_is_caught(tmp_path: Path, size: int) -> None:
    put(tmp_path / "a.jpg", size)
    body = FileBody(tmp_path / "a.jpg", size=100, version=None, content_type="image/jpeg", file_size=size + 1)
    with pytest.raises(PhotoRejected, match="changed"):
        await pieces(body)
    assert body.digest is None


async def test_no_digest_of_what_was_read_in_part(tmp_path: Path) -> None:
    body = put(tmp_path / "a.jpg", LARGE)
    async for _ in body.read():
        break
    assert body.digest is None
    await pieces(body)
    assert body.digest == hashlib.sha256((tmp_path / "a.jpg").read_bytes()).digest()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
async def test_a_file_is_closed_whose_opening_was_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    os.mkfifo(path)  # to open it takes until somebody writes to it
    body = FileBody(path, size=LARGE, version=None, content_type="image/jpeg")
    reading = asyncio.ensure_future(anext(body.read()))
    for _ in range(10):
        await asyncio.sleep(0)
    reading.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not reading.done()
    writer = os.open(path, os.O_RDWR)
    with pytest.raises(asyncio.CancelledError):
        await reading
    os.close(writer)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["in memory", "in parts"])
def test_a_file_is_opened_only_while_it_is_the_same(tmp_path: Path, size: int) -> None:
    path, data = tmp_path / "a.jpg", bytes(size)
    path.write_bytes(data)
    version = str(path.stat().st_mtime_ns)
    with open_unchanged(str(path), size=size, version=version) as stream:
        assert stream.read() == data
    for other in ({"size": size + 1, "version": version}, {"size": size, "version": "0"}):
        with pytest.raises(OSError, match="it changed") as error:
            open_unchanged(str(path), **other)  # type: ignore[arg-type]
        assert error.value.errno, "a decoder's own have none"


@pytest.mark.parametrize(("size", "opening"), [(SMALL, "os.open"), (LARGE, "aiofiles.open")])
async def test_too_many_open_files_are_no_photo_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, opening: str
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    def refused_at_once(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    body = put(tmp_path / "a.jpg", size)
    with monkeypatch.context() as patched:
        patched.setattr(opening, refused_at_once if opening == "os.open" else refused)
        with pytest.raises(DiskError, match="no more photos can be opened"):
            await pieces(body)
    assert sum(map(len, await pieces(body))) == size
