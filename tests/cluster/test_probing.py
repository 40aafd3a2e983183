"""Workers look into photos; the caller does where they cannot."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.clients import client_of, photos
from support.fake_service import FakeService

from smarty_async import Limits, Result
from smarty_async.archive.sources.folder import FolderSource
from smarty_async.archive.sources.source import PhotoFile
from smarty_async.cluster import probing
from smarty_async.cluster.worker import look_into
from smarty_async.cluster.workers import ClusterWorkers

pytestmark = pytest.mark.slow

PHOTOS = 70
"""More than one call takes."""


@pytest.fixture
def looked_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The photos that the caller looks into itself."""
    looked: list[str] = []
    probe = FolderSource.probe

    def noting(source: FolderSource, file: PhotoFile, **choices: Any) -> Any:
        looked.append(file.photo)
        return probe(source, file, **choices)

    monkeypatch.setattr(FolderSource, "probe", noting)
    return looked


async def run(service: FakeService, source: Path, out: Path, dask: Any) -> list[Result]:
    async with client_of(service, limits=Limits(max_images=8)) as client:
        return [result async for result in client.improve_archive(source, out=out, cluster=dask)]


async def test_workers_look_into_photos_and_the_caller_into_what_they_reject(
    service: FakeService, source: Path, out: Path, dask: Any, looked_here: list[str]
) -> None:
    photos(source, PHOTOS)
    (source / "text.jpg").write_text("no photo")
    results = await run(service, source, out, dask)
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS, "rejected": 1}
    assert looked_here == ["text.jpg"]


async def test_workers_send_back_what_they_found_and_not_the_photos(source: Path) -> None:
    photos(source, 3)
    files = [file for batch in FolderSource([source], out=None).scan() for file in batch]
    probers = [FolderSource([source], out=None).prober(file) for file in files]
    found = await look_into(probers, limits=Limits(), fit=False, pool="probing")
    assert [probed and probed.whole for probed in found] == [None] * 3
    assert all(probed and probed.width for probed in found)


async def test_without_an_answer_the_caller_looks_itself(
    service: FakeService, source: Path, out: Path, dask: Any, *, looked_here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(probing, "look_into", failing)
    photos(source, PHOTOS)
    results = await run(service, source, out, dask)
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    assert len(looked_here) == PHOTOS


async def test_without_workers_the_caller_looks_itself(
    service: FakeService, source: Path, out: Path, dask: Any, *, looked_here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClusterWorkers, "addresses", frozenset())
    monkeypatch.setattr(ClusterWorkers, "usable", _all_usable)
    photos(source, PHOTOS)
    results = await run(service, source, out, dask)
    assert Counter(result.outcome for result in results) == {"restored": PHOTOS}
    assert len(looked_here) == PHOTOS


async def _all_usable(workers: ClusterWorkers, **_: object) -> frozenset[str]:
    return frozenset((await workers._dask.scheduler.identity())["workers"])
