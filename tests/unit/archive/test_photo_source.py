"""The contract of `PhotoSource`: every implementation passes these tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.pictures import encoded, heavy, jpeg, scene
from support.s3_server import BUCKET, S3Server

from smarty_async.archive.photos.reader import open_for_parsing
from smarty_async.archive.sources import folder, object_store
from smarty_async.archive.sources.folder import FolderSource
from smarty_async.archive.sources.object_store import BucketSource
from smarty_async.archive.sources.source import PhotoFile, PhotoSource
from smarty_async.errors import PhotoRejected
from smarty_async.options import Limits
from smarty_async.store_address import StoreAddress

LIMITS = Limits()


class Storage:
    """Photos in a folder, or in a bucket.

    Attributes:
        put: stores a photo under a name.
        remove: removes it.
        source: reads them.
    """

    def __init__(
        self, put: Callable[[str, bytes], object], remove: Callable[[str], object], source: Callable[[], PhotoSource]
    ) -> None:
        self.put = put
        self.remove = remove
        self.source = source


def folder_storage(folder: Path) -> Storage:
    folder.mkdir()

    def put(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_bytes(data)
        os.utime(path, ns=(1, max(path.stat().st_mtime_ns, before + 10_000_000)))

    return Storage(put, lambda name: (folder / name).unlink(), lambda: FolderSource([folder], out=None))


def bucket_storage(server: S3Server, prefix: str) -> Storage:
    address = StoreAddress("s3", BUCKET, prefix)
    return Storage(
        lambda name, data: server.put({f"{prefix}/{name}": data}),
        lambda name: server.client().delete_object(Bucket=BUCKET, Key=f"{prefix}/{name}"),
        lambda: BucketSource(address, options=server.options),
    )


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return folder_storage(tmp_path / "photos")
    return bucket_storage(request.getfixturevalue("s3"), tmp_path.name)


def found(source: PhotoSource) -> dict[str, PhotoFile]:
    source.check()
    return {file.photo: file for batch in source.scan() for file in batch}


async def sent(source: PhotoSource, file: PhotoFile) -> tuple[bytes, bytes | None]:
    """What is sent of a photo, and its digest after that."""
    body = source.body(file, await source.probe(file, limits=LIMITS, fit=False))
    data = b"".join([piece async for piece in body.read()])
    assert len(data) == body.size
    return data, body.digest


def test_photos_are_found_with_what_tells_that_they_change(storage: Storage) -> None:
    photos = {"a.jpg": jpeg(seed=1), "b/c.png": b"png", "b/notes.txt": b"text", "b/.hidden.jpg": b"x"}
    library = {"b/Photos.photoslibrary/originals/d.jpg": b"d", "b/Photos.photoslibrary/resources/renders/d.jpg": b"d"}
    for name, data in (photos | library).items():
        storage.put(name, data)
    source = storage.source()
    files = found(source)
    assert {name: file.left_alone for name, file in files.items()} == {
        "a.jpg": False,
        "b/c.png": False,
        "b/notes.txt": True,
        "b/Photos.photoslibrary/originals/d.jpg": False,
    }
    assert files["a.jpg"].size == len(photos["a.jpg"])
    assert found(storage.source())["a.jpg"].version == files["a.jpg"].version
    storage.put("a.jpg", jpeg(seed=2))
    assert found(storage.source())["a.jpg"].version != files["a.jpg"].version


@pytest.mark.parametrize("size", [2_000, 400_000, 3_000_000])
async def test_a_photo_is_sent_as_it_is(storage: Storage, size: int) -> None:
    photo = heavy(size, seed=1)
    storage.put("a b.jpg", photo)
    source = storage.source()
    [file] = found(source).values()
    data, digest = await sent(source, file)
    assert data == photo
    assert digest == source.digest(file.path, size=file.size, version=file.version)
    with open_for_parsing(source.reopen(file)) as stream:
        assert stream.read() == photo


async def test_what_follows_the_picture_is_not_sent(storage: Storage) -> None:
    photo = jpeg(64, 48, seed=1)
    storage.put("a.jpg", photo + bytes(100_000) + b"a video")
    source = storage.source()
    [file] = found(source).values()
    assert (await sent(source, file))[0] == photo


async def test_a_photo_that_has_changed_is_not_sent(storage: Storage) -> None:
    storage.put("a.jpg", jpeg(seed=1))
    source = storage.source()
    [file] = found(source).values()
    probed = await source.probe(file, limits=LIMITS, fit=False)
    storage.put("a.jpg", jpeg(seed=2))
    with pytest.raises(PhotoRejected) as rejected:
        _ = [piece async for piece in source.body(file, probed).read()]
    assert rejected.value.type == "changed"


async def test_the_same_content_has_the_same_digest(storage: Storage) -> None:
    for name, seed in (("a.jpg", 1), ("b.jpg", 1), ("c.jpg", 2)):
        storage.put(name, jpeg(seed=seed))
    source = storage.source()
    digests = {
        name: source.digest(file.path, size=file.size, version=file.version) for name, file in found(source).items()
    }
    assert digests["a.jpg"] == digests["b.jpg"] != digests["c.jpg"]
    assert all(len(digest) == 32 for digest in digests.values())


@pytest.mark.parametrize(
    "path", ["/elsewhere/a.jpg", "/elsewhere//a.jpg", "s3://elsewhere/a.jpg", f"s3://{BUCKET}/a//b.jpg"]
)
def test_a_photo_of_another_source_has_no_digest(storage: Storage, path: str) -> None:
    assert storage.source().digest(path, size=1, version="1") == b""


@pytest.mark.parametrize("by_etag", [True, False], ids=["ETags of the content", "versions only"])
async def test_the_digest_of_a_converted_photo_is_known(
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    by_etag: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    if not by_etag:
        monkeypatch.setattr(object_store, "_digest", lambda _: None)
    storage.put("a.bmp", encoded(scene(), "BMP"))
    source = storage.source()
    [file] = found(source).values()
    probed = await source.probe(file, limits=LIMITS, fit=False)
    assert probed.converted is not None
    assert probed.digest == source.digest(file.path, size=file.size, version=file.version)


async def test_a_photo_that_is_gone_is_rejected(storage: Storage) -> None:
    storage.put("a.jpg", jpeg(seed=1))
    source = storage.source()
    [file] = found(source).values()
    storage.remove("a.jpg")
    with pytest.raises(PhotoRejected):
        await source.probe(file, limits=LIMITS, fit=False)


async def test_what_is_no_image_is_rejected(storage: Storage) -> None:
    storage.put("a.jpg", b"a letter")
    source = storage.source()
    [file] = found(source).values()
    with pytest.raises(PhotoRejected) as rejected:
        await source.probe(file, limits=LIMITS, fit=False)
    assert rejected.value.type == "not_an_image"


def test_a_scan_can_be_stopped(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (folder, object_store):
        monkeypatch.setattr(module, "_BATCH", 10)
    for number in range(50):
        storage.put(f"{number}.jpg", b"x")
    source = storage.source()
    batches = source.scan()
    assert len(next(batches)) == 10
    thread = threading.Thread(target=source.stop)
    thread.start()
    thread.join()
    assert list(batches) == []
