from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.fake_service import FakeService

if TYPE_CHECKING:
    from support.cluster import Cluster

NEEDS_DISTRIBUTED = [
    *("test_buckets.py", "test_chunks.py", "test_cluster_run.py", "test_compose.py", "test_deaths.py"),
    *("test_probing.py", "test_log_reports.py", "test_workers.py"),
]

collect_ignore = NEEDS_DISTRIBUTED if find_spec("distributed") is None else []


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A scheduler and two workers, each in a process of its own; they speak TLS."""
    from support.cluster import Cluster  # noqa: PLC0415 - needs the extra

    cluster = Cluster(tmp_path / "cluster")
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.close()


@pytest.fixture
async def dask() -> AsyncIterator[Any]:
    """Two workers in this process."""
    from support.cluster import cluster_in_process  # noqa: PLC0415 - needs the extra

    async with cluster_in_process(2, threads=2) as client:
        yield client


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    async with FakeService() as service:
        yield service
