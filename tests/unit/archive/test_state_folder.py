"""What is held in memory, and what is written as it arrives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from smarty_async.archive.entries import StoredOutput
from smarty_async.archive.outputs import state_folder as module
from smarty_async.archive.outputs import temp_file
from smarty_async.archive.outputs.checker import OutputChecker
from smarty_async.archive.outputs.state_folder import StateFolder
from smarty_async.archive.outputs.temp_file import TempFile


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateFolder]:
    monkeypatch.setattr(module, "_LARGEST_HELD", 10)
    monkeypatch.setattr(module, "_MAX_HELD", 25)
    made = StateFolder(tmp_path / "state", OutputChecker())
    made.lock_state(shown="out")
    yield made
    made.release()


async def finished(folder: StateFolder, file: TempFile) -> bytes:
    [outputs] = await folder.finish([({"improved": StoredOutput(file.name, 0)}, None)])
    assert not isinstance(outputs, Exception)
    assert list(outputs) == ["improved"]
    return file.path.read_bytes()


async def test_a_small_output_is_written_when_it_is_finished(folder: StateFolder) -> None:
    file = folder.open()
    await folder.write([(file, [b"ab", b"cd"])])
    await folder.write([(file, [b"ef"])])
    assert not file.path.exists()
    assert await finished(folder, file) == b"abcdef"


async def test_what_grows_large_is_written_with_what_was_held(folder: StateFolder) -> None:
    file = folder.open()
    await folder.write([(file, [b"12345678"])])
    await folder.write([(file, [b"9abc"])])
    assert file.path.read_bytes() == b"123456789abc"
    await folder.write([(file, [b"d"])])
    assert await finished(folder, file) == b"123456789abcd"


async def test_no_more_is_held_than_memory_is_given_to_all(folder: StateFolder) -> None:
    files = [folder.open() for _ in range(4)]
    await folder.write([(file, [b"12345678"]) for file in files])
    assert [file.path.exists() for file in files] == [False, False, False, True]
    assert await finished(folder, files[0]) == b"12345678"
    await files[1].discard()
    again = [folder.open() for _ in range(3)]
    await folder.write([(file, [b"12345678"]) for file in again])
    assert [file.path.exists() for file in again] == [False, False, True], "what is finished or discarded is not held"
    for file in (files[1], again[0]):
        await file.discard()
        assert not file.path.exists()


class Capitals:
    """Gives an output a start of its own, in place of the bytes before its first space."""

    def edited_start(self, start: Sequence[bytes]) -> list[bytes] | None:
        head, space, rest = b"".join(start).partition(b" ")
        return [head.upper() + b"! ", rest] if space else None


@pytest.mark.parametrize("writes_pieces", [False, True])
async def test_an_output_is_edited_as_it_is_written(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch, *, writes_pieces: bool
) -> None:
    monkeypatch.setattr(temp_file, "_WRITES_PIECES", writes_pieces and hasattr(os, "writev"))
    file = folder.open()
    await folder.write([(file, [b"abc"])])
    file.edit_with(Capitals())
    await folder.write([(file, [b" def", b"ghi", b"jkl"])])
    await folder.write([(file, [b" mno"])])
    stored = file.stored(16)
    data = file.path.read_bytes()
    assert data == b"ABC! defghijkl mno"
    assert (stored.size, stored.digest) == (len(data), hashlib.sha256(data).hexdigest()[:24])
    [outputs] = await folder.finish([({"improved": stored}, None)])
    assert outputs == {"improved": stored}


@pytest.mark.skipif(not hasattr(os, "writev"), reason="Windows has no such call")
async def test_what_the_system_does_not_write_at_once_is_written_after_it(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_some(descriptor: int, pieces: Sequence[bytes]) -> int:
        return os.write(descriptor, b"".join(pieces)[:5])

    monkeypatch.setattr(os, "writev", write_some)
    file = folder.open()
    await folder.write([(file, [b"abc", b"def", b"ghijkl"])])
    assert file.path.read_bytes() == b"abcdefghijkl"


async def test_an_output_is_not_edited_before_its_start_is_known(folder: StateFolder) -> None:
    short, long = folder.open(), folder.open()
    for file in (short, long):
        file.edit_with(Capitals())
    await folder.write([(short, [b"abc"]), (long, [b"abcdefghijkl"])])
    await folder.write([(long, [b" mno"])])
    assert long.path.read_bytes() == b"abcdefghijkl mno"
    assert [file.stored(16).digest for file in (short, long)] == ["", ""]


async def test_the_size_and_the_digest_are_those_of_what_was_written(folder: StateFolder) -> None:
    file = folder.open()
    await folder.write([(file, [b"abc"])])
    [held] = await folder.finish([({"improved": StoredOutput(file.name, 3)}, None)])
    assert not isinstance(held, Exception)
    assert (held["improved"].size, held["improved"].digest) == (3, "ba7816bf8f01cfea414140de")
