from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Under coverage only the tests' own processes are measured: to measure the programs they start takes as long again.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where the photos of a run lie."""
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where its outputs go."""
    return tmp_path / "out"
