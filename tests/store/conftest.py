from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from support.s3_server import BUCKET, S3Server
from support.stores import StorePlace


@pytest.fixture
def place(s3: S3Server, tmp_path: Path) -> StorePlace:
    """A prefix of its own for each test."""
    s3.requests.clear()
    return StorePlace(s3, f"s3://{BUCKET}/{uuid4().hex}", tmp_path / "state")
