"""The contract of `OutputStore`: every implementation passes these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.s3_server import BUCKET, S3Server

from smarty_async.archive.entries import PhotoEntry, StoredAnswer, StoredOutput
from smarty_async.archive.outputs.folder import OutputDirectory
from smarty_async.archive.outputs.object_store import OutputBucket
from smarty_async.archive.outputs.store import NameTaken, OutputMove, OutputRefused, OutputStore
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.errors import DiskError, OutputInUse
from smarty_async.results import Kind
from smarty_async.store_address import StoreAddress

Create = Callable[[], OutputStore]


@pytest.fixture(params=["folder", "bucket"])
def create(request: pytest.FixtureRequest, tmp_path: Path) -> Create:
    """Creates a store over the same storage each time."""
    if request.param == "folder":
        return lambda: OutputDirectory(tmp_path / "out")
    server: S3Server = request.getfixturevalue("s3")
    address = StoreAddress("s3", BUCKET, tmp_path.name)
    return lambda: OutputBucket(address, options=server.options, state=tmp_path / "state")


@pytest.fixture
def store(create: Create) -> Iterator[OutputStore]:
    store = create()
    store.lock()
    store.remove_stale_temp_files()
    yield store
    store.release()


async def received(store: OutputStore, data: bytes, *, replaces: int | None = None) -> StoredOutput:
    file = store.open()
    await store.write([(file, [data])])
    [finished] = await store.finish([({"improved": StoredOutput(file.name, len(data), replaces)}, None)])
    assert not isinstance(finished, Exception)
    output = finished["improved"]
    assert (output.size, store.temp_path(file.name).read_bytes()) == (len(data), data)
    assert await store.fsync([[output]]) == [None]
    return output


async def moved(store: OutputStore, moves: list[OutputMove]) -> list[DiskError | None]:
    """What the store refuses; what it does not refuse is durable."""
    refused = await store.move(moves)
    assert not any(await store.fsync([], [move for move, error in zip(moves, refused, strict=True) if error is None]))
    return refused


async def content(store: OutputStore, place: str, size: int, kind: Kind = "improved") -> bytes | None:
    copy = await store.copy(kind, place, StoredOutput("", size))
    if copy is None:
        return None
    data = copy.path.read_bytes()
    await copy.discard()
    return data


@pytest.mark.usefixtures("store")
async def test_only_one_run_can_lock_it(create: Create) -> None:
    with pytest.raises(OutputInUse):
        create().lock()


async def test_a_committed_output_is_at_its_place(store: OutputStore) -> None:
    output = await received(store, b"one")
    assert await moved(store, [OutputMove("b/a.jpg", {"improved": output})]) == [None]
    assert await content(store, "b/a.jpg", 3) == b"one"
    assert await content(store, "b/a.jpg", 4) is None
    assert await content(store, "b/other.jpg", 3) is None


async def test_an_output_is_replaced_by_its_successor_alone(store: OutputStore) -> None:
    assert await moved(store, [OutputMove("a.jpg", {"improved": await received(store, b"one")})]) == [None]
    [refused] = await moved(store, [OutputMove("a.jpg", {"improved": await received(store, b"foreign")})])
    assert isinstance(refused, OutputRefused)
    assert await content(store, "a.jpg", 3) == b"one"
    successor = await received(store, b"successor", replaces=3)
    assert await moved(store, [OutputMove("a.jpg", {"improved": successor})]) == [None]
    assert await content(store, "a.jpg", 9) == b"successor"


async def test_an_output_without_a_successor_is_removed_if_it_is_the_known_one(store: OutputStore) -> None:
    outputs = {"improved": await received(store, b"one"), "colorized": await received(store, b"two!")}
    assert await moved(store, [OutputMove("a.jpg", outputs)]) == [None]  # type: ignore[arg-type]
    removes: dict[Kind, StoredOutput] = {"improved": StoredOutput("", 3), "colorized": StoredOutput("", 99)}
    assert await moved(store, [OutputMove("a.jpg", {}, removes)]) == [None]
    assert await content(store, "a.jpg", 3) is None
    assert await content(store, "a.jpg", 4, "colorized") == b"two!"
    store.remove("a.jpg", {"colorized": StoredOutput("", 4)})
    assert await content(store, "a.jpg", 4, "colorized") is None


async def test_one_move_that_is_refused_does_not_stop_the_others(store: OutputStore) -> None:
    await moved(store, [OutputMove("a.jpg", {"improved": await received(store, b"one")})])
    moves = [OutputMove(place, {"improved": await received(store, b"new!")}) for place in ("a.jpg", "b.jpg")]
    refused = await moved(store, moves)
    assert [type(error) for error in refused] == [NameTaken, type(None)]
    assert await content(store, "b.jpg", 4) == b"new!"


async def test_received_outputs_outlive_the_run_and_are_recovered(create: Create) -> None:
    store = create()
    store.lock()
    output = await received(store, b"paid")
    store.release()
    following = create()
    following.lock()
    assert following.recover(OutputMove("a.jpg", {"improved": output}))
    assert following.recover(OutputMove("a.jpg", {"improved": output}))  # it has been moved already
    assert not following.recover(OutputMove("b.jpg", {"improved": StoredOutput("gone", 4)}))
    following.remove_stale_temp_files()
    assert await content(following, "a.jpg", 4) == b"paid"
    following.release()


async def test_recovery_keeps_what_it_cannot_commit(create: Create) -> None:
    store = create()
    store.lock()
    await moved(store, [OutputMove("a.jpg", {"improved": await received(store, b"a person's")})])
    output = await received(store, b"paid")
    store.release()
    for _ in range(2):
        following = create()
        following.lock()
        with pytest.raises(OutputRefused):
            following.recover(OutputMove("a.jpg", {"improved": output}))
        following.remove_stale_temp_files()
        assert await content(following, "a.jpg", 10) == b"a person's"
        following.release()
    final = create()
    final.lock()
    final.remove("a.jpg", {"improved": StoredOutput("", 10)})
    assert final.recover(OutputMove("a.jpg", {"improved": output}))
    assert await content(final, "a.jpg", 4) == b"paid"
    final.release()


async def test_a_place_is_taken_by_what_is_there_before_the_run(create: Create) -> None:
    store = create()
    store.lock()
    assert not store.is_taken("a.jpg")
    await moved(store, [OutputMove("a.jpg", {"colorized": await received(store, b"one")})])
    store.release()
    following = create()
    following.lock()
    assert following.is_taken("a.jpg") is not following.is_remote  # where asking costs a request, `commit` finds out
    assert not following.is_taken("b.jpg")
    following.release()


async def test_an_output_that_is_gone_is_marked(store: OutputStore) -> None:
    output = await received(store, b"one")
    await moved(store, [OutputMove("a.jpg", {"improved": output})])
    entries = [
        PhotoEntry(
            PhotoFile("/photos", name, f"/photos/{name}", 9, "7"),
            1,
            name,
            {"improve": StoredAnswer("improve", "committed", {"improved": output}, None)},
        )
        for name in ("a.jpg", "b.jpg")
    ]
    checked = await store.check(entries)
    assert [entry.answers["improve"].state for entry in checked] == ["committed", "missing"]
